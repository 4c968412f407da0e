//! Makes inputs out of inputs: without knowledge of coverage, but with a dictionary and all of the
//! corpus to splice from. The same seed makes the same inputs.

/// A line each, in quotes, with `\\`, `\"` and `\xFF`; what does not begin with a quote is no word.
const DICTIONARY: &str = include_str!("words.dict");

/// Longest input; what is larger is refused for its size alone.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// What parsers look for, or stumble over.
pub fn words() -> Vec<Vec<u8>> {
    let quoted = |line: &'static str| line.strip_prefix('"')?.strip_suffix('"').map(unescaped);
    DICTIONARY.lines().filter_map(quoted).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let escaped = if byte == b'\\' { rest.next() } else { None };
        bytes.push(match escaped {
            Some(b'x') => {
                let mut digit = || char::from(rest.next().unwrap_or_default()).to_digit(16);
                let pair = digit().zip(digit()).map(|(high, low)| high * 16 + low);
                pair.and_then(|pair| u8::try_from(pair).ok()).expect("two digits")
            }
            other => other.unwrap_or(byte),
        });
    }
    bytes
}

/// Changes an input in a few places.
pub fn mutated(corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = pick(corpus, random).clone();
    for _ in 0..random.usize(1..=6) {
        if random.u8(..9) == 0 {
            let at = random.usize(..=input.len());
            insert(&mut input, at, pick(words, random));
        } else {
            change(&mut input, corpus, random);
        }
    }
    input.truncate(MAX_INPUT_BYTES);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut fastrand::Rng) -> &'a Vec<u8> {
    &corpus[random.usize(..corpus.len())]
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=1 + input.len() / 4)).min(input.len());
    match random.u8(..8) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].repeat(random.usize(1..=3));
            insert(input, at, &again);
        }
        4 => {
            let other = pick(corpus, random);
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..=64)).min(other.len());
            insert(input, at, &other[from..to]);
        }
        5 => {
            let other = pick(corpus, random);
            let from = random.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 => number(input, random),
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
