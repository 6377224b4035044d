"""``python -m heart.registry``: list, show, promote, roll back, verify."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from heart import promotions
from heart.bundle import Bundle
from heart.errors import BundleError, PromotionError
from heart.registry import Registry
from heart.settings import Settings, keep_private
from heart.store import connect

if TYPE_CHECKING:
    from heart.cohorts import CohortName

WIDTH: Final = 160
SAME: Final = 1e-6
"""How near a score must come when it is computed again: float32 graphs, another processor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    keep_private()
    options = _parser().parse_args(arguments)
    settings = Settings.from_environment()
    registry = Registry(connect(settings), settings)
    command: Callable[[Registry, argparse.Namespace], int] = options.command
    return command(registry, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m heart.registry", description="The versions of the model."
    )
    commands = parser.add_subparsers(required=True, metavar="list|show|promote|rollback|verify")
    commands.add_parser("list", help="all versions").set_defaults(command=_list)
    show = commands.add_parser("show", help="what is known of a version")
    show.set_defaults(command=_show)
    promote = commands.add_parser("promote", help="make a version champion")
    promote.add_argument("--why", required=True, help="the reason, which the log keeps")
    promote.add_argument("--force", action="store_true", help="though a gate was not passed")
    promote.set_defaults(command=_promote)
    rollback = commands.add_parser("rollback", help="make the champion before champion again")
    rollback.add_argument("--why", required=True, help="the reason, which the log keeps")
    rollback.set_defaults(command=_rollback)
    verify = commands.add_parser("verify", help="compute checksums and scores again")
    verify.set_defaults(command=_verify)
    for command in (show, promote, verify):
        command.add_argument("version", help="a number, champion, challenger or previous")
    return parser


def _list(registry: Registry, options: argparse.Namespace) -> int:
    table = Table("version", "alias", "family", "CV ROC-AUC", "test ROC-AUC", "cohort", "code")
    table.box = None
    for row in registry.versions():
        tags = row.tags
        table.add_row(
            row.version,
            ", ".join(row.aliases),
            *(tags.get(name, "") for name in ("family", "cv_roc_auc", "test_roc_auc", "cohort")),
            tags.get("code_version", ""),
        )
    console = Console(highlight=False)
    # A table that is read by a program, or kept in a file, is not broken into lines.
    console = Console(highlight=False, width=None if console.is_terminal else WIDTH)
    console.print(table)
    return 0


def _show(registry: Registry, options: argparse.Namespace) -> int:
    bundle = registry.load(registry.resolve(options.version))
    told = {
        "version": bundle.version,
        "metadata": bundle.metadata.model_dump(mode="json"),
        "evaluation": json.loads(bundle.evaluation),
        "promotions": [
            promotion.model_dump(mode="json")
            for promotion in promotions.read(registry.settings.promotions)
            if promotion.version == bundle.version
        ],
    }
    print(json.dumps(told, indent=2))
    return 0


def _promote(registry: Registry, options: argparse.Namespace) -> int:
    from heart.gates import evaluation_of, failures  # not at the top: a rollback is to be quick

    version = registry.resolve(options.version)
    before = registry.aliases().champion
    evaluation = evaluation_of(registry.load(version))
    if not evaluation.passed and not options.force:
        raise PromotionError(
            f"version {version} did not pass {failures(evaluation.gates)}; --force promotes it "
            "all the same, and its card says so",
            field="version",
        )
    forced = not evaluation.passed
    registry.promote(version, reason=options.why, over=before, forced=forced)
    print(f"version {version} is champion{', by force' if forced else ''}")
    return 0


def _rollback(registry: Registry, options: argparse.Namespace) -> int:
    print(f"version {registry.rollback(reason=options.why)} is champion again")
    return 0


def _verify(registry: Registry, options: argparse.Namespace) -> int:
    """Loading holds the checksums against each other; the scores are computed again."""
    bundle = registry.load(registry.resolve(options.version))
    for name, (told, found) in again(bundle).items():
        print(f"{name:28} {told:.6f} {found:.6f}")
    print(f"version {bundle.version}: checksums and test scores are as registered")
    return 0


def again(bundle: Bundle) -> dict[str, tuple[float, float]]:
    """Each test score as registered and as the graph gives it now.

    Raises `BundleError` where the table is another or a score differs.
    """
    from heart import cohorts
    from heart.evaluation import scores

    lineage = bundle.metadata.lineage
    patients = cohorts.load(cast("CohortName", lineage.cohort))
    if patients.sha256 != lineage.data_sha256:
        raise BundleError(
            f"version {bundle.version} was trained on the table {lineage.data_sha256}, the one "
            f"here is {patients.sha256}",
            field="data_sha256",
        )
    _, test = cohorts.split(patients, test_size=lineage.test_size, seed=lineage.split_seed)
    p = bundle.predict(test.X.to_numpy())
    found = scores(test.y, p, threshold=bundle.metadata.threshold)
    both = {name: (told.value, found[name]) for name, told in bundle.metadata.test.items()}
    for name, (told, now) in both.items():
        if not np.isclose(told, now, rtol=0, atol=_apart(bundle)):
            raise BundleError(
                f"version {bundle.version}: {name} is {now:.6f}, registered as {told:.6f}",
                field=name,
            )
    return both


def _apart(bundle: Bundle) -> float:
    """How far a score may be: it was told of the pipeline, and is computed of the graph."""
    return SAME + 100 * bundle.metadata.parity
