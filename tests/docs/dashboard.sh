#!/usr/bin/env bash
# Draws the dashboard from the running program: `demo` with traffic, a real Prometheus, and each query of each
# panel. Fails if a query is invalid or finds no series. Part of `make screenshots`. $1: the folder of the picture.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "dashboard test: $*" >&2
    exit 1
}

source tests/environment.sh
picture=$PWD/$1/dashboard.png
log=$target/dashboard-demo.log
work=$(mktemp -d)
finish() {
    for process in ${prometheus:-} ${redis:-}; do
        kill "$process" && wait "$process" || true
    done 2>/dev/null
    show_on_failure
    rm -rf "$work"
}
trap finish EXIT

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    die "needs Chromium (on Debian: apt-get install chromium)"
command -v npm >/dev/null || die "needs Node and npm"
command -v prometheus >/dev/null || die "needs Prometheus (on Debian: apt-get install prometheus)"
redis_server
mkdir -p "$target/docs-browser" "$1"
cargo build --quiet --bin attribute-gateway
cp tests/docs/package.json "$target/docs-browser/"
npm install --prefix "$target/docs-browser" --silent --no-fund --no-audit --no-package-lock

port=$(free_port) simulator=$(free_port) store=$(free_port) query=$(free_port)
redis-server --port "$store" --bind 127.0.0.1 --appendonly yes --appendfsync always --dir "$work" >"$work/redis.log" &
redis=$!
await_listening "$redis" "$store"
for name in crm ivr; do
    printf '[[auth.clients]]\nname = "%s"\nkey_sha256 = "%s"\n' \
        "$name" "$(printf %s-key "$name" | sha256sum | cut -d" " -f1)"
done >"$work/clients.toml"
env -i PATH="$PATH" GATEWAY__SERVER__BIND="127.0.0.1:$port" GATEWAY__SIMULATOR__BIND="127.0.0.1:$simulator" \
    GATEWAY__AUTH__CLIENTS_FILE="$work/clients.toml" GATEWAY__STORE__BACKEND=redis \
    GATEWAY__STORE__REDIS__URL="redis://127.0.0.1:$store" GATEWAY__STORE__REDIS__EXPECTED_REPLICAS=1 \
    "$target/debug/attribute-gateway" demo >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: attribute-gateway
    authorization: {credentials: crm-key}
    static_configs: [targets: ["127.0.0.1:$port"]]
YAML
prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$query" >"$work/prometheus.log" 2>&1 &
prometheus=$!
await_listening "$prometheus" "$query"
script=$PWD/tests/docs/dashboard.mjs
dashboard=$PWD/deploy/observability/grafana/dashboards/attribute-gateway.json
cd "$target/docs-browser"
timeout 180 node "$script" "$port" "$simulator" "$query" "$chromium" "$dashboard" "$picture"
