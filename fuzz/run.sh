#!/usr/bin/env bash
# Fuzzes the targets of tests/it/fuzz with libFuzzer, guided by coverage, on the stable toolchain. It needs a
# C++ compiler. Arguments: the targets (default all). FUZZ_SECONDS: time for each (60). The corpus in
# target/fuzz/corpus grows from run to run. A target stops at its first find, which is stored in
# target/fuzz/finds; the exit status is then 1.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
readonly seconds=${FUZZ_SECONDS:-60} here=$CARGO_TARGET_DIR/fuzz corpus=tests/it/fuzz/corpus

# LLVM counts edges and reports comparisons to libFuzzer. With an explicit target, build scripts and macros
# are not instrumented.
host=$(rustc --print host-tuple)
sancov='-C passes=sancov-module -C force-frame-pointers'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    sancov+=" -C llvm-args=-sanitizer-coverage-$option"
done
# Not --locked: the lock file follows the gateway's dependencies and keeps its versions.
RUSTFLAGS=$sancov cargo build --quiet --release --target "$host" --manifest-path fuzz/Cargo.toml
readonly fuzz=$CARGO_TARGET_DIR/$host/release/fuzz

(($# > 0)) || set -- $(ls "$corpus")
found=0
for target; do
    mkdir -p "$here/corpus/$target" "$here/finds"
    log=$here/$target.log
    start=$SECONDS
    # A panic, also in a task, ends the process, and libFuzzer stores the input.
    FUZZ_TARGET=$target "$fuzz" -max_total_time="$seconds" -timeout=20 -max_len=16384 \
        -dict=tests/it/fuzz/words.dict -artifact_prefix="$here/finds/$target-" -print_final_stats=1 \
        "$here/corpus/$target" "$corpus/$target" >"$log" 2>&1 && status=0 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    # The covered edges; not reported if the corpus itself has a find.
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-14s %4d s  %9s runs  %6s edges' "$target" $((SECONDS - start)) "${runs:-?}" "${edges:-?}"
    if ((status == 0)); then
        echo '  no find'
    else
        found=1
        echo "  FOUND: $(sed -n 's/.*Test unit written to //p' "$log"), see $log"
    fi
done
exit "$found"
