"""Start the service so that a rollout restarts nothing: ``python -m serve_app [VERSION]``.

It writes the Serve config under HEART_HOME and does what ``serve run`` of it does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heart.errors import run_main
from heart.files import write_whole
from heart.hospital import load_recalibration
from heart.settings import PREFIX, Settings
from heart.sources import Reference, fetch
from serve_app.config import ADDRESS_FILE, find, parser, render
from serve_app.environment import NO_HAPROXY, has_haproxy

FILE: Final = "serve.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; the exit code."""
    made = parser("python -m serve_app", "Starts the service.")
    made.add_argument("--address", help="a Ray cluster to join; else a Ray of its own")
    options = made.parse_args(arguments)
    settings = Settings.from_environment()
    model = find(settings, options.version)
    check(settings, model)
    home = settings.home.resolve()
    write_whole(home / FILE, render(settings, model).encode())
    os.environ.update(absolute_paths(settings))
    if not has_haproxy():
        print(NO_HAPROXY, file=sys.stderr)
    run(home, options.address)
    return 0


def absolute_paths(settings: Settings) -> dict[str, str]:
    """The variables of the settings that are paths: Serve reads them in folders of its own."""
    paths = {name: value for name, value in settings if isinstance(value, Path)}
    return {f"{PREFIX}{name.upper()}": str(path.resolve()) for name, path in paths.items()}


def check(settings: Settings, model: Reference | None) -> None:
    """Refuse here, in one line, what would else fail in a log of Ray's.

    Raises `BundleError` for a damaged model or a recalibration that is for another one, and
    `UsageError` for settings that contradict each other.
    """
    from serve_app.deployment import build

    build(settings)
    if model is None:
        return
    bundle = fetch(model, settings)
    if settings.recalibration is not None:
        load_recalibration(settings.recalibration, bundle)


def run(home: Path, address: str | None) -> None:
    """What ``serve run`` of a config does: start Ray and Serve, end them by Ctrl-C or SIGTERM."""
    import ray
    from ray.serve.scripts import cli

    where = address or os.environ.get("RAY_ADDRESS") or "local"
    ray.init(address=where, namespace="serve")  # as `serve run` would; it takes what runs
    # What ends a container, where it would else be ignored: the first process has no default.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gcs = ray.get_runtime_context().gcs_address
    write_whole(home / ADDRESS_FILE, gcs.encode())
    cli.main(["run", "--address", gcs, str(home / FILE)], prog_name="serve")


if __name__ == "__main__":
    sys.exit(run_main(main))
