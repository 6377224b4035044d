"""Run a command while patients are sent to a service, and fail where one of them is not answered.

``python scripts/under_load.py URL [--key-file FILE] [--version VERSION] -- COMMAND...``: for a
change that must lose nothing, as a swap of the model. With --version, the answers after the
command must come from that version. Exit code 1 if anything was lost, else the command's own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from heart.attributes import ATTRIBUTES
from heart.errors import UsageError, run_main

CLIENTS: Final = 4
TIMEOUT_S: Final = 10.0
BEFORE_S: Final = 2.0
AFTER_S: Final = 3.0
BODY: Final = json.dumps({attribute.name: attribute.example for attribute in ATTRIBUTES})


@dataclass
class Load:
    """Clients that ask, one request after the other, until they are told to stop."""

    url: str
    headers: dict[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    last: dict[int, str] = field(default_factory=dict)
    """The version that each client was answered by last."""

    def ask(self, client: int) -> None:
        """Ask until `stop` is set."""
        connection = self._connect()
        while not self.stop.is_set():
            try:
                self.last[client] = version = self._once(connection)
                self.answers[version] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.losses[f"{type(error).__name__}: {error}"] += 1
                connection.close()
                connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def _once(self, connection: http.client.HTTPConnection) -> str:
        connection.request("POST", "/predict", BODY, self.headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return str(json.loads(content)["model_version"])


def main() -> int:
    """Load, command, verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--key-file", type=Path, help="file that holds the API key")
    parser.add_argument("--version", help="which is to answer after the command")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if urllib.parse.urlsplit(options.url).scheme not in {"http", "https"}:
        raise UsageError(f"URL must begin with http:// or https://, got {options.url}")
    load = Load(options.url, headers(options.key_file))
    threads = [threading.Thread(target=load.ask, args=(n,), daemon=True) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(BEFORE_S)
    code = subprocess.call(options.command)
    time.sleep(AFTER_S)
    load.stop.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
    return verdict(load, options.version) or code


def headers(key_file: Path | None) -> dict[str, str]:
    """What each request bears."""
    bearing = {"Content-Type": "application/json"}
    if key_file is not None:
        bearing["Authorization"] = f"Bearer {key_file.read_text().strip()}"
    return bearing


def verdict(load: Load, version: str | None) -> int:
    """Say what was answered and lost; 1 where something was, or where another version answers."""
    told = ", ".join(f"{number} by version {name}" for name, number in sorted(load.answers.items()))
    print(f"answered: {told or 'none'}; lost: {load.losses.total()}")
    for what, number in load.losses.most_common():
        print(f"  {number} x {what}")
    behind = sorted({name for name in load.last.values() if version not in (None, name)})
    if behind:
        print(f"version {', '.join(behind)} still answers, not {version}")
    return int(bool(load.losses or behind or not load.answers))


if __name__ == "__main__":
    sys.exit(run_main(main))
