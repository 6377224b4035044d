"""What importing the package does, and what `serve run` finds in it."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve
from ray.serve import Application

import serve_app
from heart.settings import PRIVACY, Settings
from serve_app import starting
from serve_app.deployment import build
from serve_app.environment import BINARY_VARIABLE, HAPROXY, VARIABLES, few_files

IMPORT = """
import json, os, sys
import serve_app
print(json.dumps({"variables": dict(os.environ), "ray": "ray" in sys.modules}))
"""


def imported(**variables: str) -> tuple[dict[str, str], bool]:
    """The variables after the import in a fresh process, and whether it imported Ray."""
    inherited = {
        k: v for k, v in os.environ.items() if k not in {**VARIABLES, **HAPROXY, **PRIVACY}
    }
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**inherited, **variables},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return found["variables"], found["ray"]


def test_the_import_sets_variables_and_no_more() -> None:
    variables, ray = imported(RAY_worker_niceness="5")
    assert {**VARIABLES, **PRIVACY, "RAY_worker_niceness": "5"}.items() <= variables.items()
    assert not ray


def test_where_few_files_may_be_open_haproxy_takes_fewer_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The HAProxy of the package, which does not start where its limit is too low."""
    for most, told in ((1024, "384"), (20_000, None), (resource.RLIM_INFINITY, None)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, most=most: (most, most))
        assert few_files().get("RAY_SERVE_HAPROXY_MAXCONN") == told


def test_haproxy_is_used_where_there_is_one() -> None:
    with_it, _ = imported(**{BINARY_VARIABLE: sys.executable})
    assert HAPROXY.items() <= with_it.items()
    without, _ = imported(**{BINARY_VARIABLE: "/nowhere/haproxy"})
    assert not HAPROXY.keys() & without.keys()


def test_haproxy_asks_no_port_that_another_ray_gives(client: httpx.Client) -> None:
    """It would ask the other's replica, or proxy, as long as it has none of its own."""
    assert client.get("/ready").status_code == 200
    named = Path(os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    (found,) = named.parent.rglob(named.name)  # Serve puts it into a folder of the node's
    asked = re.findall(r"^ *server \S+ \S+:(\d+)", found.read_text(), re.MULTILINE)
    lowest, highest = (
        int(os.environ[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX")
    )
    (proxy,) = {int(port) for port in asked} - set(range(lowest, highest + 1))
    assert proxy == int(os.environ["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"])
    assert len(asked) > 1


def test_app(
    ray_instance: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert isinstance(serve_app.app, Application)
    monkeypatch.setenv("HEART_NUM_REPLICAS", "0")
    with pytest.raises(SystemExit, match="2"):
        _ = serve_app.app
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: HEART_NUM_REPLICAS")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = serve_app.nothing


def test_settings_reach_the_deployment() -> None:
    deployment = build(Settings(home=Path("somewhere"), num_replicas=3))._bound_deployment
    assert deployment.num_replicas == 3
    assert deployment.init_args[0].home == Path("somewhere").resolve()


def test_a_start_goes_on_as_soon_as_there_is_a_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies come while the replica does."""
    proxies, asked = threading.Event(), list[dict[str, Any]]()

    def start(http_options: dict[str, Any]) -> None:
        asked.append(http_options)
        proxies.wait(10)

    looks = iter([None, None, "127.0.0.1"])
    monkeypatch.setattr(serve, "start", start)
    monkeypatch.setattr(starting, "listening_on", lambda: next(looks))
    starting.start_serve({"host": "127.0.0.1", "port": 1})
    assert asked == [{"host": "127.0.0.1", "port": 1}]
    proxies.set()


def test_a_serve_that_does_not_start_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `serve run` would start one of its own, on every address of the machine."""

    def fail(http_options: dict[str, Any]) -> None:
        raise TimeoutError("HTTP proxies not available")

    monkeypatch.setattr(serve, "start", fail)
    monkeypatch.setattr(starting, "listening_on", lambda: None)
    with pytest.raises(TimeoutError, match="not available"):
        starting.start_serve({"host": "127.0.0.1", "port": 1})
