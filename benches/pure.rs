//! What the pure parts of a request cost: `make bench`. A call of a few KB and ten attributes, as
//! seen in practice; the whole service is measured by `benches/load/run.sh`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use attribute_gateway::clock::MonotonicClock;
use attribute_gateway::domain::{
    AttributeKey, AttributeLimits, AttributeMap, AttributeValue, Conversation, KeyChange,
    Participant, ParticipantSelector, Patch, SelectorIntent, SettleTime, TimeRange,
    UnconfirmedValues, WriteVerifier,
};
use attribute_gateway::genesys::CallLimiter;
use attribute_gateway::policy::{
    AdaptiveThrottle, BudgetSettings, CallResult, LagStatistics, PriorityCeilings, RetryBudget,
};
use attribute_gateway::ports::{
    BudgetAccount, CallBudget as _, CallPermit, PriorityClass, Reservation, ReservationRequest,
};
use attribute_gateway::telemetry::ServiceMetrics;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::time::Instant;

fn map(entries: usize) -> AttributeMap {
    let entry = |index: usize| {
        let key = AttributeKey::existing(&format!("attribute_{index}"));
        (key, AttributeValue::new(&format!("a value of usual length {index}")))
    };
    (0..entries).map(entry).collect()
}

fn patch() -> Patch {
    ["attribute_1", "attribute_3", "new_key"]
        .map(|key| {
            (AttributeKey::existing(key), KeyChange::to(AttributeValue::new("another value")))
        })
        .into_iter()
        .collect()
}

fn conversation() -> Conversation {
    let participant = |index: usize, purpose: &str| Participant {
        id: format!("00000000-0000-4000-8000-{index:012}").parse().expect("a UUID"),
        purpose: purpose.into(),
        state: Some("connected".into()),
        live: index.is_multiple_of(3),
        name: None,
        span: TimeRange::default(),
        attributes: AttributeMap::default(),
    };
    let purposes = ["customer", "ivr", "acd", "agent"];
    Conversation {
        id: "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("a UUID"),
        live: Some(true),
        span: TimeRange::default(),
        participants: purposes.into_iter().enumerate().map(|(i, p)| participant(i, p)).collect(),
    }
}

fn domain(criterion: &mut Criterion) {
    let (held, patch, limits) = (map(10), patch(), AttributeLimits { total_bytes: 10_240 });
    criterion.bench_function("what a write has to send", |bench| {
        bench.iter(|| black_box(&patch).missing_in(black_box(&held)));
    });
    criterion.bench_function("merge and size check", |bench| {
        bench.iter(|| limits.check(&held, &black_box(&patch).applied_to(&held)));
    });
    let read = patch.applied_to(&held);
    criterion.bench_function("one read-back judged", |bench| {
        let second = Duration::from_secs(1);
        let settle = SettleTime { measured: second, longest: second };
        bench.iter(|| {
            let mut watch = WriteVerifier::default();
            watch.add(&patch, &held, &UnconfirmedValues::new(), false);
            watch.observe(black_box(&read), Duration::from_millis(50));
            watch.is_settled(settle)
        });
    });
    let (conversation, selector) = (conversation(), "customer".parse::<ParticipantSelector>());
    let selector = selector.expect("a selector");
    criterion.bench_function("participant chosen", |bench| {
        bench.iter(|| selector.choose(black_box(&conversation), SelectorIntent::Write).is_ok());
    });
}

fn policy(criterion: &mut Criterion) {
    let now = Duration::from_secs(5);
    let mut throttle = AdaptiveThrottle::default();
    criterion.bench_function("adaptive throttle asked, result recorded", |bench| {
        bench.iter(|| {
            let permit = throttle.ask(Some(7), || 0.5, black_box(now));
            permit.map(|permit| throttle.record(permit, CallResult::Accepted, now))
        });
    });
    let mut budget = RetryBudget::default();
    criterion.bench_function("retry budget", |bench| {
        bench.iter(|| {
            budget.deposit(black_box(now));
            budget.withdraw(black_box(now))
        });
    });
    let mut lags = LagStatistics::default();
    let lags_of = (0..32).map(Duration::from_millis);
    lags_of.for_each(|lag| lags.record(now, lag, lag));
    criterion.bench_function("first read-back placed", |bench| {
        bench.iter(|| black_box(&lags).first_wait());
    });
}

/// The way of a call that need not wait, lock and clock included.
fn limiter(criterion: &mut Criterion) {
    for limit in [10_000, u64::MAX] {
        // So short a window that the budget is never used up.
        let settings = BudgetSettings {
            limit,
            window: Duration::from_micros(100),
            ceilings: PriorityCeilings::NONE,
        };
        let recorder = Arc::clone(ServiceMetrics::new(&[]).recorder());
        let limiter = CallLimiter::new(settings, recorder, MonotonicClock::start());
        let deadline = Instant::now() + Duration::from_hours(1);
        criterion.bench_function(&format!("call booked and spent, of {limit}"), |bench| {
            bench.iter(|| {
                let account = BudgetAccount::SHARED;
                let reservation_request =
                    ReservationRequest { calls: 1, class: PriorityClass::Read, deadline, account };
                match limiter.reserve(black_box(reservation_request)) {
                    Ok(Reservation::Now(mut permits)) => permits.take().map(CallPermit::spend),
                    _ => None,
                }
            });
        });
    }
}

criterion_group!(benches, domain, policy, limiter);
criterion_main!(benches);
