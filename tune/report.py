"""The search's report: one HTML file that needs nothing else, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
import numpy as np

from heart import plots
from heart.evaluation import Floats, Labels
from tune.leaderboard import Entry
from tune.plan import Plan
from tune.result import Result
from tune.space import Choice, Integer, LogUniform, Uniform


@dataclass(frozen=True)
class Figures:
    """SVG text by name."""

    families: dict[str, str]
    parameters: dict[str, str]


def draw(plan: Plan, board: Sequence[Entry], *, threshold: float) -> Figures:
    """The figures of a search: the best of each family out of fold, and the parameters."""
    curves = _out_of_fold(plan, board)
    families = {
        "families": _score_by_family(board),
        "roc": plots.roc_curves(curves),
        "calibration": plots.calibration(curves),
    }
    for name, (y, p) in curves.items():
        families[f"confusion-{name}"] = plots.confusion(y, p, threshold=threshold, title=name)
    return Figures(families, _score_by_parameter(plan, board))


def html(result: Result, board: Sequence[Entry], figures: Figures) -> str:
    """The report as one page."""
    loader = jinja2.PackageLoader("tune", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html").render(
        result=result,
        board=[entry.row() for entry in board],
        figures=figures.families.values(),
        parameter_figures=figures.parameters.values(),
    )


def _out_of_fold(plan: Plan, board: Sequence[Entry]) -> dict[str, tuple[Labels, Floats]]:
    """Labels and out-of-fold probabilities of each family's best candidate."""
    y = np.concatenate([plan.data.y[score] for _, score in plan.data.folds])
    best: dict[str, tuple[Labels, Floats]] = {}
    for entry in board:
        if entry.rank is not None and entry.record.family not in best:
            best[entry.record.family] = (y, entry.record.probabilities())
    return best


def _score_by_family(board: Sequence[Entry]) -> str:
    groups: dict[str, list[float]] = {}
    for entry in board:
        if entry.record.folds:
            groups.setdefault(entry.record.family, []).append(entry.record.mean)
    return plots.strips(
        groups, title="Candidates by family", xlabel="mean ROC-AUC of the folds run"
    )


def _score_by_parameter(plan: Plan, board: Sequence[Entry]) -> dict[str, str]:
    """Score against each hyperparameter that varies, one figure a family."""
    figures: dict[str, str] = {}
    for family in plan.space.families:
        varied = {
            name: isinstance(value, LogUniform)
            for name, value in family.params.items()
            if isinstance(value, Choice | Integer | LogUniform | Uniform)
        }
        records = [e.record for e in board if e.record.family == family.family and e.record.folds]
        if varied and records:
            points = {name: [(r.params[name], r.mean) for r in records] for name in varied}
            figures[f"parameters-{family.family}"] = plots.parameters(
                points, logarithmic=varied, title=family.family
            )
    return figures
