"""The command line of ``python -m kuberay.deploy``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heart.errors import UsageError

COMMANDS: Final = {
    "up": "everything, in order; options of the search after --",
    "status": "what is there, and why it is not healthy",
    "search": "submit a search and follow its log; its options after --",
    "promote": "serve another version, in place",
    "rollback": "serve the version before again",
    "dashboard": "the Ray dashboard on this machine",
    "down": "take all of it down, without its data",
}
DASHBOARD: Final = 8265


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; raises `UsageError` for one that means nothing."""
    options = _parser().parse_args(arguments)
    if not 0 < options.timeout < math.inf:
        raise UsageError(f"--timeout must be above 0 seconds, got {options.timeout:g}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kuberay.deploy",
        description="The stack on a Kubernetes cluster.",
        epilog="Exit codes: 0 done, 1 it did not become healthy, 2 wrong use or no cluster to "
        "use, 130 interrupted.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="|".join(COMMANDS))
    made = {name: commands.add_parser(name, help=told) for name, told in COMMANDS.items()}
    for command in made.values():
        _common(command)
    for name in ("up", "search", "promote", "rollback", "down"):
        made[name].add_argument(
            "--dry-run", action="store_true", help="ask the server, change nothing"
        )
    for name in ("up", "promote", "rollback"):
        made[name].add_argument(
            "--tracking-uri", help="MLflow as seen from here; default: a port-forward"
        )
    for name in ("up", "search"):
        made[name].add_argument("search_options", nargs="*", metavar="-- OPTION")
    _own(made)
    return parser


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--context", help="of the kubeconfig; asked for where it is not given")
    command.add_argument(
        "--overlay", help="name, folder or rendered file; default: named like the context"
    )
    command.add_argument(
        "--timeout", type=float, default=900.0, metavar="S", help="for each thing waited for"
    )


def _own(made: dict[str, argparse.ArgumentParser]) -> None:
    """What single commands take."""
    up = made["up"]
    up.add_argument("--bundle", type=Path, help="import this bundle's folder, search for none")
    up.add_argument("--image", help="NAME:TAG or NAME@DIGEST in place of the overlay's")
    up.add_argument("--mlflow-image", metavar="IMAGE", help="the same for the tracking server")
    up.add_argument(
        "--take-over", action="store_true", help="also fields that someone else has changed"
    )
    made["search"].add_argument("--no-follow", action="store_true", help="submit it, no more")
    promote = made["promote"]
    promote.add_argument("version", help="a number, champion, challenger or previous")
    promote.add_argument("--force", action="store_true", help="though a gate was not passed")
    for name in ("promote", "rollback"):
        made[name].add_argument("--why", default="", help="the reason, which the service keeps")
    made["dashboard"].add_argument("--port", type=int, default=DASHBOARD, help="here")
    made["down"].add_argument(
        "--delete-data", action="store_true", help="volumes and namespace as well"
    )
