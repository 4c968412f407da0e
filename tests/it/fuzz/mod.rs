//! Everything that parses bytes from outside, given bytes that nobody meant: what callers send, what
//! upstream answers, what operators configure.
//!
//! A target is a function of bytes that panics if something is wrong. Each has a corpus in `corpus/`,
//! readable, of sound inputs and of those that once found something. It runs whole in every test run,
//! with some hundred mutations of it from a fixed seed; `make fuzz` goes on with others for as long as
//! it is told. Nothing here is guided by coverage.

mod configuration;
mod mutate;
mod requests;
mod service;
mod upstream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

type Target = (&'static str, fn(&[u8]));

const REQUESTS: Target = ("requests", requests::run);
const UPSTREAM: Target = ("upstream", upstream::run);
const CONFIGURATION: Target = ("configuration", configuration::run);

/// Mutations in a test run, each target.
const SOME: usize = 100;

fn corpus((name, _): Target) -> Vec<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzz/corpus")).join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

/// Runs one input; one that finds something is kept below `target/`.
fn run((name, target): Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_ok() {
        return;
    }
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/fuzz"));
    let sum =
        input.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let file = folder.join(format!("{name}-{sum:016x}"));
    std::fs::create_dir_all(folder).expect("made");
    std::fs::write(&file, input).expect("written");
    panic!("{name} fails for the input in {}", file.display());
}

/// The corpus, and mutations of it: some from a fixed seed, or, where `FUZZ_SECONDS` is set, as many as
/// there is time for, from `FUZZ_SEED` or any seed.
fn corpus_and_some(target: Target) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 10, "the corpus is not there");
    for input in &corpus {
        run(target, input);
    }
    let Some(seconds) = number("FUZZ_SECONDS") else {
        let mut random = fastrand::Rng::with_seed(2026);
        return (0..SOME).for_each(|_| run(target, &mutate::mutated(&corpus, &mut random)));
    };
    let seed = number("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let (start, mut runs) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        run(target, &mutate::mutated(&corpus, &mut random));
        runs += 1;
    }
    let told = format!("{}: {runs} runs, no find, seed {seed}\n", target.0);
    std::io::Write::write_all(&mut std::io::stdout(), told.as_bytes()).expect("written");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_request_makes_it_panic_answer_500_or_send_what_it_refuses() {
    corpus_and_some(REQUESTS);
}

#[test]
fn no_answer_of_upstream_makes_it_panic_answer_500_or_repeat_a_value() {
    corpus_and_some(UPSTREAM);
}

#[test]
fn no_configuration_makes_it_panic_or_show_a_secret() {
    corpus_and_some(CONFIGURATION);
}
