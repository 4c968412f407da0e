//! What clients send where clients are known: credentials in each of their places, and requests by
//! those whose rights are narrow.
//!
//! An input is as for `requests`; `x-client-certificate` is the subject of the certificate that was
//! shown. No client may see some attributes of the call. It is played twice, once over a call that does
//! not have them: they cannot be distinguished.

use std::sync::LazyLock;

use attribute_gateway::app::key_digest;
use attribute_gateway::config::Config;
use attribute_gateway::http::PeerInfo;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use genesys_simulator::{RequestKind, SimulatedCall, Simulator, SimulatorSettings};
use http::Request;

use super::input::{holds, parts, written_request};
use super::service::{CALL, FuzzAnswer, Fuzzed, configured, paused};

const CUSTOMER: &str = "5eed0000-0000-4000-8000-0000000000c1";
const AGENT: &str = "5eed0000-0000-4000-8000-0000000000a1";

/// The value of all that is hidden.
const HIDDEN: &str = "canary-hidden-5e1f";

/// Keys that no client may see.
const KEPT_FROM_ALL: [&str; 2] = ["national_id", "crm_secret_pin"];

/// Name, key, certificate, and rights. None may see what is hidden, or reach the agent.
const CALLERS: [(&str, &str, &str, &str); 5] = [
    (
        "crm",
        "key-crm",
        "",
        r#"allow = ["crm_*", "tier", "note"]
deny = ["crm_secret_*"]
participants = ["customer"]"#,
    ),
    (
        "report",
        READER,
        "",
        r#"access = "read"
hide = ["national_id", "crm_secret_*"]
participants = ["customer", "ivr"]"#,
    ),
    (
        "slow",
        "key-slow",
        "",
        r#"requests_per_minute = 20
hide = ["national_id", "crm_secret_*"]
participants = ["customer"]"#,
    ),
    (
        "certified",
        "",
        "CN=certified",
        r#"hide = ["*_id", "crm_secret_*"]
participants = ["customer:first"]"#,
    ),
    (
        "both",
        "key-both",
        "CN=crm.example,O=Example",
        r#"hide = ["national_id", "*_pin"]
participants = ["customer"]"#,
    ),
];

/// The key of the only client that may not write.
const READER: &str = "key-report";

/// More requests of one input are left out.
const MAX_ENTRIES: usize = 4;

static GUARDED: LazyLock<Config> = LazyLock::new(|| {
    let line = |name: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!("{name} = \"{value}\"\n") }
    };
    let tables = CALLERS.map(|(name, key, certificate, rights)| {
        let digest =
            if key.is_empty() { String::new() } else { key_digest(key.as_bytes()).to_hex() };
        let known_by = line("key_sha256", &digest) + &line("certificate", certificate);
        format!("[[auth.clients]]\nname = \"{name}\"\n{known_by}{rights}\n")
    });
    configured(&format!("[limits]\ntotal_bytes = \"1 MiB\"\n{}", tables.concat()))
});

/// Sends these requests to two services, of which one has something to hide.
pub fn run(input: &[u8]) {
    let requests = || parts(input).into_iter().take(MAX_ENTRIES).filter_map(written_request);
    if requests().next().is_none() {
        return;
    }
    let one = paused(play(requests(), &[HIDDEN; 2]));
    // Who knows the value, or what upstream was sent with it, may see it.
    let (learnt, echoed) = (holds(input, HIDDEN), holds(input, "/v1/debug/echo"));
    for answer in &one {
        let shown = format!("{:?}{}", answer.headers, answer.text());
        assert!(learnt || !shown.contains(HIDDEN), "{shown}");
        let named = KEPT_FROM_ALL.iter().any(|key| shown.contains(key));
        assert!(answer.status >= 300 || !named || echoed, "a hidden key in {shown}");
    }
    let other = paused(play(requests(), &[]));
    assert_eq!(comparable(&one), comparable(&other), "what is hidden makes a difference");
}

async fn play(requests: impl Iterator<Item = Request<Body>>, hidden: &[&str]) -> Vec<FuzzAnswer> {
    let settings = SimulatorSettings { size_limit: None, ..SimulatorSettings::default() };
    let simulator = Simulator::new(settings);
    let open = [("language", "en"), ("tier", "silver")];
    let kept = KEPT_FROM_ALL.into_iter().zip(hidden.iter().copied());
    let desk = hidden.first().map(|value| ("desk", *value));
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, open.into_iter().chain(kept));
    simulator.add_call(call.agent(AGENT, desk)).expect("sound");
    let before = [CUSTOMER, AGENT].map(|id| hidden_of(&simulator, id));
    let fuzzed = Fuzzed::over(simulator.router(), &GUARDED, "debug");
    fuzzed.service.started().await;
    let mut answers = Vec::new();
    for request in requests {
        let shown = Shown::by(&request);
        let path = request.uri().path().to_owned();
        let sent = simulator.count(RequestKind::Patch);
        let answer = fuzzed.send(request).await;
        let wrote = simulator.count(RequestKind::Patch) > sent;
        shown.check(&path, answer.status, wrote);
        let counts = path != "/metrics" && path != "/readyz";
        answers.extend(counts.then_some(answer));
    }
    let after = [CUSTOMER, AGENT].map(|id| hidden_of(&simulator, id));
    assert_eq!(before, after, "somebody changed what nobody may");
    assert!(!fuzzed.logs.text().contains(HIDDEN), "the log holds a value");
    answers
}

/// What no client may change: keys that all may not see, and everything of the agent.
fn hidden_of(simulator: &Simulator, participant: &str) -> Vec<(String, String)> {
    let all = simulator.attributes(CALL, participant).expect("there is one");
    let of_all = |key: &str| key == "national_id" || key.starts_with("crm_secret_");
    all.into_iter().filter(|(key, _)| participant == AGENT || of_all(key)).collect()
}

/// What a request shows of who makes it, looked at as generously as can be.
struct Shown {
    /// Keys of clients that stand anywhere in it, plainly or in base64.
    keys: Vec<&'static str>,
    certificate: String,
}

impl Shown {
    fn by(request: &Request<Body>) -> Self {
        let subject =
            request.extensions().get::<PeerInfo>().and_then(|peer| peer.certificate.as_ref());
        let values = || request.headers().values();
        let stands = |key: &&str| values().any(|value| is_in(key, value.as_bytes()));
        let keys = CALLERS.map(|caller| caller.1).into_iter().filter(|key| !key.is_empty());
        Self {
            keys: keys.filter(stands).collect(),
            certificate: subject.map_or_else(String::new, ToString::to_string),
        }
    }

    /// Whether it may be this client: it shows all that the client is known by.
    fn may_be(&self, (_, key, certificate, _): (&str, &str, &str, &str)) -> bool {
        let known_by = key.is_empty() || self.keys.contains(&key);
        known_by && (certificate.is_empty() || certificate == self.certificate)
    }

    fn check(&self, path: &str, status: u16, wrote: bool) {
        let stranger = !CALLERS.into_iter().any(|caller| self.may_be(caller));
        let guarded = path.starts_with("/v1/") || path == "/metrics";
        assert!(!stranger || !guarded || status == 401, "{status} for a stranger");
        let reader = self.keys == [READER] && self.certificate.is_empty();
        assert!(!wrote || !(stranger || reader), "written by somebody who may not");
    }
}

fn is_in(key: &str, value: &[u8]) -> bool {
    let mut words = value.split(|byte| *byte == b' ');
    holds(value, key) || words.any(|word| STANDARD.decode(word).is_ok_and(|word| holds(&word, key)))
}

/// Answers without what differs from one play to the next: ids of requests, and times.
fn comparable(answers: &[FuzzAnswer]) -> Vec<String> {
    let id = |answer: &FuzzAnswer| {
        answer.headers["x-request-id"].to_str().unwrap_or_default().to_owned()
    };
    let mut ids: Vec<String> = answers.iter().map(id).collect();
    // Those that were made here before those that may be part of them.
    ids.sort_by_key(|id| std::cmp::Reverse(id.len()));
    let plain = |answer: &FuzzAnswer| {
        let mut headers: Vec<_> = answer.headers.iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        let text = timeless(&format!("{} {headers:?} {}", answer.status, answer.text()));
        ids.iter().filter(|id| !id.is_empty()).fold(text, |text, id| text.replace(id, "ID"))
    };
    answers.iter().map(plain).collect()
}

/// The text with a `T` in the place of each time.
fn timeless(text: &str) -> String {
    let of_a_time = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
    let is_time = |part: &str| part.len() >= 20 && part.starts_with("20") && part.contains('T');
    let parts = text.split_inclusive(|c| !of_a_time(c));
    let plain = |part: &str| {
        let end = part.find(|c| !of_a_time(c)).unwrap_or(part.len());
        if is_time(&part[..end]) { format!("T{}", &part[end..]) } else { part.to_owned() }
    };
    parts.map(plain).collect()
}
