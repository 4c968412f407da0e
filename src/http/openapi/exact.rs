//! What types do not tell of parameters and bodies: patterns, lengths, words.
//!
//! With them a generated client refuses what the service would refuse, and a generator of tests knows
//! what it has to take. Kept by name, so that the same parameter is described alike everywhere.

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object};
use utoipa::openapi::{RefOr, Required, Schema};

use super::text;

/// A word with an optional position, or a UUID. Of all and of the first there is one.
const READ_SELECTOR: &str = "^(?!([aA][lL]{2}|[fF][iI][rR][sS][tT]):)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";

/// The same, but not all.
const WRITE_SELECTOR: &str = "^(?![aA][lL]{2}(:|$)|[fF][iI][rR][sS][tT]:)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";

/// A list without an empty part.
const KEYS: &str = "^[^,]+(,[^,]+)*$";

/// `*`, or entity tags as `ETag` has them.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~\u0080-\u00ff]*"(, *(W/)?"[!#-~\u0080-\u00ff]*")*)$"#;

/// Options without an example: pages fill it in, and would then send what nobody asked for.
const CHANGES_MUCH: [&str; 6] = ["keys", "verify", "view", "format", "If-Match", "If-None-Match"];

/// Anything but control characters.
const KEY: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Sharpens an operation.
pub(super) fn operation(operation: &mut Operation, method: &Method) {
    let of_all = operation.operation_id.as_deref() == Some("getAttributes");
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(schema) = of(parameter, method, of_all)
        {
            parameter.schema = Some(schema.into());
            if CHANGES_MUCH.contains(&parameter.name.as_str()) {
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

fn of(parameter: &Parameter, method: &Method, of_all: bool) -> Option<Schema> {
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
        (ParameterIn::Query, "state") => Some(word(["live"])),
        (ParameterIn::Query, "direction") => Some(word(["inbound", "outbound"])),
        // A read takes one that it cannot understand for one that does not match.
        (ParameterIn::Header, "If-Match" | "If-None-Match") if *method != Method::GET => {
            matching(TAGS)
        }
        _ => None,
    }
}

fn word<const N: usize>(words: [&str; N]) -> Schema {
    text().enum_values(Some(words)).build().into()
}

/// A telephone number, with the separators that people write.
const NUMBER: &str = r"^([tT][eE][lL]:)?[ .()-]*\+?[ .()-]*([0-9][ .()-]*){1,32}$";

/// Sharpens the body of a search.
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

/// Sharpens the body of a write: no other members, one of two that say the same, and keys as the
/// service takes them.
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
