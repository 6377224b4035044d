#!/usr/bin/env bash
# The container image: build it, run the service in it, stop that.
#   image.sh build           heart:VERSION, from kuberay/Dockerfile
#   image.sh build-mlflow    heart-mlflow:VERSION, the tracking server of a real cluster
#   image.sh run             the service on http://127.0.0.1:8000, with the champion of HEART_HOME
#   image.sh stop            end it
# ENGINE=docker|podman chooses the engine, BASE_IMAGE the base, IMAGE the name and tag.
set -euo pipefail
cd "$(dirname "$0")/.."

NAME=heart-service
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE=${IMAGE:-heart:$VERSION}
PORT=${HEART_PORT:-8000}
HOME_FOLDER=${HEART_HOME:-artifacts}
case "$HOME_FOLDER" in /*) ;; *) HOME_FOLDER=$PWD/$HOME_FOLDER ;; esac
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

build() {
  local engine target=$1 image=$2 begun=$SECONDS arguments=()
  engine=$(engine)
  [ -z "${BASE_IMAGE:-}" ] || arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
  # Podman's own format has no HEALTHCHECK.
  [ "$engine" != podman ] || arguments+=(--format docker)
  # Bash 3.2 of macOS takes an empty list for an unset variable.
  "$engine" build ${arguments[@]+"${arguments[@]}"} \
    --build-arg "VERSION=$VERSION" \
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --target "$target" -f kuberay/Dockerfile -t "$image" .
  "$engine" image inspect --format '{{.Size}}' "$image" |
    awk -v image="$image" -v s="$((SECONDS - begun))" \
      '{printf "%s: %.0f MB, built in %d s\n", image, $1 / 1e6, s}'
}

run() {
  local engine mounts=()
  engine=$(engine)
  "$engine" image inspect "$IMAGE" >/dev/null 2>&1 || fail "there is no image $IMAGE: make image"
  if "$engine" inspect "$NAME" >/dev/null 2>&1; then
    fail "there is a container $NAME already: make image-stop ends it"
  fi
  if [ -d "$HOME_FOLDER/bundles" ]; then
    mounts=(--volume "$HOME_FOLDER/bundles:/var/lib/heart/bundles:ro")
  else
    echo "no champion in $HOME_FOLDER: the service waits for one (make search)" >&2
  fi
  # Inside it listens everywhere, outside on loopback alone, so that no keys are asked for.
  "$engine" run --detach --name "$NAME" --read-only --cap-drop ALL \
    --security-opt no-new-privileges --shm-size 512m \
    --tmpfs /tmp:mode=1777 --tmpfs /var/lib/heart:mode=1777 ${mounts[@]+"${mounts[@]}"} \
    --env HEART_HOST=0.0.0.0 --env HEART_ALLOW_OPEN=true \
    --publish "127.0.0.1:$PORT:8000" "$IMAGE" >/dev/null
  wait_for_answer "$engine"
}

wait_for_answer() {
  local engine=$1 left=90
  while [ $left -gt 0 ]; do
    if [ "$("$engine" inspect --format '{{.State.Running}}' "$NAME")" != true ]; then
      "$engine" logs "$NAME" >&2
      "$engine" rm "$NAME" >/dev/null
      fail "the service ended, see above"
    fi
    if "$engine" exec "$NAME" wget -q -O /dev/null http://127.0.0.1:8000/health; then
      echo "service  http://127.0.0.1:$PORT/  (make image-stop ends it)"
      return
    fi
    sleep 1
    left=$((left - 1))
  done
  fail "the service does not answer after 90 s: $engine logs $NAME"
}

stop() {
  local engine
  engine=$(engine)
  "$engine" rm --force "$NAME" >/dev/null
  echo "stopped"
}

case "${1:-}" in
  build) build heart "$IMAGE" ;;
  build-mlflow) build mlflow "heart-mlflow:$VERSION" ;;
  run) run ;;
  stop) stop ;;
  *)
    sed -n '2,7p' "$0" >&2
    exit 2
    ;;
esac
