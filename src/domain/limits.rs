//! The size limit of writes, and the list of mistakes in a request.
//!
//! Genesys publishes no limit for API writes. The platform was observed to enforce 10,240 bytes for
//! the whole map, so the limit is a setting. A request reports all its mistakes, not only the first.

use std::fmt::{self, Write as _};

use super::attributes::{AttributeKey, AttributeMap, AttributeValue, entry_bytes};
use super::rights::ClientRights;

const MAX_NAMED_ENTRIES: usize = 5;

/// One mistake in a request, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer as URI fragment (`#/attributes/key`), or the name of a parameter or header.
    pub pointer: String,
    /// The mistake, without the value.
    pub detail: String,
}

impl Violation {
    pub fn of_attribute(key: &str, detail: impl Into<String>) -> Self {
        Self::new(json_pointer(&["attributes", key]), detail)
    }

    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A JSON pointer as URI fragment (RFC 6901, section 6).
pub fn json_pointer(steps: &[impl AsRef<str>]) -> String {
    let mut pointer = "#".to_owned();
    for step in steps {
        pointer.push('/');
        for character in step.as_ref().chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                plain if plain.is_ascii_alphanumeric() || "-._!$&'()*+,;=:@?".contains(plain) => {
                    pointer.push(plain);
                }
                other => {
                    for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(pointer, "%{byte:02X}");
                    }
                }
            }
        }
    }
    pointer
}

/// Limits on the attributes of one participant.
#[derive(Clone, Copy, Debug)]
pub struct AttributeLimits {
    /// Bytes of the whole map as compact UTF-8 JSON.
    pub total_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeExcess {
    /// Bytes of the map, as far as the client may see it; 0 if only upstream knows.
    pub bytes: usize,
    pub limit_bytes: usize,
    /// Key and bytes of each entry, largest first.
    pub entries: Vec<(AttributeKey, usize)>,
    /// `entries` and `bytes` omit keys that the client may not see.
    pub is_partial: bool,
    /// Upstream refused the map for its size, although the check of the gateway had passed.
    pub said_upstream: bool,
}

impl fmt::Display for SizeExcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, limit_bytes, .. } = self;
        if self.said_upstream {
            f.write_str("Genesys Cloud refused the attributes as too large; ")?;
        }
        if self.is_partial {
            write!(
                f,
                "the merged attributes would take more than {limit_bytes} bytes as JSON; those that \
                 this client may see would take {bytes}; the largest keys: "
            )?;
        } else {
            write!(
                f,
                "the merged attributes would take {bytes} bytes as JSON; the limit is {limit_bytes}; \
                 the largest keys: "
            )?;
        }
        let largest = self.largest().map(|(key, bytes)| format!("`{key}` ({bytes})"));
        f.write_str(&largest.collect::<Vec<_>>().join(", "))?;
        let (count, bytes) = self.emptied();
        if count > 0 {
            let keys = if count == 1 { "key takes" } else { "keys take" };
            write!(
                f,
                "; {count} emptied {keys} {bytes} bytes: Genesys Cloud keeps the name of a \
                 cleared key"
            )?;
        }
        Ok(())
    }
}

impl SizeExcess {
    /// The largest entries that hold a value. Clearing an empty key again would free nothing.
    pub fn largest(&self) -> impl Iterator<Item = &(AttributeKey, usize)> {
        self.entries.iter().filter(|entry| !is_emptied(entry)).take(MAX_NAMED_ENTRIES)
    }

    /// Number and total bytes of the empty entries.
    pub fn emptied(&self) -> (usize, usize) {
        let emptied = self.entries.iter().filter(|entry| is_emptied(entry));
        (emptied.clone().count(), emptied.map(|(_, bytes)| bytes).sum())
    }

    /// The excess as a client may see it: that the map exceeds the limit, but not by how much.
    #[must_use]
    pub fn seen_by(mut self, rights: &ClientRights) -> Self {
        if rights.sees_all() {
            return self;
        }
        self.entries.retain(|(key, _)| rights.sees(key.as_str()));
        // Two braces, and a comma between entries.
        let commas = self.entries.len().saturating_sub(1);
        self.bytes = 2 + commas + self.entries.iter().map(|(_, bytes)| bytes).sum::<usize>();
        self.is_partial = true;
        self
    }
}

fn is_emptied((key, bytes): &(AttributeKey, usize)) -> bool {
    *bytes == entry_bytes(key, &AttributeValue::new(""))
}

impl AttributeLimits {
    /// The limit for a map from an earlier read: 90 %, because others may have added keys since.
    #[must_use]
    pub fn remembered(self) -> Self {
        Self { total_bytes: self.total_bytes / 10 * 9 }
    }

    /// Refuses a merged map that exceeds the limit and has grown. A client can always make a map
    /// smaller, even if it stays above the limit.
    pub fn check(&self, before: &AttributeMap, merged: &AttributeMap) -> Result<(), SizeExcess> {
        let bytes = merged.json_bytes();
        if bytes <= self.total_bytes || bytes <= before.json_bytes() {
            return Ok(());
        }
        Err(self.excess(merged, false))
    }

    /// Describes a map that is too large. `said_upstream` says that upstream refused it.
    pub fn excess(&self, merged: &AttributeMap, said_upstream: bool) -> SizeExcess {
        let mut entries: Vec<_> =
            merged.iter_held().map(|(key, value)| (key.clone(), entry_bytes(key, value))).collect();
        entries.sort_by(|(one, left), (two, right)| right.cmp(left).then(one.cmp(two)));
        SizeExcess {
            bytes: merged.json_bytes(),
            limit_bytes: self.total_bytes,
            entries,
            is_partial: false,
            said_upstream,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::attributes::tests::map;

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        let limits = AttributeLimits { total_bytes: r#"{"a":"12"}"#.len() };
        assert_eq!(limits.check(&map(&[]), &map(&[("a", "12")])), Ok(()));
        let excess = limits.check(&map(&[]), &map(&[("a", "123")])).expect_err("one over");
        assert_eq!((excess.bytes, excess.limit_bytes), (11, 10));
    }

    #[test]
    fn a_map_over_the_limit_may_shrink_but_not_grow() {
        let limits = AttributeLimits { total_bytes: 10 };
        let before = map(&[("a", "1234567890")]);
        assert!(limits.check(&before, &map(&[("a", "123456789")])).is_ok());
        assert!(limits.check(&before, &map(&[("a", "12345678901")])).is_err());
    }

    #[test]
    fn the_error_names_the_largest_keys_first_and_no_value() {
        let limits = AttributeLimits { total_bytes: 10 };
        let merged = map(&[("small", "v"), ("large", "canary-canary"), ("mid", "canary")]);
        let text = limits.check(&map(&[]), &merged).expect_err("too large").to_string();
        assert!(text.contains("`large` (23), `mid` (14), `small` (11)"), "{text}");
        assert!(!text.contains("canary"));
    }

    #[test]
    fn emptied_keys_count_but_are_not_offered_for_clearing() {
        let merged = map(&[("a_long_name_that_is_empty", ""), ("b", "1"), ("gone", "")]);
        let excess = AttributeLimits { total_bytes: 10 }.excess(&merged, false);
        assert_eq!(excess.bytes, merged.json_bytes());
        let named: Vec<_> = excess.largest().map(|(key, _)| key.as_str()).collect();
        assert_eq!(named, ["b"]);
        let text = excess.to_string();
        assert!(text.contains("2 emptied keys take 39 bytes"), "{text}");
        let one =
            AttributeLimits { total_bytes: 10 }.excess(&map(&[("b", "1"), ("gone", "")]), false);
        assert!(one.to_string().contains("1 emptied key takes 9 bytes"), "{one}");
    }

    #[test]
    fn the_error_hides_name_and_size_of_hidden_keys() {
        let limits = AttributeLimits { total_bytes: 20 };
        let merged = map(&[("secret", "0123456789"), ("a", "1"), ("b", "22")]);
        let hide = vec!["secret".parse().expect("a pattern")];
        let rights = ClientRights { hide, ..ClientRights::default() };
        let visible = limits.excess(&merged, false).seen_by(&rights);
        assert_eq!(visible.bytes, map(&[("a", "1"), ("b", "22")]).json_bytes());
        let text = visible.to_string();
        assert!(!text.contains("secret") && !text.contains("42"), "{text}");
        assert!(text.contains("more than 20 bytes") && text.contains("`b` (8), `a` (7)"), "{text}");
        let all = limits.excess(&merged, false);
        assert_eq!(all.clone().seen_by(&ClientRights::default()), all);
    }

    #[test]
    fn a_pointer_is_escaped_as_rfc_6901_asks() {
        let pointer = Violation::of_attribute("a/b~c d%é", "").pointer;
        assert_eq!(pointer, "#/attributes/a~1b~0c%20d%25%C3%A9");
    }

    proptest! {
        #[test]
        fn refused_exactly_when_over_the_limit_and_larger_than_before(
            before in ".{0,40}", after in ".{0,40}", limit in 0_usize..80
        ) {
            let (before, after) = (map(&[("k", &before)]), map(&[("k", &after)]));
            let (was, is) = (before.json_bytes(), after.json_bytes());
            let refused = AttributeLimits { total_bytes: limit }.check(&before, &after).is_err();
            prop_assert_eq!(refused, is > limit && is > was);
        }
    }
}
