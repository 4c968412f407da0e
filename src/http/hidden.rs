//! Hides keys in a stored answer that its client may not see any more.

use serde_json::{Map, Value};

use super::flat;
use crate::domain::ClientRights;

/// Members of an answer that are objects by key.
const BY_KEY: [&str; 2] = ["attributes", "outcomes"];

/// Removes what the client may not see. Returns whether there was any.
pub(super) fn hide(answer: &mut Value, rights: &ClientRights) -> bool {
    let Some(members) = answer.as_object_mut().filter(|_| !rights.sees_all()) else { return false };
    let mut hidden = Vec::new();
    for name in BY_KEY {
        if let Some(Value::Object(map)) = members.get_mut(name) {
            hide_keys(map, rights, &mut hidden);
        }
    }
    if let Some(Value::Array(largest)) = members.get_mut("largest") {
        largest.retain(|entry| entry["key"].as_str().is_none_or(|key| rights.sees(key)));
    }
    if let Some(Value::Array(warnings)) = members.get_mut("warnings") {
        let names = |text: &str| hidden.iter().any(|key| text.contains(&format!("`{key}`")));
        warnings.retain(|warning| !warning.as_str().is_some_and(names));
    }
    hide_in_flat(members, rights, &mut hidden);
    !hidden.is_empty()
}

fn hide_in_flat(members: &mut Map<String, Value>, rights: &ClientRights, hidden: &mut Vec<String>) {
    let Some(Value::String(text)) = members.get_mut(flat::ATTRIBUTES_JSON) else { return };
    let mut map: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    hide_keys(&mut map, rights, hidden);
    *text = Value::from(map).to_string();
    for (key, value) in members.iter_mut().filter(|(key, _)| !flat::MEMBERS.contains(&key.as_str()))
    {
        if !rights.sees(key) {
            *value = "".into();
            hidden.push(key.clone());
        }
    }
}

fn hide_keys(map: &mut Map<String, Value>, rights: &ClientRights, hidden: &mut Vec<String>) {
    map.retain(|key, _| {
        let is_seen = rights.sees(key);
        if !is_seen {
            hidden.push(key.clone());
        }
        is_seen
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::KeyPattern;

    #[test]
    fn keys_that_are_hidden_now_are_removed() {
        let hide_crm = vec!["crm*".parse::<KeyPattern>().expect("a pattern")];
        let rights = ClientRights { hide: hide_crm, ..ClientRights::default() };
        for (stored, shown) in [
            (
                json!({"attributes": {"crm": "1", "tier": "x"}, "outcomes": {"crm": "verified"},
                    "warnings": ["`crm` is damaged", "old"]}),
                json!({"attributes": {"tier": "x"}, "outcomes": {}, "warnings": ["old"]}),
            ),
            (
                json!({"ok": true, "attributesJson": "{\"crm\":\"1\",\"tier\":\"x\"}", "crm": "1",
                    "tier": "x"}),
                json!({"ok": true, "attributesJson": "{\"tier\":\"x\"}", "crm": "", "tier": "x"}),
            ),
            (
                json!({"largest": [{"key": "crm"}, {"key": "tier"}], "attributes": {"crm_2": ""}}),
                json!({"largest": [{"key": "tier"}], "attributes": {}}),
            ),
        ] {
            let mut answer = stored.clone();
            assert!(hide(&mut answer, &rights));
            assert_eq!(answer, shown);
            assert!(!hide(&mut answer.clone(), &ClientRights::default()));
        }
    }
}
