#!/usr/bin/env bash
# Everything, from set-up to teardown: tests, a search, the image, a cluster, its monitoring.
#   verify.sh [--without PART]...    PART: tests, search, image, cluster, monitoring
# A part is left out only where that is said; a tool that a part needs and does not find is an
# error, and named before anything is begun. What was started is ended, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

PARTS=(tests search image cluster monitoring)
PYTHON=.venv/bin/python
URL=http://127.0.0.1:8000
without=()
begun=()

usage() {
  sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//'
}

options() {
  while [ "$#" -gt 0 ]; do
    case "$1" in
      --without)
        [[ " ${PARTS[*]} " == *" ${2:-} "* ]] || fail "--without must be one of ${PARTS[*]}, got ${2:-nothing}"
        without+=("$2")
        shift 2
        ;;
      --help)
        usage
        exit
        ;;
      *) fail "unknown option $1: see --help" ;;
    esac
  done
}

wanted() {
  [[ " ${without[*]-} " != *" $1 "* ]]
}

check_tools() {
  local tools=(make git)
  wanted tests && tools+=(shellcheck)
  wanted cluster && tools+=(minikube kubectl helm)
  need "${tools[@]}"
  if wanted image || wanted cluster; then
    engine >/dev/null
  fi
  if wanted monitoring && ! wanted cluster; then
    fail "monitoring is looked at on the cluster: leave out both, or neither"
  fi
}

teardown() {
  local part
  for part in ${begun[@]+"${begun[@]}"}; do
    step "teardown: $part"
    case "$part" in
      image) make image-stop ;;
      cluster) make minikube-down ;;
    esac
  done
}

part_tests() {
  make test-full test-long
}

part_search() {
  "$PYTHON" -m tune.search --quick
}

part_image() {
  make image
  begun+=(image)
  make image-run
  "$PYTHON" scripts/smoke.py "$URL" --home "${HEART_HOME:-artifacts}" --wait 60
}

part_cluster() {
  begun+=(cluster)
  SEARCH=${SEARCH:---quick} make minikube-up
}

part_monitoring() {
  scripts/minikube.sh monitoring
}

options "$@"
check_tools
step set-up
make setup
trap teardown EXIT
for part in "${PARTS[@]}"; do
  if wanted "$part"; then
    step "$part"
    "part_$part"
  else
    echo "$part: left out, as was said"
  fi
done
echo
echo "verified: $(for part in "${PARTS[@]}"; do wanted "$part" && printf '%s ' "$part"; done)"
