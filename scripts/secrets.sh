#!/usr/bin/env bash
# Make the secrets of a cluster that are not there yet, as files of kuberay/secrets: the token of
# Ray, the password of Redis, and one API key. `kubectl apply -k kuberay/secrets` takes them to the
# namespace heart. Git ignores the files; api-key.key is the key itself, for its client.
set -euo pipefail
umask 077
cd "$(dirname "$0")/.."

FOLDER=kuberay/secrets
PYTHON=${PYTHON:-.venv/bin/python}

random() {
  "$PYTHON" -c 'import secrets; print(secrets.token_hex(32))'
}

make_secret() {
  local file=$FOLDER/$1.env name=$2 value
  if [ -e "$file" ]; then
    echo "$file is there already"
    return
  fi
  value=$(random)
  echo "$name=$value" >"$file"
  echo "$file made"
}

make_key() {
  local file=$FOLDER/heart-api-keys.env made
  if [ -e "$file" ]; then
    echo "$file is there already"
    return
  fi
  made=$("$PYTHON" -m serve_app.security new cluster --scopes predict admin)
  sed -n 's/^key *//p' <<<"$made" >"$FOLDER/api-key.key"
  sed -n 's/^entry */HEART_API_KEYS=/p' <<<"$made" >"$file"
  echo "$file made; the key is in $FOLDER/api-key.key"
}

command -v "$PYTHON" >/dev/null || {
  echo "error: $PYTHON is missing: make setup" >&2
  exit 2
}
make_secret ray-token auth_token
make_secret redis password
make_key
