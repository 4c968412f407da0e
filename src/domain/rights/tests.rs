use super::*;
use crate::domain::attributes::tests::map;

fn patterns(texts: &[&str]) -> Vec<KeyPattern> {
    texts.iter().map(|text| text.parse().expect("a pattern")).collect()
}

fn limited() -> ClientRights {
    ClientRights {
        allow: Some(patterns(&["crm_*", "tier", "national_id"])),
        deny: patterns(&["crm_secret_*"]),
        hide: patterns(&["national_id"]),
        ..ClientRights::default()
    }
}

#[test]
fn a_key_must_be_allowed_and_neither_denied_nor_hidden() {
    let rights = limited();
    assert!(["crm_id", "tier"].iter().all(|key| rights.sees(key)));
    let reason = |key: &str| rights.refuses(key).expect("refused").to_string();
    assert!(reason("crm_secret_pin").contains("`crm_secret_*`"));
    assert!(reason("national_id").contains("`hide`"));
    assert!(reason("Tier").contains("`allow`"));
}

#[test]
fn no_patterns_show_every_key_and_an_empty_list_shows_none() {
    assert!(ClientRights::default().sees_all() && ClientRights::default().sees("any"));
    let none = ClientRights { allow: Some(Vec::new()), ..ClientRights::default() };
    assert!(!none.sees_all() && !none.sees("any"));
    let all = ClientRights { allow: Some(patterns(&["a", "*"])), ..ClientRights::default() };
    assert!(all.sees_all());
    let hiding = ClientRights { hide: patterns(&["x"]), ..ClientRights::default() };
    assert!(!hiding.sees_all());
}

#[test]
fn a_map_is_copied_only_if_a_key_is_hidden() {
    let all = map(&[("crm_id", "1"), ("crm_secret_x", ""), ("other", "2")]);
    assert!(matches!(ClientRights::default().seen(&all), Cow::Borrowed(_)));
    assert_eq!(*limited().seen(&all), map(&[("crm_id", "1")]));
    let seen = map(&[("crm_id", "1")]);
    assert!(matches!(limited().seen(&seen), Cow::Borrowed(_)));
}

#[test]
fn a_permitted_word_includes_its_positions() {
    let naming = |permitted: &[&str], selector: &str| {
        let permitted = permitted.iter().map(|text| text.parse().expect("a selector")).collect();
        let rights = ClientRights { participants: Some(permitted), ..ClientRights::default() };
        rights.may_name(&selector.parse().expect("a selector"))
    };
    for (permitted, selector, expected) in [
        (&["customer"][..], "customer", true),
        (&["customer"], "Customer:last", true),
        (&["customer"], "external", false),
        (&["customer"], "first", false),
        (&["customer"], "all", false),
        (&["agent:last"], "agent", false),
        (&["agent:last"], "agent:first", false),
        (&["agent:last"], "agent:last", true),
        (&["all"], "all", true),
        (&["all"], "agent", true),
        (&[], "customer", false),
    ] {
        assert_eq!(naming(permitted, selector), expected, "{permitted:?} {selector}");
    }
}
