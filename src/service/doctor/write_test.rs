//! The write test of `doctor`: writes one key of a call, and restores what it changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::report::{CHECK_TIME, CheckStatus, DoctorReport};
use crate::config::{ClearWith, Config, PatchBody};
use crate::domain::{AttributeKey, AttributeMap, AttributeValue, ConversationId, ParticipantId};
use crate::error::Error;
use crate::genesys::GenesysClient;
use crate::ports::{
    ConversationsPort as _, PatchOutcome, PriorityClass, RequestContext, UpstreamPatch,
    UpstreamRead,
};

/// The key that the test writes.
pub const TEST_KEY: &str = "attribute_gateway_doctor";
/// Written first if the participant has no other key, to see whether a PATCH removes it.
const OTHER_KEY: &str = "attribute_gateway_doctor_other";
/// The time that is kept to restore the call.
const RESTORE_TIME: Duration = Duration::from_secs(8);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The checks, in order.
const STEPS: [&str; 5] = ["write", "merge", "repeat", "empty", "null"];

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
    /// Clients that clear with `""`, and with `null`.
    clients: [Arc<GenesysClient>; 2],
    conversation: ConversationId,
    participant: ParticipantId,
    before: AttributeMap,
    /// As the last read showed them.
    seen: AttributeMap,
    has_ended: bool,
    written: Vec<&'static str>,
    /// Whether a write was sent that no read has shown.
    is_pending: bool,
    /// Part of the values of this run.
    tag: String,
    replaces: Option<bool>,
    /// What `""` does, and `null`.
    clearings: [Option<Clearing>; 2],
    lags: Vec<Duration>,
    end: Instant,
}

impl<'a> WriteTest<'a> {
    pub fn new(
        config: &'a Config,
        client: &GenesysClient,
        (conversation, participant, before): (ConversationId, ParticipantId, AttributeMap),
        end: Instant,
    ) -> Self {
        Self {
            config,
            clients: [false, true].map(|null| client.clearing_with_null(null)),
            conversation,
            participant,
            seen: before.clone(),
            before,
            has_ended: false,
            written: Vec::new(),
            is_pending: false,
            tag: format!("doctor-{:08x}", fastrand::u32(..)),
            replaces: None,
            clearings: [None; 2],
            lags: Vec::new(),
            end,
        }
    }

    /// Makes the test within its time, and restores the call in every case.
    pub async fn run(mut self, report: &mut DoctorReport) {
        let until = self.end.checked_sub(RESTORE_TIME).unwrap_or(self.end);
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
        self.set(report);
    }

    async fn experiment(&mut self, report: &mut DoctorReport) -> Result<(), String> {
        if self.before.iter_held().all(|(key, _)| key.as_str() == TEST_KEY) {
            self.write(OTHER_KEY).await?;
        }
        self.write(TEST_KEY).await?;
        let ended = if self.has_ended { ", although the call has ended" } else { "" };
        report.ok("write", format!("accepted and seen{ended}"));
        self.judge_merge(report);
        // The same again, and another one at once.
        let again = held(&self.seen, TEST_KEY).cloned().unwrap_or_else(|| AttributeValue::new(""));
        let body = self.body(TEST_KEY, again);
        self.patch(body, false).await.map_err(|error| self.explain(&error))?;
        self.write(TEST_KEY).await?;
        report.ok("repeat", "the same value is accepted again, and the last of two writes stays");
        for (with_null, name) in [(false, "empty"), (true, "null")] {
            if held(&self.seen, TEST_KEY).is_none_or(|value| value.expose().is_empty()) {
                self.write(TEST_KEY).await?;
            }
            let found = self.clear(with_null).await?;
            self.clearings[usize::from(with_null)] = Some(found);
            let what = if with_null { "null" } else { "\"\"" };
            let detail = match found {
                Clearing::Deleted => format!("{what} removes the key"),
                Clearing::Emptied => format!("{what} leaves the key with an empty value"),
                Clearing::Ignored => format!("{what} changes nothing"),
                Clearing::Refused => format!("{what} is refused"),
            };
            let is_used = with_null == (self.config.genesys.clear_with == ClearWith::Null);
            let clears = matches!(found, Clearing::Deleted | Clearing::Emptied);
            if is_used && !clears {
                report.add(name, CheckStatus::Failed, detail, Some(CLEAR_HINT));
            } else {
                report.ok(name, detail);
            }
        }
        Ok(())
    }

    fn judge_merge(&mut self, report: &mut DoctorReport) {
        let lost = self.lost().count();
        self.replaces = Some(lost > 0);
        let is_full = self.config.genesys.patch_body == PatchBody::Full;
        let (status, hint) = match (lost > 0, is_full) {
            (true, false) => (CheckStatus::Failed, Some(FULL_HINT)),
            (false, true) => (CheckStatus::Warning, Some(CHANGES_HINT)),
            _ => (CheckStatus::Ok, None),
        };
        let detail = match lost {
            0 => "a PATCH keeps the other keys".to_owned(),
            _ => format!("a PATCH replaces all keys: it removed {lost}"),
        };
        report.add("merge", status, detail, hint);
    }

    /// Keys that were there before, or were written before the test key, and are gone.
    fn lost(&self) -> impl Iterator<Item = &str> {
        let before = self.before.iter_held().map(|(key, _)| key.as_str());
        let written = self.written.iter().copied().filter(|key| held(&self.before, key).is_none());
        before.chain(written).filter(|key| *key != TEST_KEY && held(&self.seen, key).is_none())
    }

    /// A PATCH of one key; if the platform replaces, with all others.
    fn body(&self, key: &str, value: AttributeValue) -> AttributeMap {
        let mut body =
            if self.replaces == Some(true) { self.others() } else { AttributeMap::default() };
        body.insert(AttributeKey::existing(key), value);
        body
    }

    /// The keys that this test does not write: as before, or as another writer has set them since.
    fn others(&self) -> AttributeMap {
        let all = self.before.iter_held().chain(self.seen.iter_held());
        let others = all.filter(|(key, _)| !self.written.contains(&key.as_str()));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
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
        let sent = Instant::now();
        let shown = move |seen: &AttributeMap| held(seen, key) == Some(&value);
        self.read_until(self.end, shown).await.map_err(|error| self.explain(&error))?;
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
        let done = self.read_until(until, cleared).await.map_err(|error| self.explain(&error))?;
        self.is_pending = false;
        Ok(match held(&self.seen, TEST_KEY) {
            _ if !done => Clearing::Ignored,
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

    fn context(&self) -> RequestContext {
        RequestContext::new((Instant::now() + CHECK_TIME).min(self.end))
    }

    /// Sends a PATCH. An unknown result counts as accepted, because reads show what became of it.
    async fn patch(&mut self, attributes: AttributeMap, with_null: bool) -> Result<(), Error> {
        let was_pending = std::mem::replace(&mut self.is_pending, true);
        let (conversation, participant) = (self.conversation, self.participant);
        let patch =
            UpstreamPatch { conversation, participant, attributes, again: false, permit: None };
        match self.clients[usize::from(with_null)].patch(patch, &self.context()).await {
            PatchOutcome::Accepted | PatchOutcome::Unknown(_) => Ok(()),
            PatchOutcome::Refused(error) => {
                self.is_pending = was_pending;
                Err(error)
            }
        }
    }

    /// Reads until `done`, at most until a time. Whether it is done.
    async fn read_until(
        &mut self,
        until: Instant,
        done: impl Fn(&AttributeMap) -> bool,
    ) -> Result<bool, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            self.read().await?;
            if done(&self.seen) {
                self.is_pending = false;
                return Ok(true);
            }
            if Instant::now() + pause > until {
                return Ok(false);
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let read = UpstreamRead {
            conversation: self.conversation,
            participant: Some(self.participant),
            retries: true,
            permit: None,
            class: PriorityClass::Read,
        };
        let conversation = self.clients[0].read(read, &self.context()).await?;
        self.has_ended = conversation.live == Some(false);
        let participant = conversation.participant(self.participant).ok_or_else(|| {
            Error::UpstreamInvalidResponse("the participant is no longer in the call".to_owned())
        })?;
        self.seen = participant.attributes.clone();
        Ok(())
    }

    fn explain(&self, error: &Error) -> String {
        let ended = if self.has_ended { ". The call has ended" } else { "" };
        match error {
            Error::AttributesTooLarge(_) => {
                "the platform refuses the size of the attributes: use a call with fewer".to_owned()
            }
            _ => format!("{}{ended}", error.to_string().trim_end_matches('.')),
        }
    }

    /// The PATCH that restores the call. It repeats other keys only if the platform certainly removed
    /// them: otherwise it could undo what other writers have written since.
    fn original(&self) -> AttributeMap {
        let replaces = self.replaces == Some(true);
        let mut body = if replaces { self.others() } else { AttributeMap::default() };
        for key in &self.written {
            let value = match held(&self.before, key) {
                None if replaces => continue,
                value => value.cloned().unwrap_or_else(|| AttributeValue::new("")),
            };
            body.insert(AttributeKey::existing(key), value);
        }
        body
    }

    async fn restore(&mut self, report: &mut DoctorReport) {
        self.end = self.end.min(Instant::now() + RESTORE_TIME);
        let was_pending = self.is_pending;
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
        let refusal = loop {
            match self.patch(self.original(), with_null).await {
                Ok(()) => break Ok(()),
                Err(Error::UpstreamRejected { .. }) if with_null => with_null = false,
                Err(error @ Error::UpstreamRejected { .. }) => break Err(error),
                Err(error) if self.end < Instant::now() + MAX_PAUSE * 2 => break Err(error),
                Err(_) => sleep(MAX_PAUSE).await,
            }
        };
        // While no read has shown a write, reads that show the call as before prove nothing.
        let is_blind = was_pending && self.replaces.is_none();
        let deletes = self.replaces == Some(true)
            || self.clearings[usize::from(with_null)] == Some(Clearing::Deleted);
        let waits = deletes || is_blind;
        let until = if waits { self.end } else { self.end.min(Instant::now() + self.patience()) };
        let (before, written) = (self.before.clone(), self.written.clone());
        let done = move |seen: &AttributeMap| {
            let is_kept = before.iter_held().all(|(key, _)| held(seen, key.as_str()).is_some());
            let is_back = written.iter().all(|key| held(seen, key) == held(&before, key));
            (is_kept && is_back) != is_blind
        };
        let read = self.read_until(until, done).await;
        refusal.and(read.map(drop))
    }

    fn report_restored(&self, was_pending: bool, reason: Option<&str>, report: &mut DoctorReport) {
        let changed: Vec<_> = self.states().collect();
        let is_restored = changed.is_empty();
        let only_empty = changed.iter().all(|(_, state)| *state == EMPTY);
        let described: Vec<_> =
            changed.iter().map(|(key, state)| format!("`{key}` {state}")).collect();
        let mut detail = match is_restored {
            true => "the attributes are as before".to_owned(),
            false => format!("not as before: {}", described.join(", ")),
        };
        if let Some(reason) = reason {
            detail = format!("{detail}, as last seen. {reason}");
        }
        let others = self.others().iter_held().count();
        let is_blind = was_pending && self.replaces.is_none() && others > 0;
        if is_blind {
            detail = format!("{detail}. {UNKNOWN}: {others}");
        }
        let (status, hint) = match reason {
            None if is_blind => (CheckStatus::Warning, Some(UNKNOWN_HINT)),
            None if is_restored && !was_pending => (CheckStatus::Ok, None),
            None if is_restored => (CheckStatus::Warning, Some(PENDING_HINT)),
            None if only_empty => (CheckStatus::Warning, Some("Empty counts as absent")),
            _ => (CheckStatus::Failed, Some("Read the call again, and set these keys by hand")),
        };
        report.add("restore", status, detail, hint);
    }

    /// Keys that were there before, are not of this test, and are gone.
    fn lost_others(&self) -> impl Iterator<Item = &str> {
        let others = self.before.iter_held().map(|(key, _)| key.as_str());
        others.filter(|key| held(&self.seen, key).is_none() && !self.written.contains(key))
    }

    /// The keys that are not as before, with their state, but never with a value.
    fn states(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let written = self.written.iter().copied();
        written.chain(self.lost_others()).filter_map(|key| {
            match (held(&self.before, key), held(&self.seen, key)) {
                (before, now) if before == now => None,
                (_, None) => Some((key, "is absent")),
                (_, Some(now)) if is_empty(now) => Some((key, EMPTY)),
                (_, Some(now)) if now.expose().starts_with(&self.tag) => {
                    Some((key, "has a value of this test"))
                }
                _ => Some((key, "has a value of another writer")),
            }
        })
    }

    /// The settings that follow.
    fn set(&self, report: &mut DoctorReport) {
        if let Some(replaces) = self.replaces {
            report.set("genesys", "patch_body", if replaces { "full" } else { "changes" });
        }
        // The documented type of a value is a string, so `""` goes first unless only `null` removes.
        let [empty, null] = self.clearings;
        let clear_with = match (empty, null) {
            (Some(Clearing::Deleted), _) => Some("empty"),
            (_, Some(Clearing::Deleted)) => Some("null"),
            (Some(Clearing::Emptied), _) => Some("empty"),
            (_, Some(Clearing::Emptied)) => Some("null"),
            _ => None,
        };
        if let Some(clear_with) = clear_with {
            report.set("genesys", "clear_with", clear_with);
        }
        let (Some(shortest), longest) = (self.lags.iter().min(), self.longest_lag()) else {
            return;
        };
        let (from, to) = (shortest.as_secs_f64(), longest.as_secs_f64());
        let detail = format!("reads showed writes after {from:.1} s to {to:.1} s");
        let is_late = longest * 2 > self.config.server.deadline;
        let status = if is_late { CheckStatus::Warning } else { CheckStatus::Ok };
        report.add("lag", status, detail, is_late.then_some(LAG_HINT));
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

const NO_TIME: &str = "no time was left to see a write";
const LAG_HINT: &str = "Set server.deadline to more than twice the lag, or writes are unverified";
const EMPTY: &str = "has an empty value";
const FULL_HINT: &str = "Set genesys.patch_body = \"full\", or writes remove other keys";
const CHANGES_HINT: &str =
    "Set genesys.patch_body = \"changes\", or changes of other writers can be lost";
const CLEAR_HINT: &str = "Set genesys.clear_with as below, or no key can be cleared";
const UNKNOWN: &str =
    "No read showed a write, so it is unknown whether the platform kept the other keys";
const UNKNOWN_HINT: &str =
    "Read the call again later. If other keys are missing, their writers have to set them again";
const PENDING_HINT: &str =
    "Read the call again later: a write of this test that no read has shown may still appear";

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

/// The value of a key, also if it is empty.
fn held<'a>(map: &'a AttributeMap, key: &str) -> Option<&'a AttributeValue> {
    map.iter_held().find(|(found, _)| found.as_str() == key).map(|(_, value)| value)
}

fn is_empty(value: &AttributeValue) -> bool {
    value.expose().is_empty()
}
