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

At last this one is flooded: ten times the highest number of requests at once, for half a minute.

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
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from machine import machine, say
from processes import adopt_orphans, descendants, end_descendants
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
RIVALS: Final = ("pickled", "onnx", "plain-serve", "mlflow", "bentoml", "mlserver")
OPTIONAL: Final = ("bentoml", "mlserver")
THIS: Final = "this"
TWO: Final = "this-two"
REPLICAS: Final = {THIS: 1, TWO: 2}
REPLICA: Final = b"ray::ServeReplica"
PROGRAMS: Final = (*RIVALS, *REPLICAS)
CONCURRENCIES: Final = (1, 8, 32, 128)
BATCH: Final = 100
BATCH_CONCURRENCY: Final = 8
FLOOD: Final = 10
FLOOD_S: Final = 30
ALLOWED: Final = frozenset({"200", "429", "503"})
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
    patients = tuple({str(k): None if math.isnan(v) else v for k, v in row.items()} for row in rows)
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
    groups = [list(patients)] if batch else [[p] for p in patients]
    if program == "mlflow":
        return [json.dumps({"dataframe_records": group}) for group in groups]
    if program == "mlserver":
        return [json.dumps(columns(group)) for group in groups]
    if batch:
        named = program in (*REPLICAS, "bentoml")
        whole: Any = {"patients": patients} if named else patients
        return [json.dumps(whole)]
    return [json.dumps({"patient": p} if program == "bentoml" else p) for p in patients]


def columns(patients: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Patients as the Open Inference Protocol has a DataFrame: a tensor a column."""
    inputs = [
        {
            "name": name,
            "shape": [len(patients), 1],
            "datatype": "FP64",
            "data": [patient[name] for patient in patients],
        }
        for name in NAMES
    ]
    outputs = [{"name": "predict_proba"}]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": outputs}


def path(program: str, *, batch: bool) -> str:
    """Where a server takes patients."""
    if program == "mlflow":
        return "/invocations"
    if program == "mlserver":
        return "/v2/models/heart/infer"
    return "/predict/batch" if batch else "/predict"


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


def replica_pids() -> set[int]:
    """The replicas that run under this process."""
    return {stat.pid for stat in descendants(os.getpid()) if _name(stat.pid).startswith(REPLICA)}


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


def measure(
    program: str, model: Model, concurrencies: Sequence[int], seconds: int
) -> tuple[Served, list[Load], Flood | None]:
    """Start a server, warm it up, put every load on it; raises `ServerError`."""
    port, key = free_port(), secrets.token_urlsafe(32)
    with running(program, model, port=port, key=key) as first:
        put = partial(load, program, model, port=port, key=key)
        put(concurrency=8, seconds=2, batch=False)
        loads = [put(concurrency=c, seconds=seconds, batch=False) for c in concurrencies]
        loads.append(put(concurrency=BATCH_CONCURRENCY, seconds=seconds, batch=True))
        total, replica = memory()
        flooded = None
        if program == THIS:
            flooded = flood(model, port=port, key=key, concurrency=FLOOD * max(concurrencies))
    return Served(program, first, total, replica), loads, flooded


def checks(
    loads: Sequence[Load], served: Sequence[Served], flooded: Flood | None
) -> list[dict[str, Any]]:
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
    for program in REPLICAS:
        this = at.get((program, 32, False))
        for rival, bound in (("pickled", 15.0), ("onnx", 0.6)):
            other = at.get((rival, 32, False))
            if this and other:
                ratio = this.requests_per_s / other.requests_per_s
                what = f"{program}: requests/s at 32, to {rival}"
                found.append((what, ratio, "at least", bound))
    batch = at.get((THIS, BATCH_CONCURRENCY, True))
    if batch:
        found.append(("patients/s in batches", batch.patients_per_s, "at least", 20_000.0))
    for one in served:
        if one.program == THIS:
            found.append(("seconds to the first answer", one.first_answer_s, "at most", 15.0))
            found.append(("MB of a replica", one.replica_mb or float("nan"), "at most", 300.0))
    if flooded:
        strange = sum(n for status, n in flooded.statuses.items() if status not in ALLOWED)
        found.append(("flooded: answers but 200, 429, 503", strange, "at most", 0.0))
        found.append(("flooded: requests without an answer", flooded.broken, "at most", 0.0))
        found.append(("flooded: replicas that ended", float(flooded.restarted), "at most", 0.0))
        found.append(("flooded: MB of the replica, the most", flooded.most_mb, "at most", 300.0))
        ratio = flooded.after_p50_ms / flooded.before_p50_ms
        found.append(("flooded: p50 of one client after, to before", ratio, "at most", 2.0))
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
    loads: Sequence[Load],
    served: Sequence[Served],
    flooded: Flood | None,
    held: Sequence[Mapping[str, Any]],
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
    if flooded:
        table = _table("flooded: at once", "seconds", "answers by status", "none", "MB", "most MB")
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
    here = [name for name in PROGRAMS if name not in OPTIONAL or shutil.which(name)]
    p.add_argument("--rivals", default=",".join(here), help="servers to measure")
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
    flooded: Flood | None = None
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        model = prepare(Path(folder), given.home)
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
            "options": {"seconds": given.seconds, "home": str(given.home or "")},
            "loads": [asdict(x) for x in loads],
            "served": [asdict(x) for x in served],
            "flood": asdict(flooded) if flooded else None,
            "checks": held,
            "failures": failures,
        },
    )
    show(loads, served, flooded, held)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
