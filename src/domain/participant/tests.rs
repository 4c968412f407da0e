use proptest::prelude::*;

use super::*;

fn conversation(participants: &[(&str, bool)]) -> Conversation {
    let participants =
        participants.iter().enumerate().map(|(index, (purpose, live))| Participant {
            id: id(index),
            purpose: (*purpose).into(),
            state: None,
            live: *live,
            name: None,
            span: TimeRange::default(),
            attributes: AttributeMap::default(),
        });
    Conversation {
        id: "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid"),
        live: Some(true),
        span: TimeRange::default(),
        participants: participants.collect(),
    }
}

fn id(index: usize) -> ParticipantId {
    format!("00000000-0000-4000-8000-{index:012}").parse().expect("valid")
}

/// Position and rule of the selected participant, or the error as text.
fn choose(
    selector: &str,
    participants: &[(&str, bool)],
    intent: SelectorIntent,
) -> Result<(usize, &'static str), String> {
    let conversation = conversation(participants);
    let selector: ParticipantSelector = selector.parse().expect("a selector");
    match selector.choose(&conversation, intent) {
        Ok(chosen) => {
            let position =
                conversation.participants.iter().position(|p| p.id == chosen.participant.id);
            Ok((position.expect("one of them"), chosen.by.as_str()))
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

#[test]
fn reads_fall_back_from_customer_to_external_to_first() {
    use SelectorIntent::{Read, Write};
    let with_customer = [("ivr", true), ("external", true), ("Customer", true)];
    assert_eq!(choose("customer", &with_customer, Write), Ok((2, "purpose")));
    let with_external = [("ivr", true), ("external", true)];
    assert_eq!(choose("customer", &with_external, Write), Ok((1, "external")));
    let neither = [("ivr", true), ("agent", true)];
    assert_eq!(choose("customer", &neither, Read), Ok((0, "first")));
    let refused = choose("customer", &neither, Write).expect_err("must be named");
    assert!(refused.contains("first_needs_naming: true"), "{refused}");
    assert_eq!(choose("first", &neither, Write), Ok((0, "first")));
}

#[test]
fn the_live_one_wins_then_the_last_that_left() {
    let agents = [("agent", false), ("agent", true), ("agent", false)];
    assert_eq!(choose("agent", &agents, SelectorIntent::Write), Ok((1, "purpose")));
    let left = [("agent", false), ("agent", false), ("ivr", true)];
    assert_eq!(choose("AGENT", &left, SelectorIntent::Write), Ok((1, "purpose")));
}

#[test]
fn several_live_ones_are_ambiguous_until_a_position_is_named() {
    let agents = [("agent", false), ("agent", true), ("agent", true)];
    let error = choose("agent", &agents, SelectorIntent::Read).expect_err("ambiguous");
    assert!(
        error.contains("Ambiguous") && error.matches("ParticipantSummary").count() == 2,
        "{error}"
    );
    assert_eq!(choose("agent:first", &agents, SelectorIntent::Read), Ok((1, "position")));
    assert_eq!(choose("agent:last", &agents, SelectorIntent::Read), Ok((2, "position")));
    let left = [("agent", false), ("agent", false)];
    assert_eq!(choose("agent:first", &left, SelectorIntent::Read), Ok((0, "position")));
}

#[test]
fn an_unknown_word_lists_the_purposes() {
    let error = choose(
        "dialer",
        &[("customer", true), ("agent", true), ("Agent", false)],
        SelectorIntent::Read,
    )
    .expect_err("no dialer");
    assert!(error.contains(r#"["customer", "agent"]"#), "{error}");
    let error = choose("customer", &[], SelectorIntent::Read).expect_err("no participants");
    assert!(error.contains("purposes: []"), "{error}");
}

#[test]
fn text_that_is_not_a_word_is_refused() {
    for text in [
        "",
        ":first",
        "agent:",
        "agent:third",
        "a b",
        "agent1",
        "all:first",
        "first:last",
        "ägent",
        "agent:first:last",
        &"a".repeat(41),
    ] {
        assert_eq!(text.parse::<ParticipantSelector>(), Err(InvalidSelector), "{text}");
    }
    assert!("a".repeat(40).parse::<ParticipantSelector>().is_ok());
    assert!("ALL".parse::<ParticipantSelector>().expect("valid").is_all());
}

#[test]
fn a_purpose_that_is_not_a_word_has_no_selector() {
    let odd = "x".repeat(41);
    let list = [("all", true), ("voice mail", true), ("First", true), (odd.as_str(), true)];
    let selectors = conversation(&list).selectors();
    assert_eq!(selectors, [vec!["first".to_owned()], vec![], vec![], vec![]]);
}

fn participants() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    let purpose = prop::sample::select(vec!["customer", "external", "agent", "ivr", "acd", ""]);
    proptest::collection::vec((purpose, any::<bool>()), 0..7)
}

proptest! {
    #[test]
    fn the_choice_has_the_purpose_and_is_live_if_any_is(
        list in participants(), word in prop::sample::select(vec!["agent", "external", "ivr"])
    ) {
        if let Ok((index, _)) = choose(word, &list, SelectorIntent::Write) {
            prop_assert_eq!(list[index].0, word);
            let any_live = list.iter().any(|(purpose, live)| *purpose == word && *live);
            prop_assert_eq!(list[index].1, any_live);
        } else {
            let live = list.iter().filter(|(purpose, live)| *purpose == word && *live).count();
            let there = list.iter().any(|(purpose, _)| *purpose == word);
            prop_assert!(live > 1 || !there);
        }
    }

    #[test]
    fn a_participant_lists_exactly_the_words_that_select_it(list in participants()) {
        let selectors = conversation(&list).selectors();
        for purpose in ["customer", "external", "agent", "ivr", "acd", "first"] {
            for suffix in ["", ":first", ":last"] {
                let word = format!("{purpose}{suffix}");
                let Ok(selector) = word.parse::<ParticipantSelector>() else { continue };
                let chosen = choose(&selector.to_string(), &list, SelectorIntent::Write).ok();
                for (index, words) in selectors.iter().enumerate() {
                    let chosen = chosen.as_ref().is_some_and(|(chosen, _)| *chosen == index);
                    prop_assert_eq!(words.contains(&word), chosen, "{} of {}", word, index);
                }
            }
        }
    }

    #[test]
    fn a_write_never_selects_an_unnamed_participant(list in participants()) {
        if let Ok((index, _)) = choose("customer", &list, SelectorIntent::Write) {
            prop_assert!(["customer", "external"].contains(&list[index].0));
        }
    }

    #[test]
    fn no_text_panics_and_selectors_round_trip(text in ".{0,50}") {
        if let Ok(selector) = text.parse::<ParticipantSelector>() {
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }
    }
}
