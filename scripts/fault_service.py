"""The service that the faults happen to: two replicas on a Ray cluster of this machine's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fault_clients import HOST, patients
from processes import Stat, descendants

import serve_app  # noqa: F401 - sets Ray's variables before Ray starts
from heart.settings import Settings
from heart.sources import Reference, fetch, reference_of
from serve_app.config import APPLICATION, DEPLOYMENT, serve_config
from serve_app.environment import apart, free_port
from serve_app.user_config import UserConfig

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

START_TIMEOUT_S: Final = 90.0


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
        self.wait(lambda: self.running() == 2, "two replicas")

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

    def running(self) -> int:
        """How many replicas have started whole; 0 where Serve's controller does not say."""
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            found = serve.status().applications[APPLICATION].deployments[DEPLOYMENT]
        except (RayError, RayServeException, KeyError):
            return 0
        return int(found.replica_states.get("RUNNING", 0))

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
