//! The record of a repair: keys of everybody that are sent again in the name of one request.

use std::time::Duration;

use tokio::time::timeout;

use super::{Dossier, KeyRecord, MOST_KEYS, Print, Stage, Stood};
use crate::domain::{AttributeMap, ParticipantId, Patch};

/// How long a repair waits for its record.
const PATIENCE: Duration = Duration::from_secs(1);

impl Dossier {
    /// Records what is about to be sent again, where a read has just shown `shown`. Waits until it is
    /// written, for a moment, only where a write may not be sent without its record; this one may, since
    /// otherwise keys of others are lost for good. That it could not be written is an error in the log.
    pub async fn repairs(
        &self,
        participant: (ParticipantId, String),
        restored: &Patch,
        shown: &AttributeMap,
    ) {
        let record = {
            let papers = self.papers();
            let Some(conversation) = papers.conversation else { return };
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
        if self.audit.blocks() && !matches!(timeout(PATIENCE, recorded).await, Ok(Ok(()))) {
            tracing::error!("a repair is sent although it could not be recorded");
        }
    }
}
