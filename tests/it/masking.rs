//! `Debug` shows no value: what holds raw text and derives `Debug` has been looked at, type by type.
//!
//! Values, names and phone numbers are types of their own whose `Debug` is masked. What could still
//! show one is a type that holds plain text or bytes. Those are listed here, each judged to hold ids,
//! words, keys or our own sentences alone; a new one fails the test until it is judged as well. The
//! simulator is left out: it knows no real values.

use std::path::Path;

use attribute_gateway::domain::{AttributeKey, AttributeMap, AttributeValue, Patch};

use crate::architecture::sources;

/// Files, and the types in them that have been judged.
const JUDGED: &[(&str, &[&str])] = &[
    ("app/callers.rs", &["Enrolled", "Shown"]),
    ("config/auth.rs", &["Mistakes"]),
    ("config/auth/clients.rs", &["CallersError"]),
    ("config/auth/entry.rs", &["ClientEntry"]),
    ("config/proxy.rs", &["Proxy"]),
    ("telemetry/metrics.rs", &["HttpFigures"]),
    ("telemetry/access.rs", &["AccessRecord"]),
    ("http/tags.rs", &["Tag"]),
    ("http/problem/body.rs", &["About"]),
    ("http/peer.rs", &["CertificateSubject"]),
    ("domain/rights/pattern.rs", &["KeyPattern"]),
    ("domain/client.rs", &["ClientName"]),
    ("domain/attributes.rs", &["AttributeKey"]),
    ("config/route.rs", &["PathTemplate"]),
    ("audit/output.rs", &["Captured"]),
    ("audit/ledger.rs", &["State"]),
    ("cli.rs", &["Command"]),
    ("config/error.rs", &["Origin", "Problem"]),
    ("config/genesys.rs", &["Genesys"]),
    ("config/log.rs", &["Log"]),
    ("config/participants.rs", &["Participants"]),
    ("config/render.rs", &["Line"]),
    ("config/simulator.rs", &["Simulator"]),
    ("config/tracing.rs", &["Tracing"]),
    ("config/url.rs", &["BaseUrl"]),
    ("domain/limits.rs", &["Violation"]),
    ("domain/listing.rs", &["Listed", "ListedParticipant"]),
    ("domain/participant.rs", &["Participant", "Kind", "Candidate", "UnresolvedParticipant"]),
    ("domain/report.rs", &["WriteReport"]),
    ("error.rs", &["Error"]),
    ("genesys/client.rs", &["Paths"]),
    ("genesys/error.rs", &["UpstreamError", "TokenFailure"]),
    ("genesys/stack.rs", &["StackSettings"]),
    ("genesys/token.rs", &["Credentials", "TokenSettings", "TokenStatus"]),
    (
        "http/answer.rs",
        &[
            "ReadAnswer",
            "KeyAnswer",
            "ReadAllAnswer",
            "ParticipantView",
            "CandidateView",
            "WriteAnswer",
        ],
    ),
    ("http/conversations/list.rs", &["ListAnswer", "ListedView", "ListedParticipantView"]),
    ("http/conversations/view.rs", &["ConversationAnswer", "MemberView"]),
    ("http/document.rs", &["Document", "Documents"]),
    ("http/etag.rs", &["Cover"]),
    ("http/flat.rs", &["Ask"]),
    ("http/pages.rs", &["ServiceAnswer"]),
    ("http/problem.rs", &["Inner", "Extra"]),
    ("http/state.rs", &["Check"]),
    ("ports.rs", &["Spent"]),
    ("ports/audit.rs", &["AuditRecord", "Print", "Caller", "Ending", "Finding"]),
    ("ports/trail.rs", &["Steps", "AttemptEnd"]),
    ("telemetry/clients.rs", &["AnswerLabels", "ClientLabels"]),
    ("telemetry/families.rs", &["AttemptLabels"]),
    ("telemetry/recent.rs", &["Arrival", "RecentRequest"]),
];

/// What plain text and bytes are held by.
const RAW: [&str; 9] =
    ["String", "SmolStr", "Bytes", "Vec<u8>", "Cow<", "&'a str", "Box<str>", "Arc<str>", "Value"];

#[test]
fn what_holds_plain_text_and_can_be_shown_has_been_judged() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut found = Vec::new();
    for file in sources(root) {
        let name = file.strip_prefix(root).expect("below src").display().to_string();
        if name.starts_with("simulator") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("source is text");
        let text = text.split("#[cfg(test)]\nmod tests").next().expect("one");
        found.extend(shown_with_text(text).map(|of_type| (name.clone(), of_type.to_owned())));
    }
    found.sort();
    let judged = JUDGED.iter().flat_map(|(file, types)| {
        types.iter().map(|of_type| ((*file).to_owned(), (*of_type).to_owned()))
    });
    let mut judged: Vec<_> = judged.collect();
    judged.sort();
    let new: Vec<_> = found.iter().filter(|found| !judged.contains(found)).collect();
    assert!(new.is_empty(), "may these be shown by `Debug`? {new:?}");
    let gone: Vec<_> = judged.iter().filter(|judged| !found.contains(judged)).collect();
    assert!(gone.is_empty(), "no such types any more: {gone:?}");
}

/// Names of the types that derive `Debug` and hold plain text.
fn shown_with_text(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[derive(").skip(1).filter_map(|rest| {
        let (derived, rest) = rest.split_once(")]")?;
        let is_head = |line: &&str| line.contains("struct ") || line.contains("enum ");
        let head = rest.lines().find(is_head)?;
        let at = head.find("struct ").map(|at| at + 7).or(head.find("enum ").map(|at| at + 5))?;
        let name = head[at..].split(|c: char| !c.is_alphanumeric()).next()?;
        let body = &rest[rest.find(head)?..];
        let one_line = head.ends_with(';') || head.ends_with('}');
        let body = if one_line { head } else { body.split("\n}").next()? };
        let holds = body
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| RAW.iter().any(|raw| has_word(line, raw)));
        (derived.split([',', ' ']).any(|word| word == "Debug") && holds).then_some(name)
    })
}

/// Whether this stands in the line, and not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let longer =
            word.ends_with(char::is_alphanumeric) && line[at + word.len()..].starts_with(part);
        !longer && !line[..at].ends_with(part)
    })
}

#[test]
fn maps_patches_and_values_show_their_keys_alone() {
    let (key, value) = (AttributeKey::existing("tier"), AttributeValue::new("canary"));
    let map: AttributeMap = [(key.clone(), value.clone())].into_iter().collect();
    let change = attribute_gateway::domain::Change::to(value.clone());
    let patch: Patch = [(key, change)].into_iter().collect();
    let shown = format!("{map:?} {map:#?} {patch:?} {value:?}");
    assert!(!shown.contains("canary") && shown.contains("tier"), "{shown}");
}
