//! Reads the body of a PATCH the way the platform would: what it asks for, or why it is refused.
//! It knows the settings for the undocumented cases, but no state.

use serde_json::Value;

use super::{
    AttributeChanges, SimulatorSettings,
    settings::{EmptyHandling, NullHandling},
};

/// Code and message of the 400.
pub(super) type PatchRejection = (&'static str, String);

/// The changes that a body asks for.
pub(super) fn read(
    body: &[u8],
    settings: &SimulatorSettings,
) -> Result<AttributeChanges, PatchRejection> {
    let parsed: Value = serde_json::from_slice(body).map_err(|_| {
        bad("The request could not be understood by the server due to malformed syntax.")
    })?;
    let fields = parsed.as_object().ok_or_else(|| bad("The body must be an object."))?;
    let attributes = match fields.get("attributes") {
        None | Some(Value::Null) => {
            let message = "Cannot update participant attribute map to a null value.";
            return Err(("conversation.error.participant.attribute.null", message.to_owned()));
        }
        Some(value) => value.as_object().ok_or_else(|| bad("`attributes` must be a map."))?,
    };
    let mut changes = AttributeChanges::new();
    for (key, value) in attributes {
        match effect(key, value, settings)? {
            KeyEffect::Set(text) => changes.insert(key.clone(), Some(text)),
            KeyEffect::Remove => changes.insert(key.clone(), None),
            KeyEffect::Nothing => None,
        };
    }
    Ok(changes)
}

/// What one value does to its key.
enum KeyEffect {
    Set(String),
    Remove,
    Nothing,
}

fn effect(
    key: &str,
    value: &Value,
    settings: &SimulatorSettings,
) -> Result<KeyEffect, PatchRejection> {
    Ok(match (value, settings.null) {
        (Value::String(text), _) if text.is_empty() => match settings.empty {
            EmptyHandling::Store => KeyEffect::Set(String::new()),
            EmptyHandling::Delete => KeyEffect::Remove,
        },
        (Value::String(text), _) => KeyEffect::Set(text.clone()),
        // The official tutorial sends `true`, so scalars pass and become text.
        (Value::Bool(_) | Value::Number(_), _) => KeyEffect::Set(value.to_string()),
        (Value::Null, NullHandling::Ignore) => KeyEffect::Nothing,
        (Value::Null, NullHandling::Delete) => KeyEffect::Remove,
        (Value::Null, NullHandling::StoreEmpty) => KeyEffect::Set(String::new()),
        (Value::Null, NullHandling::Reject) => {
            return Err(bad(&format!("The value of {key} is null.")));
        }
        (Value::Array(_) | Value::Object(_), _) => {
            return Err(bad(&format!("The value of {key} is not a string.")));
        }
    })
}

fn bad(message: &str) -> PatchRejection {
    ("bad.request", message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(attributes: &Value, settings: &SimulatorSettings) -> Value {
        let body = json!({"attributes": attributes}).to_string();
        read(body.as_bytes(), settings).map_or_else(|refused| json!(refused.0), |c| json!(c))
    }

    #[test]
    fn scalars_become_text_and_the_rest_is_refused() {
        let settings = SimulatorSettings::default();
        let read = |attributes: Value| read_json(&attributes, &settings);
        let scalars = json!({"a": "x", "b": true, "c": 1.5, " d": ""});
        assert_eq!(read(scalars), json!({"a": "x", "b": "true", "c": "1.5", " d": ""}));
        for refused in [json!({"a": {}}), json!({"a": []}), json!({"a": null}), json!([]), json!(1)]
        {
            assert_eq!(read(refused.clone()), "bad.request", "{refused}");
        }
        assert_eq!(read(Value::Null), "conversation.error.participant.attribute.null");
    }

    #[test]
    fn null_and_the_empty_string_are_treated_as_set() {
        let null = |null| {
            read_json(
                &json!({"a": null}),
                &SimulatorSettings { null, ..SimulatorSettings::default() },
            )
        };
        assert_eq!(null(NullHandling::Delete), json!({"a": null}));
        assert_eq!(null(NullHandling::Ignore), json!({}));
        assert_eq!(null(NullHandling::StoreEmpty), json!({"a": ""}));
        let settings =
            SimulatorSettings { empty: EmptyHandling::Delete, ..SimulatorSettings::default() };
        assert_eq!(read_json(&json!({"a": ""}), &settings), json!({"a": null}));
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in ["", "{", "[]", "\"x\""] {
            let refused =
                read(body.as_bytes(), &SimulatorSettings::default()).expect_err("no object");
            assert_eq!(refused.0, "bad.request", "{body}");
        }
    }
}
