//! Everything that parses bytes from outside, given arbitrary bytes: what clients send, what
//! upstream answers, what operators configure.
//!
//! Each target has a corpus in `corpus/`, readable as far as can be, of sound inputs and of those that
//! once found something. It runs whole in every test run, with some mutations of it from a fixed seed.
//! `make fuzz` runs the same targets for longer, guided by coverage.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::Target;

/// Mutations in a test run, each target.
const SOME: usize = 200;

fn corpus((name, _): Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzz/corpus")).join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |file: PathBuf| std::fs::read(&file).map(|input| (file, input));
    files.into_iter().map(|file| read(file).expect("readable")).collect()
}

fn passes((_, target): Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).is_ok()
}

/// Keeps an input that found something below `target/`.
fn kept((name, _): Target, input: &[u8]) -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/fuzz"));
    let sum =
        input.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let file = folder.join(format!("{name}-{sum:016x}"));
    std::fs::create_dir_all(folder).expect("made");
    std::fs::write(&file, input).expect("written");
    file
}

/// The corpus, and mutations of it.
fn corpus_and_some(name: &str) {
    let target = *targets::ALL.iter().find(|target| target.0 == name).expect("a target");
    let corpus = corpus(target);
    assert!(corpus.len() >= 10, "the corpus is not there");
    for (file, input) in &corpus {
        assert!(passes(target, input), "{name} fails for {}", file.display());
    }
    let inputs: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    let words = mutate::words();
    let mut random = fastrand::Rng::with_seed(2026);
    for _ in 0..SOME {
        let input = mutate::mutated(&inputs, &words, &mut random);
        assert!(passes(target, &input), "{name} fails for {}", kept(target, &input).display());
    }
}

#[test]
fn no_request_makes_it_panic_answer_500_or_send_what_it_refuses() {
    corpus_and_some("requests");
}

#[test]
fn no_client_sees_or_changes_what_is_hidden_from_it() {
    corpus_and_some("callers");
}

#[test]
fn no_upstream_answer_causes_a_panic_500_or_a_leaked_value() {
    corpus_and_some("upstream");
}

#[test]
fn no_configuration_makes_it_panic_or_show_a_secret() {
    corpus_and_some("configuration");
}

#[test]
fn no_file_of_callers_makes_two_of_them_one_or_shows_a_key() {
    corpus_and_some("clients");
}

#[test]
fn no_header_makes_a_stranger_choose_who_he_is_taken_for() {
    corpus_and_some("addresses");
}

#[test]
fn no_certificate_makes_it_panic_or_write_two_names_alike() {
    corpus_and_some("certificates");
}

#[test]
fn no_word_is_read_as_something_else_than_it_is_shown_as() {
    corpus_and_some("texts");
}

#[test]
fn every_target_has_its_test_here() {
    let here = include_str!("mod.rs");
    for (name, _) in targets::ALL {
        assert!(here.contains(&format!("    corpus_and_some(\"{name}\");\n")), "{name}");
    }
}
