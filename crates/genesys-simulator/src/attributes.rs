//! The attributes of a participant, and what a write does to them.

use std::collections::BTreeMap;

/// A participant's attributes.
pub type AttributeMap = BTreeMap<String, String>;
/// What a write does to each key that it names: a new value, or removal.
pub type AttributeChanges = BTreeMap<String, Option<String>>;
