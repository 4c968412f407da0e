//! `Debug` shows no attribute value.

use attribute_gateway::domain::{AttributeKey, AttributeMap, AttributeValue, KeyChange, Patch};

#[test]
fn maps_patches_and_values_show_their_keys_alone() {
    let (key, value) = (AttributeKey::existing("tier"), AttributeValue::new("canary"));
    let map: AttributeMap = [(key.clone(), value.clone())].into_iter().collect();
    let change = KeyChange::to(value.clone());
    let patch: Patch = [(key, change)].into_iter().collect();
    let shown = format!("{map:?} {map:#?} {patch:?} {value:?}");
    assert!(!shown.contains("canary") && shown.contains("tier"), "{shown}");
}
