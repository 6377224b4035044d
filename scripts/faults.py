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
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from machine import say
from processes import Stat, adopt_orphans, descendants, hear_ctrl_c
from rich.console import Console
from tables import markdown

import serve_app  # noqa: F401 - sets Ray's variables before Ray starts
from heart import cohorts
from heart.bundle import MODEL_FILE
from heart.errors import UsageError, run_main
from heart.files import write_json
from heart.settings import Settings, keep_private
from heart.sources import Reference, fetch, reference_of
from serve_app.config import serve_config
from serve_app.environment import apart, free_port
from serve_app.user_config import UserConfig

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

HOST: Final = "127.0.0.1"
CLIENTS: Final = 4
PERIOD_S: Final = 0.04
PATIENTS: Final = 20
CALM_S: Final = 3.0
AGAIN: Final = (500, 502, 503, 504)
START_TIMEOUT_S: Final = 90.0
RECOVERY_TIMEOUT_S: Final = 60.0
GCS_AWAY_S: Final = 15.0
SWAPS: Final = 60


@dataclass
class Tally:
    """What the clients saw: ``gap_s`` is the longest time in which no answer came."""

    asked: int = 0
    repeated: int = 0
    lost: int = 0
    wrong: int = 0
    gap_s: float = 0.0
    worst_ms: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)


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


class Clients:
    """Steady load: some threads, each with a connection of its own."""

    def __init__(self, port: int, expected: Mapping[str, Sequence[float]]) -> None:
        self._port, self._expected = port, expected
        self._bodies = [json.dumps(p).encode() for p in patients()]
        self._tally, self._last, self._failed = Tally(), time.monotonic(), 0.0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Clients:
        self._last = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def tally(self) -> Tally:
        """What was seen since this was last asked."""
        with self._lock:
            self._tally.gap_s = max(self._tally.gap_s, time.monotonic() - self._last)
            found, self._tally = self._tally, Tally()
            return found

    def steady(self) -> bool:
        """Whether answers come, and none has been lost for a while."""
        now = time.monotonic()
        return now - self._last < 0.25 and now - self._failed > CALM_S

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        while not self._over.wait(PERIOD_S):
            number = (number + 1) % PATIENTS
            started = time.monotonic()
            answer = self._ask(connection, number)
            repeated = answer is None or answer[0] in AGAIN
            if repeated:
                answer = self._ask(connection, number)
            self._note(number, answer, started, repeated=repeated)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> tuple[int, bytes] | None:
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", self._bodies[number], headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None

    def _note(
        self, number: int, answer: tuple[int, bytes] | None, started: float, *, repeated: bool
    ) -> None:
        now = time.monotonic()
        with self._lock:
            tally = self._tally
            tally.asked += 1
            tally.repeated += repeated
            if answer is None or answer[0] != 200:
                tally.lost += 1
                self._failed = now
                tally.why["no answer" if answer is None else str(answer[0])] += 1
                return
            tally.gap_s = max(tally.gap_s, now - self._last)
            tally.worst_ms = max(tally.worst_ms, (now - started) * 1000)
            self._last = now
            found = json.loads(answer[1])
            version = found["model_version"]
            tally.versions[version] += 1
            known = self._expected.get(version)
            tally.wrong += known is None or known[number] != found["probability"]


def patients() -> list[dict[str, Any]]:
    """Some patients as a client would send them, in words and numbers."""
    rows = cohorts.load("all").X.head(PATIENTS)
    return [
        {str(name): None if value != value else value for name, value in row.items()}  # noqa: PLR0124
        for row in rows.to_dict("records")
    ]


class Service:
    """Two replicas on a Ray cluster of one node or two, started from a config."""

    def __init__(self, home: Path, port: int, *, redis: str | None = None) -> None:
        self.home, self.port = home, port
        self.references = references(home)
        self._redis = redis
        self._folder = tempfile.TemporaryDirectory(prefix="nodes-")
        self.cluster: Cluster
        self.second: Any = None

    def start(self) -> None:
        """Start Ray, then Serve, and wait for both replicas."""
        import ray
        from ray import serve
        from ray.cluster_utils import Cluster

        os.environ.update(self._apart("head"), HEART_HOME=str(self.home))
        os.environ["HEART_NUM_REPLICAS"] = "2"
        head: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False}
        if self._redis:
            head["redis_address"] = self._redis
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.add_node()
        ray.init(address=self.cluster.address, namespace="serve", log_to_driver=False)
        serve.start(http_options={"host": HOST, "port": self.port}, proxy_location="EveryNode")
        self.swap(self.versions[0])
        self.wait(lambda: len(self.processes("ray::ServeReplica")) == 2, "two replicas")

    def add_node(self) -> None:
        """A second node, whose HAProxy stays out of the first one's way."""
        proxy = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(free_port())}
        self.second = self.cluster.add_node(num_cpus=1, env_vars=self._apart("second") | proxy)

    def _apart(self, node: str) -> dict[str, str]:
        folder = Path(self._folder.name) / node
        folder.mkdir(exist_ok=True)
        return apart(folder)

    def stop(self) -> None:
        """End Serve and Ray."""
        import ray
        from ray import serve

        serve.shutdown()
        ray.shutdown()
        self.cluster.shutdown()

    @property
    def versions(self) -> list[str]:
        """The versions that there are bundles of."""
        return list(self.references)

    def swap(self, version: str) -> None:
        """Put a version into service as a rollout does: another user_config, no more."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        settings = Settings(host=HOST, port=self.port)
        config = serve_config(settings, UserConfig(model=self.references[version]))
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config), _blocking=False)

    def processes(self, name: str) -> list[Stat]:
        """The processes under this one whose command line begins with a name, the oldest first."""
        found = []
        for stat in descendants(os.getpid()):
            try:
                words = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(name.encode()) or f"/{name}\0".encode() in words:
                found.append(stat)
        return sorted(found, key=lambda stat: stat.pid)

    def proxy(self) -> Stat:
        """The HAProxy that the clients talk to."""
        folder = str(Path(self._folder.name) / "head").encode()
        return [
            stat
            for stat in self.processes("haproxy")
            if folder in Path(f"/proc/{stat.pid}/cmdline").read_bytes()
        ][-1]

    def kill(self, name: str, *, number: int | None = None) -> int:
        """Kill processes by name; how many. Raises `ProcessLookupError` where there is none."""
        doomed = self.processes(name)[:number]
        if not doomed:
            raise ProcessLookupError(f"no process {name} runs that could be killed")
        for stat in doomed:
            os.kill(stat.pid, signal.SIGKILL)
        return len(doomed)

    def wait(
        self, true: Callable[[], bool], what: str, *, timeout: float = START_TIMEOUT_S
    ) -> None:
        """Wait until something is true; raises `TimeoutError`."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout:g} s")
            time.sleep(0.1)


def references(home: Path) -> dict[str, Reference]:
    """The versions that there are bundles of, as a config names them."""
    folders = sorted((home / "bundles").glob("[0-9]*-*"))
    named = {folder.name.partition("-")[0]: folder for folder in folders}
    return {version: reference_of(folder, version) for version, folder in named.items()}


def expected(service: Service) -> dict[str, list[float]]:
    """What each version says of each patient."""
    from heart.attributes import parse_patient

    rows = [parse_patient(p) for p in patients()]
    return {
        version: fetch(reference, Settings(home=service.home)).predict(rows).tolist()
        for version, reference in service.references.items()
    }


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
        lambda: clients.steady() and len(service.processes("ray::ServeReplica")) == 2,
        f"recovery from {name}",
        timeout=RECOVERY_TIMEOUT_S,
    )
    seconds = time.monotonic() - started
    seen = vars(clients.tally())
    counts = {what: dict(seen[what]) for what in ("versions", "why")}
    return Outcome(fault=name, done=done, seconds=seconds, **{**seen, **counts})


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A redis of our own on a free port."""
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


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


def two_versions(home: Path) -> Path:
    """A home with two versions to swap between, the second champion; searched for."""
    for seed in ("42", "43"):
        command = [sys.executable, "-m", "tune.search", "--num-samples", "2", "--folds", "3"]
        space = f"{Path(__file__).with_name('bench_spaces.py').resolve()}:LINEAR"
        command += ["--scheduler", "none", "--space", space, "--seed", seed]
        environment = {**os.environ, "HEART_HOME": str(home)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    # The second is no better, and stays in the registry until somebody asks for it.
    command = [sys.executable, "-m", "heart.registry", "show", "2"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return home


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
