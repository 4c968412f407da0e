#!/usr/bin/env bash
# Checks what deploy/ ships: the alerts and their tests (promtool), the manifests against the schemas of
# Kubernetes, the compose file, the systemd unit, the bill of materials, the names of all metrics and the
# runbooks against a running gateway, and the image where there is a container engine. Part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "deploy test: $*" >&2
    exit 1
}

source tests/environment.sh
log=$target/deploy-demo.log
trap show_on_failure EXIT

if ! command -v promtool >/dev/null; then
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
        die "needs promtool (on Debian: apt-get install prometheus)"
    fi
    apt-get update -qq
    # RUNLEVEL=1: the package must not start its own Prometheus.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends prometheus >/dev/null
fi
python_environment deploy tests/deploy/requirements.txt

alerts=deploy/observability/prometheus
promtool check rules "$alerts/alerts.yaml" >/dev/null
promtool check config --syntax-only "$alerts/prometheus.yaml" >/dev/null
promtool test rules "$alerts/alerts_test.yaml" >"$target/deploy-alerts.log" 2>&1 ||
    die "$(cat "$target/deploy-alerts.log")"

# The unit names a program that is installed only on the target machine.
if command -v systemd-analyze >/dev/null; then
    unit=$target/attribute-gateway.service
    sed 's#/usr/local/bin/attribute-gateway#/bin/true#' deploy/systemd/attribute-gateway.service >"$unit"
    systemd-analyze verify --man=no "$unit"
else
    echo "deploy test: systemd-analyze is not installed, so the unit is not verified"
fi

mkdir -p "$target"
cargo build --quiet --bin attribute-gateway
program=$target/debug/attribute-gateway

# The settings of the Kubernetes base are valid.
env -i PATH="$PATH" GENESYS_CLIENT_ID=id GENESYS_CLIENT_SECRET=secret \
    GATEWAY__AUTH__CLIENTS_FILE=deploy/kubernetes/base/clients.toml \
    "$program" --config deploy/kubernetes/base/config.toml check-config >"$target/deploy-config.log" 2>&1 ||
    die "$(cat "$target/deploy-config.log")"

python3 deploy/sbom.py >"$target/sbom.cdx.json"

# Where clients are configured, the demo adds one of its own, `demo` with the key `demo-key`.
port=$(free_port) simulator=$(free_port)
env -i PATH="$PATH" GATEWAY__SERVER__BIND="127.0.0.1:$port" GATEWAY__SIMULATOR__BIND="127.0.0.1:$simulator" \
    GATEWAY__AUTH__CLIENTS_FILE=deploy/kubernetes/base/clients.toml "$program" demo >"$log" 2>&1 &
server=$!
await_listening "$server" "$port"
"$venv/bin/python" tests/deploy/check.py \
    "http://127.0.0.1:$port" "http://127.0.0.1:$simulator" "$target/sbom.cdx.json"
tests/deploy/image.sh
