use super::*;
use crate::app::testing;
use crate::domain::{AttributeMap, KeyChange};
use crate::error::Error;
use crate::ports::BudgetAccount;

const OUTSTANDING: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(1);

fn held(waiting: usize, waiting_per_participant: usize) -> PendingWrites {
    let settings = AppSettings {
        outstanding: OUTSTANDING,
        waiting,
        waiting_per_participant,
        ..testing::settings()
    };
    PendingWrites::new(&settings, Arc::default())
}

impl PendingWrites {
    fn overlays_nothing(&self, place: ParticipantKey) -> bool {
        let nothing = AttributeMap::default();
        self.expected_state(place, &nothing).map == nothing
    }

    fn seen(
        &self,
        participant_key: ParticipantKey,
        attributes: &AttributeMap,
        read: Instant,
        settle: Duration,
    ) {
        let mut state = self.state();
        if let Some(entry) = state.participants.get_mut(&participant_key) {
            entry.seen(attributes, read, settle);
        }
    }
}

fn place(participant: u32) -> ParticipantKey {
    (
        "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid"),
        format!("00000000-0000-4000-8000-{participant:012}").parse().expect("valid"),
    )
}

fn key() -> AttributeKey {
    AttributeKey::existing("k")
}

fn to(value: &str) -> Patch {
    [(key(), KeyChange::to(AttributeValue::new(value)))].into_iter().collect()
}

fn shows(value: &str) -> AttributeMap {
    [(key(), AttributeValue::new(value))].into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_open_until_it_is_seen() {
    let pending_writes = held(10, 10);
    let pending_id = pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    pending_writes.accepted(place(1), pending_id);
    assert!(pending_writes.is_open(place(1), &key()));
    pending_writes.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(pending_writes.is_open(place(1), &key()), "a read of the state before proves nothing");
    assert!(!pending_writes.is_open(place(2), &key()), "another participant's key is another key");
    pending_writes.seen(place(1), &shows("new"), Instant::now(), SETTLE);
    assert!(!pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_left_before_the_patch_proves_nothing() {
    let pending_writes = held(10, 10);
    let read = Instant::now();
    tokio::time::advance(Duration::from_millis(1)).await;
    pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    pending_writes.seen(place(1), &shows("new"), read, SETTLE);
    assert!(pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn a_later_value_proves_only_earlier_accepted_writes() {
    let pending_writes = held(10, 10);
    let first = pending_writes.sending(place(1), &to("1"), &shows("old"), &BTreeMap::new());
    pending_writes.accepted(place(1), first);
    pending_writes.sending(place(1), &to("2"), &shows("old"), &BTreeMap::new());
    pending_writes.seen(place(1), &shows("2"), Instant::now(), SETTLE);
    assert!(!pending_writes.is_open(place(1), &key()));

    pending_writes.sending(place(1), &to("lost?"), &shows("old"), &BTreeMap::new());
    pending_writes.sending(place(1), &to("3"), &shows("old"), &BTreeMap::new());
    pending_writes.seen(place(1), &shows("3"), Instant::now(), SETTLE);
    assert!(pending_writes.is_open(place(1), &key()), "the one of unknown fate may still land");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_there_before_proves_nothing() {
    let pending_writes = held(10, 10);
    let away = pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    pending_writes.accepted(place(1), away);
    tokio::time::advance(Duration::from_millis(1)).await;
    pending_writes.sending(place(1), &to("old"), &shows("old"), &BTreeMap::new());
    pending_writes.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(pending_writes.is_open(place(1), &key()), "`new` may surface yet");
}

#[tokio::test(start_paused = true)]
async fn a_write_accepted_after_a_later_one_was_sent_stays_open() {
    let pending_writes = held(10, 10);
    let slow = pending_writes.sending(place(1), &to("slow"), &shows("old"), &BTreeMap::new());
    pending_writes.sending(place(1), &to("quick"), &shows("old"), &BTreeMap::new());
    tokio::time::advance(Duration::from_millis(1)).await;
    pending_writes.accepted(place(1), slow);
    pending_writes.seen(place(1), &shows("quick"), Instant::now(), SETTLE);
    assert!(pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_or_is_too_old_is_not_open() {
    let pending_writes = held(10, 10);
    let pending_id = pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    pending_writes.refused(place(1), pending_id);
    assert!(!pending_writes.is_open(place(1), &key()));
    pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    tokio::time::advance(OUTSTANDING).await;
    assert!(pending_writes.is_open(place(1), &key()), "it is on its way for as long as it takes");
    pending_writes.answered(place(1));
    tokio::time::advance(OUTSTANDING).await;
    assert!(!pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn writes_are_bounded_in_all_and_for_each_participant() {
    let pending_writes = held(3, 1);
    let mut first = pending_writes.admit(place(1).0, BudgetAccount::SHARED).expect("first");
    assert!(
        pending_writes.admit(place(1).0, BudgetAccount::SHARED).is_err(),
        "one has not found its participant yet"
    );
    first.acquire(place(1)).expect("the participant is idle");
    let mut second = pending_writes.admit(place(1).0, BudgetAccount::SHARED).expect("second");
    assert!(second.acquire(place(1)).is_err());
    second.acquire(place(2)).expect("another participant");
    let third = pending_writes.admit(place(1).0, BudgetAccount::SHARED).expect("third");
    assert!(pending_writes.admit(place(1).0, BudgetAccount::SHARED).is_err());
    drop(third);
    assert!(pending_writes.admit(place(1).0, BudgetAccount::SHARED).is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_of_participants_whose_writes_are_over() {
    let pending_writes = held(10, 10);
    for participant in 0..1000 {
        let mut write = pending_writes.admit(place(1).0, BudgetAccount::SHARED).expect("admitted");
        write.acquire(place(participant)).expect("idle");
        pending_writes.sending(place(participant), &to("new"), &shows("old"), &BTreeMap::new());
        pending_writes.answered(place(participant));
        if participant % 2 == 0 {
            pending_writes.seen(place(participant), &shows("new"), Instant::now(), SETTLE);
        }
    }
    assert_eq!(pending_writes.state().participants.len(), 500, "those that are open");
    tokio::time::advance(OUTSTANDING).await;
    drop(pending_writes.admit(place(1).0, BudgetAccount::SHARED));
    assert_eq!(pending_writes.state().participants.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_removed_although_no_write_comes() {
    let pending_writes = held(10, 10);
    let mut write = pending_writes.admit(place(1).0, BudgetAccount::SHARED).expect("admitted");
    write.acquire(place(1)).expect("idle");
    pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
    pending_writes.answered(place(1));
    drop(write);
    assert_eq!(pending_writes.state().participants.len(), 1);
    tokio::time::sleep(3 * OUTSTANDING).await;
    assert_eq!(pending_writes.state().participants.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_value_ends_accepted_writes_after_the_settle_time() {
    let pending_writes = held(10, 10);
    let pending_id = pending_writes.sending(place(1), &to("ours"), &shows("old"), &BTreeMap::new());
    pending_writes.accepted(place(1), pending_id);
    pending_writes.seen(place(1), &shows("theirs"), Instant::now(), SETTLE);
    assert!(!pending_writes.overlays_nothing(place(1)), "ours may still surface");
    tokio::time::advance(SETTLE).await;
    pending_writes.seen(place(1), &shows("old"), Instant::now(), SETTLE);
    assert!(!pending_writes.overlays_nothing(place(1)), "a state from before proves nothing");
    pending_writes.seen(place(1), &shows("theirs"), Instant::now(), SETTLE);
    assert!(pending_writes.overlays_nothing(place(1)) && !pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn what_stood_there_already_is_settled_by_time_alone() {
    let pending_writes = held(10, 10);
    let pending_id =
        pending_writes.sending(place(1), &to("same"), &shows("same"), &BTreeMap::new());
    pending_writes.accepted(place(1), pending_id);
    pending_writes.seen(place(1), &shows("same"), Instant::now(), SETTLE);
    assert!(pending_writes.is_open(place(1), &key()));
    tokio::time::advance(SETTLE).await;
    pending_writes.seen(place(1), &shows("same"), Instant::now(), SETTLE);
    assert!(!pending_writes.is_open(place(1), &key()));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_all_slots_leaves_some_to_smaller_users() {
    let pending_writes = held(80, 80);
    let admit = |id: u64, weight: u32| {
        let account = BudgetAccount { id, weight: weight.try_into().expect("a weight") };
        pending_writes.admit(place(1).0, account)
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
async fn a_client_cannot_take_every_slot_of_a_participant() {
    let pending_writes = held(1_000, 16);
    let account = |id: u64| BudgetAccount { id, weight: 1.try_into().expect("a weight") };
    pending_writes.set_known_clients(&[account(1), account(2)]);
    let mut flood: Vec<_> =
        (0..20).filter_map(|_| pending_writes.admit(place(1).0, account(1)).ok()).collect();
    assert_eq!(flood.len(), 14, "before they have found their participant");
    for write in &mut flood {
        write.acquire(place(1)).expect("the participant is idle");
    }
    let mut more =
        pending_writes.admit(place(1).0, account(1)).expect("in the conversation is room");
    assert!(matches!(more.acquire(place(1)), Err(Error::Overloaded("for this caller"))));
    for _ in 0..2 {
        let mut other = pending_writes.admit(place(1).0, account(2)).expect("there is room");
        other.acquire(place(1)).expect("and with the participant");
        flood.push(other);
    }
    let mut last =
        pending_writes.admit(place(1).0, account(2)).expect("in the conversation is room");
    assert!(matches!(last.acquire(place(1)), Err(Error::Overloaded("for this participant"))));
    drop(flood);
    more.acquire(place(1)).expect("all have left");
}

#[tokio::test(start_paused = true)]
async fn a_map_older_than_the_proof_of_a_write_is_outdated() {
    for is_accepted in [true, false] {
        let pending_writes = held(10, 10);
        let pending_id =
            pending_writes.sending(place(1), &to("new"), &shows("old"), &BTreeMap::new());
        if is_accepted {
            pending_writes.accepted(place(1), pending_id);
        }
        let before = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        let proof = Instant::now();
        pending_writes.seen(place(1), &shows("new"), proof, SETTLE);
        assert!(pending_writes.is_outdated(place(1), before), "accepted: {is_accepted}");
        assert!(!pending_writes.is_outdated(place(1), proof), "the proof itself shows the write");
    }
}

fn by(arrival: u64) -> BTreeMap<AttributeKey, u64> {
    BTreeMap::from([(key(), arrival)])
}

#[tokio::test(start_paused = true)]
async fn only_an_applied_later_change_overtakes_an_earlier_write() {
    let pending_writes = held(10, 10);
    let to_change = |value| KeyChange::to(AttributeValue::new(value));
    let overtakes =
        |arrival, value| pending_writes.is_overtaken(place(1), &key(), arrival, &to_change(value));
    let later = pending_writes.sending(place(1), &to("later"), &shows("old"), &by(5));
    let refused = pending_writes.sending(place(1), &to("refused"), &shows("old"), &by(6));
    assert!(!overtakes(3, "earlier"), "it may never be applied");
    pending_writes.refused(place(1), refused);
    pending_writes.accepted(place(1), later);
    assert!(overtakes(3, "earlier"));
    assert!(!overtakes(3, "later"), "both want the same");
    assert!(!overtakes(5, "other") && !overtakes(7, "latest"));
    assert!(!pending_writes.is_overtaken(place(2), &key(), 3, &to_change("earlier")));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_write_of_ours_clears_is_not_lost() {
    let pending_writes = held(10, 10);
    let is_cleared = || pending_writes.is_cleared(place(1), &key());
    let other = AttributeKey::existing("other");
    let clear: Patch = [(key(), KeyChange::Clear)].into_iter().collect();
    let pending_id = pending_writes.sending(place(1), &to("new"), &shows("old"), &by(1));
    pending_writes.accepted(place(1), pending_id);
    assert!(!is_cleared(), "it was set");
    pending_writes.sending(place(1), &clear, &shows("new"), &by(2));
    assert!(is_cleared() && !pending_writes.is_cleared(place(1), &other), "it may be cleared");
    // A read shows it. Another write may still know the map from before.
    pending_writes.seen(place(1), &AttributeMap::default(), Instant::now(), SETTLE);
    assert!(!pending_writes.is_open(place(1), &key()) && is_cleared());
}

#[tokio::test(start_paused = true)]
async fn values_that_no_read_has_shown_are_known_by_key() {
    let pending_writes = held(10, 10);
    for value in ["1", "2"] {
        pending_writes.sending(place(1), &to(value), &shows("old"), &BTreeMap::new());
    }
    let expected = ["1", "2"].map(|value| Some(AttributeValue::new(value))).to_vec();
    assert_eq!(pending_writes.unseen_values(place(1)), BTreeMap::from([(key(), expected)]));
    assert!(pending_writes.unseen_values(place(2)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_proof_sent_before_an_earlier_one_ended_is_outdated_too() {
    let pending_writes = held(10, 10);
    let send = |key: &str| {
        let change = (AttributeKey::existing(key), KeyChange::to(AttributeValue::new("new")));
        let patch = std::iter::once(change).collect();
        pending_writes.sending(place(1), &patch, &AttributeMap::default(), &BTreeMap::new());
    };
    let pass = || tokio::time::advance(Duration::from_millis(5));
    let shown = |keys: &[&str]| -> AttributeMap {
        let entry = |key: &&str| (AttributeKey::existing(key), AttributeValue::new("new"));
        keys.iter().map(entry).collect()
    };
    let _ = ["a", "b", "c"].map(send);
    let (first, ()) = (Instant::now(), pass().await);
    let (second, ()) = (Instant::now(), pass().await);
    pending_writes.seen(place(1), &shown(&["a"]), first, SETTLE);
    pass().await;
    pending_writes.seen(place(1), &shown(&["b"]), second, SETTLE);
    assert!(pending_writes.is_outdated(place(1), second), "it may lack `a`");
    pass().await;
    let third = Instant::now();
    pending_writes.seen(place(1), &shown(&["a", "b", "c"]), third, SETTLE);
    assert!(!pending_writes.is_outdated(place(1), third));
}

fn unproved(value: &str, accepted: bool) -> Vec<UnprovedValue> {
    let (value, before) = (Some(AttributeValue::new(value)), Some(AttributeValue::new("old")));
    vec![UnprovedValue { key: key(), value, before, accepted }]
}

#[tokio::test(start_paused = true)]
async fn a_note_of_another_replica_counts_once_until_the_next_one() {
    let pending_writes = held(10, 10);
    let own = pending_writes.sending(place(1), &to("ours"), &shows("old"), &BTreeMap::new());
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let values = || {
        let mut values = pending_writes.unseen_values(place(1)).remove(&key()).unwrap_or_default();
        values.sort_by_key(|value| value.as_ref().map(|value| value.expose().to_owned()));
        values.into_iter().flatten().map(|value| value.expose().to_owned()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        pending_writes.adopt(place(1), first, unproved("1", false));
        assert_eq!(values(), ["1", "ours"]);
    }
    pending_writes.adopt(place(1), second, unproved("2", true));
    assert_eq!(values(), ["2", "ours"]);
    pending_writes.refused(place(1), own);
    assert_eq!(values(), ["2"], "ids are not given twice");
    let noted = pending_writes.unproved(place(1));
    assert!(matches!(noted.as_slice(), [noted] if noted.accepted && noted.key == key()));
    assert_eq!(pending_writes.expected_state(place(1), &shows("old")).map, shows("2"));
    assert_eq!(pending_writes.answered_last(place(1)), Some(Instant::now()));
    // Also what was not accepted is on its way no longer.
    pending_writes.adopt(place(1), Uuid::from_u128(3), unproved("3", false));
    tokio::time::advance(OUTSTANDING).await;
    assert!(pending_writes.unproved(place(1)).is_empty());
}
