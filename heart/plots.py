"""Every figure, in one style: matplotlib without a display, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heart.evaluation import Floats, Labels

PALETTE: Final = (
    "#0f4c75", "#d1495b", "#3a7d44", "#8d6a9f", "#e08e45", "#4d9de0", "#6b705c", "#b5838d",
)  # fmt: skip
INK: Final = "#22313f"
GRID: Final = "#d9dfe4"
STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "heart",
    "figure.constrained_layout.use": True,
}
BINS: Final = 10


@contextmanager
def figure(width: float = 5.0, height: float = 3.4) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure in the project's style, its size in inches."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(width, height))
        yield drawn, drawn.add_subplot()


def as_svg(drawn: Figure) -> str:
    """A figure as an SVG element, the same text for the same figure."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        drawn.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def roc_curves(curves: Mapping[str, tuple[Labels, Floats]]) -> str:
    """ROC curves, one a name, each from labels and probabilities of shape (n,)."""
    with figure(4.6, 4.2) as (drawn, axes):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for colour, (name, (y, p)) in zip(_colours(), curves.items(), strict=False):
            x, height = roc_points(y, p)
            axes.plot(x, height, color=colour, label=name, linewidth=1.4)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC curve", aspect="equal")
        axes.legend(fontsize=7, loc="lower right")
        return as_svg(drawn)


def calibration(curves: Mapping[str, tuple[Labels, Floats]]) -> str:
    """Observed share of disease against predicted probability, in tenths of the rows."""
    with figure(4.6, 4.2) as (drawn, axes):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for colour, (name, (y, p)) in zip(_colours(), curves.items(), strict=False):
            groups = np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p)))
            x = [float(p[g].mean()) for g in groups]
            height = [float(y[g].mean()) for g in groups]
            axes.plot(x, height, color=colour, label=name, marker="o", markersize=3, linewidth=1.2)
        axes.set(
            xlabel="predicted probability",
            ylabel="observed share with disease",
            title="Calibration",
            aspect="equal",
        )
        axes.legend(fontsize=7, loc="upper left")
        return as_svg(drawn)


def confusion(y: Labels, p: Floats, *, threshold: float, title: str) -> str:
    """How many rows of each class are called what at a threshold."""
    called = (p >= threshold).astype(int)
    counts = np.array([[int(((y == t) & (called == c)).sum()) for c in (0, 1)] for t in (0, 1)])
    with figure(3.4, 3.0) as (drawn, axes):
        axes.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum() / 2)
        for (row, column), count in np.ndenumerate(counts):
            dark = count > counts.sum() / 4
            axes.text(column, row, str(count), ha="center", color="white" if dark else INK)
        axes.grid(visible=False)
        axes.set(title=title, xlabel="called", ylabel="found at angiography")
        axes.set_xticks([0, 1], ["no disease", "disease"])
        axes.set_yticks([0, 1], ["no disease", "disease"], rotation=90, va="center")
        return as_svg(drawn)


def strips(groups: Mapping[str, Sequence[float]], *, title: str, xlabel: str) -> str:
    """One point a value, a row a group: how the candidates of each family did."""
    with figure(6.4, 0.9 + 0.42 * len(groups)) as (drawn, axes):
        rng = np.random.default_rng(0)
        names = list(groups)
        for row, (name, colour) in enumerate(zip(names, _colours(), strict=False)):
            values = np.asarray(groups[name])
            jitter = rng.uniform(-0.18, 0.18, len(values))
            axes.plot(values, row + jitter, "o", color=colour, alpha=0.65, markersize=4)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(title=title, xlabel=xlabel)
        return as_svg(drawn)


def roc_points(y: Labels, p: Floats) -> tuple[Floats, Floats]:
    """The corners of a ROC curve: false and true positive rates, each of shape (k,)."""
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(p[order]) != 0, True])
    positive = np.cumsum(y[order])[last]
    negative = np.cumsum(1 - y[order])[last]
    return _from_zero(negative), _from_zero(positive)


def _from_zero(counts: npt.NDArray[np.int64]) -> Floats:
    return np.concatenate([[0.0], counts / max(int(counts[-1]), 1)])


def _colours() -> Iterator[str]:
    while True:
        yield from PALETTE


def parameters(
    points: Mapping[str, Sequence[tuple[Any, float]]],
    *,
    logarithmic: Mapping[str, bool],
    title: str,
) -> str:
    """Scores against the values of each hyperparameter, a panel each, one scale of scores."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(2.3 * len(points) + 0.6, 2.4))
        panels = drawn.subplots(1, len(points), sharey=True, squeeze=False)[0]
        for axes, (name, values) in zip(panels, points.items(), strict=True):
            numbers = all(isinstance(v, int | float) for v, _ in values)
            x = [v if numbers else str(v) for v, _ in values]
            axes.plot(x, [score for _, score in values], "o", color=PALETTE[0], alpha=0.6, ms=4)
            axes.set_xscale("log" if logarithmic[name] and numbers else axes.get_xscale())
            axes.set_xlabel(name)
        panels[0].set_ylabel("mean ROC-AUC")
        panels[0].set_title(title)
        return as_svg(drawn)
