"""Another model into service without a restart: ``python -m serve_app.rollout VERSION``.

Serve's ``user_config`` names the version, each replica takes it up beside the one that answers,
and each is asked afterwards what it serves. Where one failed, judges otherwise than the bundle
does here, or errors come while it is watched, the service goes back to what it served before.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from typing import Final

from heart.bundle import Bundle
from heart.errors import PromotionError, UsageError, run_main
from heart.files import locked
from heart.settings import Settings, keep_private
from heart.sources import Reference, champion_reference, fetch
from serve_app.changing import Bounds, Ending, Rollout
from serve_app.config import ADDRESS_FILE, find
from serve_app.service import joined
from serve_app.user_config import ShadowOrder, UserConfig

KNOWN_PATIENTS: Final = 100
KUBERAY: Final = "kuberay"
NO_SHADOW: Final = "none"
SHARE: Final = 0.1
WATCH_S: Final = 30.0
ERROR_RATE: Final = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one rollout; the exit code."""
    keep_private()
    options = _parser().parse_args(arguments)
    settings = Settings.from_environment()
    if settings.managed_by == KUBERAY:
        raise UsageError(
            "KubeRay would undo this: its RayService names the version, so change it by "
            "`python -m kuberay.deploy promote`",
            field="HEART_MANAGED_BY",
        )
    if options.share is not None and options.shadow in (None, NO_SHADOW):
        raise UsageError("--share is of a version that --shadow names", field="share")
    model = _resolve(settings, options.version)
    if not options.force:
        check_gates(fetch(model, settings))
    address = options.address or started(settings)
    with locked(settings.home.resolve() / ".rollout.lock"), joined(address) as service:
        bounds = Bounds(
            arrive_s=2 * settings.download_timeout_s,
            watch_s=options.watch,
            error_rate=options.max_error_rate,
        )
        rollout = Rollout(service, settings, bounds, patients=known_patients(), say=say)
        shadow = _shadow(options, settings, service.user_config().shadow, model)
        ending = rollout.change(UserConfig(model=model, shadow=shadow))
    if ending is Ending.DONE and model != champion_reference(settings.bundles):
        say(
            f"version {model.version} is not the champion, which the service takes when it is "
            f"started again: `python -m heart.registry promote {model.version} --why …`"
        )
    return ending


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.rollout",
        description="Serves another version without a restart, and goes back where it fails. "
        "Exit code 1: gone back; 2: refused, nothing was changed; 3: it is not known what is "
        "served.",
    )
    parser.add_argument("version", help="a number, champion, challenger or previous")
    parser.add_argument("--force", action="store_true", help="though a gate was not passed")
    parser.add_argument(
        "--watch",
        type=_seconds,
        default=WATCH_S,
        metavar="S",
        help="seconds to watch it afterwards, %(default)s unless said",
    )
    parser.add_argument(
        "--max-error-rate",
        type=_share,
        default=ERROR_RATE,
        metavar="SHARE",
        help="share of answers with a status of 500 or more, %(default)s unless said",
    )
    parser.add_argument(
        "--shadow", metavar="VERSION", help="a version to compare with, or none; else as before"
    )
    parser.add_argument(
        "--share", type=_share, help=f"share of the requests that it judges, {SHARE} unless said"
    )
    parser.add_argument(
        "--address", help="the Ray cluster, HOST:PORT; else that of `python -m serve_app` here"
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 or more seconds, got {text}")
    return seconds


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return share


def started(settings: Settings) -> str:
    """The address of the Ray that a service of this HEART_HOME was started on."""
    path = settings.home.resolve() / ADDRESS_FILE
    try:
        return path.read_text()
    except FileNotFoundError:
        return os.environ.get("RAY_ADDRESS", "auto")


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)


def known_patients() -> list[list[float]]:
    """Some of the bundled table, of all its hospitals, with what is missing there."""
    from heart import cohorts

    X = cohorts.load("all").X.to_numpy()
    rows: list[list[float]] = X[:: len(X) // KNOWN_PATIENTS][:KNOWN_PATIENTS].tolist()
    return rows


def check_gates(bundle: Bundle) -> None:
    """Raise `PromotionError` for a version that did not pass its gates."""
    from heart.gates import evaluation_of, failures

    evaluation = evaluation_of(bundle)
    if not evaluation.passed:
        raise PromotionError(
            f"version {bundle.version} did not pass {failures(evaluation.gates)}; --force serves "
            "it all the same",
            field="version",
        )


def _resolve(settings: Settings, version: str) -> Reference:
    found = find(settings, version)
    assert found is not None  # noqa: S101 - a version that is named is found, or an error
    return found


def _shadow(
    options: argparse.Namespace,
    settings: Settings,
    before: ShadowOrder | None,
    model: Reference,
) -> ShadowOrder | None:
    """The challenger that is asked for, or the one before, unless it is what is served."""
    if options.shadow == NO_SHADOW:
        return None
    wanted = before
    if options.shadow is not None:
        share = SHARE if options.share is None else options.share
        wanted = ShadowOrder(model=_resolve(settings, options.shadow), share=share)
    if wanted is not None and wanted.model.sha256 == model.sha256:
        say(f"version {model.version} is not compared with itself: no shadow")
        return None
    return wanted


if __name__ == "__main__":
    sys.exit(run_main(main))
