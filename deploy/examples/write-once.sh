#!/usr/bin/env bash
# Sets one participant attribute of a live call exactly once, however often the request is repeated.
#
#   write-once.sh NAME CONVERSATION KEY VALUE        (needs curl and jq)
#
# NAME identifies this write, such as the id of a CRM event: the same event, the same name, also in
# another process. GATEWAY_URL (http://127.0.0.1:8080), GATEWAY_KEY (sent as X-API-Key) and PATIENCE (how
# long everything may take, 30 s) come from the environment. Exit status: 0 written, 1 not written.
set -euo pipefail

if (($# != 4)); then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
name=$1 key=$3 value=$4
url=${GATEWAY_URL:-http://127.0.0.1:8080}/v1/conversations/$2/attributes

answer=$(mktemp -d)
trap 'rm -rf "$answer"' EXIT
# Keeps the key out of the process list.
printf 'header = "X-API-Key: %s"\n' "${GATEWAY_KEY:-}" >"$answer/curlrc"
jq -n --arg key "$key" --arg value "$value" '{attributes: {($key): $value}}' >"$answer/request"

while true; do
    status=$(curl --silent --config "$answer/curlrc" --max-time 10 --request PUT \
        --header "Idempotency-Key: $name" --header 'Content-Type: application/json' \
        --data-binary "@$answer/request" --dump-header "$answer/head" --output "$answer/body" \
        --write-out '%{http_code}' "$url") || status=000
    if [[ $status == 200 ]]; then
        jq -r --arg key "$key" '.outcomes[$key]' "$answer/body"
        exit 0
    fi
    # 202: sent and not seen yet; the repeat reads. 000: no answer; the repeat gets the first one.
    retryable=$(jq -r '.retryable // false' "$answer/body" 2>/dev/null || true)
    if [[ $status != 202 && $status != 000 && $retryable != true ]]; then
        jq -r '"\(.code): \(.message) \(.hint)"' "$answer/body" >&2 || echo "HTTP $status" >&2
        exit 1
    fi
    after=$(tr -d '\r' <"$answer/head" 2>/dev/null | sed -n 's/^retry-after: //Ip' | tail -n 1)
    if ((SECONDS + ${after:-1} > ${PATIENCE:-30})); then
        echo "out of patience: HTTP $status" >&2
        exit 1
    fi
    sleep "${after:-1}"
done
