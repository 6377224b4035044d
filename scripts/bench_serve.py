"""The service against other ways to serve: the same model, patients, load and machine.

``python scripts/bench_serve.py`` starts one server after the other, each a process tree of its
own, puts load on it with wrk (which must be installed), and prints a table of figures and
ratios; the figures go to a JSON file. The servers:

- ``pickled``: FastAPI and uvicorn, a pickled scikit-learn pipeline, a DataFrame a request
- ``onnx``: FastAPI and uvicorn, the ONNX graph, one process
- ``plain-serve``: Ray Serve with its own proxy, FastAPI, the ONNX graph
- ``mlflow``: ``mlflow models serve``
- ``bentoml``, ``mlserver``: with the pickled pipeline, where their commands are on PATH; each may
  have an environment of its own, with the same scikit-learn
- ``this``: ``serve run serve_app:app`` with validation, logging, metrics and an API key
- ``this-two``: the same with two replicas

This one is also asked for explanations, and at last it is flooded: ten times the highest number
of requests at once, for half a minute. Of two replicas one is killed, and another takes its place.

The model is the best of a few of one family (``--family``), or the champion of ``--home``. wrk
shares the cores with the server. Linux alone: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from bench_checks import BATCH_CONCURRENCY, checks
from bench_loads import Flood, Load, flood, load
from bench_model import MANY, ONE, REPLICAS, SPACES, THIS, TWO, WHY, Model, prepare
from checks import Check
from machine import machine, say
from processes import adopt_orphans, hear_ctrl_c
from rich.console import Console
from serve_rivals import RIVALS
from servers import Served, ServerError, memory, replacement_s, running
from tables import markdown, of_checks

from heart.errors import UsageError, run_main
from heart.files import write_json
from heart.settings import keep_private
from serve_app.environment import free_port

OPTIONAL: Final = ("bentoml", "mlserver")
PROGRAMS: Final = (*RIVALS, *REPLICAS)
FLOOD: Final = 10
WIDTH: Final = 160


def measure(
    program: str, model: Model, concurrencies: Sequence[int], seconds: int
) -> tuple[Served, list[Load], Flood | None]:
    """Start a server, warm it up, put every load on it; raises `ServerError`."""
    port, key = free_port(), secrets.token_urlsafe(32)
    with running(program, model, port=port, key=key) as first:
        put = partial(load, program, model, port=port, key=key)
        put(ONE, concurrency=8, seconds=2)
        loads = [put(ONE, concurrency=c, seconds=seconds) for c in concurrencies]
        loads.append(put(MANY, concurrency=BATCH_CONCURRENCY, seconds=seconds))
        if program == THIS:
            loads.append(put(WHY, concurrency=1, seconds=seconds))
        total, replica = memory()
        flooded = None
        if program == THIS:
            flooded = flood(model, port=port, key=key, concurrency=FLOOD * max(concurrencies))
        replaced = replacement_s() if program == TWO else None
    return Served(program, first, total, replica, replaced), loads, flooded


def show(
    loads: Sequence[Load],
    served: Sequence[Served],
    flooded: Flood | None,
    held: Sequence[Check],
) -> None:
    """Print the tables, in Markdown."""
    console = Console(width=WIDTH, highlight=False)
    base = {(x.asked, x.concurrency): x for x in loads if x.program == "pickled"}
    columns = ("server", "request", "at once", "requests/s", "to pickled", "p50 ms", "p99 ms")
    table = markdown(*columns, "not 2xx", "broken")
    for x in loads:
        other = base.get((x.asked, x.concurrency))
        ratio = f"{x.requests_per_s / other.requests_per_s:.1f}" if other else ""
        table.add_row(
            x.program,
            x.asked,
            str(x.concurrency),
            f"{x.requests_per_s:,.0f}",
            ratio,
            f"{x.p50_ms:.2f}",
            f"{x.p99_ms:.1f}",
            str(x.bad_status),
            str(x.broken),
        )
    console.print(table)
    table = markdown("server", "s to first answer", "MB in all", "MB, a replica", "s to a new one")
    for one in served:
        replica = "" if one.replica_mb is None else f"{one.replica_mb:.0f}"
        replaced = "" if one.replacement_s is None else f"{one.replacement_s:.1f}"
        total = f"{one.memory_mb:.0f}"
        table.add_row(one.program, f"{one.first_answer_s:.1f}", total, replica, replaced)
    console.print(table)
    if flooded:
        table = markdown(
            "flooded: at once", "seconds", "answers by status", "none", "MB", "most MB"
        )
        answers = ", ".join(f"{n:,} x {status}" for status, n in sorted(flooded.statuses.items()))
        numbers = (flooded.before_mb, flooded.most_mb)
        table.add_row(
            str(flooded.concurrency),
            f"{flooded.seconds:.0f}",
            answers,
            str(flooded.broken),
            *(f"{mb:.0f}" for mb in numbers),
        )
        console.print(table)
    console.print(of_checks(held))


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench_serve.py",
        description="Time the service against FastAPI, plain Ray Serve and mlflow models serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    here = [name for name in PROGRAMS if name not in OPTIONAL or shutil.which(name)]
    p.add_argument("--rivals", default=",".join(here), help="servers to measure")
    p.add_argument("--concurrency", default="1,8,32,128", help="requests at a time")
    p.add_argument("--seconds", type=int, default=10, help="of load at each concurrency")
    p.add_argument("--family", choices=[*SPACES], default="linear", help="of the champion made")
    p.add_argument("--home", type=Path, help="a HEART_HOME with a champion; else one is made")
    p.add_argument("--out", type=Path, default=Path("artifacts/bench_serve.json"))
    return p


def main() -> int:
    """Measure, print, write; exit code 1 where a server failed."""
    keep_private()
    given = _parser().parse_args()
    programs = given.rivals.split(",")
    for word in programs:
        if word not in PROGRAMS:
            raise UsageError(f'--rivals takes {", ".join(PROGRAMS)}, got "{word}"', field="rivals")
    if shutil.which("wrk") is None:
        raise UsageError("wrk is needed for the load, none is installed", field="wrk")
    adopt_orphans()
    hear_ctrl_c()
    loads: list[Load] = []
    served: list[Served] = []
    failures: dict[str, str] = {}
    flooded: Flood | None = None
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        model = prepare(Path(folder), given.home, given.family)
        for program in programs:
            say(f"{program} ...")
            try:
                one, found, last = measure(
                    program, model, [int(c) for c in given.concurrency.split(",")], given.seconds
                )
            except ServerError as error:
                failures[program] = str(error)
                say(f"  failed: {error}")
                continue
            served.append(one)
            loads += found
            flooded = last or flooded
    held = checks(loads, served, flooded)
    write_json(
        given.out,
        {
            "machine": machine(),
            "options": {
                "seconds": given.seconds,
                "family": given.family,
                "home": str(given.home or ""),
            },
            "loads": [asdict(x) for x in loads],
            "served": [asdict(x) for x in served],
            "flood": asdict(flooded) if flooded else None,
            "checks": [x.model_dump() for x in held],
            "failures": failures,
        },
    )
    show(loads, served, flooded, held)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
