#!/usr/bin/env bash
# The whole stack on this machine: a Minikube of its own, the operators, the service, monitoring.
#   minikube.sh up            profile, addons, operators, image, deploy, smoke; prints the URLs
#   minikube.sh smoke         the smoke test alone
#   minikube.sh monitoring    whether Prometheus reaches every target
#   minikube.sh down          take the stack down and delete the profile, its data as well
# Each may be interrupted and run again. PROFILE, CPUS, MEMORY and DRIVER choose the Minikube;
# IMAGE is an image that was built already; SEARCH holds options of the search, such as --quick.
set -euo pipefail
cd "$(dirname "$0")/.."

PROFILE=${PROFILE:-heart}
CPUS=${CPUS:-4}
MEMORY=${MEMORY:-8g}
KUBERNETES=v1.34.0
OPERATOR_CHART=1.7.0
# The chart of the Prometheus operator 0.93, which the manifests are written for.
MONITORING_CHART=88.5.0
BUILT=${IMAGE:-}
IMAGE=${IMAGE:-heart:$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
HTTP=18000
MLFLOW=15000
PROMETHEUS=19090
PYTHON=${PYTHON:-.venv/bin/python}
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

on_cluster() {
  kubectl --context "$PROFILE" "$@"
}

start() {
  step "Minikube $PROFILE"
  minikube start --profile "$PROFILE" --kubernetes-version "$KUBERNETES" \
    --cpus "$CPUS" --memory "$MEMORY" --cni calico ${DRIVER:+--driver "$DRIVER"}
  minikube addons enable ingress --profile "$PROFILE"
  minikube addons enable metrics-server --profile "$PROFILE"
}

operators() {
  step "operators"
  helm upgrade --install kuberay-operator kuberay-operator --version "$OPERATOR_CHART" \
    --repo https://ray-project.github.io/kuberay-helm \
    --kube-context "$PROFILE" --namespace kuberay-system --create-namespace --wait
  helm upgrade --install prometheus kube-prometheus-stack --version "$MONITORING_CHART" \
    --repo https://prometheus-community.github.io/helm-charts \
    --values kuberay/monitoring/values.yaml \
    --kube-context "$PROFILE" --namespace monitoring --create-namespace --wait --timeout 15m
}

load_image() {
  local engine name=$IMAGE archive
  step "image $IMAGE"
  [ -n "$BUILT" ] || scripts/image.sh build
  engine=$(engine_with "$IMAGE")
  archive=$(mktemp)
  if [ "$engine" = podman ]; then
    # Podman's own name for it begins with localhost/, which the manifests do not say.
    name=docker.io/library/$IMAGE
    podman tag "$IMAGE" "$name"
  fi
  "$engine" save --output "$archive" "$name"
  minikube image load "$archive" --profile "$PROFILE"
  rm -f "$archive"
}

engine_with() {
  local engine
  for engine in docker podman; do
    if command -v "$engine" >/dev/null && "$engine" image inspect "$1" >/dev/null 2>&1; then
      echo "$engine"
      return
    fi
  done
  fail "neither docker nor podman has an image $1: make image"
}

deploy() {
  step "deploy"
  scripts/secrets.sh
  # The words of SEARCH are options of their own.
  # shellcheck disable=SC2086
  "$PYTHON" -m kuberay.deploy up --context "$PROFILE" --overlay minikube --image "$IMAGE" \
    ${SEARCH:+-- $SEARCH}
  on_cluster apply --server-side -k kuberay/monitoring
}

# forwarded NAMESPACE SERVICE PORT LOCAL COMMAND...: run it while a port is on this machine.
forwarded() {
  local namespace=$1 service=$2 port=$3 near=$4 forward result=0
  shift 4
  on_cluster --namespace "$namespace" port-forward "service/$service" "$near:$port" >/dev/null &
  forward=$!
  "$@" || result=$?
  kill "$forward" 2>/dev/null || true
  return "$result"
}

smoke() {
  step "smoke test"
  forwarded heart mlflow 5000 "$MLFLOW" forwarded ingress-nginx ingress-nginx-controller 80 "$HTTP" \
    "$PYTHON" scripts/smoke.py "http://127.0.0.1:$HTTP" --wait 60 \
    --key-file kuberay/secrets/api-key.key --tracking-uri "http://127.0.0.1:$MLFLOW"
}

monitoring() {
  step monitoring
  forwarded monitoring prometheus-kube-prometheus-prometheus 9090 "$PROMETHEUS" \
    "$PYTHON" scripts/smoke.py --wait 180 --prometheus "http://127.0.0.1:$PROMETHEUS"
}

urls() {
  cat <<URLS

service    http://$(minikube ip --profile "$PROFILE")/ (macOS, Windows: minikube tunnel --profile $PROFILE)
           its key is in kuberay/secrets/api-key.key
dashboard  $PYTHON -m kuberay.deploy dashboard --context $PROFILE --overlay minikube
MLflow     kubectl --context $PROFILE -n heart port-forward service/mlflow 5000
Grafana    kubectl --context $PROFILE -n monitoring port-forward service/prometheus-grafana 3000:80
end it     make minikube-down
URLS
}

down() {
  if minikube status --profile "$PROFILE" >/dev/null 2>&1; then
    "$PYTHON" -m kuberay.deploy down --context "$PROFILE" --overlay minikube --delete-data ||
      echo "the stack did not end by itself; it ends with the profile" >&2
  fi
  minikube delete --profile "$PROFILE"
}

case "${1:-}" in
  up)
    need minikube kubectl helm
    need_file "$PYTHON" "make setup"
    engine >/dev/null
    start
    operators
    load_image
    deploy
    smoke
    monitoring
    urls
    ;;
  smoke | monitoring)
    need kubectl
    need_file "$PYTHON" "make setup"
    "$1"
    ;;
  down)
    need minikube
    need_file "$PYTHON" "make setup"
    down
    ;;
  *)
    sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac
