"""Starting Ray and Serve where the settings say, for ``serve run serve_app:app``.

``serve run`` names no address for HTTP, and with HAProxy Serve's default is every address of
the machine. So they are started here, before ``serve run`` would, which then takes what runs.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import click
import ray
from ray import serve

from heart.settings import Settings
from serve_app.deployment import listening_on
from serve_app.environment import NO_HAPROXY, has_haproxy

LOOK_S: Final = 0.05


def start(settings: Settings) -> None:
    """Start Serve on the settings' address unless this process has joined a Ray already."""
    if ray.is_initialized():
        return
    if not has_haproxy():
        print(NO_HAPROXY, file=sys.stderr)
    ray.init(address=_address(), namespace="serve")
    start_serve({"host": settings.host, "port": settings.port})


def start_serve(http_options: dict[str, Any]) -> None:
    """Start Serve and return when its controller runs: a replica starts while its proxies do.

    `serve.start` waits for the proxies. So does ``serve run`` once the replica is there, and it
    is that which says so where they do not come.
    """
    threads = ThreadPoolExecutor(1, "serve-start")
    started = threads.submit(serve.start, http_options=http_options)
    threads.shutdown(wait=False)
    while not started.done() and listening_on() is None:
        time.sleep(LOOK_S)
    if started.done():
        started.result()


def _address() -> str:
    """What ``serve run --address`` or RAY_ADDRESS says, else a Ray of its own.

    Ray itself would join whatever was started on the machine last, even where that has ended.
    """
    context = click.get_current_context(silent=True)
    named = None if context is None else context.params.get("address")
    return named or os.environ.get("RAY_ADDRESS") or "local"
