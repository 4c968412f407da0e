//! The record of a repair: keys of everybody that are sent again in the name of one request.

use super::{Dossier, KeyRecord, MOST_KEYS, Print, Stage, Stood, Unrecorded};
use crate::domain::{AttributeMap, ParticipantId, Patch};
use crate::error::Error;
use crate::ports::Cycle;

impl Dossier {
    /// Records what is about to be sent again, where a read has just shown `shown`. Waits until it is
    /// written only where a write may not be sent without its record.
    ///
    /// # Errors
    /// If it has to be written and cannot be, or not before the deadline of `cycle`.
    pub async fn repairs(
        &self,
        participant: (ParticipantId, String),
        restored: &Patch,
        shown: &AttributeMap,
        cycle: &Cycle,
    ) -> Result<(), Error> {
        let record = {
            let papers = self.papers();
            let Some(conversation) = papers.conversation else { return Ok(()) };
            let mut record = self.record(&papers, Stage::Repair);
            drop(papers);
            let stood = Stood { map: shown.clone(), ..Stood::default() };
            let keys = restored.iter().take(MOST_KEYS).map(|(key, change)| {
                let new = change.wanted();
                KeyRecord {
                    key: key.clone(),
                    old: self.old(conversation, key, &stood),
                    new: new.map_or(Print::Absent, |value| self.print(conversation, key, value)),
                    end: None,
                }
            });
            record.keys = keys.collect();
            record.keys_left_out = restored.len().saturating_sub(MOST_KEYS);
            record.participant = Some(participant);
            record
        };
        let recorded = self.audit.record(record);
        if !self.audit.blocks() {
            return Ok(());
        }
        match tokio::time::timeout_at(cycle.deadline(), recorded).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unrecorded)) | Err(_) => Err(Error::AuditUnavailable),
        }
    }
}
