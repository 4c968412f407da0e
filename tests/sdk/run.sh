#!/usr/bin/env bash
# Runs the official Genesys Cloud SDK for Python, unchanged, against `attribute-gateway simulate`: what
# the SDK accepts is the best evidence that the simulator, on which all other tests rest, speaks as the
# platform does. Part of `make test`; installs the SDK into the target directory, never beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "sdk test: $*" >&2
    exit 1
}

source tests/environment.sh
log=$target/sdk-simulator.log
trap show_on_failure EXIT

rm -f "$log"
mkdir -p "$target"
cargo build --quiet --bin attribute-gateway
python_environment sdk tests/sdk/requirements.txt
port=$(free_port)
GATEWAY__SIMULATOR__BIND=127.0.0.1:$port "$target/debug/attribute-gateway" simulate >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
# A client that hangs must not hang the tests.
timeout 120 "$venv/bin/python" tests/sdk/genesys_sdk.py "http://127.0.0.1:$port"
