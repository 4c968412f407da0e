//! Finds secrets in an echoed request by their names, and masks them.
//!
//! Names are compared without case and regardless of how their words are joined. Bodies are masked as
//! text, not as a JSON tree: an echoed body is often invalid JSON and still contains secrets. In doubt,
//! a value is masked.

mod userinfo;

use super::super::percent::decoded_query;

/// Parts of names of secrets, without separators between words.
const PARTS: [&str; 17] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "pwd",
    "passphrase",
    "credential",
    "session",
    "signature",
    "apikey",
    "accesskey",
    "jwt",
    "assertion",
    "oidc",
    "clientcert",
    "principal",
];

/// Words that name a secret in a query or form, but not in JSON or a header.
const OF_PARAMETERS: [&str; 3] = ["sig", "key", "code"];

/// Bounds the work for unterminated values: how often the length of the whole text may be searched.
const MAX_ROUNDS: usize = 16;

/// Schemes of `Authorization`
/// (<https://www.iana.org/assignments/http-authschemes/http-authschemes.xhtml>, and those of Amazon
/// and Microsoft). Any other first word may be part of the secret.
const SCHEMES: [&str; 16] = [
    "basic",
    "bearer",
    "concealed",
    "digest",
    "dpop",
    "gnap",
    "hoba",
    "mutual",
    "negotiate",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "vapid",
    "aws4-hmac-sha256",
    "ntlm",
];

/// Signs that a text has named parts, as in markup or settings.
const NAMING: [&str; 4] = ["<", ":", "=", "--"];

/// How deep URLs nested in URL parameters are inspected. Deeper values are masked as a whole.
const MAX_DEPTH: usize = 3;

/// Masks the value of a header.
pub(super) fn header(name: &str, value: &str) -> String {
    if !is_secret(name, false) {
        return within(value, MAX_DEPTH);
    }
    let has_scheme = ["authorization", "proxy-authorization"].contains(&name);
    let known = |word: &str| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    match value.split_once(' ') {
        // The scheme stays visible: `Basic` instead of `Bearer` is a common mistake.
        Some((word, rest)) if has_scheme && known(word) => format!("{word} {}", mask(rest)),
        Some(_) | None => mask(value),
    }
}

/// Masks the decoded value of a parameter. The name is `None` if it cannot be decoded; it may then be
/// the name of a secret.
pub(super) fn parameter(name: Option<&str>, value: &str) -> String {
    match name {
        Some(name) if !is_secret(name, true) => within(value, MAX_DEPTH),
        Some(_) | None => mask(value),
    }
}

/// Masks a body that looks like JSON, a form, or text without names. Returns `None` for any other body, in
/// which the names of secrets cannot be recognised.
pub(super) fn body(text: &str, is_form: bool) -> Option<String> {
    let begins = text.trim_start().chars().next();
    if begins.is_some_and(|character| "{[\"".contains(character)) {
        let masked = userinfo::masked(&members(text));
        // Escapes can hide a URL from the search in the text.
        let leaks = serde_json::from_str(&masked).is_ok_and(|json| userinfo::is_in(&json));
        return (!leaks).then_some(masked);
    }
    let spaced = text.trim_end().contains(char::is_whitespace);
    let like_a_form = text.contains('=') && (is_form || !spaced);
    if like_a_form && !text.trim_end().contains(['<', '\n']) {
        return Some(pairs(text, MAX_DEPTH));
    }
    let names = NAMING.iter().any(|sign| text.contains(sign));
    (!names).then(|| text.to_owned())
}

fn mask(value: &str) -> String {
    format!("[masked, {} bytes]", value.len())
}

fn is_secret(name: &str, of_parameter: bool) -> bool {
    let spelled = spelled(name);
    let joined = spelled.replace('-', "");
    // An idempotency key is not a secret, and a client needs it to repeat a request.
    let is_key = !spelled.ends_with("idempotency-key");
    PARTS.iter().any(|part| joined.contains(part))
        || (is_key && spelled.ends_with("-key"))
        || (is_key && of_parameter && spelled.split('-').any(|word| OF_PARAMETERS.contains(&word)))
}

/// Returns the words of a name in lower case, separated by `-`.
fn spelled(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len());
    let mut after_small = false;
    for character in name.chars() {
        if character.is_uppercase() && after_small {
            spelled.push('-');
        }
        after_small = character.is_lowercase() || character.is_numeric();
        if character.is_alphanumeric() {
            spelled.extend(character.to_lowercase());
        } else {
            spelled.push('-');
        }
    }
    spelled
}

/// Masks the parameters in a value, with or without a URL before them.
fn within(value: &str, deepest: usize) -> String {
    let value = &*userinfo::masked(value);
    if !value.contains('=') {
        return value.to_owned();
    }
    if deepest == 0 {
        return mask(value);
    }
    let Some((before, rest)) = value.split_once(['?', '#']) else {
        return pairs(value, deepest - 1);
    };
    let ends = |character: char| character.is_whitespace() || "\"<>".contains(character);
    let (query, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    let sign = &value[before.len()..=before.len()];
    [before, sign, &*pairs(query, deepest - 1), &*within(after, deepest - 1)].concat()
}

/// Masks the parameters of a URL or form. Some programs separate parameters with `;`.
fn pairs(text: &str, deepest: usize) -> String {
    let parts = text.split('&').map(|part| {
        if hides(part) {
            return pair(part, deepest);
        }
        part.split(';').map(|half| pair(half, deepest)).collect::<Vec<_>>().join(";")
    });
    parts.collect::<Vec<_>>().join("&")
}

fn hides(part: &str) -> bool {
    let (name, _) = part.split_once('=').unwrap_or((part, ""));
    decoded_query(name).is_none_or(|name| is_secret(&name, true))
}

fn pair(part: &str, deepest: usize) -> String {
    let Some((name, value)) = part.split_once('=') else { return part.to_owned() };
    if hides(part) {
        return format!("{name}={}", mask(value));
    }
    let decoded = decoded_query(value).unwrap_or_else(|| value.to_owned());
    let shown = within(&decoded, deepest);
    if shown == decoded { part.to_owned() } else { format!("{name}={shown}") }
}

/// Masks the values of members with secret names in valid or broken JSON, including JSON embedded in a
/// string. The rest of the text stays unchanged.
fn members(text: &str) -> String {
    let (mut shown, mut done, mut from) = (String::with_capacity(text.len()), 0, 0);
    let mut budget = MAX_ROUNDS.saturating_mul(text.len());
    while let Some(quote) = text[from..].find('"').map(|found| from + found) {
        from = quote + 1;
        let Some(value) = value_after(text, from) else { continue };
        let name = text[done..quote].rsplit('"').next().unwrap_or_default();
        if !is_secret(&unescaped(name), false) {
            continue;
        }
        let escapes = escapes_before(text, quote);
        let end = value + length(&text[value..], &mut budget);
        if matches!(text[value..end].trim_end(), "" | "null") {
            continue;
        }
        let hidden = text[value..end].trim_matches(['\\', '"']);
        let quote = format!("{}\"", "\\".repeat(escapes));
        shown.push_str(&text[done..value]);
        shown.push_str(&[&quote, &*mask(hidden), &quote].concat());
        (done, from) = (end, end);
    }
    shown + &text[done..]
}

/// Returns where the value begins if a member name ends at `from`.
fn value_after(text: &str, from: usize) -> Option<usize> {
    let value = text[from..].trim_start().strip_prefix(':')?.trim_start();
    Some(text.len() - value.len())
}

fn unescaped(name: &str) -> String {
    let mut name = name.trim_end_matches('\\').to_owned();
    for _ in 0..MAX_DEPTH {
        match serde_json::from_str(&format!("\"{name}\"")) {
            Ok(plain) if name.contains('\\') => name = plain,
            Ok(_) | Err(_) => break,
        }
    }
    name
}

fn escapes_before(text: &str, quote: usize) -> usize {
    text[..quote].bytes().rev().take_while(|byte| *byte == b'\\').count()
}

/// Returns the length of the value at the start of the text. The search for a missing end reads all the
/// rest of the text. `budget` bounds these searches; once it is spent, the whole rest is the value.
fn length(text: &str, budget: &mut usize) -> usize {
    if *budget < text.len() {
        return text.len();
    }
    let end = match text.trim_start_matches('\\').bytes().next() {
        Some(b'"') => string(text, 0),
        Some(b'{' | b'[') => tree(text),
        _ => text.find([',', '}', ']', '\n']),
    };
    let ends = |end: &usize| {
        let after = text[*end..].trim_start();
        after.is_empty() || after.starts_with([',', '}', ']'])
    };
    end.filter(ends).unwrap_or_else(|| {
        *budget -= text.len();
        broken(text)
    })
}

/// Returns where the string that begins at `from` ends, including its escapes. In JSON embedded in a
/// string, the quotes of an inner string are escaped too, and quotes inside it have more escapes.
fn string(text: &str, from: usize) -> Option<usize> {
    let opening = from + text[from..].find('"')?;
    let escapes = escapes_before(text, opening);
    let mut at = opening + 1;
    loop {
        at += text[at..].find('"')?;
        if escapes_before(text, at) % (2 * (escapes + 1)) == escapes {
            return Some(at + 1);
        }
        at += 1;
    }
}

/// Returns where the object or array at the start of the text ends.
fn tree(text: &str) -> Option<usize> {
    let (mut open, mut at) = (0_usize, 0);
    loop {
        at += text[at..].find(['{', '[', '}', ']', '"'])?;
        match text.as_bytes()[at] {
            b'"' => {
                at = string(text, at)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            _ => open -= 1,
        }
        at += 1;
        if open == 0 {
            return Some(at);
        }
    }
}

/// Returns where a broken value ends: at the next apparent member, or at the end of the line.
fn broken(text: &str) -> usize {
    let begins = |(at, _): &(usize, &str)| {
        text[at + 1..].trim_start().trim_start_matches('\\').starts_with('"')
    };
    let member = text.match_indices(',').find(begins).map(|(at, _)| at);
    let line = text.find('\n');
    member.into_iter().chain(line).min().unwrap_or(text.len())
}

#[cfg(test)]
mod tests;
