#!/usr/bin/env bash
# Runs the client examples of deploy/examples, each against an `attribute-gateway demo` of its own, in
# every situation that they have to have an answer to (scenarios.py): the shell script, Python, and
# TypeScript where there is Node. Part of `make test`; what the clients need is installed into the
# target directory, never beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

demos=()
runs=()
names=()

die() {
    echo "examples test: $*" >&2
    exit 1
}

source tests/environment.sh
work=$target/examples

finish() {
    local started
    for started in "${runs[@]}" "${demos[@]}"; do
        kill "$started" 2>/dev/null || true
        wait "$started" 2>/dev/null || true
    done
}
trap finish EXIT

# What the shell script needs.
install_shell() {
    command -v curl >/dev/null && command -v jq >/dev/null && return
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
        die "needs curl and jq (on Debian: apt-get install curl jq)"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends curl jq >/dev/null
}

# Checks the types, which Node itself does not, and makes JavaScript for Nodes that know no TypeScript.
compile_typescript() {
    local node=$work/node
    if ! cmp -s tests/examples/package.json "$node/installed.json"; then
        rm -rf "$node"
        mkdir -p "$node"
        cp tests/examples/package.json "$node/"
        npm install --prefix "$node" --silent --no-audit --no-fund --no-package-lock
        cp tests/examples/package.json "$node/installed.json"
    fi
    "$node/node_modules/.bin/tsc" --strict --noUncheckedIndexedAccess --erasableSyntaxOnly \
        --target es2022 --module esnext --moduleResolution bundler --lib es2023 \
        --types node --typeRoots "$node/node_modules/@types" \
        --outDir "$node" deploy/examples/set-attribute.ts
}

# Starts a demo on ports that the system chooses, and the scenarios with a client against it. The settle time
# is short, so that a client learns of a replaced value before its patience ends.
# $1: its name; then the client's command
try_client() {
    local name=$1 log=$work/$1-demo.log tries urls
    shift
    GATEWAY__VERIFY__SETTLE=1s GATEWAY__SERVER__BIND=127.0.0.1:0 GATEWAY__SIMULATOR__BIND=127.0.0.1:0 \
        "$target/debug/attribute-gateway" demo >"$log" 2>&1 &
    demos+=($!)
    for ((tries = 0; tries < 100; tries++)); do
        # The gateway's URL is the first that it prints, the simulator's the second.
        mapfile -t urls < <(grep -o 'http://127\.0\.0\.1:[0-9]*' "$log" | head -2)
        ((${#urls[@]} < 2)) || break
        kill -0 "${demos[-1]}" 2>/dev/null || die "the demo for $name ended at once: $(tail -3 "$log")"
        sleep 0.1
    done
    ((${#urls[@]} == 2)) || die "the demo for $name does not tell where it is"
    # A client that hangs must not hang the tests.
    timeout 240 python3 tests/examples/scenarios.py "${urls[@]}" "$@" >"$work/$name.txt" 2>&1 &
    runs+=($!)
    names+=("$name")
}

mkdir -p "$work"
cargo build --quiet --bin attribute-gateway
install_shell
python_environment examples tests/examples/requirements.txt

# Side by side: most of the time all of them wait.
try_client shell deploy/examples/set-attribute.sh
try_client python "$venv/bin/python" deploy/examples/set_attribute.py
if command -v node >/dev/null && command -v npm >/dev/null; then
    compile_typescript
    try_client typescript node "$work/node/set-attribute.js"
else
    echo "no Node here: deploy/examples/set-attribute.ts is not tried"
fi

failed=0
for run in "${!runs[@]}"; do
    wait "${runs[$run]}" || failed=1
    echo "${names[$run]}:"
    cat "$work/${names[$run]}.txt"
done
exit "$failed"
