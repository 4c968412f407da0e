#!/usr/bin/env bash
# Measures the gateway on one core and compares it with three programs that do the same read:
#
#   nginx     passes the upstream's answer through: about the fastest a proxy can be
#   bare      axum and reqwest without logs, metrics or retries: serde_json::Value, cargo's default release
#             profile (no LTO, 16 codegen units)
#   tuned     the same proxy with typed parsing and the gateway's profile: fat LTO
#   gateway   this service as shipped, default log level, standard output to /dev/null
#
# bare and tuned are bare_proxy.rs with the gateway's dependencies and a plain #[tokio::main].
# On one processor, the gateway uses a runtime with one thread, which saves about a tenth of its CPU.
#
# JOB=write measures writes, each with its read-back. The upstream (write_stub.rs) stores them and shows them
# at once:
#
#   recipe    read, merge, PATCH the whole map, read again (tutorial.rs), as untuned as bare
#   tutorial  the same, as tuned as tuned
#   gateway   warm writes: all but the first write to a conversation find it in the snapshot cache
#
# VARIANTS can also name the gateway with options that are off by default:
#
#   guarded   twenty clients are configured, and the load uses the key of the last
#   traced    every request is traced; the stub accepts the spans
#   shared    replicas share a Redis, which runs on LOAD_CPU; this is one of them
#   three     three of those on PROXY_CPU, each with a third of the connections
#   audited   each write is recorded in a file before it is sent and when it has ended (JOB=write)
#
# Each program is started again in every round, alone on PROXY_CPU. The load generator (wrk) and the
# upstream stub (nginx) share LOAD_CPU. Rounds are interleaved and ratios are taken within a round, because
# the speed of a machine drifts. Every request is for another conversation. A failed request, or an answer
# without the expected attribute, stops the run.
#
#   benches/load/run.sh                              or: make load
#   JOB=write benches/load/run.sh                    or: make load-writes
#   ROUNDS=1 LONG=1 WARM=1 IDLE=1 benches/load/run.sh   a quick look
#
# Settings (environment) with their defaults:
#   BIN=a directory with the programs, which are not built then
#   ROUNDS=5  LONG=2 (s at c=64)  SHORT=1 (s at c=1)  WARM=1 (s)  IDLE=10 (s before the first VmRSS)
#   MEMORY_REQUESTS=100000  PROXY_CPU=0  LOAD_CPU=1  PORT=19040 (and the two after it)
#   BASE=the first of VARIANTS (what ratios refer to)
#   JOB=read  VARIANTS="nginx bare tuned gateway" ("recipe tutorial gateway" for writes)  PROFILE=release (dev: only to try this script out)
#
# How to read it: quote "CPU s/10k" (processor seconds for 10,000 requests) and its ratio. nginx also keeps
# the load core busy, so its requests per second are limited by the load generator. "others" is the most
# that other programs used of the two cores; above 0.15, discard the round.
set -euo pipefail
cd "$(dirname "$0")/../.."

ROUNDS=${ROUNDS:-5} LONG=${LONG:-2} SHORT=${SHORT:-1} WARM=${WARM:-1} IDLE=${IDLE:-10}
MEMORY_REQUESTS=${MEMORY_REQUESTS:-100000} PROXY_CPU=${PROXY_CPU:-0} LOAD_CPU=${LOAD_CPU:-1}
PORT=${PORT:-19040} PROFILE=${PROFILE:-release} JOB=${JOB:-read}
case $JOB in
read) VARIANTS=${VARIANTS:-nginx bare tuned gateway} script=distinct.lua ;;
write) VARIANTS=${VARIANTS:-recipe tutorial gateway} script=writes.lua ;;
*) echo "load: JOB is read or write" >&2 && exit 1 ;;
esac

base=${BASE:-${VARIANTS%% *}}
here=$PWD/benches/load
stub_port=$PORT
proxy_port=$((PORT + 2))
stub=http://127.0.0.1:$stub_port
work=$(mktemp -d)
ticks=$(getconf CLK_TCK)
redis_port=$((PORT + 1))
proxy='' upstream='' redis='' extra=()
export KEY=load-key-20
export LC_ALL=C # a decimal point in EPOCHREALTIME and awk

die() {
    echo "load: $*" >&2
    exit 1
}

# Only what we started, by its id; also when a step fails.
cleanup() {
    local pid
    for pid in $proxy "${extra[@]}" $upstream $redis; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

# --- what is needed ----------------------------------------------------------------------------

uses_redis() { [[ " $VARIANTS " == *" shared "* || " $VARIANTS " == *" three "* ]]; }

install_tools() {
    local missing=()
    command -v nginx >/dev/null || [[ -x /usr/sbin/nginx ]] || missing+=(nginx-light)
    command -v wrk >/dev/null || missing+=(wrk)
    uses_redis && ! command -v redis-server >/dev/null && missing+=(redis-server)
    command -v curl >/dev/null || missing+=(curl)
    command -v taskset >/dev/null || missing+=(util-linux)
    ((${#missing[@]} == 0)) && return
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
        die "please install: ${missing[*]} (as root on Debian this script does it itself)"
    fi
    apt-get update -qq
    # RUNLEVEL=1: the package must not start its own nginx on port 80.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build() {
    local what=(--example bare_proxy)
    [[ $JOB == write ]] && what=(--example tutorial --example write_stub)
    [[ " $VARIANTS " == *" gateway "* ]] && what+=(--bin attribute-gateway)
    target=$(realpath "${CARGO_TARGET_DIR:-target}")
    bin=${BIN:-$target/${PROFILE/#dev/debug}}
    [[ -n ${BIN:-} ]] && return
    cargo build --locked --profile "$PROFILE" "${what[@]}"
    [[ " $VARIANTS " != *" bare "* ]] || cargo build --locked --profile plain --example bare_proxy
    [[ " $VARIANTS " != *" recipe "* ]] || cargo build --locked --profile plain --example tutorial
}

# --- the upstream stub and the three proxies ---------------------------------------------------

# $1: name, $2: port, $3: what stands in the http block before the server, $4: its locations.
# One process (master_process off), so that its /proc/PID/stat is all there is to count.
nginx_conf() {
    mkdir -p "$work/$1"
    cat >"$work/$1.conf" <<CONF
daemon off; master_process off; worker_processes 1;
pid $work/$1/pid; error_log $work/$1.log warn;
events { worker_connections 1024; }
http {
  access_log off; default_type application/json; tcp_nodelay on;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path $work/$1/body; proxy_temp_path $work/$1/proxy;
  fastcgi_temp_path $work/$1/fcgi; uwsgi_temp_path $work/$1/uwsgi; scgi_temp_path $work/$1/scgi;
  $3
  server { listen 127.0.0.1:$2; $4 }
}
CONF
}

write_configs() {
    local body
    body=$(<"$here/conversation.json")
    # nginx reads the body as a quoted string of at most 4 KiB, in which \$ would be a variable.
    [[ $body != *[\'\$\\]* && ${#body} -lt 4000 ]] || die "conversation.json does not fit the stub"
    # shellcheck disable=SC2016 # nginx's variables, not ours
    nginx_conf stub "$stub_port" '' '
    location = /oauth/token { return 200 '\''{"access_token":"x","token_type":"bearer","expires_in":86400}'\''; }
    location = /count { stub_status; }
    location = /v1/traces { client_max_body_size 64m; return 200 ""; }
    location /api/v2/conversations/ {
      if ($request_method = PATCH) { return 202; }
      return 200 '\'"$body"\''; }'
    # shellcheck disable=SC2016
    nginx_conf nginx "$proxy_port" \
        "upstream genesys { server 127.0.0.1:$stub_port; keepalive 128; keepalive_requests 1000000000; }" '
    location /v1/conversations/ {
      rewrite ^/v1/conversations/([^/]+)/attributes$ /api/v2/conversations/$1 break;
      proxy_pass http://genesys; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer x"; }'
}

# Twenty clients; every variant receives the key of the last.
write_clients() {
    local number
    for number in {1..20}; do
        printf '[[auth.clients]]\nname = "caller-%d"\nkey_sha256 = "%s"\n' "$number" \
            "$(printf 'load-key-%d' "$number" | sha256sum | cut -d' ' -f1)"
    done >"$work/clients.toml"
}

# The command of one variant, started on its own core with nothing of the caller's environment.
start_proxy() {
    local command number more=()
    case $1 in
    nginx) command=(nginx -p "$work" -e "$work/nginx.log" -c "$work/nginx.conf") ;;
    bare) command=("$target/plain/examples/bare_proxy" "127.0.0.1:$proxy_port" "$stub" value) ;;
    tuned) command=("$bin/examples/bare_proxy" "127.0.0.1:$proxy_port" "$stub" typed) ;;
    recipe) command=("$target/plain/examples/tutorial" "127.0.0.1:$proxy_port" "$stub" value) ;;
    tutorial) command=("$bin/examples/tutorial" "127.0.0.1:$proxy_port" "$stub" typed) ;;
    gateway) command=("$bin/attribute-gateway" serve) ;;
    guarded) command=("$bin/attribute-gateway" serve) more=("GATEWAY__AUTH__CLIENTS_FILE=$work/clients.toml") ;;
    traced) command=("$bin/attribute-gateway" serve) more=("GATEWAY__TRACING__ENDPOINT=$stub") ;;
    audited) command=("$bin/attribute-gateway" serve) more=("GATEWAY__AUDIT__TO=$work/audit.jsonl") ;;
    shared | three) command=("$bin/attribute-gateway" serve) more=(
        GATEWAY__STORE__BACKEND=redis "GATEWAY__STORE__REDIS__URL=redis://127.0.0.1:$redis_port/"
    ) ;;
    *) die "no variant called $1" ;;
    esac
    started=$EPOCHREALTIME
    run_proxy "$proxy_port" "$1"
    proxy=$!
    if [[ $1 == three ]]; then
        for number in 1 2; do
            run_proxy $((proxy_port + number)) "$1"
            extra+=($!)
        done
    fi
}

# $1: port, $2: variant. Each replica has a name of its own.
run_proxy() {
    env -i PATH="$PATH:/usr/sbin" TOKIO_WORKER_THREADS=1 \
        GENESYS_CLIENT_ID=x GENESYS_CLIENT_SECRET=y \
        GATEWAY__SERVER__BIND="127.0.0.1:$1" GATEWAY__STORE__REDIS__REPLICA="on-$1" \
        GATEWAY__GENESYS__API_URL="$stub" GATEWAY__GENESYS__LOGIN_URL="$stub" \
        GATEWAY__GENESYS__REQUESTS_PER_MINUTE=100000000 "${more[@]}" \
        taskset -c "$PROXY_CPU" "${command[@]}" >/dev/null 2>"$work/$2.err" &
}

stop_proxy() {
    kill "$proxy" "${extra[@]}"
    wait "$proxy" "${extra[@]}" 2>/dev/null || true # how it ends is not what is measured
    proxy='' extra=()
}

# --- measuring ---------------------------------------------------------------------------------

# Milliseconds from the start of the process to its first 200 for a read of attributes. Asked for over
# bash's own socket: starting curl takes longer than starting the gateway.
first_200() {
    # The recipe does not read; that it answers is enough.
    local path="/v1/conversations/3f1c2b7a-58d0-4e7e-9c41-0a6d5c1e2b90/attributes" now
    until (
        exec 3<>"/dev/tcp/127.0.0.1/$proxy_port"
        printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nConnection: close\r\n\r\n' "$path" "$KEY" >&3
        read -r -t 1 status <&3
        [[ $status == *" 200 "* || ($1 == @(recipe|tutorial) && -n $status) ]]
    ) 2>/dev/null; do
        kill -0 "$proxy" 2>/dev/null || die "$1 ended: $(tail -5 "$work/$1.err")"
        awk "BEGIN { exit !($EPOCHREALTIME - $started > 10) }" && die "$1: no 200 within 10 s"
    done
    now=$EPOCHREALTIME
    awk "BEGIN { printf \"%.1f\", ($now - $started) * 1000 }"
}

# The answer must be the right one before its speed is worth anything.
check_answer() {
    if [[ $JOB == write ]]; then
        curl -sS --max-time 5 -X PUT -H 'Content-Type: application/json' -H "X-API-Key: $KEY" \
            -d '{"attributes":{"loyalty_tier":"checked"}}' \
            "http://127.0.0.1:$proxy_port/v1/conversations/$(</proc/sys/kernel/random/uuid)/attributes" \
            | grep -q '"loyalty_tier":"checked"' || die "$1 does not write"
        return
    fi
    curl -sS --max-time 5 -H "X-API-Key: $KEY" "http://127.0.0.1:$proxy_port/v1/conversations/$(</proc/sys/kernel/random/uuid)/attributes" \
        | grep -q '"crm_customer_id":"CRM-998877"' || die "$1 does not answer with the attributes"
}

# $1: connections, $2: seconds, $3: port, $4, $5: path before and after the id.
# Prints requests, microseconds, p50, p99; stops everything when one request failed.
load() {
    local out
    out=$(wrk -t1 -c"$1" -d"$2s" -s "$here/$script" "http://127.0.0.1:$3" -- "$4" "${5:-}" \
        | sed -n 's/^RESULT //p')
    [[ $out == *" 0" ]] || die "failed requests (requests, us, p50, p99, failed): $out"
    echo "${out% *}"
}

# With several proxies, each gets its part of the connections; requests add up, latencies are those of the first.
proxy_load() {
    local number parts=()
    if ((${#extra[@]} == 0 || $1 == 1)); then
        load "$1" "$2" "$proxy_port" /v1/conversations/ /attributes
        return
    fi
    for number in 0 1 2; do
        load $(($1 / 3)) "$2" $((proxy_port + number)) /v1/conversations/ /attributes >"$work/part$number" &
        parts+=($!)
    done
    wait "${parts[@]}"
    awk '{ sum += $1; if (NR == 1) rest = $2 " " $3 " " $4 } END { print sum, rest }' "$work"/part?
}

# Clock ticks that a process (and those children that it has waited for) has used.
ticks_of() {
    local stat
    stat=$(<"/proc/$1/stat")
    # shellcheck disable=SC2086 # split on purpose; the name in brackets, which may hold spaces, is cut off
    set -- ${stat##*) }
    echo $((${12} + ${13} + ${14} + ${15}))
}
proxy_ticks() {
    local pid sum=0
    for pid in $proxy "${extra[@]}"; do sum=$((sum + $(ticks_of "$pid"))); done
    echo "$sum"
}
redis_ticks() { if [[ -n $redis ]]; then ticks_of "$redis"; else echo 0; fi; }
ticks_busy() {
    awk -v a="cpu$PROXY_CPU" -v b="cpu$LOAD_CPU" \
        '$1 == a || $1 == b { sum += $2 + $3 + $4 + $7 + $8 + $9 } END { print sum }' /proc/stat
}
# The stub counts its own requests; this one is not to be counted.
upstream_calls() { curl -sS "$stub/count" | awk 'NR == 3 { print $3 }'; }
rss() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$proxy/status"; }

# One variant in one round: a line in $work/rows.
#   round variant req/s cpu-s/10k p50@64(ms) p50@1(ms) first-200(ms) upstream/request others(cores)
measure() {
    local first result requests us p50 single calls cpu others
    start_proxy "$2"
    first=$(first_200 "$2")
    # Credits of the shared budget come with the heartbeats.
    [[ $2 == shared || $2 == three ]] && sleep 5
    check_answer "$2"
    proxy_load 64 "$WARM" >/dev/null
    calls=$(upstream_calls) cpu=$(proxy_ticks)
    others=$(($(ticks_busy) - cpu - $(ticks_of "$upstream") - $(redis_ticks) - $(ticks_of $$)))
    # Not read from a process substitution: its children are not waited for, so not counted as ours.
    proxy_load 64 "$LONG" >"$work/result"
    result=$(<"$work/result")
    others=$(($(ticks_busy) - $(proxy_ticks) - $(ticks_of "$upstream") - $(redis_ticks) - $(ticks_of $$) - others))
    cpu=$(($(proxy_ticks) - cpu)) calls=$(($(upstream_calls) - calls - 1))
    read -r requests us p50 _ <<<"$result"
    result=$(proxy_load 1 "$SHORT")
    read -r _ _ single _ <<<"$result"
    stop_proxy
    awk -v OFS='\t' -v n="$requests" -v us="$us" -v t="$ticks" "BEGIN {
        print $1, \"$2\", n * 1e6 / us, $cpu / t * 1e4 / n, $p50 / 1e3, $single / 1e3, $first,
            $calls / n, $others / t * 1e6 / us }" | tee -a "$work/rows" >&2
}

# What one gets without any proxy, at one connection: the base of "added".
measure_direct() {
    local result single
    [[ $JOB == read ]] || return 0
    result=$(load 1 "$SHORT" "$stub_port" /api/v2/conversations/)
    read -r _ _ single _ <<<"$result"
    awk -v OFS='\t' "BEGIN { print $1, \"direct\", 0, 0, 0, $single / 1e3, 0, 0, 0 }" >>"$work/rows"
}

# Whether what is held of participants goes away: three rounds of ten thousand other conversations.
measure_bounds() {
    local round held
    start_proxy gateway
    first_200 gateway >/dev/null
    for round in 1 2 3; do
        POOL=10000 proxy_load 64 5 >/dev/null
        sleep 1 # what was under way when wrk stopped
        held=$(curl -sS "http://127.0.0.1:$proxy_port/metrics" \
            | awk '/^attribute_gateway_pending_write_participants / { print $2 }')
        printf '  round %d: %6s MiB, participants held %s\n' "$round" "$(rss)" "$held"
    done
    stop_proxy
}

# Memory is measured separately, on a process that has not served a request yet.
measure_memory() {
    local idle result requests done=0
    start_proxy "$1"
    sleep "$IDLE"
    idle=$(rss)
    while ((done < MEMORY_REQUESTS)); do
        result=$(proxy_load 64 2)
        read -r requests _ <<<"$result"
        done=$((done + requests))
    done
    printf '  %-8s %6s MiB idle for %s s, %6s MiB after %d requests at c=64\n' \
        "$1" "$idle" "$IDLE" "$(rss)" "$done"
    stop_proxy
}

# --- the report --------------------------------------------------------------------------------

# Medians over the rounds, in brackets the range. Ratios are of the same round.
report() {
    awk -F'\t' -v order="$VARIANTS" -v base="$base" '
        { rounds = $1 > rounds ? $1 : rounds; for (i = 3; i <= NF; i++) x[$2, $1, i] = $i }
        function sorted(n,   i, j, v) {
            for (i = 2; i <= n; i++) { v = s[i]; for (j = i - 1; j && s[j] > v; j--) s[j + 1] = s[j]; s[j + 1] = v }
        }
        # kind: "" the value, "/" its ratio to the variant b, "-" what it adds to b
        function cell(v, i, f, kind, b,   r, m, n) {
            for (r = 1; r <= rounds; r++) {
                if (kind != "" && !((b, r, i) in x)) return "-"
                m = x[v, r, i]
                s[++n] = kind == "/" ? m / x[b, r, i] : kind == "-" ? m - x[b, r, i] : m
            }
            sorted(n)
            m = n % 2 ? s[(n + 1) / 2] : (s[n / 2] + s[n / 2 + 1]) / 2
            return sprintf(f " (" f "-" f ")", m, s[1], s[n])
        }
        function row(a, b, c, d, e) { printf "  %-8s %-24s %-20s %-22s %s\n", a, b, c, d, e }
        END {
            n = split(order, v, " ")
            printf "\nThroughput and cost, c=64, median (range) of %d rounds\n", rounds
            row("", "req/s", "x " base, "CPU s/10k", "CPU x " base)
            for (i = 1; i <= n; i++)
                row(v[i], cell(v[i], 3, "%.0f"), cell(v[i], 3, "%.2f", "/", base), cell(v[i], 4, "%.3f"), cell(v[i], 4, "%.2f", "/", base))
            for (i = 1; i <= n; i++)
                if (index(" " order " ", " gateway ") && (v[i] == "bare" || v[i] == "tuned"))
                    printf "  gateway against %s: %s x req/s, %s x CPU\n", v[i], cell("gateway", 3, "%.2f", "/", v[i]), cell("gateway", 4, "%.2f", "/", v[i])
            printf "\nLatency in ms (direct to the stub at c=1: %s)\n", cell("direct", 6, "%.3f")
            row("", "p50 c=64", "p50 c=1", "added at c=1", "start to first 200")
            for (i = 1; i <= n; i++)
                row(v[i], cell(v[i], 5, "%.2f"), cell(v[i], 6, "%.3f"), cell(v[i], 6, "%.3f", "-", "direct"), cell(v[i], 7, "%.0f"))
            print "\nChecks (no request failed; what was under way when wrk stopped is above 1.000)"
            row("", "upstream calls/request", "", "others (cores)", "")
            for (i = 1; i <= n; i++) row(v[i], cell(v[i], 8, "%.3f"), "", cell(v[i], 9, "%.2f"), "")
        }' "$work/rows"
}

# --- main --------------------------------------------------------------------------------------

(($(nproc) >= 2)) || die "needs two processors"
install_tools
build
write_configs
write_clients
# This shell, and with it wrk and the stub, keeps to its own core from here on.
taskset -cp "$LOAD_CPU" $$ >/dev/null

if [[ $JOB == write ]]; then
    "$bin/examples/write_stub" "127.0.0.1:$stub_port" "$here/conversation.json" 2>"$work/stub.log" &
else
    PATH="$PATH:/usr/sbin" nginx -p "$work" -e "$work/stub.log" -c "$work/stub.conf" &
fi
upstream=$!
if uses_redis; then
    redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly yes --appendfsync always \
        --dir "$work" >/dev/null &
    redis=$!
fi
until curl -sf "$stub/count" >/dev/null; do
    kill -0 "$upstream" 2>/dev/null || die "the stub ended: $(cat "$work/stub.log")"
    sleep 0.05
done

echo "$(date -u +%F) $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(uname -sr), $(rustc --version), $(PATH="$PATH:/usr/sbin" nginx -v 2>&1), profile $PROFILE, ${LONG} s at c=64, ${SHORT} s at c=1"
for ((round = 1; round <= ROUNDS; round++)); do
    measure_direct "$round"
    for variant in $VARIANTS; do measure "$round" "$variant"; done
done
report
echo
echo "Memory (VmRSS)"
for variant in $VARIANTS; do
    # nginx's memory is no yardstick for ours
    [[ $variant == nginx ]] || measure_memory "$variant"
done
if [[ $JOB == write ]]; then
    echo
    echo "Bounds (VmRSS after each round of 10,000 distinct conversations)"
    measure_bounds
fi
