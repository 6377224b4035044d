"""Starting Ray and Serve where the settings say, for ``serve run serve_app:app``.

``serve run`` names no address for HTTP, and with HAProxy Serve's default is every address of
the machine. So they are started here, before ``serve run`` would, which then takes what runs.
"""

from __future__ import annotations

import os
import sys

import click
import ray
from ray import serve

from heart.settings import Settings
from serve_app.environment import NO_HAPROXY, has_haproxy


def start(settings: Settings) -> None:
    """Start Serve on the settings' address unless this process has joined a Ray already."""
    if ray.is_initialized():
        return
    if not has_haproxy():
        print(NO_HAPROXY, file=sys.stderr)
    ray.init(address=_address(), namespace="serve")
    serve.start(http_options={"host": settings.host, "port": settings.port})


def _address() -> str:
    """What ``serve run --address`` or RAY_ADDRESS says, else a Ray of its own.

    Ray itself would join whatever was started on the machine last, even where that has ended.
    """
    context = click.get_current_context(silent=True)
    named = None if context is None else context.params.get("address")
    return named or os.environ.get("RAY_ADDRESS") or "local"
