//! Thousands of random interleavings of clients, foreign writers and faults, judged by the
//! simulator's own ledger: no answer is untrue, and no key is lost.
//!
//! Every write uses values of its own, so that the ledger shows who made each change. A failing
//! seed is named by the panic; run it alone with `SOAK_SEED=n`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use genesys_simulator::{FaultAction, FaultScope, LedgerEntry, ScriptedFault, WriteSource};
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{AGENT, CALL, CUSTOMER, TestApp, WriteExchange, ms};

const SEEDS: u64 = 400;
const WRITES: usize = 12;
const KEYS: [&str; 5] = ["tier", "language", "crm", "queue", "note"];

#[tokio::test(start_paused = true)]
async fn answers_are_true_and_foreign_keys_kept_in_any_order() {
    let only = std::env::var("SOAK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed]);
    let mut met = BTreeSet::new();
    for seed in seeds {
        let (exchanges, ledger) = run(seed).await;
        for one in &exchanges {
            judge(seed, one, &ledger, &mut met);
        }
        judge_ledger(seed, &exchanges, &ledger);
    }
    if only.is_none() {
        // A soak in which nothing went wrong would show nothing.
        for kind in ["verified", "unverified", "unchanged", "superseded", "notApplied", "unknown"] {
            assert!(met.contains(kind), "no `{kind}` in the whole run: {met:?}");
        }
    }
}

async fn run(seed: u64) -> (Vec<WriteExchange>, Vec<LedgerEntry>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let lag = ms(random.u64(1..400));
    let mut app = TestApp::new().with_lag(lag).with_seed(seed).allowing_leftovers();
    app = app.with_env("RUST_LOG", "off").with_settings(|settings| settings.size_limit = None);
    for on in [FaultScope::Patch, FaultScope::Read] {
        app = app.with_fault(ScriptedFault::new(chance(seed, on)).on(on).always());
    }
    let app = app.start().await;
    let mut tasks = Vec::new();
    for number in 0..WRITES {
        let pause = ms(random.u64(0..1500));
        let wanted = wanted(&mut random, number);
        let wait = random.u64(1..6);
        let router = app.router();
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            WriteExchange::by(router, CALL.to_owned(), wanted, wait).await
        }));
    }
    for number in 0..6 {
        tokio::time::sleep(ms(random.u64(1..400))).await;
        let key = KEYS[random.usize(0..KEYS.len())];
        let foreign = [(key, format!("foreign-{number}")), ("flow_state", format!("{number}"))];
        app.simulator.write_as_other(CALL, CUSTOMER, foreign);
    }
    let mut exchanges = Vec::new();
    for task in tasks {
        exchanges.push(task.await.expect("a caller does not panic"));
    }
    // All writes under way have landed by now.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let _ = app.simulator.attributes(CALL, CUSTOMER);
    assert!(app.simulator.attributes(CALL, AGENT).is_some_and(|agent| agent["desk"] == "7"));
    (exchanges, app.simulator.ledger())
}

/// One request in four meets trouble.
fn chance(seed: u64, on: FaultScope) -> FaultAction {
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    let mut among = vec![
        FaultAction::Throttle { retry_after: Some(1) },
        status(500),
        status(502),
        status(503),
        FaultAction::ResetBefore,
        FaultAction::Hang,
        FaultAction::Html,
        FaultAction::ForeignWrite {
            participant: Some(CUSTOMER.to_owned()),
            map: BTreeMap::from([("tier".to_owned(), Some("foreign-between".to_owned()))]),
        },
    ];
    if on == FaultScope::Patch {
        among.extend([
            status(409),
            FaultAction::ResetAfter,
            FaultAction::HangAfterApply,
            FaultAction::ApplyLate { after: ms(2500) },
            FaultAction::Empty { status: 200, applied: true },
        ]);
    }
    FaultAction::Random { percent: 25, seed: seed.wrapping_mul(31).wrapping_add(on as u64), among }
}

fn wanted(random: &mut fastrand::Rng, number: usize) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    for _ in 0..random.usize(1..4) {
        let key = KEYS[random.usize(0..KEYS.len())];
        // Now and then what stands there already, so that `unchanged` occurs.
        let value =
            if key == "language" && random.bool() { "en".into() } else { format!("w{number}") };
        wanted.insert(key.to_owned(), value);
    }
    wanted
}

fn judge(seed: u64, exchange: &WriteExchange, ledger: &[LedgerEntry], met: &mut BTreeSet<String>) {
    let WriteExchange { wanted, start, end, answer, .. } = exchange;
    let context = format!("SOAK_SEED={seed}, wanted {wanted:?}, answer {}", answer.text);
    exchange.assert_in_time(&context);
    let body = answer.json();
    let applied = |key: &str, value: &str| {
        ledger.iter().any(|entry| {
            entry.writer == WriteSource::Gateway
                && entry.changes.get(key).is_some_and(|change| change.as_deref() == Some(value))
        })
    };
    let own = || wanted.iter().filter(|(_, value)| *value != "en");
    if let Some(effect) = body["effect"].as_str() {
        met.insert(effect.to_owned());
        let any = own().any(|(key, value)| applied(key, value));
        assert!(effect != "notApplied" || !any, "it was applied, or is now: {context}");
        // Another writer may have written `en`, the same value as ours.
        let shared = wanted.values().any(|value| value == "en");
        assert!(effect != "applied" || any || shared, "never applied: {context}");
    }
    let Some(outcomes) = body["outcomes"].as_object() else {
        return;
    };
    for (key, outcome) in outcomes {
        let value = &wanted[key];
        let outcome = outcome.as_str().expect("a word");
        met.insert(outcome.to_owned());
        let visible = was_visible(ledger, key, value, *start, *end);
        match outcome {
            "verified" => assert!(visible && applied(key, value), "{key} not verified: {context}"),
            "unchanged" => assert!(visible, "{key} not unchanged: {context}"),
            // Or it was in place, was not sent, and no read-back succeeded.
            "unverified" => assert!(
                applied(key, value) || visible && value == "en",
                "{key} not accepted: {context}"
            ),
            "superseded" => {
                assert!(exchange.was_replaced(ledger, key), "nobody superseded {key}: {context}");
            }
            other => panic!("unknown outcome {other}: {context}"),
        }
    }
}

/// Whether a read between `from` and `to` could have shown this value.
fn was_visible(ledger: &[LedgerEntry], key: &str, value: &str, from: Instant, to: Instant) -> bool {
    let initial = BTreeMap::from([("language", "en"), ("tier", "silver"), ("source", "web")]);
    let mut history: Vec<(Option<Instant>, Option<String>)> =
        vec![(None, initial.get(key).map(|value| (*value).to_owned()))];
    for entry in ledger.iter().filter(|entry| entry.participant == CUSTOMER) {
        if let Some(change) = entry.changes.get(key) {
            // A write that is visible earlier than one before it hides that one.
            while history.last().and_then(|(at, _)| *at).is_some_and(|at| at > entry.visible_at) {
                history.pop();
            }
            history.push((Some(entry.visible_at), change.clone()));
        }
    }
    history.iter().enumerate().any(|(index, (since, shown))| {
        let until = history.get(index + 1).and_then(|(at, _)| *at);
        shown.as_deref() == Some(value)
            && since.is_none_or(|since| since <= to)
            && until.is_none_or(|until| until >= from)
    })
}

/// Nothing went upstream that no client asked for.
fn judge_ledger(seed: u64, exchanges: &[WriteExchange], ledger: &[LedgerEntry]) {
    for entry in ledger.iter().filter(|entry| entry.writer == WriteSource::Gateway) {
        assert_eq!(entry.participant, CUSTOMER, "SOAK_SEED={seed}");
        for (key, change) in &entry.changes {
            let asked = exchanges.iter().any(|one| one.wanted.get(key) == change.as_ref());
            assert!(asked, "SOAK_SEED={seed}: nobody asked for {key}={change:?}");
        }
        let untouched = |map: &BTreeMap<String, String>| -> Value {
            let others = map.iter().filter(|(key, _)| !entry.changes.contains_key(*key));
            others.map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
        };
        assert_eq!(untouched(&entry.before), untouched(&entry.after), "SOAK_SEED={seed}");
    }
}
