//! Counters that several clients raise by `If-Match`, and whether each reported raise is there.
//!
//! Each raise writes the counter and, with it, a mark of its own, so that the ledger shows whose it was.

use std::collections::{BTreeMap, HashMap};

use super::exchange::{Ask, ClientAnswer};
use super::history::History;
use super::judge::{seconds, tell};
use super::traffic::Traffic;
use super::verdict::Verdict;

/// The counter's key.
pub const COUNTER: &str = "n";

/// One raise: reads the counter and writes one more, on condition that no other client did meanwhile.
/// The read comes first, then the write, if the read was answered.
pub async fn raise(
    traffic: &Traffic,
    client: usize,
    conversation: &str,
    mark: (&str, String),
) -> Vec<ClientAnswer> {
    let read = traffic.send(client, Ask::get(conversation)).await;
    let count = read.body["attributes"][COUNTER].as_str().and_then(|n| n.parse::<u64>().ok());
    let (Some(count), Some(tag)) = (count, read.etag.clone()) else {
        return vec![read];
    };
    let keys = vec![(COUNTER.to_owned(), (count + 1).to_string()), (mark.0.to_owned(), mark.1)];
    let write = Ask { if_match: Some(tag), ..Ask::put(conversation, keys) };
    let written = traffic.send(client, write).await;
    vec![read, written]
}

/// Judges the counters.
pub fn judge(
    answers: &[ClientAnswer],
    history: &History,
    counters: &[String],
    verdict: &mut Verdict,
) {
    for conversation in counters {
        let of = |one: &&ClientAnswer| {
            one.ask.conversation == *conversation && one.ask.if_match.is_some()
        };
        let raises: Vec<&ClientAnswer> = answers.iter().filter(of).collect();
        winners(&raises, verdict);
        ledger(conversation, &raises, history, verdict);
    }
}

/// Of all writes on one ETag, at most one may succeed.
fn winners(raises: &[&ClientAnswer], verdict: &mut Verdict) {
    let mut winners: BTreeMap<&str, Vec<&ClientAnswer>> = BTreeMap::new();
    for one in raises.iter().filter(|one| (200..300).contains(&one.status)) {
        winners.entry(one.ask.if_match.as_deref().unwrap_or_default()).or_default().push(one);
    }
    for several in winners.values().filter(|several| several.len() > 1) {
        verdict.accuse("two winners of one ETag", || {
            several.iter().map(|one| one.describe()).collect::<Vec<_>>().join(" | ")
        });
    }
}

/// Each write of the counter has to be one more than the one before, or the same raise sent again.
fn ledger(conversation: &str, raises: &[&ClientAnswer], history: &History, verdict: &mut Verdict) {
    let Some(course) = history.courses.get(conversation) else {
        return;
    };
    let Some(track) = course.keys.get(COUNTER) else {
        return;
    };
    let marks = marks(conversation, raises, history);
    let (mut last, mut last_mark) = (0_u64, None);
    for write in &track.writes {
        let count = write.value.parse::<u64>().unwrap_or_default();
        let mark = marks.get(&write.at);
        if count != last + 1 && !(count == last && mark.is_some() && mark == last_mark) {
            verdict.accuse("increment lost", || {
                let by = mark.and_then(|mark| raises.iter().find(|r| r.ask.keys[1].1 == **mark));
                format!(
                    "{conversation}: {last} was followed by {count} at {:.3} s; by {}; writes: {}",
                    seconds(write.at),
                    by.map_or_else(|| "nobody".to_owned(), |by| by.describe()),
                    by.map_or_else(String::new, |by| tell(track, by)),
                )
            });
        }
        (last, last_mark) = (count, mark);
    }
}

/// Which mark was written when: the counter was written in the same moment.
fn marks<'a>(
    conversation: &str,
    raises: &[&'a ClientAnswer],
    history: &History,
) -> HashMap<u64, &'a String> {
    let mut marks = HashMap::new();
    for one in raises {
        let (key, value) = &one.ask.keys[1];
        let track = history.courses.get(conversation).and_then(|course| course.keys.get(key));
        for write in track.iter().flat_map(|track| &track.writes) {
            if write.value == *value {
                marks.insert(write.at, value);
            }
        }
    }
    marks
}
