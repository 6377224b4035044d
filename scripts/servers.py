"""The servers of `bench_serve.py`, each a process tree of its own, and what it holds in memory."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_model import ONE, REPLICAS, Model, bodies, path
from processes import descendants, end_descendants

HOST: Final = "127.0.0.1"
REPLICA: Final = b"ray::ServeReplica"
START_TIMEOUT_S: Final = 120.0
LOGS: Final = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray")  # noqa: S108 - Ray's own default


class ServerError(Exception):
    """A server that did not answer."""


@dataclass(frozen=True)
class Served:
    """A server: seconds from its start to the first answer, memory of its processes under load.

    ``replica_mb`` is what one replica holds, shared pages counted whole, ``replacement_s`` the
    seconds from the kill of one of two until another has its model.
    """

    program: str
    first_answer_s: float
    memory_mb: float
    replica_mb: float | None
    replacement_s: float | None


@contextmanager
def running(program: str, model: Model, *, port: int, key: str) -> Iterator[float]:
    """A server that answers; the seconds it took to. Raises `ServerError`."""
    log = (model.folder / f"{program}.log").open("wb")
    clock = time.perf_counter()
    process = subprocess.Popen(
        command(program, model, port),
        env=environment(program, model, port=port, key=key),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        await_answer(program, model, port=port, key=key, process=process)
        yield time.perf_counter() - clock
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        end_descendants(patience=40.0)
        log.close()


def command(program: str, model: Model, port: int) -> list[str]:
    """How a server is started."""
    if program in REPLICAS:
        return [str(Path(sys.executable).parent / "serve"), "run", "serve_app:app"]
    script = str(Path(__file__).with_name("serve_rivals.py"))
    return [sys.executable, script, program, str(model.folder), str(port)]


def environment(program: str, model: Model, *, port: int, key: str) -> dict[str, str]:
    """The caller's, with what this project's service is told: its home, port and key."""
    unwanted = ("HEART_", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return kept | {
        "HEART_HOME": str(model.home),
        "HEART_PORT": str(port),
        "HEART_NUM_REPLICAS": str(REPLICAS.get(program, 1)),
        "HEART_API_KEYS": f"bench:predict+admin:{hashlib.sha256(key.encode()).hexdigest()}",
        "OMP_NUM_THREADS": "1",
        # mlflow calls uvicorn by its name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def await_answer(
    program: str, model: Model, *, port: int, key: str, process: subprocess.Popen[bytes]
) -> None:
    """Ask for the first patient until there is an answer."""
    body = bodies(model, program, ONE)[0].encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    url = f"http://{HOST}:{port}{path(program, ONE)}"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, body, headers), timeout=5
            ) as answer:
                answer.read()
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    tail = (model.folder / f"{program}.log").read_text(errors="replace")[-1500:]
    raise ServerError(f"{program} does not answer: {tail}")


def replica_pids() -> set[int]:
    """The replicas that run under this process."""
    return {stat.pid for stat in descendants(os.getpid()) if _name(stat.pid).startswith(REPLICA)}


def replacement_s() -> float:
    """Kill a replica; the seconds until another has its model. Raises `ServerError`."""
    before = replica_pids()
    clock = time.perf_counter()
    os.kill(min(before), signal.SIGKILL)
    while time.perf_counter() - clock < START_TIMEOUT_S:
        if any(_has_model(pid) for pid in replica_pids() - before):
            return time.perf_counter() - clock
        time.sleep(0.02)
    raise ServerError("no replica came in place of the one that was killed")


def _has_model(replica: int) -> bool:
    logs = LOGS.glob(f"session_*/logs/worker-*-{replica}.err")
    return any("model loaded" in log.read_text() for log in logs)


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def memory() -> tuple[float, float | None]:
    """MB of all processes that run under this one, shared pages split; MB of one replica."""
    total, replica = 0.0, None
    for stat in descendants(os.getpid()):
        try:
            lines = Path(f"/proc/{stat.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
        total += sizes.get("Pss", 0.0)
        if _name(stat.pid).startswith(REPLICA):
            replica = max(replica or 0.0, sizes.get("Rss", 0.0))
    return total, replica
