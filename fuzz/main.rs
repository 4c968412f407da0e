//! Hands what libFuzzer makes to one of the targets.
#![no_main]

#[path = "../tests/it/fuzz/targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let find = targets::ALL.into_iter().find(|(name, _)| *name == wanted);
    find.expect("FUZZ_TARGET is one of the targets").1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
