# shellcheck shell=bash
# What the scripts share: to say what is being done, and which tools are missing and whence.

step() {
  printf '\n== %s\n' "$*"
}

fail() {
  echo "error: $*" >&2
  exit 2
}

whence() {
  case "$1" in
    minikube) echo "https://minikube.sigs.k8s.io/docs/start" ;;
    kubectl) echo "https://kubernetes.io/docs/tasks/tools" ;;
    helm) echo "https://helm.sh/docs/intro/install" ;;
    promtool) echo "the Debian package prometheus, or https://prometheus.io/download" ;;
    *) echo "your system's package $1" ;;
  esac
}

# need TOOL...: end with exit code 2 where one is missing, having named all that are.
need() {
  local tool missing=()
  for tool; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  for tool in "${missing[@]}"; do
    echo "error: $tool is needed and not here: $(whence "$tool")" >&2
  done
  exit 2
}

# engine: the one of docker and podman that answers, or the end where neither does.
engine() {
  local name
  for name in ${ENGINE:-docker podman}; do
    if command -v "$name" >/dev/null && "$name" info >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  fail "docker or podman is needed, and neither answers: install Docker (https://docs.docker.com/engine/install) or podman, and start it"
}

# need_file FILE COMMAND: end where it is missing, naming the command that makes it.
need_file() {
  [ -e "$1" ] || fail "$1 is needed and not here: $2"
}
