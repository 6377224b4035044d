"""The service against other ways to serve: the same model, patients, load and machine.

``python scripts/bench_serve.py`` starts one server after the other, each a process tree of its
own, puts load on it with wrk (which must be installed), and prints a table of figures and
ratios; the figures go to a JSON file. The servers:

- ``pickled``: FastAPI and uvicorn, a pickled scikit-learn pipeline, a DataFrame a request
- ``onnx``: FastAPI and uvicorn, the ONNX graph, one process
- ``plain-serve``: Ray Serve with its own proxy, FastAPI, the ONNX graph
- ``mlflow``: ``mlflow models serve``
- ``this``: ``serve run serve_app:app`` with validation, logging, metrics and an API key

The model is a logistic regression, the best of a few, or the champion of ``--home``. wrk shares
the cores with the server. Linux alone: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from bench_search import adopt_orphans, descendants, end_descendants, machine, say
from rich import box
from rich.console import Console
from rich.table import Column, Table

from heart import cohorts
from heart.attributes import NAMES
from heart.bundle import MODEL_FILE, Bundle, load_champion, read_champion
from heart.errors import NoModelError, UsageError, run_main
from heart.files import write_json
from heart.pipelines import build
from heart.settings import Settings, keep_private
from serve_app.environment import free_port

if TYPE_CHECKING:
    from heart.pipelines import Preprocessing

HOST: Final = "127.0.0.1"
RIVALS: Final = ("pickled", "onnx", "plain-serve", "mlflow")
THIS: Final = "this"
PROGRAMS: Final = (*RIVALS, THIS)
CONCURRENCIES: Final = (1, 8, 32, 128)
BATCH: Final = 100
BATCH_CONCURRENCY: Final = 8
START_TIMEOUT_S: Final = 120.0
WIDTH: Final = 160


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
class Served:
    """A server: seconds from its start to the first answer, memory of its processes under load.

    ``replica_mb`` is what one replica holds, shared pages counted whole.
    """

    program: str
    first_answer_s: float
    memory_mb: float
    replica_mb: float | None


class ServerError(Exception):
    """A server that did not answer."""


@dataclass(frozen=True)
class Model:
    """The model as the rivals take it, and the patients as they are asked about."""

    folder: Path
    home: Path
    patients: tuple[dict[str, float | None], ...]


def prepare(folder: Path, home: Path | None) -> Model:
    """Find a champion or make one, and write its pipeline, fitted again, beside its graph."""
    if home is None:
        home = folder / "home"
        search(home)
    settings = Settings(home=home)
    champion, bundle = read_champion(settings.bundles), load_champion(settings.bundles)
    if champion is None or bundle is None:
        raise NoModelError(f"no champion in {home}: run `python -m tune.search`")
    lineage = bundle.metadata.lineage
    train, test = cohorts.split(
        cohorts.load("all"), test_size=lineage.test_size, seed=lineage.split_seed
    )
    shutil.copy(settings.bundles / champion.folder / MODEL_FILE, folder / "model.onnx")
    pipeline = refitted(bundle, train)
    (folder / "model.pickle").write_bytes(pickle.dumps(pipeline))
    rows = test.X[list(NAMES)].head(BATCH).to_dict("records")
    patients = tuple({k: None if math.isnan(v) else v for k, v in row.items()} for row in rows)
    return Model(folder, home, patients)


def search(home: Path) -> None:
    """A champion of the linear family, by the project's own search."""
    command = [sys.executable, "-m", "tune.search", "--num-samples", "4", "--scheduler", "none"]
    command += ["--space", f"{Path(__file__).with_name('linear_space.py').resolve()}:LINEAR"]
    environment = {**os.environ, "HEART_HOME": str(home)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def refitted(bundle: Bundle, train: cohorts.Cohort) -> Any:
    """The scikit-learn pipeline that the bundle's graph was made of."""
    recipe = bundle.metadata.recipe
    pipeline = build(
        recipe.family,
        recipe.params,
        preprocessing=cast("Preprocessing", recipe.preprocessing),
        seed=bundle.metadata.lineage.seed,
    )
    return pipeline.fit(train.X, train.y)


def bodies(model: Model, program: str, *, batch: bool) -> list[str]:
    """The same patients as each server takes them, a body a line."""
    patients = model.patients
    if program == "mlflow":
        groups = [list(patients)] if batch else [[p] for p in patients]
        return [json.dumps({"dataframe_records": group}) for group in groups]
    if batch:
        whole: Any = {"patients": patients} if program == THIS else patients
        return [json.dumps(whole)]
    return [json.dumps(p) for p in patients]


def path(program: str, *, batch: bool) -> str:
    """Where a server takes patients."""
    if program == "mlflow":
        return "/invocations"
    return "/predict/batch" if batch else "/predict"


@contextmanager
def running(program: str, model: Model, *, port: int, key: str) -> Iterator[float]:
    """A server that answers; the seconds it took to. Raises `ServerError`."""
    log = (model.folder / f"{program}.log").open("wb")
    clock = time.perf_counter()
    process = subprocess.Popen(
        command(program, model, port),
        env=environment(model, port=port, key=key),
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
    if program == THIS:
        return [str(Path(sys.executable).parent / "serve"), "run", "serve_app:app"]
    script = str(Path(__file__).with_name("serve_rivals.py"))
    return [sys.executable, script, program, str(model.folder), str(port)]


def environment(model: Model, *, port: int, key: str) -> dict[str, str]:
    """The caller's, with what this project's service is told: its home, port and key."""
    unwanted = ("HEART_", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return kept | {
        "HEART_HOME": str(model.home),
        "HEART_PORT": str(port),
        "HEART_API_KEYS": f"bench:predict+admin:{hashlib.sha256(key.encode()).hexdigest()}",
        "OMP_NUM_THREADS": "1",
        # mlflow calls uvicorn by its name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def await_answer(
    program: str, model: Model, *, port: int, key: str, process: subprocess.Popen[bytes]
) -> None:
    """Ask for the first patient until there is an answer."""
    body = bodies(model, program, batch=False)[0].encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    url = f"http://{HOST}:{port}{path(program, batch=False)}"
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


def load(
    program: str, model: Model, *, port: int, key: str, concurrency: int, seconds: int, batch: bool
) -> Load:
    """Have wrk put load on a server."""
    file = model.folder / "bodies"
    file.write_text("\n".join(bodies(model, program, batch=batch)) + "\n")
    where = path(program, batch=batch)
    words = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout", "10s"]
    words += ["-s", str(Path(__file__).with_name("wrk.lua")), f"http://{HOST}:{port}{where}"]
    told = subprocess.run(
        words,
        env={**os.environ, "BODIES": str(file), "KEY": key},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(told.stdout.splitlines()[-1])
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


def memory() -> tuple[float, float | None]:
    """MB of all processes that run under this one, shared pages split; MB of one replica."""
    total, replica = 0.0, None
    for stat in descendants(os.getpid()):
        try:
            lines = Path(f"/proc/{stat.pid}/smaps_rollup").read_text().splitlines()
            name = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
        total += sizes.get("Pss", 0.0)
        if name.startswith(b"ray::ServeReplica"):
            replica = max(replica or 0.0, sizes.get("Rss", 0.0))
    return total, replica


def measure(
    program: str, model: Model, concurrencies: Sequence[int], seconds: int
) -> tuple[Served, list[Load]]:
    """Start a server, warm it up, put every load on it; raises `ServerError`."""
    port, key = free_port(), secrets.token_urlsafe(32)
    with running(program, model, port=port, key=key) as first:
        asked = {"program": program, "model": model, "port": port, "key": key}
        load(**asked, concurrency=8, seconds=2, batch=False)
        loads = [load(**asked, concurrency=c, seconds=seconds, batch=False) for c in concurrencies]
        loads.append(load(**asked, concurrency=BATCH_CONCURRENCY, seconds=seconds, batch=True))
        total, replica = memory()
    return Served(program, first, total, replica), loads


def checks(loads: Sequence[Load], served: Sequence[Served]) -> list[dict[str, Any]]:
    """What must show, as far as it was measured."""
    at: Mapping[tuple[str, int, bool], Load] = {
        (x.program, x.concurrency, "batch" in x.path or x.patients_per_s > x.requests_per_s): x
        for x in loads
    }
    found: list[tuple[str, float, str, float]] = []
    this, pickled = at.get((THIS, 1, False)), at.get(("pickled", 1, False))
    if this and pickled:
        ratio = this.p50_ms / pickled.p50_ms
        found.append(("p50 at 1, to the pickled pipeline", ratio, "at most", 0.15))
    this = at.get((THIS, 32, False))
    for rival, bound in (("pickled", 15.0), ("onnx", 0.6)):
        other = at.get((rival, 32, False))
        if this and other:
            ratio = this.requests_per_s / other.requests_per_s
            found.append((f"requests/s at 32, to {rival}", ratio, "at least", bound))
    batch = at.get((THIS, BATCH_CONCURRENCY, True))
    if batch:
        found.append(("patients/s in batches", batch.patients_per_s, "at least", 20_000.0))
    for one in served:
        if one.program == THIS:
            found.append(("seconds to the first answer", one.first_answer_s, "at most", 15.0))
            found.append(("MB of a replica", one.replica_mb or float("nan"), "at most", 300.0))
    return [
        {
            "what": what,
            "found": value,
            "must_be": side,
            "bound": bound,
            "holds": value <= bound if side == "at most" else value >= bound,
        }
        for what, value, side, bound in found
    ]


def show(
    loads: Sequence[Load], served: Sequence[Served], held: Sequence[Mapping[str, Any]]
) -> None:
    """Print the tables, in Markdown."""
    console = Console(width=WIDTH, highlight=False)
    base = {(x.path.count("batch"), x.concurrency): x for x in loads if x.program == "pickled"}
    columns = ("server", "request", "at once", "requests/s", "to pickled", "p50 ms", "p99 ms")
    table = _table(*columns, "not 2xx", "broken")
    for x in loads:
        batch = x.patients_per_s > x.requests_per_s
        other = base.get((int(batch), x.concurrency))
        ratio = f"{x.requests_per_s / other.requests_per_s:.1f}" if other else ""
        table.add_row(
            x.program,
            f"{BATCH} patients" if batch else "1 patient",
            str(x.concurrency),
            f"{x.requests_per_s:,.0f}",
            ratio,
            f"{x.p50_ms:.2f}",
            f"{x.p99_ms:.1f}",
            str(x.bad_status),
            str(x.broken),
        )
    console.print(table)
    table = _table("server", "s to first answer", "MB, all processes", "MB, a replica")
    for one in served:
        replica = "" if one.replica_mb is None else f"{one.replica_mb:.0f}"
        table.add_row(one.program, f"{one.first_answer_s:.1f}", f"{one.memory_mb:.0f}", replica)
    console.print(table)
    table = _table("what must show on two cores", "found", "bound", "holds")
    for row in held:
        bound = f"{row['must_be']} {row['bound']:g}"
        table.add_row(row["what"], f"{row['found']:.3g}", bound, "yes" if row["holds"] else "NO")
    console.print(table)


def _table(*columns: str) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in columns), box=box.MARKDOWN)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench_serve.py",
        description="Time the service against FastAPI, plain Ray Serve and mlflow models serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--rivals", default=",".join(PROGRAMS), help="servers to measure")
    p.add_argument("--concurrency", default="1,8,32,128", help="requests at a time")
    p.add_argument("--seconds", type=int, default=10, help="of load at each concurrency")
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
    # Also where this was started in the background, and must not hear of Ctrl-C: what is started
    # here has to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loads: list[Load] = []
    served: list[Served] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        model = prepare(Path(folder), given.home)
        for program in programs:
            say(f"{program} ...")
            try:
                one, found = measure(
                    program, model, [int(c) for c in given.concurrency.split(",")], given.seconds
                )
            except ServerError as error:
                failures[program] = str(error)
                say(f"  failed: {error}")
                continue
            served.append(one)
            loads += found
    held = checks(loads, served)
    write_json(
        given.out,
        {
            "machine": machine(),
            "options": {"seconds": given.seconds, "home": str(given.home or "")},
            "loads": [asdict(x) for x in loads],
            "served": [asdict(x) for x in served],
            "checks": held,
            "failures": failures,
        },
    )
    show(loads, served, held)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
