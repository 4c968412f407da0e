//! Makes inputs out of inputs: without knowledge of coverage, but with a dictionary and all of the
//! corpus to splice from. The same seed makes the same inputs.

/// What parsers look for, or stumble over.
const WORDS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1e400",
    "-0",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{0}",
    "%00",
    "%2F",
    "%ff",
    "%",
    "&",
    "=",
    ";",
    "*",
    "W/\"",
    "\"\"",
    "\r\n",
    "\n",
    "\t",
    "18446744073709551616",
    "-1",
    "0",
    "0x1F",
    "99999999999",
    "1970-01-01T00:00:00Z",
    "é",
    "\u{202e}",
    "attributes",
    "attributesJson",
    "participants",
    "wait=",
    "bytes=",
    "gzip",
    "identity;q=0",
];

/// Longest input; what is larger is refused for its size alone.
const LONGEST: usize = 16 * 1024;

/// Changes an input in a few places.
pub fn mutated(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = pick(corpus, random).clone();
    for _ in 0..random.usize(1..=6) {
        change(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut fastrand::Rng) -> &'a Vec<u8> {
    &corpus[random.usize(..corpus.len())]
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=1 + input.len() / 4)).min(input.len());
    match random.u8(..9) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => insert(input, at, WORDS[random.usize(..WORDS.len())].as_bytes()),
        4 => {
            let again = input[at..end].repeat(random.usize(1..=3));
            insert(input, at, &again);
        }
        5 => {
            let other = pick(corpus, random);
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..=64)).min(other.len());
            insert(input, at, &other[from..to]);
        }
        6 => {
            let other = pick(corpus, random);
            let from = random.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => number(input, random),
        _ => insert(input, at, &[b"{[\"(aA0 %"[random.usize(..9)]].repeat(random.usize(1..=200))),
    }
}

/// Puts another number in the place of one.
fn number(input: &mut Vec<u8>, random: &mut fastrand::Rng) {
    const NUMBERS: [&str; 8] =
        ["0", "-1", "4294967296", "9223372036854775808", "1e309", "0.1", "999", "65536"];
    let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
    if digits.is_empty() {
        return;
    }
    let start = digits[random.usize(..digits.len())];
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let other = NUMBERS[random.usize(..NUMBERS.len())];
    input.splice(start..start + length, other.bytes());
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
