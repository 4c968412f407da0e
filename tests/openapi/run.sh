#!/usr/bin/env bash
# Holds the description of the API against the standard, and the running gateway against the description:
# lints openapi.yaml, checks its examples, makes clients of it in Python and TypeScript and uses them, and
# lets Schemathesis try `demo` with whatever the document allows and forbids. Part of `make test`; installs
# all of it into the target directory.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "openapi test: $*" >&2
    exit 1
}

source tests/environment.sh
log=$target/openapi-demo.log
trap show_on_failure EXIT

rm -f "$log"
mkdir -p "$target"
cargo build --quiet --bin attribute-gateway
python_environment openapi tests/openapi/requirements.txt
"$venv/bin/python" tests/openapi/lint.py openapi.yaml

client=$target/openapi-client
rm -rf "$client"
mkdir -p "$client"
"$venv/bin/openapi-python-client" generate --path openapi.yaml --config tests/openapi/generator.yaml \
    --meta none --output-path "$client/gateway_client" >"$client/generator.log" 2>&1 ||
    die "no client can be generated: $(cat "$client/generator.log")"
# It knows no bodies but JSON, and where JSON is one of several it offers that alone.
json_alone='(PUT /v1/conversations/[^ ]*/\{key\}|POST /v1/debug/echo|GET /openapi.yaml|GET /metrics) within'
lost=$(grep -E '^(WARNING|ERROR)' "$client/generator.log" | grep -vE "$json_alone" || true)
[[ -z $lost ]] || die "the generated client lacks something: $lost"

port=$(free_port)
# One caller is enough for every operation to ask who it is; `demo` adds its own, whose key is known.
clients=$target/openapi-clients.toml
printf '[[auth.clients]]\nname = "nobody"\nkey_sha256 = "%064d"\n' 0 >"$clients"
# Nothing of time or budget gets into the way of thousands of requests; the aids for debugging are
# part of the API.
env -i PATH="$PATH" \
    GATEWAY__SERVER__BIND="127.0.0.1:$port" \
    GATEWAY__SIMULATOR__BIND=127.0.0.1:0 \
    GATEWAY__SIMULATOR__LATENCY=0s \
    GATEWAY__SIMULATOR__LAG=0s \
    GATEWAY__SIMULATOR__REQUESTS_PER_MINUTE=0 \
    GATEWAY__GENESYS__REQUESTS_PER_MINUTE=1000000 \
    GATEWAY__DEBUG__ENABLED=true \
    GATEWAY__AUTH__CLIENTS_FILE="$clients" \
    "$target/debug/attribute-gateway" demo >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
url=http://127.0.0.1:$port
timeout 60 "$venv/bin/python" tests/openapi/client.py "$client" "$url"
if command -v npm >/dev/null; then
    sample=$target/openapi-typescript
    mkdir -p "$sample"
    # The copy of the lock is written last, so that an installation that was cut off is done again.
    if ! cmp -s tests/openapi/typescript/package-lock.json "$sample/installed.json"; then
        cp tests/openapi/typescript/package*.json "$sample"
        timeout 300 npm ci --prefix "$sample" --silent --no-audit --no-fund
        cp tests/openapi/typescript/package-lock.json "$sample/installed.json"
    fi
    cp tests/openapi/typescript/{client.ts,tsconfig.json} "$sample"
    "$sample/node_modules/.bin/openapi-typescript" openapi.yaml --output "$sample/gateway.ts" >/dev/null 2>&1
    "$sample/node_modules/.bin/tsc" --project "$sample"
    timeout 60 node "$sample/client.js" "$url"
else
    echo "openapi test: no npm, so no TypeScript client is made" >&2
fi
# Reports, and what it remembers, belong to the target directory.
work=$target/openapi-work
mkdir -p "$work"
configuration=$PWD/tests/openapi/schemathesis.toml
schemathesis=$(realpath "$venv/bin/schemathesis")
cd "$work"
PYTHONPATH=$(dirname "$configuration") PYTHONDONTWRITEBYTECODE=1 NO_COLOR=1 \
    timeout 240 "$schemathesis" --config-file "$configuration" run "$url/openapi.json" --url "$url" --checks all \
    --header 'X-API-Key: demo-key'
