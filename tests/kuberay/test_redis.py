"""Redis as the manifest starts it: with a password that no other process can read."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from overlays import Object, find, rendered

PASSWORD = "not-for-all-to-see"
START_S = 20


@dataclass(frozen=True)
class Redis:
    port: int
    process: subprocess.Popen[bytes]

    def answer(self, *command: str, password: str = "") -> str:
        line = ["redis-cli", "-p", str(self.port), *command]
        environment = {**os.environ, "REDISCLI_AUTH": password}
        done = subprocess.run(
            line, capture_output=True, text=True, env=environment, check=False, timeout=10
        )
        return done.stdout.strip() or done.stderr.strip()


def container() -> Object:
    pod = find(rendered("production"), "StatefulSet", "redis")["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (text,) = container()["args"]
    assert "--dir /data" in text
    text = text.replace("--dir /data", f"--dir {tmp_path} --port {port}")
    process = subprocess.Popen(
        [*container()["command"], text],
        env={**os.environ, "REDIS_PASSWORD": PASSWORD},
        stdout=subprocess.DEVNULL,
    )
    redis = Redis(port, process)
    deadline = time.monotonic() + START_S
    while "refused" in redis.answer("ping") and time.monotonic() < deadline:
        time.sleep(0.05)
    yield redis
    process.kill()
    process.wait()


def test_the_password(redis: Redis, tmp_path: Path) -> None:
    assert "NOAUTH" in redis.answer("set", "a", "1")
    assert redis.answer("set", "a", "1", password=PASSWORD) == "OK"
    arguments = Path(f"/proc/{redis.process.pid}/cmdline").read_text()
    assert arguments.startswith("redis-server"), "a signal must reach Redis itself"
    assert PASSWORD not in arguments
    assert list(tmp_path.rglob("*.aof")), "what it knows must outlive it"


def test_the_probe(redis: Redis) -> None:
    command = container()["readinessProbe"]["exec"]["command"]
    command = [part.replace("redis-cli", f"redis-cli -p {redis.port}") for part in command]
    for password, status in ((PASSWORD, 0), ("wrong", 1)):
        environment = {**os.environ, "REDIS_PASSWORD": password}
        assert subprocess.run(command, env=environment, check=False).returncode == status


def test_it_ends_when_told(redis: Redis) -> None:
    redis.process.send_signal(signal.SIGTERM)
    assert redis.process.wait(timeout=10) == 0
