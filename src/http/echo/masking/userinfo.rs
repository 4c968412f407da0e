//! Masks names and passwords in URLs, such as `https://me:secret@host`.

use serde_json::Value;

use super::mask;

/// Masks the part before the `@` in every URL of the text.
pub(super) fn masked(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(after) = after_slashes(rest) {
        let (before, url) = rest.split_at(after);
        shown.push_str(before);
        let hidden = length(url);
        if hidden > 0 {
            shown.push_str(&mask(&url[..hidden]));
        }
        rest = &url[hidden..];
    }
    shown + rest
}

/// Whether any string in the JSON contains such a URL.
pub(super) fn is_in(json: &Value) -> bool {
    match json {
        Value::String(text) => masked(text) != *text,
        Value::Array(items) => items.iter().any(is_in),
        Value::Object(members) => {
            members.iter().any(|(name, value)| masked(name) != *name || is_in(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns where the next two slashes end. JSON may write them as `\/\/`, and embedded JSON with more
/// backslashes.
fn after_slashes(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let begin = from + text[from..].find('/')?;
        let is_of_run = |character: char| character == '/' || character == '\\';
        let run = text[begin..].trim_start_matches(is_of_run);
        from = text.len() - run.len();
        if text[begin..from].matches('/').count() >= 2 {
            return Some(from);
        }
    }
}

/// Returns the length of the name and password after the slashes.
fn length(url: &str) -> usize {
    let ends = |character: char| character.is_whitespace() || "\"<>\\".contains(character);
    let url = &url[..url.find(ends).unwrap_or(url.len())];
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if let Some(at) = authority.rfind('@') {
        return at;
    }
    // An unencoded password may contain a slash; a port has only digits.
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { 0 } else { url.rfind('@').unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn name_and_password_of_a_url_are_masked() {
        for (text, shown) in [
            ("https://me:canary@x/a?b=c", "https://[masked, 9 bytes]@x/a?b=c"),
            ("https://canary@x:80", "https://[masked, 6 bytes]@x:80"),
            ("https://me:can@ry@x/", "https://[masked, 9 bytes]@x/"),
            ("https://me:can/ary@x/", "https://[masked, 10 bytes]@x/"),
            ("//me:canary@x", "//[masked, 9 bytes]@x"),
            (
                "see https://a:canary@x, and <ftp://b:canary@y>",
                "see https://[masked, 8 bytes]@x, and <ftp://[masked, 8 bytes]@y>",
            ),
            (r"https:\/\/me:canary@x\/a", r"https:\/\/[masked, 9 bytes]@x\/a"),
            ("https://x:8080/a@b", "https://x:8080/a@b"),
            ("https://x/?mail=a@b", "https://x/?mail=a@b"),
            ("a@b // c", "a@b // c"),
            ("https://", "https://"),
            ("/", "/"),
        ] {
            assert_eq!(masked(text), shown);
        }
        assert!(is_in(&json!([{"a": ["https://me:canary@x"]}])));
        assert!(is_in(&json!({"https://me:canary@x": 1})));
        assert!(!is_in(&json!({"a": "https://x/a@b", "b": [null, 1, true]})));
    }
}
