//! `doctor`: finds out with a few calls what the account allows, and with a write test how the
//! platform treats writes.

mod report;
mod tested_participant;
mod write_test;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::report::DoctorReport;
use self::report::{CHECK_TIME, CheckStatus};
use self::tested_participant::TestedParticipant;
use self::write_test::{TEST_KEY, WriteTest};
use super::upstream::{UpstreamParts, UpstreamSide};
use crate::clock;
use crate::config::{self, Config};
use crate::domain::{
    AttributeKey, AttributeValue, ConversationFilter, ConversationId, Participant, ParticipantId,
    ParticipantSelector, SelectorIntent,
};
use crate::error::Error;
use crate::genesys::{HttpTransport, JitterSource, is_platform_error};
use crate::http::paths;
use crate::ports::{
    ConversationsPort as _, PriorityClass, RequestContext, UpstreamQuery, UpstreamRead,
};
use crate::telemetry::ServiceMetrics;

/// The longest that it takes, whatever the lag of the platform.
const TOTAL_TIME: Duration = Duration::from_secs(30);
/// An id that no conversation has.
const NO_CONVERSATION: &str = "00000000-0000-4000-8000-000000000000";
/// The effective limits of the organisation. Needs no permission.
const LIMITS: &str = "/api/v2/organizations/limits/namespaces/platform.api";
/// The limits of calls per minute that count for an OAuth client, the first one most.
const TOKEN_LIMITS: [&str; 2] =
    ["client.credentials.token.rate.per.minute", "token.rate.per.minute"];

/// The call to read, as the operator names it.
#[derive(Clone, Copy, Debug)]
pub struct DoctorCall<'a> {
    /// Its UUID.
    pub conversation: &'a str,
    /// As in `?participant=`; by default that of `participants.default`.
    pub participant: Option<&'a str>,
    /// Whether a write is tried.
    pub write_test: bool,
}

/// Makes all checks that are possible: without a token, only those that need none.
///
/// # Errors
/// If `call` names no conversation or participant.
pub async fn doctor(
    config: &Config,
    credentials: &config::OauthCredentials,
    transport: HttpTransport,
    call: Option<DoctorCall<'_>>,
) -> anyhow::Result<DoctorReport> {
    let end = Instant::now() + TOTAL_TIME;
    let id = call.map(|call| call.conversation.parse()).transpose().context("--conversation")?;
    let named = call.and_then(|call| call.participant).map(str::parse).transpose();
    let selector = named.context("--participant")?;
    let (jitter, stop) = (JitterSource::random(), CancellationToken::new());
    let recorder = Arc::clone(ServiceMetrics::new(paths::ALL).recorder());
    let _ends = stop.clone().drop_guard();
    let parts = UpstreamParts { transport: transport.clone(), jitter, recorder, stop };
    let upstream = UpstreamSide::connect(config, credentials, None, parts);
    let api = config.genesys.api_base().to_string();
    let mut doctor = Doctor { config, upstream, api, end, report: DoctorReport::default() };
    doctor.check_platform(transport).await;
    if doctor.check_token().await {
        doctor.check_limits().await;
        doctor.check_conversations().await;
        doctor.check_analytics().await;
        if let (Some(id), Some(call)) = (id, call) {
            let selector = selector.as_ref().unwrap_or(&config.participants.default);
            doctor.check_call(id, selector, call.write_test).await;
        }
    }
    Ok(doctor.report)
}

struct Doctor<'a> {
    config: &'a Config,
    upstream: UpstreamSide,
    /// Base URL of the API.
    api: String,
    end: Instant,
    report: DoctorReport,
}

impl Doctor<'_> {
    fn context(&self) -> RequestContext {
        RequestContext::new((Instant::now() + CHECK_TIME).min(self.end))
    }

    /// The path of a conversation that does not exist, and its id.
    fn made_up(&self) -> (String, ConversationId) {
        let id = NO_CONVERSATION.parse().expect("a UUID");
        let participant: ParticipantId = NO_CONVERSATION.parse().expect("a UUID");
        (self.upstream.client.read_path(id, participant), id)
    }

    /// Whether the platform itself answers at the address, and what its clock shows. Needs no token.
    async fn check_platform(&mut self, transport: HttpTransport) {
        let url = format!("{}{}", self.api, self.made_up().0);
        let request = Request::get(url).body(Bytes::new()).expect("a base URL and a path");
        let (sent, api) = (clock::now(), self.api.clone());
        let reason = match timeout(CHECK_TIME, transport.send(request)).await {
            Ok(Ok(answer)) => {
                self.check_region(&answer);
                return self.check_clock(&answer, sent);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let error = Error::UpstreamUnavailable { reason, retry_after: Duration::ZERO };
        self.report.failure("region", &error, &api);
    }

    fn check_region(&mut self, answer: &Response<Bytes>) {
        let genesys = &self.config.genesys;
        let region = match genesys.api_url {
            Some(_) => "set by genesys.api_url".to_owned(),
            None => genesys.environment.to_string(),
        };
        let (api, login) = (&self.api, genesys.login_base());
        if is_platform_error(answer) {
            self.report.ok("region", format!("{region}: {api} (API), {login} (login)"));
            return;
        }
        let custom = genesys.route == config::UpstreamRoute::Custom;
        let status = if custom { CheckStatus::Warning } else { CheckStatus::Failed };
        let found = answer.status().as_u16();
        let detail =
            format!("{region}: the {found} of {api} does not have the form of the platform API");
        let hint = "Check genesys.environment, genesys.api_url and the proxies in between";
        self.report.add("region", status, detail, Some(hint));
    }

    fn check_clock(&mut self, answer: &Response<Bytes>, sent: OffsetDateTime) {
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            let detail = format!("{} sent no date to compare the clock with", self.api);
            return self.report.add("clock", CheckStatus::Warning, detail, None);
        };
        // The header has whole seconds: the middle of its second against the middle of the call.
        let theirs: OffsetDateTime = OffsetDateTime::from(date) + Duration::from_millis(500);
        let ours = sent + (clock::now() - sent) / 2;
        let skew: time::Duration = theirs - ours;
        let skew = skew.as_seconds_f64();
        let (status, hint) = match skew.abs() {
            ..2.0 => (CheckStatus::Ok, None),
            ..60.0 => (CheckStatus::Warning, Some("Correct the clock of this machine (NTP)")),
            _ => (CheckStatus::Failed, Some("Correct the clock of this machine (NTP)")),
        };
        let direction = if skew > 0.0 { "behind" } else { "ahead of" };
        let detail =
            format!("this machine is {:.0} s {direction} the clock of {}", skew.abs(), self.api);
        self.report.add("clock", status, detail, hint);
    }

    async fn check_token(&mut self) -> bool {
        let login = self.config.genesys.login_base().to_string();
        match self.upstream.tokens.get(self.context().deadline()).await {
            Ok(_) => self.report.ok("token", format!("fetched from {login}")),
            Err(error) => self.report.failure("token", &error.into_error(false), &login),
        }
        self.report.checks.last().is_some_and(|check| check.status == CheckStatus::Ok)
    }

    async fn check_limits(&mut self) {
        let (id, configured) = (self.made_up().1, self.config.genesys.requests_per_minute.get());
        let answer = self.upstream.client.probe(LIMITS.to_owned(), id, &self.context()).await;
        let limit = match answer.map(|answer| token_limit(answer.body())) {
            Ok(Some(limit)) => limit,
            found => {
                let why = found.err().map_or_else(String::new, |error| format!(": {error}"));
                let detail = format!("the limits of the organisation cannot be read{why}");
                let hint = format!("Requests a minute stay as configured: {configured}");
                return self.report.add("limits", CheckStatus::Warning, detail, Some(&hint));
            }
        };
        let detail = format!("the organisation allows {limit} calls a minute for each token");
        let (status, hint) = match limit.cmp(&configured) {
            std::cmp::Ordering::Equal => (CheckStatus::Ok, None),
            std::cmp::Ordering::Greater => (CheckStatus::Warning, Some("to use all of them")),
            std::cmp::Ordering::Less => (CheckStatus::Warning, Some("to avoid 429")),
        };
        let hint = hint.map(|why| {
            format!("Set genesys.requests_per_minute = {limit} (now {configured}) {why}")
        });
        self.report.add("limits", status, detail, hint.as_deref());
        if let Some(limit) = i64::try_from(limit).ok().filter(|limit| *limit > 0) {
            self.report.set("genesys", "requests_per_minute", limit);
        }
    }

    async fn check_conversations(&mut self) {
        let ((path, id), api) = (self.made_up(), self.api.clone());
        match self.upstream.client.probe(path, id, &self.context()).await {
            Ok(answer)
                if answer.status() == StatusCode::NOT_FOUND && is_platform_error(&answer) =>
            {
                let detail = "can be read (the call asked for one that does not exist)";
                self.report.ok("conversations", detail);
            }
            Ok(answer) => {
                let status = answer.status().as_u16();
                let what = format!("a {status} that does not have the form of the platform API");
                self.report.failure("conversations", &Error::UpstreamInvalidResponse(what), &api);
            }
            Err(error) => self.report.failure("conversations", &error, &api),
        }
    }

    async fn check_analytics(&mut self) {
        let (filter, context) = (ConversationFilter::default(), self.context());
        let query = UpstreamQuery { filter: &filter, page: 1 };
        match self.upstream.client.find(query, &context).await {
            Ok(_) => self.report.ok("analytics", "live conversations can be listed"),
            Err(error) => self.report.failure("analytics", &error, &self.api),
        }
    }

    /// Reads a call, tells what a write would send, and makes the write test if it is wanted.
    async fn check_call(
        &mut self,
        id: ConversationId,
        selector: &ParticipantSelector,
        write_test: bool,
    ) {
        let read = UpstreamRead {
            conversation: id,
            participant: selector.id(),
            retries: true,
            permit: None,
            class: PriorityClass::Read,
        };
        let conversation = match self.upstream.client.read(read, &self.context()).await {
            Ok(conversation) => conversation,
            Err(error) => return self.report.failure("conversation", &error, &self.api),
        };
        let count = conversation.participants.len();
        let (status, live) = match conversation.live {
            Some(false) => (CheckStatus::Warning, "it has ended"),
            _ => (CheckStatus::Ok, "it is live"),
        };
        self.report.add("conversation", status, format!("{count} participants; {live}"), None);
        let Ok(chosen) = selector.choose(&conversation, SelectorIntent::Write) else {
            let detail = format!("`{selector}` does not select one participant of this call");
            let hint = "Name another one with --participant, or change participants.default";
            return self.report.add("dry-run", CheckStatus::Failed, detail, Some(hint));
        };
        if self.check_dry_run(chosen.participant) && write_test {
            let found = (id, chosen.participant.id, chosen.participant.attributes.clone());
            let participant = TestedParticipant::new(&self.upstream.client, found, self.end);
            WriteTest::new(self.config, participant).run(&mut self.report).await;
        }
    }

    /// Tells what a write would send. Whether it would fit.
    fn check_dry_run(&mut self, participant: &Participant) -> bool {
        let mut merged = participant.attributes.clone();
        merged.insert(AttributeKey::existing(TEST_KEY), AttributeValue::new(TEST_KEY));
        let (bytes, most) = (merged.json_bytes(), self.config.limits.total_bytes.get());
        let detail = format!(
            "a write would send `{TEST_KEY}` to participant {} (`{}`), whose attributes would take \
             {bytes} of {most} bytes",
            participant.id, participant.purpose
        );
        if bytes <= most {
            self.report.ok("dry-run", detail);
        } else {
            let hint = "Use a call with fewer attributes";
            self.report.add("dry-run", CheckStatus::Failed, detail, Some(hint));
        }
        bytes <= most
    }
}

/// The calls that a token may make in a minute.
fn token_limit(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let limit = |key: &&str| {
        let limit = body["entities"].as_array()?.iter().find(|limit| limit["key"] == *key)?;
        // The SDKs declare a number that need not be whole.
        format!("{:.0}", limit["value"].as_f64()?).parse().ok()
    };
    TOKEN_LIMITS.iter().find_map(limit)
}
