//! The engine of writes against a plain model: upstream's log of what was applied, in order.
//!
//! No HTTP and no simulator: the use cases over a port that answers after random times, sometimes
//! wrongly. Schedules are random; deadlines and hang-ups cut every write at every point at which it
//! can wait. In every schedule, each answer must be true of the log, and without
//! trouble the log must come to the same as the writes one after another, in order of arrival.

mod upstream;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use attribute_gateway::app::{App, AppParts, ClientRegistry, WriteOptions, WriteRequest};
use attribute_gateway::domain::{AttributeKey, AttributeValue, KeyChange, KeyOutcome, WriteReport};
use attribute_gateway::error::{Effect, Error, RequestFailure};
use attribute_gateway::ports::{ConversationsPort, RequestContext};
use attribute_gateway::shutdown::ShutdownSignal;
use attribute_gateway::telemetry::ServiceMetrics;
use proptest::prelude::*;
use tokio::time::Instant;

use self::upstream::{Applied, Upstream};
use crate::harness::{CALL, UnlimitedBudget, app_settings, ms};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// A write of a schedule. Its value for each of its keys is its own number.
#[derive(Clone, Debug)]
struct Plan {
    pause: u64,
    keys: Vec<usize>,
    deadline: u64,
    verify: bool,
    /// The client leaves after so many polls.
    hangs_up: Option<u8>,
}

/// Drops a future after so many polls, at whichever point it waits then.
async fn polled<T>(future: impl Future<Output = T>, polls: Option<u8>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(|context| {
        if left == Some(0) {
            return Poll::Ready(None);
        }
        left = left.map(|left| left - 1);
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() && left == Some(0) {
            return Poll::Ready(None);
        }
        polled
    })
    .await
}

type WriteResult = Option<Result<WriteReport, RequestFailure>>;

struct Run {
    results: Vec<(Plan, Instant, Instant, WriteResult)>,
    log: Vec<Applied>,
}

fn run(plans: &[Plan], seed: u64, lag: u64, trouble: u8) -> Run {
    run_against(plans, Upstream::new(seed, lag, trouble))
}

fn run_against(plans: &[Plan], upstream: Upstream) -> Run {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (upstream, shutdown) = (Arc::new(upstream), ShutdownSignal::default());
        let app = App::new(AppParts {
            replicas: None,
            client_registry: ClientRegistry::unauthenticated(),
            conversations: Arc::clone(&upstream) as Arc<dyn ConversationsPort>,
            call_budget: Arc::new(UnlimitedBudget),
            recorder: Arc::clone(ServiceMetrics::new(&[]).recorder()),
            settings: app_settings(),
            shutdown: shutdown.clone(),
            random: Box::new(|| 0.5),
        });
        if let Some(at) = upstream.drains_at {
            tokio::spawn(async move {
                tokio::time::sleep(ms(at)).await;
                shutdown.begin(ms(20));
            });
        }
        let mut tasks = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            tokio::time::sleep(ms(plan.pause)).await;
            let (app, plan, start) = (app.clone(), plan.clone(), Instant::now());
            tasks.push(tokio::spawn(async move {
                let result = polled(app.write(request(number, &plan)), plan.hangs_up).await;
                (plan, start, Instant::now(), result)
            }));
        }
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("no panic"));
        }
        // A client that has hung up is served to the end.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let log = upstream.log.lock().expect("no panic").clone();
        Run { results, log }
    })
}

fn request(number: usize, plan: &Plan) -> WriteRequest {
    let value = AttributeValue::new(&number.to_string());
    let change = |&key: &usize| (AttributeKey::existing(KEYS[key]), KeyChange::to(value.clone()));
    WriteRequest {
        conversation: CALL.parse().expect("an id"),
        selector: "customer".parse().expect("a selector"),
        patch: plan.keys.iter().map(change).collect(),
        condition: None,
        notes: None,
        options: WriteOptions { verify: plan.verify, dry_run: false, allow_ended: false },
        context: RequestContext::new(Instant::now() + ms(plan.deadline)),
    }
}

/// The positions in the log at which write `number` set this key.
fn entries<'a>(log: &'a [Applied], key: &str, number: usize) -> Vec<(usize, &'a Applied)> {
    let value = number.to_string();
    let sets = |(_, applied): &(usize, &Applied)| {
        applied.map.get(key).is_some_and(|set| set.expose() == value)
    };
    log.iter().enumerate().filter(sets).collect()
}

fn judge(run: &Run) {
    for (number, (plan, start, end, result)) in run.results.iter().enumerate() {
        let context = format!("write {number} {plan:?}: {result:?}\n{:#?}", run.log);
        let any = plan.keys.iter().any(|&key| !entries(&run.log, KEYS[key], number).is_empty());
        assert!(*end - *start <= ms(plan.deadline + 100), "late: {context}");
        match result {
            None => {}
            Some(Err(failure)) => {
                assert!(failure.effect != Effect::NotApplied || !any, "applied: {context}");
                assert!(failure.effect != Effect::Applied || any, "not applied: {context}");
            }
            Some(Ok(report)) => judge_report(run, number, *end, report, &context),
        }
    }
}

fn judge_report(run: &Run, number: usize, end: Instant, report: &WriteReport, context: &str) {
    for (key, outcome) in &report.outcomes {
        let entries = entries(&run.log, key.as_str(), number);
        match outcome {
            KeyOutcome::Verified | KeyOutcome::Unchanged => {
                let seen = entries.iter().any(|(_, applied)| applied.visible <= end);
                assert!(seen, "{key} was not visible: {context}");
            }
            KeyOutcome::Unverified => {
                let accepted = entries.iter().any(|(_, applied)| applied.at <= end);
                assert!(accepted, "{key} was not accepted: {context}");
            }
            other => panic!("{other:?} in a success: {context}"),
        }
    }
}

/// Without trouble: the last change of each key is that of the last to arrive, and each answer of
/// success or of a superseded write is true.
fn judge_order(run: &Run) {
    judge(run);
    for (index, key) in KEYS.iter().enumerate() {
        let wanted = |(number, (plan, ..)): (usize, &(Plan, _, _, _))| {
            plan.keys.contains(&index).then_some(number)
        };
        let last = run.results.iter().enumerate().filter_map(wanted).next_back();
        let held = run.log.iter().rev().find_map(|applied| applied.map.get(key));
        let expected = last.map(|number| number.to_string());
        assert_eq!(held.map(AttributeValue::expose), expected.as_deref(), "{key}: {:#?}", run.log);
    }
}

fn plan(deadline: impl Strategy<Value = u64>) -> impl Strategy<Value = Plan> {
    let keys = proptest::sample::subsequence(vec![0, 1, 2], 1..=3);
    let polls = proptest::option::weighted(0.3, 1_u8..4);
    (0_u64..60, keys, deadline, proptest::bool::weighted(0.8), polls).prop_map(
        |(pause, keys, deadline, verify, hangs_up)| Plan {
            pause,
            keys,
            deadline,
            verify,
            hangs_up,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_schedule_and_the_trouble_what_is_told_is_true(
        plans in proptest::collection::vec(plan(1_u64..3_000), 1..14),
        seed in any::<u64>(), lag in 1_u64..400, trouble in 0_u8..50,
    ) {
        judge(&run(&plans, seed, lag, trouble));
    }

    #[test]
    fn without_trouble_it_comes_to_the_same_as_one_after_another(
        plans in proptest::collection::vec(plan(Just(20_000)), 1..14),
        seed in any::<u64>(), lag in 1_u64..400,
    ) {
        judge_order(&run(&plans, seed, lag, 0));
    }
}

/// The same schedule, cut for one writer after another at every millisecond of its way.
#[test]
fn a_deadline_at_any_moment_cuts_one_write_and_no_other() {
    let base =
        |deadline| Plan { pause: 7, keys: vec![0, 1], deadline, verify: true, hangs_up: None };
    for victim in 0..3 {
        for cut in 1..220 {
            let plans: Vec<_> =
                (0..3).map(|number| base(if number == victim { cut } else { 5_000 })).collect();
            let run = run(&plans, 42, 30, 0);
            judge(&run);
            for (number, (.., result)) in run.results.iter().enumerate() {
                let result = result.as_ref().expect("nobody hangs up");
                let superseded =
                    matches!(result, Err(failure) if matches!(failure.error, Error::Superseded(_)));
                assert!(
                    number == victim || result.is_ok() || superseded,
                    "{victim} cut at {cut}: {number} got {result:?}"
                );
            }
        }
    }
}

/// The same with trouble: a call that is cut at any point leads to no untrue answer.
#[test]
fn a_deadline_at_any_moment_gives_no_untrue_answer() {
    for seed in 0..4 {
        for cut in (1..400).step_by(3) {
            let write = |deadline| Plan {
                pause: 7,
                keys: vec![0, 1],
                deadline,
                verify: true,
                hangs_up: None,
            };
            judge(&run(&[write(2_000), write(cut), write(2_000)], seed, 30, 40));
        }
    }
}

/// And with a drain, which ends everybody's way at once.
#[test]
fn a_drain_at_any_moment_leaves_no_untrue_answer_and_no_defect() {
    for at in 1..260 {
        let write =
            || Plan { pause: 7, keys: vec![0, 1], deadline: 5_000, verify: true, hangs_up: None };
        let upstream = Upstream { drains_at: Some(at), ..Upstream::new(at, 30, 20) };
        let run = run_against(&[write(), write(), write(), write()], upstream);
        judge(&run);
        for (.., result) in &run.results {
            let defect =
                matches!(result, Some(Err(RequestFailure { error: Error::Internal(_), .. })));
            assert!(!defect, "drained at {at}: {result:?}");
        }
    }
}

/// The same schedule, left by one client after another at every point at which it waits.
#[test]
fn a_caller_that_hangs_up_at_any_point_changes_nothing() {
    let base = |hangs_up| Plan { pause: 7, keys: vec![0], deadline: 5_000, verify: true, hangs_up };
    let applied = |run: &Run| run.log.iter().map(|one| one.map.clone()).collect::<Vec<_>>();
    let undisturbed = applied(&run(&[base(None), base(None), base(None)], 42, 30, 0));
    for victim in 0..3 {
        for polls in 1..6 {
            let plans: Vec<_> =
                (0..3).map(|number| base((number == victim).then_some(polls))).collect();
            let run = run(&plans, 42, 30, 0);
            judge_order(&run);
            assert_eq!(applied(&run), undisturbed, "{victim} left after {polls} polls");
        }
    }
}

#[test]
fn a_task_that_dies_takes_nobody_with_it() {
    let write =
        |pause, key| Plan { pause, keys: vec![key], deadline: 5_000, verify: true, hangs_up: None };
    // The second dies on its way, with the third waiting behind it.
    let plans = [write(0, 0), write(60, 1), write(25, 2)];
    let upstream = Upstream { panics_at: Some("b"), ..Upstream::new(3, 30, 0) };
    let run = run_against(&plans, upstream);
    let results: Vec<_> =
        run.results.iter().map(|(.., result)| result.as_ref().expect("answered")).collect();
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let died = results[1].as_ref().expect_err("its task died");
    assert!(matches!(died.error, Error::Internal(_)) && died.effect == Effect::Unknown, "{died:?}");
}
