//! The token endpoint's rules, the tokens it issued, and what each of them has used of its minute.
//! Pure: time and randomness are arguments.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tokio::time::Instant;

use super::{
    SimulatorSettings,
    budget::{BudgetStanding, TokenUsage, WindowBudget},
    reply::SimulatedReply,
};

const MINUTE: Duration = Duration::from_mins(1);

/// A count that restarts with the first request after a minute.
struct MinuteWindow {
    start: Instant,
    count: u32,
}

impl MinuteWindow {
    /// Counts one request; how many that makes.
    fn count(&mut self, now: Instant) -> u32 {
        if now >= self.start + MINUTE {
            *self = Self { start: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

struct IssuedToken {
    serial: u64,
    dies: Instant,
    used: TokenUsage,
}

/// What is known of the token on a request of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PresentedToken {
    /// Which of the issued tokens, from 1.
    pub(super) serial: u64,
    /// What it has used of its calls; nothing if there is no limit.
    pub(super) standing: Option<BudgetStanding>,
}

/// The tokens that are alive.
pub(super) struct TokenStore {
    live: HashMap<String, IssuedToken>,
    issued: u64,
    window: MinuteWindow,
}

impl TokenStore {
    pub(super) fn new(now: Instant) -> Self {
        Self { live: HashMap::new(), issued: 0, window: MinuteWindow { start: now, count: 0 } }
    }

    /// Counts a request that presents `token`; nothing if it is not alive.
    pub(super) fn present(
        &mut self,
        token: &str,
        settings: &SimulatorSettings,
        now: Instant,
    ) -> Option<PresentedToken> {
        self.live.retain(|_, token| token.dies > now);
        let token = self.live.get_mut(token)?;
        let standing =
            WindowBudget::from_settings(settings).map(|budget| token.used.count(budget, now));
        Some(PresentedToken { serial: token.serial, standing })
    }

    pub(super) fn kill(&mut self, token: &str) {
        self.live.remove(token);
    }

    /// Kills all tokens; how many there were.
    pub(super) fn kill_all(&mut self) -> usize {
        let killed = self.live.len();
        self.live.clear();
        killed
    }

    /// Answers one request to the token endpoint.
    pub(super) fn grant(
        &mut self,
        request: &TokenRequest<'_>,
        settings: &SimulatorSettings,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> SimulatedReply {
        let count = self.window.count(now);
        if settings.token_requests_per_minute.is_some_and(|limit| count > limit) {
            return throttled();
        }
        if let Some(refusal) = request.refusal(settings) {
            return refusal;
        }
        let token: String = std::iter::repeat_with(|| random.alphanumeric()).take(86).collect();
        self.issued += 1;
        let lifetime = settings.token_lifetime;
        let body = json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": lifetime.as_secs(),
        });
        let dies = now + lifetime;
        self.live
            .insert(token, IssuedToken { serial: self.issued, dies, used: TokenUsage::default() });
        SimulatedReply::json(axum::http::StatusCode::OK, &body)
    }
}

/// The parts of a token request that count.
pub(super) struct TokenRequest<'a> {
    pub(super) authorization: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl TokenRequest<'_> {
    fn refusal(&self, settings: &SimulatorSettings) -> Option<SimulatedReply> {
        let form =
            self.content_type.is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        if !form {
            let text = "the content type must be application/x-www-form-urlencoded";
            return Some(SimulatedReply::oauth_error(400, "invalid_request", text));
        }
        let expected = format!("{}:{}", settings.client_id, settings.client_secret);
        if self.basic_credentials().as_deref() != Some(expected.as_bytes()) {
            return Some(refused(settings));
        }
        let mut fields = self.body.split(|byte| *byte == b'&');
        if !fields.any(|field| field == b"grant_type=client_credentials") {
            let text = "the grant type must be client_credentials";
            return Some(SimulatedReply::oauth_error(400, "unsupported_grant_type", text));
        }
        None
    }

    fn basic_credentials(&self) -> Option<Vec<u8>> {
        let (scheme, encoded) = self.authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()).ok())?
    }
}

/// The answer to wrong credentials.
pub(super) fn refused(settings: &SimulatorSettings) -> SimulatedReply {
    SimulatedReply::oauth_error(
        settings.invalid_client_status,
        "invalid_client",
        "authentication failed",
    )
}

/// The answer to too many requests: a 400, other than everywhere else.
pub(super) fn throttled() -> SimulatedReply {
    let text = "rate limit exceeded; please wait before requesting another token";
    SimulatedReply::oauth_error(400, "invalid_request", text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn ask(
        tokens: &mut TokenStore,
        settings: &SimulatorSettings,
        secret: &str,
        now: Instant,
    ) -> (u16, Value) {
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("demo:{secret}")));
        let request = TokenRequest {
            authorization: Some(&authorization),
            content_type: Some(FORM),
            body: b"grant_type=client_credentials",
        };
        let reply = tokens.grant(&request, settings, &mut fastrand::Rng::with_seed(1), now);
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).expect("it is JSON"))
    }

    #[test]
    fn a_token_lives_for_its_lifetime() {
        let (start, lifetime) = (Instant::now(), Duration::from_mins(5));
        let settings =
            SimulatorSettings { token_lifetime: lifetime, ..SimulatorSettings::default() };
        let mut tokens = TokenStore::new(start);
        let (status, body) = ask(&mut tokens, &settings, "demo-secret", start);
        assert_eq!((status, &body["expires_in"]), (200, &json!(300)));
        assert_eq!(body["token_type"], "bearer");
        let token = body["access_token"].as_str().expect("a text");
        let last = start + lifetime - Duration::from_millis(1);
        assert_eq!(tokens.present(token, &settings, last).map(|t| t.serial), Some(1));
        assert_eq!(tokens.present(token, &settings, start + lifetime), None);
    }

    #[test]
    fn wrong_credentials_get_the_body_seen_in_the_wild() {
        let now = Instant::now();
        let (status, body) =
            ask(&mut TokenStore::new(now), &SimulatorSettings::default(), "wrong", now);
        let text = "authentication failed";
        let expected =
            json!({"error": "invalid_client", "description": text, "error_description": text});
        assert_eq!((status, body), (400, expected));
    }

    #[test]
    fn asking_too_often_is_a_400_until_the_minute_is_over() {
        let now = Instant::now();
        let settings = SimulatorSettings {
            token_requests_per_minute: Some(1),
            ..SimulatorSettings::default()
        };
        let mut tokens = TokenStore::new(now);
        assert_eq!(ask(&mut tokens, &settings, "demo-secret", now).0, 200);
        let (status, body) = ask(&mut tokens, &settings, "demo-secret", now);
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
        assert!(
            body["description"].as_str().is_some_and(|d| d.starts_with("rate limit exceeded;"))
        );
        assert_eq!(ask(&mut tokens, &settings, "demo-secret", now + MINUTE).0, 200);
    }

    #[test]
    fn each_token_has_a_window_of_its_own() {
        let start = Instant::now();
        let settings =
            SimulatorSettings { requests_per_minute: Some(9), ..SimulatorSettings::default() };
        let mut tokens = TokenStore::new(start);
        let (_, body) = ask(&mut tokens, &settings, "demo-secret", start);
        let token = body["access_token"].as_str().expect("a text");
        let count = |tokens: &mut TokenStore| {
            let presented = tokens.present(token, &settings, start)?;
            presented.standing.map(|standing| (presented.serial, standing.count))
        };
        assert_eq!([count(&mut tokens), count(&mut tokens)], [Some((1, 1)), Some((1, 2))]);
        // Drawn from the same seed, the next one has the same text, and nothing else of it.
        ask(&mut tokens, &settings, "demo-secret", start);
        assert_eq!(count(&mut tokens), Some((2, 1)));
    }
}
