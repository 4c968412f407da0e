# shellcheck shell=bash disable=SC2154 # `log` and `server` are set by who sources it
# What the tests in Python need: an environment of their own, a free port, a server that listens.
# To be sourced, with `die MESSAGE` defined; nothing is installed beside the target directory.

target=${CARGO_TARGET_DIR:-target}

# $1: name of the environment; $2: file with exact versions. Leaves its directory in $venv.
python_environment() {
    venv=$target/$1-venv
    # Debian keeps the part of Python that makes environments in a package of its own.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
            die "needs python3 with venv (on Debian: apt-get install python3-venv)"
        fi
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv >/dev/null
    fi
    # The copy of the list is written last, so that an installation that was cut off is done again.
    if ! cmp -s "$2" "$venv/installed.txt" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$2"
        cp "$2" "$venv/installed.txt"
    fi
}

# The tests start servers of their own. The one that comes with the package is stopped.
redis_server() {
    command -v redis-server >/dev/null && return
    local root=()
    ((EUID == 0)) || root=(sudo -n)
    if ! command -v apt-get >/dev/null || ! "${root[@]}" true 2>/dev/null; then
        die "needs redis-server 6.2 or later (on Debian: apt-get install redis-server)"
    fi
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --no-install-recommends redis-server >/dev/null
    "${root[@]}" systemctl disable --quiet --now redis-server 2>/dev/null ||
        "${root[@]}" service redis-server stop >/dev/null
}

# A port that was free a moment ago.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# $1: the process; $2: its port.
await_listening() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && return
        kill -0 "$1" 2>/dev/null || die "the server ended at once"
        sleep 0.1
    done
    die "nothing listens on port $2"
}

# When the script ends: ends $server and, if the script failed, shows what is in $log of it.
show_on_failure() {
    local status=$?
    if [[ -n ${server:-} ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if ((status != 0)) && [[ -s ${log:-} ]]; then
        echo "--- the server said (all of it: $log), access lines left out:" >&2
        grep -vE '"level":"INFO".*"target":"access"\}$' "$log" | tail -40 >&2
    fi
}
