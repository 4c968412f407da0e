//! What of an echoed request nobody should see, told by the names that it goes by, and what stands in
//! its place.
//!
//! Names are compared without case and however their words are joined. Bodies are masked as text and
//! not as a tree: what is echoed is often no JSON because of one quote too many, and then its secrets
//! are still there. Rather too much is masked than too little.

mod userinfo;

use super::super::percent::decoded_query;

/// What the name of a secret holds, without what joins its words.
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

/// Whole words that mean a secret in a query or form: in a body of JSON, or a header, they do not.
const OF_PARAMETERS: [&str; 3] = ["sig", "key", "code"];

/// How often the whole text is looked through for ends that are not there.
const MAX_ROUNDS: usize = 16;

/// Schemes of `Authorization`
/// (<https://www.iana.org/assignments/http-authschemes/http-authschemes.xhtml>, and those of Amazon
/// and Microsoft). Another first word may be part of the secret.
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

/// Signs by which texts name their parts, in markup, lists of settings, and the like.
const NAMING: [&str; 4] = ["<", ":", "=", "--"];

/// URLs within parameters of URLs that are looked into; what goes deeper is masked as a whole.
const MAX_DEPTH: usize = 3;

/// The value of a header.
pub(super) fn header(name: &str, value: &str) -> String {
    if !is_secret(name, false) {
        return within(value, MAX_DEPTH);
    }
    let bears_scheme = ["authorization", "proxy-authorization"].contains(&name);
    let known = |word: &str| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    match value.split_once(' ') {
        // `Basic` where `Bearer` is wanted is a common mistake.
        Some((word, rest)) if bears_scheme && known(word) => format!("{word} {}", mask(rest)),
        Some(_) | None => mask(value),
    }
}

/// The decoded value of a parameter; `None` is a name that cannot be decoded, and may be any.
pub(super) fn parameter(name: Option<&str>, value: &str) -> String {
    match name {
        Some(name) if !is_secret(name, true) => within(value, MAX_DEPTH),
        Some(_) | None => mask(value),
    }
}

/// A body that is JSON, or was meant to be, a form, or a text without any names; `None` of any other,
/// in which secrets may go by names that are not seen.
pub(super) fn body(text: &str, is_form: bool) -> Option<String> {
    let begins = text.trim_start().chars().next();
    if begins.is_some_and(|character| "{[\"".contains(character)) {
        let masked = userinfo::masked(&members(text));
        // An escape may hide what is told by its signs.
        let told = serde_json::from_str(&masked).is_ok_and(|json| userinfo::is_in(&json));
        return (!told).then_some(masked);
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
    // That one is to be seen: whoever repeats a request has to know it.
    let is_key = !spelled.ends_with("idempotency-key");
    PARTS.iter().any(|part| joined.contains(part))
        || (is_key && spelled.ends_with("-key"))
        || (is_key && of_parameter && spelled.split('-').any(|word| OF_PARAMETERS.contains(&word)))
}

/// The words of a name, in small letters and with `-` between them.
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

/// Masks the parameters that a value holds, of a URL or bare.
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

/// Masks in parameters as they stand in a URL or form. Some separate them by `;`.
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

/// Masks the members of secret names in what is JSON, or was meant to be, also where it stands in a
/// string of other JSON. The rest of the text stays as it is.
fn members(text: &str) -> String {
    let (mut shown, mut done, mut from) = (String::with_capacity(text.len()), 0, 0);
    let mut patience = MAX_ROUNDS.saturating_mul(text.len());
    while let Some(quote) = text[from..].find('"').map(|found| from + found) {
        from = quote + 1;
        let Some(value) = value_after(text, from) else { continue };
        let name = text[done..quote].rsplit('"').next().unwrap_or_default();
        if !is_secret(&unescaped(name), false) {
            continue;
        }
        let escapes = escapes_before(text, quote);
        let end = value + length(&text[value..], &mut patience);
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

/// Where the value begins, if a name ends at `from`.
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

/// How long the value is that the text begins with. What has no end is looked for through all that
/// follows: where there is too much of that, everything is the value.
fn length(text: &str, patience: &mut usize) -> usize {
    if *patience < text.len() {
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
        *patience -= text.len();
        broken(text)
    })
}

/// Where the string ends that begins at `from`, its escapes included: within a string of other JSON
/// its quotes have some as well, and those that it holds have more.
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

/// Where the object or array ends that the text begins with.
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

/// What is no value ends where another member seems to begin, or with its line.
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
