//! The write test of `doctor`: writes one key of a call, and restores what it changed.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::report::{CheckStatus, DoctorReport};
use super::tested_participant::{MAX_PAUSE, TestedParticipant, held, is_empty};
use crate::config::{ClearWith, Config, PatchBody};
use crate::domain::{AttributeKey, AttributeMap, AttributeValue};
use crate::error::Error;

/// The key that the test writes.
pub const TEST_KEY: &str = "attribute_gateway_doctor";
/// Written first if the participant has no other key, to see whether a PATCH removes it.
const OTHER_KEY: &str = "attribute_gateway_doctor_other";
/// The time that is kept to restore the call.
const RESTORE_TIME: Duration = Duration::from_secs(8);
/// The checks, in order.
const STEPS: [&str; 5] = ["write", "merge", "repeat", "empty", "null"];
const NO_TIME: &str = "no time was left to see a write";
const EMPTY: &str = "has an empty value";

/// What a PATCH with `""` or `null` does to its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clearing {
    Deleted,
    Emptied,
    Ignored,
    Refused,
}

/// One test of one participant.
pub struct WriteTest<'a> {
    config: &'a Config,
    participant: TestedParticipant,
    /// The keys that were written.
    written: Vec<&'static str>,
    /// Part of the values of this run.
    tag: String,
    /// Whether a PATCH replaces the map.
    replaces: Option<bool>,
    /// What `""` does, and `null`.
    clearings: [Option<Clearing>; 2],
    lags: Vec<Duration>,
}

impl<'a> WriteTest<'a> {
    pub fn new(config: &'a Config, participant: TestedParticipant) -> Self {
        Self {
            config,
            participant,
            written: Vec::new(),
            tag: format!("doctor-{:08x}", fastrand::u32(..)),
            replaces: None,
            clearings: [None; 2],
            lags: Vec::new(),
        }
    }

    /// Makes the test within its time, and restores the call in every case.
    pub async fn run(mut self, report: &mut DoctorReport) {
        let end = self.participant.end;
        let until = end.checked_sub(RESTORE_TIME).unwrap_or(end);
        let stop = tokio::select! {
            result = self.experiment(report) => result.err(),
            () = sleep_until(until) => Some(NO_TIME.to_owned()),
            _ = tokio::signal::ctrl_c() => Some("interrupted".to_owned()),
        };
        if let Some(reason) = stop {
            report_rest(&reason, report);
        }
        if !self.written.is_empty() {
            self.restore(report).await;
        }
        self.set_clearing(report);
        self.set_lag(report);
    }

    async fn experiment(&mut self, report: &mut DoctorReport) -> Result<(), String> {
        if self.participant.before.iter_held().all(|(key, _)| key.as_str() == TEST_KEY) {
            self.write(OTHER_KEY).await?;
        }
        self.write(TEST_KEY).await?;
        let ended = if self.participant.has_ended { ", although the call has ended" } else { "" };
        report.ok("write", format!("accepted and seen{ended}"));
        self.judge_merge(report);
        // The same again, and another one at once.
        let again = held(&self.participant.seen, TEST_KEY).cloned();
        let body = self.body(TEST_KEY, again.unwrap_or_else(|| AttributeValue::new("")));
        self.patch(body, false).await.map_err(|error| self.explain(&error))?;
        self.write(TEST_KEY).await?;
        report.ok("repeat", "the same value is accepted again, and the last of two writes stays");
        for (with_null, name, what) in [(false, "empty", "\"\""), (true, "null", "null")] {
            if held(&self.participant.seen, TEST_KEY).is_none_or(is_empty) {
                self.write(TEST_KEY).await?;
            }
            let found = self.clear(with_null).await?;
            self.clearings[usize::from(with_null)] = Some(found);
            let (clears, effect) = match found {
                Clearing::Deleted => (true, "removes the key"),
                Clearing::Emptied => (true, "leaves the key with an empty value"),
                Clearing::Ignored => (false, "changes nothing"),
                Clearing::Refused => (false, "is refused"),
            };
            let is_used = with_null == (self.config.genesys.clear_with == ClearWith::Null);
            let (status, hint) = if is_used && !clears {
                let hint = "Set genesys.clear_with as below, or no key can be cleared";
                (CheckStatus::Failed, Some(hint))
            } else {
                (CheckStatus::Ok, None)
            };
            report.add(name, status, format!("{what} {effect}"), hint);
        }
        Ok(())
    }

    fn judge_merge(&mut self, report: &mut DoctorReport) {
        let is_other_lost =
            self.written.contains(&OTHER_KEY) && held(&self.participant.seen, OTHER_KEY).is_none();
        let lost = self.lost_others().count() + usize::from(is_other_lost);
        self.replaces = Some(lost > 0);
        let detail = match lost {
            0 => "a PATCH keeps the other keys".to_owned(),
            _ => format!("a PATCH replaces all keys: it removed {lost}"),
        };
        let (status, hint) = match (lost > 0, self.config.genesys.patch_body) {
            (true, PatchBody::Changes) => {
                let hint = "Set genesys.patch_body = \"full\", or writes remove other keys";
                (CheckStatus::Failed, Some(hint))
            }
            (false, PatchBody::Full) => {
                let hint = "Set genesys.patch_body = \"changes\", or changes of other writers can \
                            be lost";
                (CheckStatus::Warning, Some(hint))
            }
            _ => (CheckStatus::Ok, None),
        };
        report.add("merge", status, detail, hint);
    }

    /// A PATCH of one key; if the platform replaces, with all others.
    fn body(&self, key: &str, value: AttributeValue) -> AttributeMap {
        let mut body = self.repeated();
        body.insert(AttributeKey::existing(key), value);
        body
    }

    /// The other keys, if the platform certainly removes what a PATCH does not name. Otherwise they could
    /// undo what other writers have written since.
    fn repeated(&self) -> AttributeMap {
        if self.replaces == Some(true) { self.others() } else { AttributeMap::default() }
    }

    /// The keys that this test does not write: as before, or as another writer has set them since.
    fn others(&self) -> AttributeMap {
        let all = self.participant.before.iter_held().chain(self.participant.seen.iter_held());
        let others = all.filter(|(key, _)| !self.written.contains(&key.as_str()));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    async fn patch(&mut self, body: AttributeMap, with_null: bool) -> Result<(), Error> {
        self.participant.patch(body, with_null).await
    }

    /// Writes a new value, and waits until a read shows it.
    async fn write(&mut self, key: &'static str) -> Result<(), String> {
        let value = AttributeValue::new(&format!("{}-{}", self.tag, self.lags.len()));
        let is_first = !self.written.contains(&key);
        if is_first {
            self.written.push(key);
        }
        if let Err(error) = self.patch(self.body(key, value.clone()), false).await {
            if is_first {
                self.written.pop();
            }
            return Err(self.explain(&error));
        }
        let (sent, end) = (Instant::now(), self.participant.end);
        let shown = move |seen: &AttributeMap| held(seen, key) == Some(&value);
        let read = self.participant.read_until(end, shown).await;
        read.map_err(|error| self.explain(&error))?;
        self.lags.push(sent.elapsed());
        Ok(())
    }

    async fn clear(&mut self, with_null: bool) -> Result<Clearing, String> {
        match self.patch(self.body(TEST_KEY, AttributeValue::new("")), with_null).await {
            Ok(()) => {}
            Err(Error::UpstreamRejected { .. }) => {
                // A call that takes no writes any more would refuse every value.
                self.write(TEST_KEY).await?;
                return Ok(Clearing::Refused);
            }
            Err(error) => return Err(self.explain(&error)),
        }
        let cleared = |seen: &AttributeMap| held(seen, TEST_KEY).is_none_or(is_empty);
        let until = Instant::now() + self.patience();
        let read = self.participant.read_until(until, cleared).await;
        let is_done = read.map_err(|error| self.explain(&error))?;
        self.participant.is_pending = false;
        Ok(match held(&self.participant.seen, TEST_KEY) {
            _ if !is_done => Clearing::Ignored,
            None => Clearing::Deleted,
            Some(_) => Clearing::Emptied,
        })
    }

    /// How long a write that changes nothing is waited for.
    fn patience(&self) -> Duration {
        (self.longest_lag() * 3).max(Duration::from_secs(1))
    }

    fn longest_lag(&self) -> Duration {
        self.lags.iter().copied().max().unwrap_or_default()
    }

    fn explain(&self, error: &Error) -> String {
        if let Error::AttributesTooLarge(_) = error {
            let reason = "the platform refuses the size of the attributes: use a call with fewer";
            return reason.to_owned();
        }
        let ended = if self.participant.has_ended { ". The call has ended" } else { "" };
        format!("{}{ended}", error.to_string().trim_end_matches('.'))
    }

    /// The PATCH that restores the call.
    fn original(&self) -> AttributeMap {
        let mut body = self.repeated();
        for key in &self.written {
            let value = held(&self.participant.before, key).cloned();
            // In a body that replaces the map, a key is absent if it is left out.
            if value.is_some() || self.replaces != Some(true) {
                let value = value.unwrap_or_else(|| AttributeValue::new(""));
                body.insert(AttributeKey::existing(key), value);
            }
        }
        body
    }

    async fn restore(&mut self, report: &mut DoctorReport) {
        self.participant.end = self.participant.end.min(Instant::now() + RESTORE_TIME);
        let was_pending = self.participant.is_pending;
        let mut failure = self.write_original(was_pending).await.err();
        if self.replaces.is_none() && self.states().next().is_some() {
            // Only this read shows a write. If others are gone, they can be restored after all.
            let replaces = self.lost_others().next().is_some();
            self.replaces = Some(replaces);
            failure = self.write_original(was_pending).await.err();
        }
        let reason = failure.map(|error| self.explain(&error));
        self.report_restored(was_pending, reason.as_deref(), report);
    }

    /// Sends the PATCH, and reads until the call is as before; if no read has shown a write yet, until
    /// one does.
    async fn write_original(&mut self, was_pending: bool) -> Result<(), Error> {
        let [empty, null] = self.clearings;
        let mut with_null =
            matches!(null, None | Some(Clearing::Deleted)) && empty != Some(Clearing::Deleted);
        let end = self.participant.end;
        let refusal = loop {
            match self.patch(self.original(), with_null).await {
                Ok(()) => break Ok(()),
                Err(Error::UpstreamRejected { .. }) if with_null => with_null = false,
                Err(error @ Error::UpstreamRejected { .. }) => break Err(error),
                Err(error) if end < Instant::now() + MAX_PAUSE * 2 => break Err(error),
                Err(_) => sleep(MAX_PAUSE).await,
            }
        };
        // While no read has shown a write, reads that show the call as before prove nothing.
        let is_blind = was_pending && self.replaces.is_none();
        let deletes = self.replaces == Some(true)
            || self.clearings[usize::from(with_null)] == Some(Clearing::Deleted);
        let until =
            if deletes || is_blind { end } else { end.min(Instant::now() + self.patience()) };
        let (before, written) = (self.participant.before.clone(), self.written.clone());
        let done = move |seen: &AttributeMap| {
            let is_kept = before.iter_held().all(|(key, _)| held(seen, key.as_str()).is_some());
            let is_back = written.iter().all(|key| held(seen, key) == held(&before, key));
            (is_kept && is_back) != is_blind
        };
        let read = self.participant.read_until(until, done).await;
        refusal.and(read.map(drop))
    }

    fn report_restored(&self, was_pending: bool, reason: Option<&str>, report: &mut DoctorReport) {
        let changed: Vec<_> = self.states().collect();
        let keys: Vec<_> = changed.iter().map(|(key, state)| format!("`{key}` {state}")).collect();
        let mut detail = match keys.as_slice() {
            [] => "the attributes are as before".to_owned(),
            keys => format!("not as before: {}", keys.join(", ")),
        };
        if let Some(reason) = reason {
            detail = format!("{detail}, as last seen. {reason}");
        }
        let others = self.others().iter_held().count();
        let is_blind = was_pending && self.replaces.is_none() && others > 0;
        if is_blind {
            detail = format!(
                "{detail}. No read showed a write, so it is unknown whether the platform kept the \
                 other keys: {others}"
            );
        }
        let (status, hint) = if reason.is_none() && is_blind {
            let hint = "Read the call again later. If other keys are missing, their writers have to \
                        set them again";
            (CheckStatus::Warning, Some(hint))
        } else if reason.is_none() && changed.is_empty() && was_pending {
            let hint = "Read the call again later: a write of this test that no read has shown may \
                        still appear";
            (CheckStatus::Warning, Some(hint))
        } else if reason.is_none() && changed.is_empty() {
            (CheckStatus::Ok, None)
        } else if reason.is_none() && changed.iter().all(|(_, state)| *state == EMPTY) {
            (CheckStatus::Warning, Some("Empty counts as absent"))
        } else {
            (CheckStatus::Failed, Some("Read the call again, and set these keys by hand"))
        };
        report.add("restore", status, detail, hint);
    }

    /// Keys that were there before, are not of this test, and are gone.
    fn lost_others(&self) -> impl Iterator<Item = &str> {
        let others = self.participant.before.iter_held().map(|(key, _)| key.as_str());
        let is_gone = |key: &&str| held(&self.participant.seen, key).is_none();
        others.filter(is_gone).filter(|key| !self.written.contains(key))
    }

    /// The keys that are not as before, with their state, but never with a value.
    fn states(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let TestedParticipant { before, seen, .. } = &self.participant;
        let keys = self.written.iter().copied().chain(self.lost_others());
        keys.filter(|key| held(before, key) != held(seen, key)).map(|key| match held(seen, key) {
            None => (key, "is absent"),
            Some(now) if is_empty(now) => (key, EMPTY),
            Some(now) if now.expose().starts_with(&self.tag) => (key, "has a value of this test"),
            Some(_) => (key, "has a value of another writer"),
        })
    }

    /// The settings of writes that follow.
    fn set_clearing(&self, report: &mut DoctorReport) {
        if let Some(replaces) = self.replaces {
            report.set("genesys", "patch_body", if replaces { "full" } else { "changes" });
        }
        // The documented type of a value is a string, so `""` goes first unless only `null` removes.
        let ways = self.clearings.into_iter().zip(["empty", "null"]);
        let way = |wanted| ways.clone().find(|(found, _)| *found == Some(wanted));
        if let Some((_, way)) = way(Clearing::Deleted).or_else(|| way(Clearing::Emptied)) {
            report.set("genesys", "clear_with", way);
        }
    }

    /// The settings of time that follow.
    fn set_lag(&self, report: &mut DoctorReport) {
        let (Some(shortest), longest) = (self.lags.iter().min(), self.longest_lag()) else {
            return;
        };
        let (from, to) = (shortest.as_secs_f64(), longest.as_secs_f64());
        let detail = format!("reads showed writes after {from:.1} s to {to:.1} s");
        let is_late = longest * 2 > self.config.server.deadline.get();
        let status = if is_late { CheckStatus::Warning } else { CheckStatus::Ok };
        let hint = "Set server.deadline to more than twice the lag, or writes are unverified";
        report.add("lag", status, detail, is_late.then_some(hint));
        // Few lags were measured, so the defaults are not lowered.
        let lag = longest.as_secs() + 1;
        let settle = (lag * 4).clamp(10, 60);
        report.set("verify", "settle", format!("{settle}s"));
        report.set("verify", "outstanding", format!("{}s", (settle * 2).max(30)));
        if is_late {
            report.set("server", "deadline", format!("{}s", (lag * 2 + 1).min(60)));
        }
    }
}

/// The steps that have no result: the first one with the reason. A long lag is no failure, as long as a
/// write was seen at all.
fn report_rest(reason: &str, report: &mut DoctorReport) {
    let is_done = |name: &&'static str| report.checks.iter().any(|check| check.name == *name);
    let open: Vec<_> = STEPS.into_iter().skip_while(is_done).collect();
    for (at, name) in open.into_iter().enumerate() {
        let is_slow = reason == NO_TIME && name != STEPS[0];
        match at {
            0 if !is_slow => report.add(name, CheckStatus::Failed, reason, None),
            _ => report.add(name, CheckStatus::Warning, format!("not found out: {reason}"), None),
        }
    }
}
