"""What the service loses when something is killed, damaged or swapped under steady load.

``python scripts/faults.py`` starts a Ray cluster of its own with two replicas of the service,
asks about patients all the while, does one bad thing after the other, and prints what was
done and what was lost. A request is lost when it fails twice: the client repeats it once, at
once, after a broken connection or a 500, 502, 503 or 504. ``--only NAME,NAME`` picks faults. The
answers are held against those of the versions they name. Needs HAProxy (it comes with
ray[serve]); ``gcs`` needs redis-server. Everything is on loopback, and what it kills it started.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fault_clients import CALM_S, Clients
from fault_service import Service, expected, redis_server, two_versions
from machine import say
from processes import adopt_orphans, hear_ctrl_c
from rich.console import Console
from tables import markdown

from heart.bundle import MODEL_FILE
from heart.errors import UsageError, run_main
from heart.files import write_json
from heart.settings import keep_private
from serve_app.environment import free_port

RECOVERY_TIMEOUT_S: Final = 60.0
GCS_AWAY_S: Final = 15.0
SWAPS: Final = 60


@dataclass(frozen=True)
class Outcome:
    """A fault and what it cost."""

    fault: str
    done: str
    seconds: float
    asked: int
    repeated: int
    lost: int
    wrong: int
    gap_s: float
    worst_ms: float
    versions: dict[str, int]
    why: dict[str, int]


def kill_replica(service: Service) -> str:
    """One of two."""
    service.kill("ray::ServeReplica", number=1)
    return "killed one replica of two"


def kill_replicas(service: Service) -> str:
    """The last one too, so that nothing can answer for a while."""
    return f"killed all {service.kill('ray::ServeReplica')} replicas"


def kill_controller(service: Service) -> str:
    """Serve's controller."""
    service.kill("ray::ServeController")
    return "killed Serve's controller"


def kill_proxy(service: Service) -> str:
    """The HAProxy that the clients talk to."""
    os.kill(service.proxy().pid, signal.SIGKILL)
    return "killed the HAProxy"


def kill_manager(service: Service) -> str:
    """The actor that keeps the HAProxy."""
    service.kill("ray::HAProxyManager", number=1)  # the oldest is the head's
    return "killed the HAProxy's manager"


def kill_node(service: Service) -> str:
    """The second node with its replica; another one comes to take its place."""
    service.cluster.remove_node(service.second, allow_graceful=False)
    service.add_node()
    return "killed the second node, started another"


def damage_bundle(service: Service) -> str:
    """The bundle that is served, while a replica has to start anew."""
    path = Path(service.references[service.versions[0]].uri) / MODEL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        service.kill("ray::ServeReplica", number=1)
        time.sleep(10)
    finally:
        path.write_bytes(whole)
    return "cut the bundle in half, killed a replica, mended it after 10 s"


def take_mlflow(service: Service) -> str:
    """The tracking database; the service needs none."""
    path = service.home / "mlflow.db"
    path.rename(path.with_suffix(".away"))
    try:
        service.kill("ray::ServeReplica", number=1)
        time.sleep(5)
    finally:
        path.with_suffix(".away").rename(path)
    return "took MLflow's database away, killed a replica"


def swap_models(service: Service) -> str:
    """Another version every second for a minute."""
    for number in range(SWAPS):
        service.swap(service.versions[(number + 1) % 2])
        time.sleep(1)
    service.swap(service.versions[0])
    return f"swapped the model {SWAPS} times in {SWAPS} s"


def kill_gcs(service: Service) -> str:
    """Ray's control store; another one takes up from Redis what it knew.

    The head node whole would take the clients' only HAProxy with it.
    """
    service.cluster.head_node.kill_gcs_server()
    time.sleep(GCS_AWAY_S)
    service.cluster.head_node.start_gcs_server()
    return f"killed Ray's control store (GCS), started another after {GCS_AWAY_S:g} s"


FAULTS: Final[Mapping[str, Callable[[Service], str]]] = {
    "replica": kill_replica,
    "replicas": kill_replicas,
    "controller": kill_controller,
    "proxy": kill_proxy,
    "manager": kill_manager,
    "node": kill_node,
    "bundle": damage_bundle,
    "mlflow": take_mlflow,
    "swaps": swap_models,
    "gcs": kill_gcs,
}


def attempt(name: str, service: Service, clients: Clients) -> Outcome:
    """Do one fault under load, until the service answers steadily again."""
    service.wait(clients.steady, "answers", timeout=RECOVERY_TIMEOUT_S)
    clients.tally()
    started = time.monotonic()
    done = FAULTS[name](service)
    time.sleep(CALM_S)
    service.wait(
        lambda: clients.steady() and service.running() == 2,
        f"recovery from {name}",
        timeout=RECOVERY_TIMEOUT_S,
    )
    seconds = time.monotonic() - started
    time.sleep(CALM_S)  # to see it answer on
    seen = vars(clients.tally())
    counts = {what: dict(seen[what]) for what in ("versions", "why")}
    return Outcome(fault=name, done=done, seconds=seconds, **{**seen, **counts})


def run(names: Sequence[str], home: Path) -> list[Outcome]:
    """All faults on one service; where the control store is killed, Redis keeps what it knows."""
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, _redis(names, folder) as redis:
        service = Service(home, free_port(), redis=redis)
        service.start()
        try:
            with Clients(service.port, expected(service)) as clients:
                for name in names:
                    say(f"{name} ...")
                    found.append(attempt(name, service, clients))
                    say(f"  lost {found[-1].lost} of {found[-1].asked}")
        finally:
            service.stop()
    return found


@contextmanager
def _redis(names: Sequence[str], folder: str) -> Iterator[str | None]:
    if "gcs" not in names:
        yield None
        return
    with redis_server(Path(folder)) as address:
        yield address


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the table, in Markdown."""
    columns = ("what was done", "asked", "repeated", "lost", "wrong", "longest gap, s", "worst, ms")
    table = markdown(*columns)
    for x in outcomes:
        numbers = (str(n) for n in (x.asked, x.repeated, x.lost, x.wrong))
        table.add_row(x.done, *numbers, f"{x.gap_s:.1f}", f"{x.worst_ms:.0f}")
    Console(width=160, highlight=False).print(table)


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in FAULTS:
            raise UsageError(f'--only takes {", ".join(FAULTS)}, got "{name}"', field="only")
    if "gcs" in names and shutil.which("redis-server") is None:
        raise UsageError("gcs needs redis-server, none is installed", field="only")
    return names


def main() -> int:
    """Do the faults, print and write what was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(FAULTS), help="faults by name")
    parser.add_argument("--home", type=Path, help="a HEART_HOME with two versions or more")
    parser.add_argument("--out", type=Path, default=Path("artifacts/faults.json"))
    given = parser.parse_args()
    keep_private()
    names = _names(given.only)
    adopt_orphans()
    hear_ctrl_c()
    with tempfile.TemporaryDirectory(prefix="faults-home-") as folder:
        home = given.home or two_versions(Path(folder) / "home")
        outcomes = run(names, home.resolve())
    write_json(given.out, {"outcomes": [asdict(x) for x in outcomes]})
    show(outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
