#!/usr/bin/env bash
# Builds the image and tries it: it starts read-only and without rights, becomes healthy, serves, has no shell
# and does not run as root, and ends with 0 on SIGTERM. Without a container engine, this test is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "image test: $*" >&2
    exit 1
}

engine=''
for each in docker podman; do
    if command -v "$each" >/dev/null && "$each" info >/dev/null 2>&1; then
        engine=$each
        break
    fi
done
if [[ -z $engine ]]; then
    echo "image test: skipped, since neither docker nor podman runs here"
    exit 0
fi

image=attribute-gateway:test container=''
finish() {
    [[ -z $container ]] || "$engine" rm --force "$container" >/dev/null
}
trap finish EXIT

"$engine" build --quiet --tag "$image" . >/dev/null
! "$engine" run --rm --entrypoint /bin/sh "$image" -c true 2>/dev/null || die "the image has a shell"
user=$("$engine" image inspect --format '{{.Config.User}}' "$image")
[[ $user == 65532:65532 ]] || die "the image runs as user '$user'"

container=$("$engine" run --detach --read-only --cap-drop ALL --security-opt no-new-privileges \
    --publish 127.0.0.1::8080 "$image" demo)
for ((tries = 0; tries < 50; tries++)); do
    ! "$engine" exec "$container" /usr/local/bin/attribute-gateway healthcheck 2>/dev/null || break
    sleep 0.2
done
((tries < 50)) || die "it does not become healthy: $("$engine" logs "$container" 2>&1 | tail -5)"

url=http://$("$engine" port "$container" 8080 | head -1)
call=$url/v1/conversations/11111111-1111-4111-8111-111111111111/attributes
answer=$(curl -sS -X PUT -H 'X-API-Key: demo-key' -H 'Content-Type: application/json' \
    -d '{"attributes":{"tier":"gold"}}' "$call")
[[ $answer == *'"tier":"verified"'* ]] || die "a write was answered with $answer"
curl -sSf "$url/docs/runbooks/AttributeGatewayDown" >/dev/null || die "the runbooks are not in the image"

"$engine" stop -t 30 "$container" >/dev/null
status=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
[[ $status == 0 ]] || die "it ended with $status on SIGTERM"
echo "image test: $("$engine" image inspect --format '{{.Size}}' "$image") bytes, all checks passed"
