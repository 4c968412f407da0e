#!/usr/bin/env bash
# Sets one participant attribute of a live call: reads, and writes on condition that the participant's
# attributes have not changed in between.
#
#   set-attribute.sh CONVERSATION KEY VALUE          (needs curl and jq)
#
# GATEWAY_URL (http://127.0.0.1:8080), GATEWAY_KEY (sent as Authorization: Bearer), GATEWAY_WAIT (how
# long one answer may take, 5 s) and PATIENCE (how long everything may take, 30 s) come from the
# environment. Exit status: 0 written; 1 refused, or out of time; 3 accepted, but not visible yet;
# 4 impossible: another writer's value stands, or the call has ended.
set -euo pipefail

if (($# != 3)); then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
conversation=$1 key=$2 value=$3
wait=${GATEWAY_WAIT:-5} patience=${PATIENCE:-30}

url=${GATEWAY_URL:-http://127.0.0.1:8080}/v1/conversations/$conversation/attributes

answer=$(mktemp -d)
trap 'rm -rf "$answer"' EXIT

# Keeps the key out of the process list.
printf 'header = "Prefer: wait=%s"\n' "$wait" >"$answer/curlrc"
[[ -z ${GATEWAY_KEY:-} ]] || printf 'header = "Authorization: Bearer %s"\n' "$GATEWAY_KEY" >>"$answer/curlrc"

# Calls the gateway with these curl options; sets `status`, 000 if there was no answer.
call() {
    status=$(curl --silent --config "$answer/curlrc" --max-time $((wait + 2)) \
        --dump-header "$answer/head" --output "$answer/body" --write-out '%{http_code}' "$@" "$url") || status=000
}

header() {
    tr -d '\r' <"$answer/head" | sed -n "s/^$1: //Ip" | tail -n 1
}

# A member of the answer; empty if a proxy answered instead of the gateway.
member() {
    jq -r "$1 // empty" "$answer/body" 2>/dev/null || true
}

problem() {
    member '"\(.code): \(.message) \(.hint) (request \(.requestId))"' | grep . || echo "HTTP $status"
}

# Waits this number of seconds, or gives up if there is not enough time.
pause() {
    if ((SECONDS + $1 > patience)); then
        echo "out of patience: $2" >&2
        exit 1
    fi
    echo "$2; again in $1 s" >&2
    sleep "$1"
}

# 202: the platform has accepted the write and does not show it yet. Writing again does not help; reading
# again does.
look() {
    while ((SECONDS + 1 <= patience)); do
        sleep 1
        call
        if [[ $status == 200 ]] && jq -e --arg key "$key" --arg value "$value" \
            '(.attributes[$key] // "") == $value' "$answer/body" >/dev/null; then
            echo verified
            exit 0
        fi
    done
    echo accepted
    exit 3
}

while true; do
    # Every attempt begins with a read. If the result of the previous one is unknown, the read shows it,
    # and nothing is written twice.
    call
    if [[ $status == 200 ]]; then
        jq -n --arg key "$key" --arg value "$value" '{attributes: {($key): $value}}' >"$answer/request"
        call --request PUT --header "If-Match: $(header etag)" \
            --header 'Content-Type: application/json' --data-binary "@$answer/request"
        case $status in
            200) jq -r --arg key "$key" '.outcomes[$key]' "$answer/body" && exit 0 ;;
            202) look ;;
        esac
    fi
    case $status in
        412) # another client was faster: read and decide again
            pause 1 "changed meanwhile"
            ;;
        409) # retryable only if the platform answered inconsistently
            if [[ $(member .retryable) != true ]]; then
                problem >&2
                exit 4
            fi
            pause 1 "$(problem)"
            ;;
        429 | 503 | 504) # Retry-After is in whole seconds
            after=$(header retry-after)
            pause "${after:-1}" "$(problem)"
            ;;
        000) pause 1 "no answer" ;;
        *)
            problem >&2
            exit 1
            ;;
    esac
done
