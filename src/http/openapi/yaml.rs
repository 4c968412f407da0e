//! YAML that YAML 1.1 parsers, such as those of Python and Ruby, read like YAML 1.2 parsers.
//!
//! The serialiser leaves a string plain if YAML 1.2 reads it as a string. YAML 1.1 reads some of them
//! as another type: timestamps as dates, `12:30` as a number, `yes` as a boolean. This module quotes
//! such strings.

/// Words that only YAML 1.1 reads as booleans. `true` and `false` are booleans in both versions.
const FLAGS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];

/// The document with quotes around each plain string that YAML 1.1 would read as another type.
pub(super) fn quoted(document: &str) -> String {
    let mut written = String::with_capacity(document.len());
    // Indentation of the key of the current literal block.
    let mut block = None::<usize>;
    for line in document.split_inclusive('\n') {
        let text = line.trim_end_matches('\n');
        let indentation = text.len() - text.trim_start().len();
        if block.is_some_and(|outer| text.trim().is_empty() || indentation > outer) {
            written.push_str(line);
            continue;
        }
        block = None;
        let at = scalar_start(text);
        let scalar = &text[at..];
        if scalar.starts_with(['|', '>']) {
            block = Some(indentation);
        }
        if is_not_a_string_in_yaml_1_1(scalar) {
            written.push_str(&[&text[..at], "'", scalar, "'", &line[text.len()..]].concat());
        } else {
            written.push_str(line);
        }
    }
    written
}

/// Where the scalar of a line begins: after the dashes of lists and after the key.
fn scalar_start(line: &str) -> usize {
    let mut at = line.len() - line.trim_start().len();
    while line[at..].starts_with("- ") {
        at += 2;
    }
    let is_quoted = line[at..].starts_with(['"', '\'']);
    let key = line[at..].find(": ").filter(|_| !is_quoted);
    key.map_or(at, |colon| at + colon + 2)
}

fn is_not_a_string_in_yaml_1_1(scalar: &str) -> bool {
    FLAGS.contains(&scalar.to_ascii_lowercase().as_str())
        || is_date(scalar)
        || is_number_of_yaml_1_1(scalar)
}

/// `2026-01-07`, with or without a time.
fn is_date(scalar: &str) -> bool {
    let date = scalar.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<_> = date.split('-').collect();
    let is_part = |part: &&str, max: usize| {
        (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    matches!(&parts[..], [year, month, day]
        if year.len() == 4 && is_part(year, 4) && is_part(month, 2) && is_part(day, 2))
}

/// Sexagesimal and octal numbers, and numbers with underscores. JSON numbers never look like that.
fn is_number_of_yaml_1_1(scalar: &str) -> bool {
    let digits = scalar.strip_prefix(['+', '-']).unwrap_or(scalar);
    let begins = digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let only =
        |more: &[u8]| digits.bytes().all(|byte| byte.is_ascii_digit() || more.contains(&byte));
    let is_octal = digits.len() > 1 && digits.starts_with('0') && only(b"_");
    begins && (is_octal || (digits.contains([':', '_']) && only(b":_.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_1_1_would_not_read_as_a_text_is_quoted() {
        for (plain, expected) in [
            ("a: 2026-01-07T09:30:00.000Z", "a: '2026-01-07T09:30:00.000Z'"),
            ("  - at: 2026-11-22T09:41:07.180402Z", "  - at: '2026-11-22T09:41:07.180402Z'"),
            ("- 2026-1-7", "- '2026-1-7'"),
            ("a: 12:30", "a: '12:30'"),
            ("a: yes", "a: 'yes'"),
            ("a: Off", "a: 'Off'"),
            ("a: 1_000", "a: '1_000'"),
            ("a: 0123", "a: '0123'"),
        ] {
            assert_eq!(quoted(plain), expected);
        }
        for same in [
            "a: true",
            "a: 17",
            "a: -1.5",
            "a: 0",
            "a: 0.5",
            "a: 1e9",
            "a: text",
            "a:",
            "- b",
            "a: '12:30'",
            "a: \"2026-01-07\"",
            "a: 1.2.3",
            "a: 8e0f-1",
            "a: 2026-01-07-x",
            "a: x: 12:30",
            "",
        ] {
            assert_eq!(quoted(same), same);
        }
    }

    #[test]
    fn blocks_of_literal_text_are_left_alone() {
        let document = "a: |-\n  at: 2026-01-07\n\n  - 12:30\nb: 2026-01-07\n";
        assert_eq!(quoted(document), document.replace("b: 2026-01-07", "b: '2026-01-07'"));
    }

    /// Parsers of both versions must read the committed document alike.
    #[test]
    fn the_document_has_no_plain_date() {
        let document = crate::http::openapi::yaml("", true);
        assert!(document.contains("startTime: '2026-01-07T09:30:00.000Z'"));
        assert_eq!(quoted(&document), document, "quoting it again changes nothing");
    }
}
