#!/usr/bin/env bash
# Shows that /docs works in a real browser, under its policy. Run by hand (`make docs-browser`) when the page or
# Swagger UI changes: it needs Node, npm and Chromium, which `make test` does not ask for.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "docs test: $*" >&2
    exit 1
}

source tests/environment.sh
log=$target/docs-demo.log
trap show_on_failure EXIT

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    die "needs Chromium (on Debian: apt-get install chromium)"
command -v npm >/dev/null || die "needs Node and npm"
rm -f "$log"
mkdir -p "$target/docs-browser"
cargo build --quiet --bin attribute-gateway
script=$PWD/tests/docs/browser.mjs
cp tests/docs/package.json "$target/docs-browser/"
npm install --prefix "$target/docs-browser" --silent --no-fund --no-audit --no-package-lock
port=$(free_port)
env -i PATH="$PATH" GATEWAY__SERVER__BIND="127.0.0.1:$port" GATEWAY__SIMULATOR__BIND=127.0.0.1:0 \
    "$target/debug/attribute-gateway" demo >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
cd "$target/docs-browser"
timeout 120 node "$script" "http://127.0.0.1:$port" "$chromium" "$PWD/docs.png"
