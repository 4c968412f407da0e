#!/usr/bin/env bash
# Runs the official Genesys Cloud SDK for Python, unchanged, against `attribute-gateway simulate`: what
# the SDK accepts is the best evidence that the simulator, on which all other tests rest, speaks as the
# platform does. Part of `make test`; installs the SDK into the target directory, never beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/sdk-venv
log=$target/sdk-simulator.log
simulator=''

die() {
    echo "sdk test: $*" >&2
    exit 1
}

finish() {
    local status=$?
    if [[ -n $simulator ]]; then
        kill "$simulator" 2>/dev/null || true
        wait "$simulator" 2>/dev/null || true
    fi
    if ((status != 0)) && [[ -s $log ]]; then
        echo "--- the simulator said:" >&2
        tail -40 "$log" >&2
    fi
}
trap finish EXIT

install_sdk() {
    # Debian keeps the part of Python that makes environments in a package of its own.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
            die "needs python3 with venv (on Debian: apt-get install python3-venv)"
        fi
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv >/dev/null
    fi
    # The copy of the list is written last, so that an installation that was cut off is done again.
    if ! cmp -s tests/sdk/requirements.txt "$venv/installed.txt" \
        || ! "$venv/bin/python" -c '' 2>/dev/null; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
        cp tests/sdk/requirements.txt "$venv/installed.txt"
    fi
}

# A port that was free a moment ago.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_simulator() {
    local tries
    GATEWAY__SIMULATOR__BIND=127.0.0.1:$1 "$target/debug/attribute-gateway" simulate >"$log" 2>&1 &
    simulator=$!
    for ((tries = 0; tries < 100; tries++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        kill -0 "$simulator" 2>/dev/null || die "the simulator ended at once"
        sleep 0.1
    done
    die "the simulator does not listen on port $1"
}

rm -f "$log"
mkdir -p "$target"
cargo build --quiet --bin attribute-gateway
install_sdk
port=$(free_port)
start_simulator "$port"
# A client that hangs must not hang the tests.
timeout 120 "$venv/bin/python" tests/sdk/genesys_sdk.py "http://127.0.0.1:$port"
