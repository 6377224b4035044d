"""The Serve config that the service starts from: ``python -m serve_app.config [VERSION]``.

An application that Serve knows from a config takes another ``user_config`` without a restart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import yaml

from heart.errors import run_main
from heart.settings import Settings
from heart.sources import Reference, champion_reference
from serve_app.user_config import UserConfig

APPLICATION: Final = "heart"
DEPLOYMENT: Final = "heart"
IMPORT_PATH: Final = "serve_app:app"
ADDRESS_FILE: Final = "serve.address"
"""Where under HEART_HOME a start leaves the address of its Ray: Ray itself remembers which was
started last on a machine, which may be that of a search."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the config; the exit code."""
    options = parser("python -m serve_app.config", "Prints the Serve config.").parse_args(arguments)
    settings = Settings.from_environment()
    print(render(settings, find(settings, options.version)), end="")
    return 0


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """The options of a command that starts, or would start, the service."""
    made = argparse.ArgumentParser(prog=command, description=description)
    made.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="a number, champion, challenger or previous; without it the champion, if there is one",
    )
    return made


def find(settings: Settings, named: str | None) -> Reference | None:
    """The version that is named, or the champion; None where there is none yet.

    Raises `RegistryError` for an unknown version, `TrackingError` and `BundleError`.
    """
    if named is None:
        return champion_reference(settings.bundles)
    # MLflow takes seconds to import, and a start without a name needs none of it.
    from heart.registry import Registry
    from heart.store import connect

    registry = Registry(connect(settings), settings)
    return registry.reference(registry.resolve(named))


def render(settings: Settings, model: Reference | None) -> str:
    """The config as YAML."""
    return yaml.safe_dump(serve_config(settings, UserConfig(model=model)), sort_keys=False)


def serve_config(settings: Settings, user_config: UserConfig) -> dict[str, Any]:
    """The config as `ray.serve.schema.ServeDeploySchema` reads it.

    What it does not name is said in `serve_app.deployment`.
    """
    deployment = {"name": DEPLOYMENT, "user_config": user_config.model_dump(mode="json")}
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": IMPORT_PATH,
        "deployments": [deployment],
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": settings.host, "port": settings.port},
        "applications": [application],
    }


if __name__ == "__main__":
    sys.exit(run_main(main))
