//! Judges every answer by what really happened. In doubt for the gateway: where two orders of events are
//! possible, the one in which it said the truth counts.

use std::collections::HashMap;

use super::exchange::{ClientAnswer, Form};
use super::history::{Course, History, KeyWrite, PatchCall, Track};
use super::verdict::Verdict;

/// By how much this process and the platform may disagree about the time, in microseconds.
pub const SLACK: u64 = 3_000;

/// A read that was sent so long before a request may have answered it: reads are shared.
const SHARED_READ: u64 = 3_000_000;

/// A run, ready to be judged.
pub struct Case<'a> {
    pub answers: &'a [ClientAnswer],
    pub history: &'a History,
    /// From when to when each conversation was being ended.
    pub ended: &'a HashMap<String, (u64, u64)>,
    /// How many requests wanted this value for this key of this conversation.
    asked: HashMap<(&'a str, &'a str, &'a str), usize>,
}

impl<'a> Case<'a> {
    pub fn new(
        answers: &'a [ClientAnswer],
        history: &'a History,
        ended: &'a HashMap<String, (u64, u64)>,
    ) -> Self {
        let mut asked = HashMap::new();
        for one in answers.iter().filter(|one| one.is_write() && !one.ask.dry_run) {
            for (key, value) in &one.ask.keys {
                let wanted = (one.ask.conversation.as_str(), key.as_str(), value.as_str());
                *asked.entry(wanted).or_default() += 1;
            }
        }
        Self { answers, history, ended, asked }
    }

    /// Whether this value stands for this one request.
    fn is_unique(&self, one: &ClientAnswer, key: &str, value: &str) -> bool {
        let wanted = (one.ask.conversation.as_str(), key, value);
        !value.is_empty() && self.asked.get(&wanted).is_none_or(|count| *count <= 1)
    }

    /// Judges all answers, each for itself.
    pub fn judge(&self, verdict: &mut Verdict) {
        let nothing = Course::default();
        for one in self.answers {
            if one.status == 0 {
                verdict.accuse("no answer", || one.describe());
                continue;
            }
            let course = self.history.courses.get(&one.ask.conversation).unwrap_or(&nothing);
            let answer = Answer { case: self, one, course };
            if one.is_write() {
                answer.outcomes(verdict);
                answer.effect(verdict);
            }
            answer.state(verdict);
        }
        self.foreign_values(verdict);
        self.unasked_values(verdict);
    }

    fn unasked_values(&self, verdict: &mut Verdict) {
        for (conversation, key, value) in self.history.own_values() {
            if !self.asked.contains_key(&(conversation, key, value)) {
                verdict.accuse("value without a request", || {
                    format!("{conversation} {key}={value:?} was written by the gateway")
                });
            }
        }
    }

    /// A value that was sent again after another writer's had come, with no read in between that
    /// allowed it: such a read shows neither our value nor anything later. An answer that names the
    /// key says so itself.
    fn foreign_values(&self, verdict: &mut Verdict) {
        for one in self.answers.iter().filter(|one| one.is_write() && !one.ask.dry_run) {
            let Some(course) = self.history.courses.get(&one.ask.conversation) else {
                continue;
            };
            for (key, value) in &one.ask.keys {
                let Some(track) = course.keys.get(key) else {
                    continue;
                };
                if self.is_unique(one, key, value)
                    && !one.warns_of("the next try replaced it", key)
                    && overwrote(course, track, key, value)
                {
                    verdict.accuse("foreign value overwritten", || {
                        format!("{}; writes of {key}: {}", one.describe(), tell(track, one))
                    });
                }
            }
        }
    }
}

fn overwrote(course: &Course, track: &Track, key: &str, value: &str) -> bool {
    let own: Vec<usize> = track.of_value(value).collect();
    own.windows(2).any(|pair| {
        let (first, again) = (pair[0], pair[1]);
        if track.writes[first + 1..again].iter().all(|write| write.ours) {
            return false;
        }
        let sent = course.patch_of(key, &track.writes[first]).map(|patch| patch.at);
        let resent = course.patch_of(key, &track.writes[again]).map(|patch| patch.at);
        let (Some(sent), Some(resent)) = (sent, resent) else {
            return false;
        };
        // The foreign value has to have come before the second PATCH left.
        let foreign = track.writes[first + 1..again].iter().find(|write| !write.ours);
        let came = foreign.is_some_and(|write| write.at + SLACK < resent);
        let allows = |read: &u64| track.shown_index(*read).is_none_or(|index| index < first);
        came && resent > sent && !course.reads_between(sent, resent).iter().any(allows)
    })
}

/// The writes of a key around an answer.
pub fn tell(track: &Track, one: &ClientAnswer) -> String {
    let near = |at: u64| at + 3_000_000 > one.start && at < one.end + 3_000_000;
    let writes = track.writes.iter().filter(|write| near(write.at));
    let describe = |write: &KeyWrite| {
        format!(
            "{}{:?} at {:.3} s seen from {:.3} s",
            if write.ours { "" } else { "other's " },
            write.value,
            seconds(write.at),
            seconds(write.visible),
        )
    };
    writes.map(describe).collect::<Vec<_>>().join(", ")
}

/// Microseconds as seconds.
pub fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

struct Answer<'a> {
    case: &'a Case<'a>,
    one: &'a ClientAnswer,
    course: &'a Course,
}

impl Answer<'_> {
    fn from(&self) -> u64 {
        self.one.start.saturating_sub(SLACK)
    }

    fn to(&self) -> u64 {
        self.one.end + SLACK
    }

    fn outcomes(&self, verdict: &mut Verdict) {
        let (nothing, one) = (Track::default(), self.one);
        for (key, value) in &one.ask.keys {
            let track = self.course.keys.get(key).unwrap_or(&nothing);
            let kind = match one.outcome(key) {
                Some("verified" | "cleared") => self.verified(track, value),
                Some("unchanged") => self.unchanged(track, key, value),
                Some("unverified") => self.unverified(key, value),
                Some("superseded") => self.superseded(track, key, value),
                _ => None,
            };
            if let Some(kind) = kind {
                verdict.accuse(kind, || {
                    let reads = self.course.reads_between(self.from(), self.to());
                    let reads: Vec<_> =
                        reads.iter().map(|at| format!("{:.3}", seconds(*at))).collect();
                    format!("{}; writes: {}; reads: {reads:?}", one.describe(), tell(track, one))
                });
            }
        }
    }

    /// When a read under this request showed the value for the last time.
    fn last_seen(&self, track: &Track, value: &str) -> Option<u64> {
        let reads = self.course.reads_between(self.from(), self.to());
        reads.iter().rev().copied().find(|at| track.shows(*at, value))
    }

    fn verified(&self, track: &Track, value: &str) -> Option<&'static str> {
        let applied = |index: usize| track.writes[index].at <= self.to();
        if !value.is_empty() && !track.of_value(value).any(applied) {
            return Some("verified, never applied");
        }
        self.last_seen(track, value).is_none().then_some("verified, no read showed it")
    }

    fn unchanged(&self, track: &Track, key: &str, value: &str) -> Option<&'static str> {
        let Some(seen) = self.last_seen(track, value) else {
            return Some("unchanged, no read showed it");
        };
        if self.one.ask.dry_run {
            return None;
        }
        // A PATCH of ours that had left before this request came, and shows only after the last read.
        let came_out = track.writes.iter().enumerate().any(|(index, write)| {
            let late = write.ours && write.value != value && write.visible > seen;
            let sent = || self.course.patch_of(key, write).map(|patch| patch.at);
            late && track.ever_shown(index) && sent().is_some_and(|sent| sent < self.from())
        });
        came_out.then_some("unchanged, own write came out")
    }

    fn unverified(&self, key: &str, value: &str) -> Option<&'static str> {
        // The sender of a clear, or of a value that was asked for twice, is unknown.
        if self.one.ask.dry_run || !self.case.is_unique(self.one, key, value) {
            return None;
        }
        let accepted = self.course.patches_with(key, value).any(PatchCall::is_accepted);
        (!accepted).then_some("unverified, never accepted")
    }

    fn superseded(&self, track: &Track, key: &str, value: &str) -> Option<&'static str> {
        let unique = self.case.is_unique(self.one, key, value);
        let own = |index: &usize| {
            let write = &track.writes[*index];
            write.ours && (unique || write.at >= self.from() && write.at <= self.to())
        };
        let last = track.of_value(value).rev().find(own);
        let other = |index: usize| {
            let write = &track.writes[index];
            write.value != value && write.at <= self.to()
        };
        match last {
            // Never sent or never landed: then another value must at least have come meanwhile.
            None => {
                let meanwhile = |index: usize| track.writes[index].visible >= self.from();
                let any = (0..track.writes.len()).any(|index| other(index) && meanwhile(index));
                (!any).then_some("superseded, nothing after")
            }
            Some(last) => {
                let after = (last + 1..track.writes.len()).any(other);
                (!after).then_some("superseded, ours stands")
            }
        }
    }

    /// Whether a PATCH of this request was applied, where it differs from another request's.
    fn was_applied(&self, key: &str, value: &str) -> bool {
        let Some(track) = self.course.keys.get(key) else {
            return false;
        };
        let unique = self.case.is_unique(self.one, key, value);
        // Several clients raise a counter to the same value; its mark shows which one did.
        if !unique && self.one.ask.if_match.is_some() {
            return false;
        }
        track.of_value(value).any(|index| {
            let write = &track.writes[index];
            let sent = || self.course.patch_of(key, write).map(|patch| patch.at);
            let within = |at| at > self.one.start + SLACK && at + SLACK < self.one.end;
            write.ours && (unique || sent().is_some_and(within))
        })
    }

    fn effect(&self, verdict: &mut Verdict) {
        let one = self.one;
        let applied = |(key, value): &&(String, String)| self.was_applied(key, value);
        let landed = one.ask.keys.iter().find(applied);
        let example = || {
            let key = landed.map_or("", |(key, _)| key);
            let track = self.course.keys.get(key).cloned().unwrap_or_default();
            format!("{}; writes of {key}: {}", one.describe(), tell(&track, one))
        };
        if one.ask.dry_run {
            if landed.is_some_and(|(_, value)| value.starts_with("dry")) {
                verdict.accuse("dry run wrote", example);
            }
            return;
        }
        let unique = one.ask.keys.iter().all(|(key, value)| self.case.is_unique(one, key, value));
        match one.body["effect"].as_str() {
            Some("notApplied") if landed.is_some() => {
                verdict.accuse("notApplied, was applied", example);
            }
            Some("applied") if landed.is_none() && unique => {
                verdict.accuse("applied, never was", example);
            }
            _ => {}
        }
    }

    fn state(&self, verdict: &mut Verdict) {
        let (one, ended) = (self.one, self.case.ended.get(&self.one.ask.conversation));
        if one.code() == "conversation-ended" && ended.is_none_or(|(from, _)| *from > self.to()) {
            verdict.accuse("ended, was live", || one.describe());
        }
        let proved = one.is_write() && one.is_proved() && !one.ask.dry_run;
        if one.status != 200 || !(proved || one.ask.form == Form::Read) {
            return;
        }
        let live = one.body["participant"]["state"] == "connected";
        if live && ended.is_some_and(|(_, to)| *to < self.from()) && proved {
            verdict.accuse("reported live, had ended", || one.describe());
        }
        let Some(map) = one.body["attributes"].as_object() else {
            return;
        };
        let held =
            map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
        let held = held.collect();
        let reads = self.course.reads_between(self.from().saturating_sub(SHARED_READ), self.to());
        let shown = |at: &u64| {
            self.course.map_shown(*at) == held
                || self.course.map_shown(at.saturating_sub(1)) == held
        };
        if !reads.iter().any(shown) {
            verdict.accuse("map that never was", || one.describe());
        }
    }
}
