#!/usr/bin/env bash
# Shows that /live works in a real browser. Run by hand (`make live-browser`) when the page changes; with a
# folder as argument it leaves pictures of /live and /docs there (`make screenshots`). Needs Node, npm, Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "live test: $*" >&2
    exit 1
}

source tests/environment.sh
pictures=${1:+$PWD/$1}
log=$target/live-demo.log
trap show_on_failure EXIT

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    die "needs Chromium (on Debian: apt-get install chromium)"
command -v npm >/dev/null || die "needs Node and npm"
rm -f "$log"
mkdir -p "$target/docs-browser" ${pictures:+"$pictures"}
cargo build --quiet --bin attribute-gateway
script=$PWD/tests/docs/live.mjs
# An operator who sees no attribute; `demo` adds the client of its examples.
clients=$target/live-clients.toml
key=$(printf ops-key | sha256sum | cut -d" " -f1)
printf '[[auth.clients]]\nname = "ops"\nkey_sha256 = "%s"\noperate = true\naccess = "read"\nallow = []\n' "$key" >"$clients"
cp tests/docs/package.json "$target/docs-browser/"
npm install --prefix "$target/docs-browser" --silent --no-fund --no-audit --no-package-lock
port=$(free_port)
env -i PATH="$PATH" GATEWAY__SERVER__BIND="127.0.0.1:$port" GATEWAY__SIMULATOR__BIND=127.0.0.1:0 \
    GATEWAY__AUTH__CLIENTS_FILE="$clients" GATEWAY__SERVER__DRAIN=1s \
    "$target/debug/attribute-gateway" demo >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
cd "$target/docs-browser"
timeout 120 node "$script" "http://127.0.0.1:$port" "$chromium" "$server" ${pictures:+"$pictures"}
