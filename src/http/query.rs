//! Strict parsing of query strings. An unknown or repeated parameter is a mistake: to ignore it would
//! be to do something else than the client asked for. The error lists all mistakes.

use std::collections::HashSet;
use std::fmt;

use super::percent::decoded_query;
use super::problem::Problem;
use super::shorten::shortened;
use super::violations::ViolationList;
use crate::domain::{ParticipantSelector, Violation, closest_word};
use crate::error::ErrorCode;

/// The parameter that names a participant. Its mistakes have their own error code.
const PARTICIPANT: &str = "participant";

/// The values of a switch. An empty one stands for a switch without a value, which is on.
pub(super) const SWITCH_VALUES: [&str; 5] = ["", "true", "1", "false", "0"];

/// A query string during parsing. `Debug` shows names only, since values can be personal data.
pub(super) struct QueryString {
    pairs: Vec<(String, String)>,
    mistakes: ViolationList,
}

impl fmt::Debug for QueryString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl QueryString {
    /// Parses a query that may contain each of `known` once, and each of `repeatable` any number of
    /// times.
    pub(super) fn read(raw: Option<&str>, known: &[&str], repeatable: &[&str]) -> Self {
        Self::read_with(raw, known, repeatable, &[])
    }

    /// The same, but the `bare` ones of `known` may have no value.
    pub(super) fn read_with(
        raw: Option<&str>,
        known: &[&str],
        repeatable: &[&str],
        bare: &[&str],
    ) -> Self {
        let mut query = Self { pairs: Vec::new(), mistakes: ViolationList::default() };
        let parts = raw.unwrap_or_default().split('&');
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (decoded_query(name), decoded_query(value)) else {
                query.mistake(&shortened(name), "is not percent-encoded UTF-8");
                continue;
            };
            if !known.contains(&name.as_str()) && !repeatable.contains(&name.as_str()) {
                query.mistakes.note_with(|| {
                    let detail = unknown(&name, known.iter().chain(repeatable).copied());
                    Violation::new(shortened(&name), detail)
                });
            } else if value.is_empty() && !bare.contains(&name.as_str()) {
                query.mistake(&name, "has no value");
            } else if known.contains(&name.as_str()) && query.has(&name) {
                query.mistake(&name, "is given more than once");
            } else {
                query.pairs.push((name, value));
            }
        }
        query
    }

    fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// Records what is wrong with a parameter.
    pub(super) fn mistake(&mut self, name: &str, detail: &str) {
        self.mistakes.note(Violation::new(name, detail));
    }

    /// Takes the decoded values of a parameter.
    pub(super) fn take(&mut self, name: &str) -> Vec<String> {
        let taken = self.pairs.extract_if(.., |(known, _)| known == name);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a parameter that is `true` or `false`; an absent one is false.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.word(name, &["true", "false"]).as_deref() == Some("true")
    }

    /// Takes a switch: on with `true`, `1` or no value.
    pub(super) fn is_switched_on(&mut self, name: &str) -> bool {
        match self.take(name).pop().as_deref() {
            Some("" | "true" | "1") => true,
            None | Some("false" | "0") => false,
            Some(_) => {
                self.mistake(name, "has to be `true` or `false`, or without a value");
                false
            }
        }
    }

    /// Takes a parameter that is one of a few words.
    pub(super) fn word(&mut self, name: &str, words: &[&str]) -> Option<String> {
        let value = self.take(name).pop()?;
        if words.contains(&value.as_str()) {
            return Some(value);
        }
        let list = words.join("` or `");
        let differs_in_case = words.iter().any(|word| value.trim().eq_ignore_ascii_case(word));
        let case = if differs_in_case { ", in lower case" } else { "" };
        self.mistake(name, &format!("has to be `{list}`{case}"));
        None
    }

    /// Takes the participant; `default` if the parameter is absent.
    pub(super) fn participant(
        &mut self,
        default: &ParticipantSelector,
        all_allowed: bool,
    ) -> ParticipantSelector {
        let Some(value) = self.take(PARTICIPANT).pop() else {
            return default.clone();
        };
        match value.parse::<ParticipantSelector>() {
            Ok(selector) if selector.is_all() && !all_allowed => {
                self.mistake(
                    PARTICIPANT,
                    "`all` does not name one participant; this request needs one",
                );
            }
            Ok(selector) => return selector,
            Err(invalid) => {
                let detail = format!("`{}` is {invalid}", shortened(&value));
                self.mistake(PARTICIPANT, &detail);
            }
        }
        default.clone()
    }

    /// Takes the keys named by `key` and `keys`, without duplicates.
    pub(super) fn keys(&mut self) -> Option<Vec<String>> {
        let mut keys = self.take("key");
        for list in self.take("keys") {
            if list.split(',').any(str::is_empty) {
                self.mistake("keys", "names an empty key");
            }
            keys.extend(list.split(',').map(str::to_owned));
        }
        if keys.len() > 1 {
            let mut named = HashSet::with_capacity(keys.len());
            keys.retain(|key| named.insert(key.clone()));
        }
        (!keys.is_empty()).then_some(keys)
    }

    /// Ends the parsing.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let about_participants =
            self.mistakes.reported().iter().all(|mistake| mistake.pointer == PARTICIPANT);
        let code = if about_participants {
            ErrorCode::InvalidParticipant
        } else {
            ErrorCode::InvalidQuery
        };
        Err(Problem::listing(code, self.mistakes))
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = closest_word(name, known.clone()) {
        return format!("is not a parameter of this request; did you mean `{near}`?");
    }
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        return "is not a parameter of this request, which has none".to_owned();
    }
    format!("is not a parameter of this request, which takes `{}`", known.join("`, `"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(raw: &str) -> QueryString {
        QueryString::read(Some(raw), &["participant", "keys", "dryRun"], &["key"])
    }

    fn mistakes(mut query: QueryString) -> Vec<String> {
        let default = "customer".parse().expect("selector");
        let _ = query.participant(&default, false);
        let _ = query.flag("dryRun");
        match query.finish() {
            Ok(()) => Vec::new(),
            Err(problem) => problem
                .errors()
                .iter()
                .map(|violation| format!("{} {}", violation.pointer, violation.detail))
                .collect(),
        }
    }

    #[test]
    fn values_are_decoded_and_otherwise_left_alone() {
        let mut query = read("key=+a%20%2B%C3%A9&key=b%3d%26c&keys=x&&");
        assert_eq!(query.take("key"), [" a +é", "b=&c"]);
        assert_eq!(query.take("keys"), ["x"]);
        assert!(query.finish().is_ok());
        assert!(QueryString::read(None, &[], &[]).finish().is_ok());
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", read("participant=canary&keys=canary"));
        assert_eq!(shown, r#"["participant", "keys"]"#);
    }

    #[test]
    fn all_mistakes_are_listed_and_slips_recognised() {
        let found = mistakes(read(
            "participnt=customer&kyes=a&dryrun=true&view=flat&keys=a&keys=b&key=&dryRun=yes&key=%zz&key=%ff&participant=agent:2nd",
        ));
        assert_eq!(
            found,
            [
                "participnt is not a parameter of this request; did you mean `participant`?",
                "kyes is not a parameter of this request; did you mean `keys`?",
                "dryrun is not a parameter of this request; did you mean `dryRun`?",
                "view is not a parameter of this request, which takes `participant`, `keys`, `dryRun`, `key`",
                "keys is given more than once",
                "key has no value",
                "key is not percent-encoded UTF-8",
                "key is not percent-encoded UTF-8",
                "participant `agent:2nd` is not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`",
                "dryRun has to be `true` or `false`",
            ]
        );
    }

    #[test]
    fn a_word_in_the_wrong_case_gets_a_hint() {
        assert_eq!(
            mistakes(read("dryRun=True")),
            ["dryRun has to be `true` or `false`, in lower case"]
        );
        assert_eq!(mistakes(read("dryRun=1")), ["dryRun has to be `true` or `false`"]);
    }

    #[test]
    fn a_bad_participant_alone_has_its_own_code() {
        let code = |raw: &str, all_allowed| {
            let mut query = read(raw);
            let _ = query.participant(&"customer".parse().expect("selector"), all_allowed);
            query.finish().map_err(|problem| problem.code())
        };
        assert_eq!(code("participant=a%20b", true), Err(ErrorCode::InvalidParticipant));
        assert_eq!(code("participant=all", false), Err(ErrorCode::InvalidParticipant));
        assert_eq!(code("participant=all", true), Ok(()));
        assert_eq!(code("participant=a%20b&x=y", true), Err(ErrorCode::InvalidQuery));
        assert_eq!(code("participant=", true), Err(ErrorCode::InvalidParticipant));
    }

    proptest! {
        #[test]
        fn no_query_panics(raw in "[\\x00-\\xff]{0,60}|([a-zA-Z]{0,12}[=&%+]{0,2}){0,12}") {
            let _ = mistakes(read(&raw));
        }
    }
}
