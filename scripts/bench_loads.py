"""The loads of `bench_serve.py`: wrk at some concurrency, and a flood."""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench_model import BATCH, THIS, Model, bodies, path
from servers import HOST, memory, replica_pids

FLOOD_S: Final = 30


@dataclass(frozen=True)
class Load:
    """What wrk saw: ``bad_status`` counts answers that are no 2xx, ``broken`` no answers at all."""

    program: str
    path: str
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
    client before, and right after.
    """

    concurrency: int
    seconds: float
    statuses: dict[str, int]
    broken: int
    before_mb: float
    most_mb: float
    before_p50_ms: float
    after_p50_ms: float
    restarted: bool


def load(
    program: str, model: Model, *, port: int, key: str, concurrency: int, seconds: int, batch: bool
) -> Load:
    """Have wrk put load on a server."""
    file = model.folder / "bodies"
    file.write_text("\n".join(bodies(model, program, batch=batch)) + "\n")
    where = path(program, batch=batch)
    url = f"http://{HOST}:{port}{where}"
    found = wrk(url, file, key=key, concurrency=concurrency, seconds=seconds)
    rate = found["requests"] / found["seconds"]
    return Load(
        program=program,
        path=where,
        concurrency=concurrency,
        requests_per_s=rate,
        patients_per_s=rate * (BATCH if batch else 1),
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
    one = partial(load, THIS, model, port=port, key=key, concurrency=1, seconds=2, batch=False)
    before = one()
    replicas, first_mb = replica_pids(), memory()[1] or math.nan
    url = f"http://{HOST}:{port}{path(THIS, batch=False)}"
    most: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            most.append(memory()[1] or math.nan)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        found = wrk(
            url,
            model.folder / "bodies",
            key=key,
            concurrency=concurrency,
            seconds=FLOOD_S,
            count=True,
        )
    finally:
        over.set()
        watching.join()
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
        restarted=replica_pids() != replicas,
    )
