//! Constraints on parameters and bodies that Rust types cannot express: patterns, lengths, words.
//!
//! With them, a generated client rejects what the gateway would reject, and a test generator makes
//! valid requests. They are keyed by name, so that a parameter is described the same way everywhere.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object, SchemaType, Type};
use utoipa::openapi::{RefOr, Required, Schema};

use super::text;
use crate::error::Effect;
use crate::http::query::SWITCH_VALUES;

/// A word with an optional position, or a UUID. `all` and `first` take no position.
const READ_SELECTOR: &str = "^(?!([aA][lL]{2}|[fF][iI][rR][sS][tT]):)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";

/// The same without `all`.
const WRITE_SELECTOR: &str = "^(?![aA][lL]{2}(:|$)|[fF][iI][rR][sS][tT]:)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";

/// A list without an empty part.
const KEYS: &str = "^[^,]+(,[^,]+)*$";

/// `*`, or entity tags as `ETag` has them.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~\u0080-\u00ff]*"(, *(W/)?"[!#-~\u0080-\u00ff]*")*)$"#;

/// Options without an example. Swagger UI prefills examples, and these would change the request.
const WITHOUT_EXAMPLE: [&str; 6] =
    ["keys", "verify", "view", "format", "If-Match", "If-None-Match"];

/// Anything but control characters.
const KEY: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Adds the constraints to the parameters of an operation.
pub(super) fn operation(operation: &mut Operation, method: &Method) {
    let of_all = operation.operation_id.as_deref() == Some("getAttributes");
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        never_null(parameter);
        if let Some(schema) = constraint_for(parameter, method, of_all) {
            parameter.schema = Some(schema.into());
            if WITHOUT_EXAMPLE.contains(&parameter.name.as_str()) {
                let described = ParameterBuilder::from(parameter.clone());
                *parameter = described.example(None).build();
            }
        }
    }
    if operation.operation_id.as_deref() == Some("echo")
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        body.required = Some(Required::False);
    }
}

/// Removes `null` from the type of an optional parameter. A query cannot express `null`, and a
/// generated client would have to handle it.
fn never_null(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        && let SchemaType::Array(kinds) = &schema.schema_type
        && let [kind, Type::Null] | [Type::Null, kind] = kinds.as_slice()
    {
        schema.schema_type = SchemaType::Type(kind.clone());
    }
}

fn constraint_for(parameter: &Parameter, method: &Method, of_all: bool) -> Option<Schema> {
    let matching = |pattern: &str| Some(text().pattern(Some(pattern)).build().into());
    match (&parameter.parameter_in, parameter.name.as_str()) {
        (ParameterIn::Query, "participant") if of_all => matching(READ_SELECTOR),
        (ParameterIn::Query, "participant") => matching(WRITE_SELECTOR),
        (ParameterIn::Query, "keys") => matching(KEYS),
        (ParameterIn::Query, "key") => {
            let items = text().min_length(Some(1));
            Some(ArrayBuilder::new().items(items).build().into())
        }
        (ParameterIn::Path, "key") => matching(KEY),
        (ParameterIn::Query, "verify") => Some(word(["none"])),
        (ParameterIn::Query, "view") => Some(word(["flat"])),
        (ParameterIn::Query, "format") => Some(word(["text", "json"])),
        (ParameterIn::Query, "verbose") => Some(word(SWITCH_VALUES)),
        (ParameterIn::Query, "state") => Some(word(["live"])),
        (ParameterIn::Query, "direction") => Some(word(["inbound", "outbound"])),
        // A read treats a malformed tag as one that does not match, so any text is valid there.
        (ParameterIn::Header, "If-Match" | "If-None-Match") if *method != Method::GET => {
            matching(TAGS)
        }
        _ => None,
    }
}

fn word<const N: usize>(words: [&str; N]) -> Schema {
    text().enum_values(Some(words)).build().into()
}

/// Restricts `effect` to its three words, which are fixed. Codes and outcomes get no such list: v1
/// may add new ones, and a generated client would reject those.
pub(super) fn answers(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let effects = Effect::ALL.map(|effect| Value::from(effect.as_str())).to_vec();
    for schema in ["Problem", "TracedRequest"] {
        if let Some(RefOr::T(schema)) = schemas.get_mut(schema)
            && let Some(RefOr::T(Schema::Object(member))) = own_member(schema, "effect")
        {
            member.enum_values = Some(effects.clone());
        }
    }
}

/// A member of a schema itself or of an inline part of its `allOf`.
fn own_member<'a>(schema: &'a mut Schema, name: &str) -> Option<&'a mut RefOr<Schema>> {
    match schema {
        Schema::Object(object) => object.properties.get_mut(name),
        Schema::AllOf(parts) => parts.items.iter_mut().find_map(|part| match part {
            RefOr::T(part) => own_member(part, name),
            RefOr::Ref(_) => None,
        }),
        _ => None,
    }
}

/// A telephone number, with the separators that people write.
const NUMBER: &str = r"^([tT][eE][lL]:)?[ .()-]*\+?[ .()-]*([0-9][ .()-]*){1,32}$";

/// Adds the constraints to the body of a search.
pub(super) fn search(schema: &mut Object) {
    schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    for (name, member) in &mut schema.properties {
        let RefOr::T(Schema::Object(member)) = member else { continue };
        match name.as_str() {
            "ani" | "dnis" => member.pattern = Some(NUMBER.to_owned()),
            "state" => member.enum_values = Some(vec!["live".into(), Value::Null]),
            "direction" => {
                member.enum_values = Some(vec!["inbound".into(), "outbound".into(), Value::Null]);
            }
            _ => {}
        }
    }
}

/// Adds the constraints to the body of a write: no unknown members, one of the two equivalent
/// members, and valid keys.
pub(super) fn body(schema: &mut Object) {
    schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    if schema.properties.contains_key("attributesJson") {
        schema.min_properties = Some(1);
        schema.max_properties = Some(1);
    }
    if let Some(RefOr::T(Schema::Object(attributes))) = schema.properties.get_mut("attributes") {
        attributes.min_properties = Some(1);
        let name = text().pattern(Some(KEY)).build();
        attributes.property_names = Some(Box::new(name.into()));
    }
    if let Some(RefOr::T(Schema::Object(json))) = schema.properties.get_mut("attributesJson") {
        "application/json".clone_into(&mut json.content_media_type);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        serde_json::from_str(&crate::http::openapi::json("", true)).expect("JSON")
    }

    #[test]
    fn no_parameter_can_be_null() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|item| item.as_object().expect("operations"));
        let mut count = 0;
        for (_, operation) in operations {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["schema"]["type"].is_string(), "{parameter:#}");
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn an_effect_is_one_of_three_words() {
        let document = document();
        let words = |pointer: &str| {
            document.pointer(&format!("/components/schemas/{pointer}/enum")).cloned()
        };
        let effects = serde_json::json!(["notApplied", "applied", "unknown"]);
        assert_eq!(words("Problem/allOf/1/properties/effect").as_ref(), Some(&effects));
        assert_eq!(words("TracedRequest/properties/effect"), Some(effects));
    }
}
