//! One client, one foreign writer, and a PATCH of unknown fate again and again, in random order:
//! once a read has shown another writer's value, nothing of ours is sent over it. With a single client
//! the simulator's records show which read came before which PATCH, so the judgement is exact.

use genesys_simulator::{
    FaultAction, LedgerEntry, RequestKind, RequestOutcome, ScriptedFault, Simulator,
};
use serde_json::json;

use crate::harness::{CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

const SEEDS: u64 = 600;

#[tokio::test(start_paused = true)]
async fn a_foreign_value_that_a_read_has_shown_is_never_written_over() {
    let mut resent = 0;
    for seed in 0..SEEDS {
        let simulator = run(seed).await;
        resent += judge(seed, &simulator);
    }
    assert!(resent > 60, "hardly anything was sent again: {resent}");
}

async fn run(seed: u64) -> Simulator {
    let mut random = fastrand::Rng::with_seed(seed);
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    let among = vec![
        status(502),
        status(504),
        FaultAction::ResetBefore,
        FaultAction::ResetAfter,
        FaultAction::HangAfterApply,
        FaultAction::Hang,
    ];
    let app = TestApp::new()
        .with_lag(ms(random.u64(1..150)))
        .with_seed(seed)
        .with_env("RUST_LOG", "off")
        .with_fault(
            ScriptedFault::on_patch(FaultAction::Random { percent: 60, seed, among }).always(),
        )
        .allowing_leftovers()
        .start()
        .await;
    let body = json!({"attributes": {"tier": "ours", "crm": "ours"}}).to_string();
    let write = request("PUT", &attributes_of(CALL))
        .header("content-type", "application/json")
        .header("prefer", "wait=10")
        .body(body.into())
        .expect("a request");
    let write = tokio::spawn(send(app.router(), write));
    for number in 0..3 {
        tokio::time::sleep(ms(random.u64(1..1500))).await;
        let tier = [("tier", format!("foreign-{number}"))];
        app.simulator.write_as_other(CALL, CUSTOMER, tier);
    }
    let _ = write.await.expect("a caller does not panic");
    app.simulator.clone()
}

/// How often a PATCH followed another one; panics if one went over a value that had been read.
fn judge(seed: u64, simulator: &Simulator) -> usize {
    let (calls, ledger) = (simulator.calls(), simulator.ledger());
    let mut patches = 0;
    let mut last_read = None;
    for call in &calls {
        match call.kind {
            RequestKind::Read if call.answer == RequestOutcome::Status(200) => {
                last_read = Some(call.at);
            }
            RequestKind::Patch => {
                patches += 1;
                let sends_tier = call
                    .body
                    .as_ref()
                    .is_some_and(|body| body.pointer("/attributes/tier").is_some());
                let read = last_read.expect("a read comes before every PATCH");
                let shown = tier_shown_at(&ledger, read);
                let foreign = shown.as_deref().is_some_and(|tier| tier.starts_with("foreign"));
                // The first PATCH is what the client wants: it may replace what stands there.
                assert!(
                    patches == 1 || !(sends_tier && foreign),
                    "seed {seed}: a read had shown {shown:?}, and it was written over"
                );
            }
            RequestKind::Read
            | RequestKind::Token
            | RequestKind::Analytics
            | RequestKind::Other => {}
        }
    }
    patches - 1
}

/// What a read at this time shows of the key: the newest write that was visible by then.
fn tier_shown_at(ledger: &[LedgerEntry], read: tokio::time::Instant) -> Option<String> {
    let visible = ledger.iter().filter(|entry| entry.at <= read && entry.visible_at <= read);
    visible.filter_map(|entry| entry.changes.get("tier").cloned()).next_back().flatten()
}
