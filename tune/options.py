"""What a search is asked to do: the options of ``python -m tune.search``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from heart.cohorts import COHORTS
from heart.errors import UsageError
from tune.candidates import grid
from tune.spaces import SPACES, find_space

LOCAL: Final = "local"
"""The address of a Ray of one's own."""
ALGORITHMS: Final = ("random", "grid", "optuna")
SCHEDULERS: Final = ("asha", "none")
SELECTIONS: Final = ("best", "one-se")
QUICK_FOLDS: Final = 3
QUICK_SAMPLES: Final = 8
SEEDS: Final = 2**32
"""How many seeds numpy has."""
BESIDE_RESUME: Final = (
    *("time_budget", "max_concurrent", "address"),
    *("tracking_uri", "experiment", "json"),
)
"""A search that is resumed has all other options from its journal."""


class Options(BaseModel):
    """The options as given; None where the space decides. Written to the journal."""

    model_config = ConfigDict(frozen=True)

    cohort: str | None = None
    space: str = "default"
    num_samples: int = 60
    algorithm: str | None = None
    scheduler: str | None = None
    select: str = "best"
    folds: int = 5
    repeats: int = 1
    seed: int = 42
    split_seed: int = 42
    test_size: float = 0.2
    time_budget: float | None = None
    max_concurrent: int | None = None
    address: str = LOCAL
    register_model: bool = True
    resume: str | None = None
    json_output: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a number that means nothing."""
        for name, smallest in (("num_samples", 1), ("repeats", 1), ("max_concurrent", 1)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(
                    f"{_option(name)} must be at least {smallest}, got {value}", field=name
                )
        if self.time_budget is not None and not 0 < self.time_budget < math.inf:
            raise UsageError(
                f"--time-budget must be above 0 seconds, got {self.time_budget:g}",
                field="time_budget",
            )
        if not 0 < self.test_size < 1:
            raise UsageError(
                f"--test-size must be between 0 and 1, both excluded, got {self.test_size:g}",
                field="test_size",
            )
        # A repeat k of the folds is made with the seed plus k.
        for name, largest in (("seed", SEEDS - self.repeats), ("split_seed", SEEDS - 1)):
            value = getattr(self, name)
            if not 0 <= value <= largest:
                raise UsageError(
                    f"{_option(name)} must be from 0 to {largest}, got {value}", field=name
                )


def parser() -> argparse.ArgumentParser:
    """The command line of the search."""
    p = argparse.ArgumentParser(
        prog="python -m tune.search",
        description="Search for a model on Ray Tune, track it in MLflow, register the winner.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    given = Options()
    what = p.add_argument_group("what is searched")
    what.add_argument("--cohort", choices=COHORTS, help="patients; default: the space's, or all")
    what.add_argument("--space", default=given.space, help=f"{', '.join(SPACES)} or path.py:NAME")
    what.add_argument(
        "--num-samples", type=int, default=given.num_samples, help="candidates; a grid has its own"
    )
    what.add_argument(
        "--algorithm", choices=ALGORITHMS, help="default: grid for a finite space, else random"
    )
    what.add_argument(
        "--scheduler", choices=SCHEDULERS, help="default: none with grid, else asha over the folds"
    )
    what.add_argument(
        "--select", choices=SELECTIONS, default=given.select, help="the winner's rule"
    )
    what.add_argument(
        "--quick", action="store_true", help=f"{QUICK_FOLDS} folds, {QUICK_SAMPLES} candidates"
    )
    rows = p.add_argument_group("rows")
    rows.add_argument("--folds", type=int, default=given.folds, help="folds of cross-validation")
    rows.add_argument("--repeats", type=int, default=given.repeats, help="repeats of the folds")
    rows.add_argument("--test-size", type=float, default=given.test_size, help="share kept aside")
    rows.add_argument(
        "--split-seed", type=int, default=given.split_seed, help="fixes the test rows"
    )
    rows.add_argument("--seed", type=int, default=given.seed, help="candidates, folds, estimators")
    how = p.add_argument_group("where and how long")
    how.add_argument("--time-budget", type=float, metavar="S", help="seconds of searching")
    how.add_argument("--max-concurrent", type=int, metavar="N", help="default: one a core")
    how.add_argument("--address", default=given.address, help=f"{LOCAL}, auto or HOST:PORT")
    how.add_argument("--resume", metavar="RUN", help="finish a search that was cut off")
    out = p.add_argument_group("output")
    out.add_argument("--tracking-uri", help="MLflow tracking URI; default: HEART_TRACKING_URI")
    out.add_argument("--experiment", help="MLflow experiment; default: HEART_EXPERIMENT")
    out.add_argument("--no-register", action="store_true", help="leave the registry alone")
    out.add_argument("--json", action="store_true", help="the result as the last line")
    return p


def read_options(arguments: Sequence[str] | None) -> tuple[Options, dict[str, str]]:
    """The options, and the settings that the command line overrides; raises `UsageError`."""
    p = parser()
    typed = _typed(p, arguments)
    if "resume" in typed:
        _check_taken_on_resume(typed)
    if "quick" in typed:
        p.set_defaults(folds=QUICK_FOLDS, num_samples=QUICK_SAMPLES)
    given = vars(p.parse_args(arguments))
    del given["quick"]
    given["register_model"] = not given.pop("no_register")
    given["json_output"] = given.pop("json")
    settings = {
        name: value for name in ("tracking_uri", "experiment") if (value := given.pop(name))
    }
    options = Options.model_validate(given)
    options.check()
    if "num_samples" in typed and not options.resume:
        _check_samples(options)
    return options, settings


def _typed(p: argparse.ArgumentParser, arguments: Sequence[str] | None) -> set[str]:
    """The options that are on the command line itself."""
    unset = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(p.parse_args(arguments)), unset))
    return {
        name for name, value in vars(p.parse_args(arguments, blank)).items() if value is not unset
    }


def _check_taken_on_resume(typed: set[str]) -> None:
    refused = sorted(typed - {"resume", *BESIDE_RESUME})
    if refused:
        takes, got = (", ".join(map(_option, names)) for names in (BESIDE_RESUME, refused))
        raise UsageError(
            f"--resume goes on with the options of before, it takes only {takes}, got {got}",
            field="resume",
        )


def _check_samples(options: Options) -> None:
    """A grid has the candidates it has: another number would be ignored."""
    space = find_space(options.space)
    if not (space.finite and options.algorithm in (None, "grid")):
        return
    number = len(grid(space))
    if options.num_samples != number:
        raise UsageError(
            f"--num-samples must be {number}, the whole grid of space {space.name}, got "
            f"{options.num_samples}; --algorithm random draws some of it",
            field="num_samples",
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
