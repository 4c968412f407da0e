//! Constraints on bodies that Rust types cannot express.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, Object};
use utoipa::openapi::{Components, RefOr, Schema};

use super::text;
use crate::http::attributes::{AcceptedResponse, AnyWriteResponse};
use crate::http::flat::FlatResponse;
use crate::http::problem::ProblemBody;
use crate::http::responses::WriteResponse;

/// The schema of the members that only some problems have.
const PROBLEM_MEMBERS: &str = "ProblemMembers";

/// Schemas of the bodies of writes.
const WRITE_BODIES: [&str; 3] = ["WriteRequestBody", "PatchRequestBody", "AttributeRequestBody"];

/// Anything but control characters.
const KEY: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Adds the schemas of problems, and the constraints of the bodies of writes.
pub(super) fn describe(components: &mut Components) {
    add::<ProblemBody<'_>>(components);
    add::<AnyWriteResponse>(components);
    add::<AcceptedResponse>(components);
    copy_write_members(&mut components.schemas);
    if let Some(RefOr::T(Schema::Object(flat))) = components.schemas.get_mut(&*FlatResponse::name())
    {
        open(flat);
    }
    for name in WRITE_BODIES {
        if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
            constrain(body);
        }
    }
}

/// Adds a schema that only shared responses refer to, with the schemas of its members.
fn add<T: ToSchema>(components: &mut Components) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

/// Copies the members of a write response into the problem schema, where none of them is required:
/// only `write-superseded` has them.
fn copy_write_members(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let Some(RefOr::T(Schema::Object(write))) = schemas.get(&*WriteResponse::name()) else {
        return;
    };
    let copied = write.properties.clone();
    if let Some(RefOr::T(Schema::Object(members))) = schemas.get_mut(PROBLEM_MEMBERS) {
        members.properties.extend(copied);
    }
}

/// Further members are strings. TypeScript generators turn `additionalProperties` into an index
/// signature, which contradicts the members of other types.
fn open(schema: &mut Object) {
    schema.additional_properties = None;
    let strings = ("unevaluatedProperties", serde_json::json!({"type": "string"}));
    schema.extensions = Some(Extensions::from_iter([strings]));
}

/// No unknown members, one of the two equivalent members, and valid keys.
fn constrain(schema: &mut Object) {
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
