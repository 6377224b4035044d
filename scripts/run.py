"""What ``make run`` does: a champion if there is none, the MLflow UI, then the service.

Usable alone: ``python scripts/run.py``, or ``python scripts/run.py mlflow-ui`` for the MLflow UI
and nothing else. Ends with Ctrl-C, and ends what it started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from heart.attributes import ATTRIBUTES
from heart.bundle import load_champion
from heart.errors import StorageError, run_main
from heart.settings import Settings, keep_private

HOST: Final = "127.0.0.1"
HTTP_PORT: Final = 8000
DASHBOARD_PORT: Final = 8265
MLFLOW_PORT: Final = 5000
START_TIMEOUT_S: Final = 120.0
BIN: Final = Path(sys.executable).parent


def main() -> int:
    """Search if need be, then serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["service", "mlflow-ui"], default="service")
    only_mlflow = parser.parse_args().what == "mlflow-ui"
    keep_private()
    settings = Settings.from_environment()
    if only_mlflow:
        check_free(MLFLOW_PORT, "the MLflow UI")
        return subprocess.call(mlflow_command(settings))
    check_free(HTTP_PORT, "the service")
    if load_champion(settings.bundles) is None:
        print("no champion yet: searching for one, about a minute on two cores", flush=True)
        found = subprocess.run([sys.executable, "-m", "tune.search"], check=False)
        if found.returncode:
            return found.returncode
    return serve(settings)


def check_free(port: int, what: str) -> None:
    """Raise `StorageError` where something listens on a port already."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise StorageError(
                f"port {port} of {HOST} is in use: end what listens there before {what} starts",
                field=str(port),
            )


def serve(settings: Settings) -> int:
    """The MLflow UI and the service, side by side, until one ends or the user says so."""
    mlflow = start_mlflow(settings)
    service = subprocess.Popen([sys.executable, "-m", "serve_app"])
    threading.Thread(target=tell_when_ready, args=(mlflow is not None,), daemon=True).start()
    try:
        return service.wait()
    except KeyboardInterrupt:
        # The service had the signal from the terminal as well, and drains its requests.
        return service.wait()
    finally:
        if mlflow is not None:
            os.killpg(mlflow.pid, signal.SIGTERM)


def start_mlflow(settings: Settings) -> subprocess.Popen[bytes] | None:
    """The MLflow UI in the background, unless its port is taken; its log under HEART_HOME."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, MLFLOW_PORT)) == 0:
            print(f"port {MLFLOW_PORT} is in use: the MLflow UI is not started", flush=True)
            return None
    log = (settings.home / "mlflow-ui.log").open("ab")
    return subprocess.Popen(
        mlflow_command(settings), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def mlflow_command(settings: Settings) -> list[str]:
    """The command of the MLflow UI on this project's store."""
    return [
        *(str(BIN / "mlflow"), "server", "--host", HOST, "--port", str(MLFLOW_PORT)),
        *("--backend-store-uri", settings.resolved_tracking_uri, "--workers", "1"),
    ]


def tell_when_ready(has_mlflow: bool) -> None:
    """Say where everything is, once the service answers."""
    service = f"http://{HOST}:{HTTP_PORT}"
    if not answers(f"{service}/ready"):
        return
    patient = json.dumps({attribute.name: attribute.example for attribute in ATTRIBUTES})
    width = shutil.get_terminal_size().columns
    lines = [
        "=" * min(width, 72),
        f"service    {service}  (its interface: {service}/docs)",
        f"dashboard  http://{HOST}:{DASHBOARD_PORT}  (it asks for the token: `ray get-auth-token`)",
    ]
    if has_mlflow:
        lines.append(f"MLflow UI  http://{HOST}:{MLFLOW_PORT}")
    lines += [
        "one patient:",
        f"curl -s {service}/predict -H 'Content-Type: application/json' -d '{patient}'",
        "=" * min(width, 72),
    ]
    print("\n".join(lines), flush=True)


def answers(url: str) -> bool:
    """Whether a URL answers 200 in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


if __name__ == "__main__":
    sys.exit(run_main(main))
