//! Whoever changes the description of the API says so in the CHANGELOG.

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};

const CHANGELOG: &str = include_str!("../../CHANGELOG.md");
const DOCUMENT: &str = include_str!("../../openapi.yaml");

/// The list there, the newest state first: a line each, with the beginning of its SHA-256.
const HEADING: &str = "### Description of the API\n";

/// Hexadecimal digits that tell one state from another.
const DIGITS: usize = 12;

/// Words that tell nothing are shorter.
const SHORTEST_TEXT: usize = 20;

#[test]
fn every_change_of_openapi_yaml_has_a_line_in_the_changelog() {
    let (_, list) = CHANGELOG.split_once(HEADING).expect("the list of states");
    let list = list.split("\n#").next().expect("its end");
    let states: Vec<(&str, &str)> = list
        .split("\n- `")
        .skip(1)
        .map(|line| line.split_once("`: ").expect("a digest and a text"))
        .collect();
    // A digest shows itself in hexadecimal digits, after the name of the algorithm.
    let hex = format!("{:?}", digest(&SHA256, DOCUMENT.as_bytes()));
    let now = &hex.split(':').next_back().expect("a digest")[..DIGITS];
    assert_eq!(
        states.first().map(|(digest, _)| *digest),
        Some(now),
        "openapi.yaml has changed: put a line in front of the others under `{}` in CHANGELOG.md, \
         \"- `{now}`: what callers have to know\"",
        HEADING.trim(),
    );
    for (digest, text) in &states {
        assert!(text.trim().len() >= SHORTEST_TEXT, "`{digest}`: says what changed");
    }
    let digests: BTreeSet<_> = states.iter().map(|(digest, _)| digest).collect();
    assert_eq!(digests.len(), states.len(), "a line each: none is taken over");
}
