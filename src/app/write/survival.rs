//! The repair of a map that upstream has replaced, and the watch over it after an early answer.
//!
//! Nobody has documented that a PATCH merges; everything points to it. Until one write has shown
//! it, a caller that does not wait for the read-back must not be the one whose neighbours' keys
//! are lost unnoticed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Cycle, Effect, Flow, log_id};
use crate::app::seen;
use crate::domain::{Candidate, Change, Patch, Unseen};
use crate::error::Error;
use crate::policy::ReadBackSchedule;

impl Flow {
    /// Sends the whole merged map, once: two reads have shown nothing but our PATCH where other
    /// keys stood before. One member of the batch does it for all; they all watch it.
    pub(super) async fn repair(&mut self, cycle: &Cycle) -> Result<(), Error> {
        self.repaired = true;
        let place = self.place()?;
        let told = self.sees_others();
        let merged = self.batch.applied_to(&self.before);
        let restored: Patch = merged
            .iter_held()
            .map(|(key, value)| (key.clone(), Change::to(value.clone())))
            .collect();
        if !self.repairing.swap(true, Ordering::Relaxed) {
            self.shared.replaces.store(true, Ordering::Relaxed);
            self.shared.meter.repair();
            tracing::error!(
                conversation.id = log_id(place.0),
                "upstream replaced the attributes with what a PATCH held; sending the merged map; \
                 set genesys.patch_body = \"full\"",
            );
            if let Err(error) = self.send_restored(&restored, cycle).await {
                // What upstream says may hold what it was sent.
                let (id, code) = (log_id(place.0), error.code().as_str());
                tracing::error!(conversation.id = id, error = code, "the repair failed");
                if told {
                    // It held the whole map.
                    let rights = &self.request.cycle.client().rights;
                    let error = seen::error(error, rights, true);
                    self.warn(format!(
                        "upstream replaced the map, and its other keys may be lost: {error}"
                    ));
                }
                return Ok(());
            }
        }
        if told {
            self.warn("upstream replaced the map; the keys that it dropped were sent again");
        }
        self.accepted = Some(Instant::now());
        self.shown_after = false;
        // From here on the restored keys have to show, too.
        self.watch.add(&restored, &self.shown, &Unseen::new());
        Ok(())
    }

    /// Puts on record what is restored, and sends it.
    async fn send_restored(&mut self, restored: &Patch, cycle: &Cycle) -> Result<(), Error> {
        if let (Some(dossier), Some(target)) = (self.request.cycle.dossier(), &self.target) {
            let Candidate { id, purpose, .. } = &target.participant;
            let participant = (*id, purpose.to_string());
            dossier.repairs(participant, restored, &self.shown).await;
        }
        let (sent, condition) = (self.sent.clone(), self.request.condition.take());
        let result = self.send_once(restored, cycle).await;
        (self.sent, self.request.condition) = (sent, condition);
        result.map_err(|failure| failure.error)
    }

    /// After the answer: watches for a while whether the other keys survived, unless that is
    /// known of this route.
    pub(super) async fn watch_survival(&mut self) {
        if !self.must_watch() {
            return;
        }
        let client = Arc::clone(self.request.cycle.client());
        let cycle = Cycle::new(Instant::now() + self.shared.settings.survival_watch);
        let cycle = cycle.on_behalf_of(client);
        let first_wait = self.shared.lags().first_wait();
        let mut schedule = ReadBackSchedule::new(first_wait, self.shared.settings.max_reads);
        while self.must_watch() || (self.repaired && !self.watch.all_wanted()) {
            let Some(wait) = schedule.next(cycle.time_left(), self.read_cost) else {
                break;
            };
            tokio::select! {
                () = tokio::time::sleep(wait.max(self.throttled_for())) => {}
                () = self.shared.shutdown.drain_over() => return,
            }
            if let Err(error) = self.read_back_once(&cycle).await
                && !error.code().retryable()
            {
                break;
            }
        }
    }

    fn must_watch(&self) -> bool {
        let known = self.shared.merges.load(Ordering::Relaxed) || self.shared.settings.patch_full;
        let others = self.before.iter().filter(|(key, _)| self.batch.get(key).is_none()).count();
        let sent = self.effect != Effect::NotApplied && !self.sent.is_empty();
        sent && !known && !self.repaired && others >= 2
    }
}
