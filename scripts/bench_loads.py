"""The loads of `bench_serve.py`: wrk at some concurrency, and a flood."""

from __future__ import annotations

import http.client
import json
import math
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench_model import BATCH, MANY, ONE, THIS, Model, bodies, path
from servers import HOST, memory, replica_pids

FLOOD_S: Final = 30
REFUSED: Final = 503
LOOK_S: Final = 0.2
"""How often one more client asks during the flood: seldom enough to be no load."""


@dataclass(frozen=True)
class Load:
    """What wrk saw: ``bad_status`` counts answers that are no 2xx, ``broken`` no answers at all."""

    program: str
    asked: str
    concurrency: int
    requests_per_s: float
    patients_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    bad_status: int
    broken: int


@dataclass(frozen=True)
class Flood:
    """The service under many times what it can answer: what came back, and what it held.

    The replica's memory is that before, the most of a look each second, and the p50 of one
    client before, and right after. ``refused_p50_ms`` is how long one more client waited for
    each of its ``refused`` refusals, None without any.
    """

    concurrency: int
    seconds: float
    statuses: dict[str, int]
    broken: int
    before_mb: float
    most_mb: float
    before_p50_ms: float
    after_p50_ms: float
    refused: int
    refused_p50_ms: float | None
    restarted: bool


def load(
    program: str, model: Model, asked: str, *, port: int, key: str, concurrency: int, seconds: int
) -> Load:
    """Have wrk put load on a server."""
    file = model.folder / "bodies"
    file.write_text("\n".join(bodies(model, program, asked)) + "\n")
    url = f"http://{HOST}:{port}{path(program, asked)}"
    found = wrk(url, file, key=key, concurrency=concurrency, seconds=seconds)
    rate = found["requests"] / found["seconds"]
    return Load(
        program=program,
        asked=asked,
        concurrency=concurrency,
        requests_per_s=rate,
        patients_per_s=rate * (BATCH if asked == MANY else 1),
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        max_ms=found["max_ms"],
        bad_status=found["bad_status"],
        broken=found["broken"],
    )


def wrk(
    url: str, bodies: Path, *, key: str, concurrency: int, seconds: int, count: bool = False
) -> dict[str, Any]:
    """What wrk reports, the answers by status where they are counted."""
    words = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout", "10s"]
    words += ["-s", str(Path(__file__).with_name("wrk.lua")), url]
    told = subprocess.run(
        words,
        env={**os.environ, "BODIES": str(bodies), "KEY": key} | ({"COUNT": "1"} if count else {}),
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def flood(model: Model, *, port: int, key: str, concurrency: int) -> Flood:
    """Far more requests at once than can be answered, with one client before and after."""
    one = partial(load, THIS, model, ONE, port=port, key=key, concurrency=1, seconds=2)
    before = one()
    replicas, first_mb = replica_pids(), memory()[1] or math.nan
    url = f"http://{HOST}:{port}{path(THIS, ONE)}"
    most, refusals = list[float](), list[float]()
    ask = partial(_refusal_ms, port, key, bodies(model, THIS, ONE)[0])
    with (
        _repeated(lambda: most.append(memory()[1] or math.nan), every_s=1.0),
        _repeated(lambda: refusals.extend(ask()), every_s=LOOK_S),
    ):
        found = wrk(
            url,
            model.folder / "bodies",
            key=key,
            concurrency=concurrency,
            seconds=FLOOD_S,
            count=True,
        )
    after = one()
    return Flood(
        concurrency=concurrency,
        seconds=found["seconds"],
        statuses=found["statuses"],
        broken=found["broken"],
        before_mb=first_mb,
        most_mb=max(most),
        before_p50_ms=before.p50_ms,
        after_p50_ms=after.p50_ms,
        refused=len(refusals),
        refused_p50_ms=statistics.median(refusals) if refusals else None,
        restarted=replica_pids() != replicas,
    )


@contextmanager
def _repeated(look: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Do something again and again meanwhile, in a thread."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every_s):
            look()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _refusal_ms(port: int, key: str, body: str) -> list[float]:
    """Ask once, on a connection of its own; how long it took if it was a 503, else nothing."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    clock = time.perf_counter()
    try:
        connection.request("POST", path(THIS, ONE), body, headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()
    return [(time.perf_counter() - clock) * 1000] if answer.status == REFUSED else []
