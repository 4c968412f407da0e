//! What really happened upstream, from the platform's ledger and its list of calls: which value was in
//! place when, which one reads showed when, and what the gateway sent. Absent and `""` are one state.
//!
//! All times are the platform's microseconds, cut off, so two steps in one microsecond count as one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// One write of one key.
#[derive(Clone, Debug)]
pub struct KeyWrite {
    /// When it was applied.
    pub at: u64,
    /// From when reads show it, unless a later write of the key shows already.
    pub visible: u64,
    /// By a PATCH of the gateway, and not by another writer.
    pub ours: bool,
    pub value: String,
}

/// One key of one conversation.
#[derive(Clone, Debug, Default)]
pub struct Track {
    initial: String,
    /// In the order in which the platform applied them.
    pub writes: Vec<KeyWrite>,
    /// From when which write is shown, in the order of time.
    shown: Vec<(u64, usize)>,
}

impl Track {
    /// Works out what reads show when: of all writes that are visible, the last applied one.
    fn settle(&mut self) {
        let mut order: Vec<usize> = (0..self.writes.len()).collect();
        order.sort_by_key(|index| (self.writes[*index].visible, *index));
        for index in order {
            if self.shown.last().is_none_or(|(_, last)| *last < index) {
                self.shown.push((self.writes[index].visible, index));
            }
        }
    }

    /// The write that a read at this time shows; none for what was there from the start.
    pub fn shown_index(&self, at: u64) -> Option<usize> {
        let passed = self.shown.partition_point(|(from, _)| *from <= at);
        self.shown[..passed].last().map(|(_, index)| *index)
    }

    /// The value that a read at this time shows.
    pub fn shown(&self, at: u64) -> &str {
        self.shown_index(at).map_or(&self.initial, |index| &self.writes[index].value)
    }

    /// Whether a read at this time can have shown this value: times are cut to microseconds.
    pub fn shows(&self, at: u64, value: &str) -> bool {
        self.shown(at) == value || self.shown(at.saturating_sub(1)) == value
    }

    /// Whether reads showed this write at any time.
    pub fn ever_shown(&self, index: usize) -> bool {
        self.shown.iter().any(|(_, shown)| *shown == index)
    }

    /// The positions of the writes of this value.
    pub fn of_value<'a>(&'a self, value: &'a str) -> impl DoubleEndedIterator<Item = usize> + 'a {
        (0..self.writes.len()).filter(move |index| self.writes[*index].value == value)
    }
}

/// A PATCH that reached the platform.
#[derive(Clone, Debug)]
pub struct PatchCall {
    pub at: u64,
    /// The status that was sent, if any was.
    pub status: Option<u16>,
    pub changes: BTreeMap<String, String>,
}

impl PatchCall {
    /// Whether it was accepted, as far as the platform knows.
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// One conversation.
#[derive(Clone, Debug, Default)]
pub struct Course {
    pub keys: HashMap<String, Track>,
    /// When each read was handled that was answered 200, in the order of time.
    pub reads: Vec<u64>,
    /// In the order of arrival.
    pub patches: Vec<PatchCall>,
    /// Calls of any kind, in microseconds.
    pub calls: usize,
}

impl Course {
    /// Reads that were handled from `from` to `to`.
    pub fn reads_between(&self, from: u64, to: u64) -> &[u64] {
        let start = self.reads.partition_point(|at| *at < from);
        let end = self.reads.partition_point(|at| *at <= to);
        self.reads.get(start..end).unwrap_or_default()
    }

    /// The map that a read at this time shows, without what is empty.
    pub fn map_shown(&self, at: u64) -> BTreeMap<&str, &str> {
        let shown = self.keys.iter().map(|(key, track)| (key.as_str(), track.shown(at)));
        shown.filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The PATCH that brought a write: the last one with this value before it.
    pub fn patch_of(&self, key: &str, write: &KeyWrite) -> Option<&PatchCall> {
        let before = self.patches.iter().rev().filter(|patch| patch.at <= write.at);
        before.into_iter().find(|patch| patch.changes.get(key) == Some(&write.value))
    }

    /// Each `PATCH` that carried this value for this key.
    pub fn patches_with<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a PatchCall> {
        self.patches
            .iter()
            .filter(move |patch| patch.changes.get(key).map(String::as_str) == Some(value))
    }
}

/// Everything, by conversation.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub courses: HashMap<String, Course>,
    /// How many calls of the API there were, the token's not counted.
    pub calls: usize,
    /// How many of those were answered with anything but a success, or not at all.
    pub failed: usize,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn changes(map: &Value) -> BTreeMap<String, String> {
    let members = map.as_object().into_iter().flatten();
    members.map(|(key, value)| (key.clone(), text(value))).collect()
}

impl History {
    /// Reads the platform's ledger and calls; `initial` is what each conversation began with.
    pub fn read(ledger: &[Value], calls: &[Value], initial: &HashMap<String, Value>) -> Self {
        let mut history = Self::default();
        for (conversation, map) in initial {
            let course = history.courses.entry(conversation.clone()).or_default();
            for (key, value) in changes(map) {
                course.keys.entry(key).or_default().initial = value;
            }
        }
        for entry in ledger {
            history.apply(entry);
        }
        for call in calls {
            history.count(call);
        }
        for course in history.courses.values_mut() {
            course.keys.values_mut().for_each(Track::settle);
            course.reads.sort_unstable();
        }
        history
    }

    fn apply(&mut self, entry: &Value) {
        let course = self.courses.entry(text(&entry["conversation"])).or_default();
        let (at, visible) = (entry["at_us"].as_u64(), entry["visible_at_us"].as_u64());
        for (key, value) in changes(&entry["changes"]) {
            course.keys.entry(key).or_default().writes.push(KeyWrite {
                at: at.unwrap_or_default(),
                visible: visible.unwrap_or_default(),
                ours: entry["writer"] == "gateway",
                value,
            });
        }
    }

    fn count(&mut self, call: &Value) {
        let kind = call["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "read" | "patch") {
            return;
        }
        let status = call["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        self.calls += 1;
        self.failed += usize::from(status.is_none_or(|status| status >= 300));
        let path = call["path"].as_str().unwrap_or_default();
        let Some(id) = path.split('/').find(|part| part.len() == 36) else {
            return;
        };
        let course = self.courses.entry(id.to_owned()).or_default();
        course.calls += 1;
        if kind == "patch" {
            let at = call["at_us"].as_u64().unwrap_or_default();
            let changes = changes(&call["body"]["attributes"]);
            course.patches.push(PatchCall { at, status, changes });
        } else if let (Some(at), Some(200)) = (call["handled_us"].as_u64(), status) {
            course.reads.push(at);
        }
    }

    /// The values that the gateway ever put, by conversation and key.
    pub fn own_values(&self) -> BTreeSet<(&str, &str, &str)> {
        let mut values = BTreeSet::new();
        for (conversation, course) in &self.courses {
            for (key, track) in &course.keys {
                let own = track.writes.iter().filter(|write| write.ours);
                values.extend(own.map(|w| (conversation.as_str(), key.as_str(), w.value.as_str())));
            }
        }
        values
    }
}
