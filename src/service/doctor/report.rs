//! What `doctor` found out, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorCode};

/// The longest that one check takes.
pub const CHECK_TIME: Duration = Duration::from_secs(4);

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Ok,
    Warning,
    Failed,
}

/// The result of one check. It holds no secret and no attribute value.
#[derive(Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: CheckStatus,
    pub detail: String,
    pub hint: Option<String>,
}

/// The results, and the settings to use.
#[derive(Debug, Default, Serialize)]
pub struct DoctorReport {
    /// The checks, in order.
    pub(super) checks: Vec<Check>,
    /// The sections of the configuration file, with the keys that were found out.
    #[serde(serialize_with = "as_toml")]
    settings: toml::Table,
}

fn as_toml<S: Serializer>(settings: &toml::Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(settings)
}

/// One line for each check, with its hint below, and then the settings.
impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let status = match check.status {
                CheckStatus::Ok => "ok",
                CheckStatus::Warning => "warning",
                CheckStatus::Failed => "failed",
            };
            writeln!(f, "{status:<8} {}: {}", check.name, check.detail)?;
            if let Some(hint) = &check.hint {
                writeln!(f, "{:<8} {hint}", "")?;
            }
        }
        if self.settings.is_empty() {
            return Ok(());
        }
        write!(f, "\nSettings to use:\n\n{}", self.settings)
    }
}

impl DoctorReport {
    /// Whether a check failed.
    pub fn has_failed(&self) -> bool {
        self.checks.iter().any(|check| check.status == CheckStatus::Failed)
    }

    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, CheckStatus::Ok, detail, None);
    }

    pub(super) fn add(
        &mut self,
        name: &'static str,
        status: CheckStatus,
        detail: impl Into<String>,
        hint: Option<&str>,
    ) {
        let (detail, hint) = (detail.into(), hint.map(str::to_owned));
        self.checks.push(Check { name, status, detail, hint });
    }

    pub(super) fn failure(&mut self, name: &'static str, error: &Error, host: &str) {
        // Messages of Genesys Cloud mostly end with a full stop of their own.
        let detail = error.to_string();
        let hint = hint(error, host);
        self.add(name, CheckStatus::Failed, detail.trim_end_matches('.'), Some(&hint));
    }

    pub(super) fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        let section = self.settings.entry(section).or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(key.to_owned(), value.into());
        }
    }
}

/// What the operator can do about an error.
fn hint(error: &Error, host: &str) -> String {
    match error.code() {
        ErrorCode::UpstreamAuthFailed => format!(
            "Check the client id and the client secret, and that the OAuth client belongs to the \
             organisation behind {host}. GENESYS_ENVIRONMENT selects that host"
        ),
        ErrorCode::UpstreamForbidden => {
            "Add the permission to a role of the OAuth client (Admin > \
             Integrations > OAuth > Roles), in all divisions of the conversations"
                .to_owned()
        }
        ErrorCode::ConversationNotFound => {
            "Check the id, and that the role of the OAuth client covers the division of the call"
                .to_owned()
        }
        ErrorCode::UpstreamUnavailable | ErrorCode::DeadlineExceeded => format!(
            "Check that this machine reaches {host}: name resolution, firewall, genesys.proxy and \
             genesys.ca_file. Then see the status page of Genesys Cloud"
        ),
        ErrorCode::UpstreamRateLimited => {
            "Other programs use up the calls of this OAuth client. Wait a \
             minute, or create an OAuth client for the gateway only"
                .to_owned()
        }
        ErrorCode::UpstreamInvalidResponse => format!(
            "Check that Genesys Cloud itself answers at {host}: see genesys.api_url, \
             genesys.login_url and the proxies in between"
        ),
        ErrorCode::InvalidParticipant => {
            "Add --participant with the UUID of a participant: genesys.custom.conversation is not set, \
             so the participants of a call cannot be listed"
                .to_owned()
        }
        ErrorCode::AttributesTooLarge => "Use a call with fewer attributes".to_owned(),
        _ => format!("Check genesys.route and genesys.api_url; the call went to {host}"),
    }
}
