//! Contracts: what an action takes and what it gives, in the part of JSON Schema that both allow.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Names that the platform keeps for itself.
const RESERVED: [&str; 3] = ["orgId", "integrationId", "rawRequest"];
/// The types that an input may have.
const SCALARS: [&str; 5] = ["string", "integer", "number", "boolean", "null"];

/// An object with named members, as either contract states it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Contract {
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    #[serde(rename = "title")]
    _title: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    /// Its members.
    pub properties: BTreeMap<String, Property>,
    /// Those that have to be there.
    #[serde(default)]
    pub required: Vec<String>,
    #[serde(default = "yes")]
    additional_properties: bool,
}

/// A member. Arrays and objects have members of their own, which outputs alone may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "title")]
    _title: Option<String>,
    /// What Architect shows next to the field.
    pub description: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, Property>,
    items: Option<Box<Property>>,
}

fn yes() -> bool {
    true
}

impl Contract {
    /// What is wrong with it as the contract of inputs.
    pub fn refused_as_input(&self) -> Option<String> {
        for (name, property) in &self.properties {
            if !named_well(name) {
                return Some(format!("`{name}` is no name for an input"));
            }
            if RESERVED.contains(&name.as_str()) {
                return Some(format!("`{name}` is reserved"));
            }
            if !SCALARS.contains(&property.kind.as_str()) {
                return Some(format!("`{name}` is of type `{}`", property.kind));
            }
        }
        self.refused()
    }

    /// What is wrong with it as the contract of outputs.
    pub fn refused_as_output(&self) -> Option<String> {
        let nested = self.properties.iter().find(|(_, property)| property.nests_arrays(false));
        nested.map(|(name, _)| format!("`{name}` holds an array in an array")).or(self.refused())
    }

    fn refused(&self) -> Option<String> {
        if self.kind != "object" {
            return Some(format!("a contract of type `{}`", self.kind));
        }
        let stray = self.required.iter().find(|name| !self.properties.contains_key(*name));
        stray.map(|name| format!("`{name}` is required but not described"))
    }

    /// Whether Architect would see every member as a plain variable.
    pub fn is_flat(&self) -> bool {
        self.properties.values().all(|property| SCALARS.contains(&property.kind.as_str()))
    }

    /// What about these members does not fit.
    pub fn mismatch(&self, members: &Map<String, Value>) -> Option<String> {
        let absent = self.required.iter().find(|name| !members.contains_key(*name));
        if let Some(name) = absent {
            return Some(format!("`{name}` is missing"));
        }
        members.iter().find_map(|(name, value)| match self.properties.get(name) {
            Some(property) if property.admits(value) => None,
            Some(property) => Some(format!("`{name}` is no {}", property.kind)),
            None if self.additional_properties => None,
            None => Some(format!("`{name}` is not in the contract")),
        })
    }
}

impl Property {
    fn admits(&self, value: &Value) -> bool {
        match self.kind.as_str() {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        }
    }

    fn nests_arrays(&self, within: bool) -> bool {
        let array = self.kind == "array";
        let items = self.items.as_deref();
        (array && within)
            || items.is_some_and(|items| items.nests_arrays(within || array))
            || self.properties.values().any(|inner| inner.nests_arrays(within || array))
    }
}

fn named_well(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(rest)
}
