use super::*;
use crate::app::testing;
use crate::domain::{AttributeMap, Change};
use crate::error::Error;
use crate::ports::{NoMeter, Payer};

const OUTSTANDING: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(1);

fn held(waiting: usize, waiting_per_participant: usize) -> Held {
    let settings = AppSettings {
        outstanding: OUTSTANDING,
        waiting,
        waiting_per_participant,
        ..testing::settings()
    };
    Held::new(&settings, Arc::new(NoMeter))
}

impl Held {
    fn seen(&self, place: Place, attributes: &AttributeMap, read: Instant, settle: Duration) {
        let mut state = self.state();
        if let Some(entry) = state.places.get_mut(&place) {
            entry.seen(attributes, read, settle);
        }
    }
}

fn place(participant: u32) -> Place {
    (
        "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid"),
        format!("00000000-0000-4000-8000-{participant:012}").parse().expect("valid"),
    )
}

fn key() -> AttributeKey {
    AttributeKey::existing("k")
}

fn to(value: &str) -> Patch {
    [(key(), Change::to(AttributeValue::new(value)))].into_iter().collect()
}

fn shows(value: &str) -> AttributeMap {
    [(key(), AttributeValue::new(value))].into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_open_until_it_is_seen() {
    let held = held(10, 10);
    let mark = held.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    held.accepted(place(1), mark);
    assert!(held.is_open(place(1), &key()));
    held.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(held.is_open(place(1), &key()), "a read of the state before proves nothing");
    assert!(!held.is_open(place(2), &key()), "another participant's key is another key");
    held.seen(place(1), &shows("new"), Instant::now(), SETTLE);
    assert!(!held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_left_before_the_patch_proves_nothing() {
    let held = held(10, 10);
    let read = Instant::now();
    tokio::time::advance(Duration::from_millis(1)).await;
    held.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    held.seen(place(1), &shows("new"), read, SETTLE);
    assert!(held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn seeing_the_later_proves_what_was_accepted_before_it_and_nothing_of_unknown_fate() {
    let held = held(10, 10);
    let first = held.sending(place(1), &to("1"), &shows("old"), &BTreeMap::new());
    held.accepted(place(1), first);
    held.sending(place(1), &to("2"), &shows("old"), &BTreeMap::new());
    held.seen(place(1), &shows("2"), Instant::now(), SETTLE);
    assert!(!held.is_open(place(1), &key()));

    held.sending(place(1), &to("lost?"), &shows("old"), &BTreeMap::new());
    held.sending(place(1), &to("3"), &shows("old"), &BTreeMap::new());
    held.seen(place(1), &shows("3"), Instant::now(), SETTLE);
    assert!(held.is_open(place(1), &key()), "the one of unknown fate may still land");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_stood_there_before_proves_neither_itself_nor_what_came_before_it() {
    let held = held(10, 10);
    let away = held.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    held.accepted(place(1), away);
    tokio::time::advance(Duration::from_millis(1)).await;
    held.sending(place(1), &to("old"), &shows("old"), &BTreeMap::new());
    held.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(held.is_open(place(1), &key()), "`new` may surface yet");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_accepted_only_after_a_later_one_was_sent_stays_open() {
    let held = held(10, 10);
    let slow = held.sending(place(1), &to("slow"), &shows("old"), &BTreeMap::new());
    held.sending(place(1), &to("quick"), &shows("old"), &BTreeMap::new());
    tokio::time::advance(Duration::from_millis(1)).await;
    held.accepted(place(1), slow);
    held.seen(place(1), &shows("quick"), Instant::now(), SETTLE);
    assert!(held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_or_is_too_old_is_not_open() {
    let held = held(10, 10);
    let mark = held.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    held.refused(place(1), mark);
    assert!(!held.is_open(place(1), &key()));
    held.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    tokio::time::advance(OUTSTANDING).await;
    assert!(held.is_open(place(1), &key()), "it is on its way for as long as it takes");
    held.answered(place(1));
    tokio::time::advance(OUTSTANDING).await;
    assert!(!held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn writes_are_bounded_in_all_and_for_each_participant() {
    let held = held(3, 1);
    let mut first = held.admit(place(1).0, Payer::NOBODY).expect("first");
    assert!(
        held.admit(place(1).0, Payer::NOBODY).is_err(),
        "one has not found its participant yet"
    );
    first.enter(place(1)).expect("the participant is idle");
    let mut second = held.admit(place(1).0, Payer::NOBODY).expect("second");
    assert!(second.enter(place(1)).is_err());
    second.enter(place(2)).expect("another participant");
    let third = held.admit(place(1).0, Payer::NOBODY).expect("third");
    assert!(held.admit(place(1).0, Payer::NOBODY).is_err());
    drop(third);
    assert!(held.admit(place(1).0, Payer::NOBODY).is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_of_participants_whose_writes_are_over() {
    let held = held(10, 10);
    for participant in 0..1000 {
        let mut write = held.admit(place(1).0, Payer::NOBODY).expect("admitted");
        write.enter(place(participant)).expect("idle");
        held.sending(place(participant), &to("new"), &shows("old"), &BTreeMap::new());
        held.answered(place(participant));
        if participant % 2 == 0 {
            held.seen(place(participant), &shows("new"), Instant::now(), SETTLE);
        }
    }
    assert_eq!(held.state().places.len(), 500, "those that are open");
    tokio::time::advance(OUTSTANDING).await;
    drop(held.admit(place(1).0, Payer::NOBODY));
    assert_eq!(held.state().places.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_writers_value_ends_what_was_accepted_once_it_has_had_time_to_show() {
    let held = held(10, 10);
    let mark = held.sending(place(1), &to("ours"), &shows("old"), &BTreeMap::new());
    held.accepted(place(1), mark);
    held.seen(place(1), &shows("theirs"), Instant::now(), SETTLE);
    assert!(!held.accepted_unseen(place(1)).is_empty(), "ours may still surface");
    tokio::time::advance(SETTLE).await;
    held.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(!held.accepted_unseen(place(1)).is_empty(), "a state from before proves nothing");
    held.seen(place(1), &shows("theirs"), Instant::now(), SETTLE);
    assert!(held.accepted_unseen(place(1)).is_empty() && !held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn what_stood_there_already_is_settled_by_time_alone() {
    let held = held(10, 10);
    let mark = held.sending(place(1), &to("same"), &shows("same"), &BTreeMap::new());
    held.accepted(place(1), mark);
    held.seen(place(1), &shows("same"), Instant::now(), SETTLE);
    assert!(held.is_open(place(1), &key()));
    tokio::time::advance(SETTLE).await;
    held.seen(place(1), &shows("same"), Instant::now(), SETTLE);
    assert!(!held.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_all_places_leaves_some_to_those_who_hold_less_than_their_part() {
    let held = held(80, 80);
    let admit = |id: u64, weight: u32| {
        let payer = Payer { id, weight: weight.try_into().expect("a weight") };
        held.admit(place(1).0, payer)
    };
    // Who is known: one that has written before.
    drop(admit(2, 3).expect("free"));
    let flood: Vec<_> = (0..200).filter_map(|_| admit(1, 1).ok()).collect();
    assert_eq!(flood.len(), 70, "an eighth is kept");
    let others: Vec<_> = (0..200).filter_map(|_| admit(2, 3).ok()).collect();
    assert_eq!(others.len(), 10, "all that is left");
    drop(flood);
    let flood: Vec<_> = (0..200).filter_map(|_| admit(1, 1).ok()).collect();
    assert_eq!(flood.len(), 60, "to be told apart from those who wait");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_all_places_of_one_participant_leaves_some_to_others() {
    let held = held(1_000, 16);
    let payer = |id: u64| Payer { id, weight: 1.try_into().expect("a weight") };
    held.expect(&[payer(1), payer(2)]);
    let mut flood: Vec<_> = (0..20).filter_map(|_| held.admit(place(1).0, payer(1)).ok()).collect();
    assert_eq!(flood.len(), 14, "before they have found their participant");
    for write in &mut flood {
        write.enter(place(1)).expect("the participant is idle");
    }
    let mut more = held.admit(place(1).0, payer(1)).expect("in the conversation is room");
    assert!(matches!(more.enter(place(1)), Err(Error::Overloaded("for this caller"))));
    for _ in 0..2 {
        let mut other = held.admit(place(1).0, payer(2)).expect("there is room");
        other.enter(place(1)).expect("and with the participant");
        flood.push(other);
    }
    let mut last = held.admit(place(1).0, payer(2)).expect("in the conversation is room");
    assert!(matches!(last.enter(place(1)), Err(Error::Overloaded("for this participant"))));
    drop(flood);
    more.enter(place(1)).expect("all have left");
}
