//! Attributes as text for a person.

use super::{AllAttributesResponse, AttributeMap, AttributesResponse, CandidateDto};
use crate::http::response_format::ToText;
use crate::http::text_table::{NOTHING, TextTable, facts, warnings};

impl ToText for AttributesResponse {
    fn text(&self) -> String {
        let chosen = &self.participant;
        let head = facts([
            ("conversation", &self.conversation_id.to_string()),
            ("participant", &chosen.participant.id.to_string()),
            ("", &format!("{}, chosen by {}", describe(&chosen.participant), chosen.chosen_by)),
            ("size", &format!("{} of {} bytes", self.size.bytes, self.size.limit_bytes)),
        ]);
        format!("{head}\n{}{}", table(&self.attributes), warnings(&self.warnings))
    }
}

impl ToText for AllAttributesResponse {
    fn text(&self) -> String {
        let mut text = facts([("conversation", &self.conversation_id.to_string())]);
        for one in &self.participants {
            let participant = &one.participant;
            let id = participant.id.to_string();
            let head = facts([("participant", &id), ("", &describe(participant))]);
            text.push_str(&["\n", &head, "\n", &table(&one.attributes)].concat());
        }
        if self.participants.is_empty() {
            text.push_str("\n(no participants)\n");
        }
        text.push_str(&warnings(&self.warnings));
        text
    }
}

fn describe(participant: &CandidateDto) -> String {
    let purpose = match participant.purpose.as_str() {
        "" => "(no purpose)",
        purpose => purpose,
    };
    format!("{purpose}, {}", participant.state.as_deref().unwrap_or(NOTHING))
}

fn table(map: &AttributeMap) -> String {
    if map.is_empty() {
        return "(no attributes)\n".to_owned();
    }
    let mut table = TextTable::new(["KEY", "VALUE"]);
    for (key, value) in map.iter() {
        table.row([key.as_str(), value.expose()]);
    }
    table.finish()
}
