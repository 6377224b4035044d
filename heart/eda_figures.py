"""The figures of the exploratory analysis, in the style of `heart.plots`, each with one sentence.

The sentence is computed from what is drawn. X is of shape (n, k), NaN where missing, y of shape
(n,) with 1 for disease. Shares with disease have 95% Wilson intervals, in brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from heart.attribute import Attribute
from heart.attributes import BY_NAME
from heart.eda_sentences import (
    CLASSES,
    Correlation,
    Share,
    medians,
    most_missing,
    percent,
    signed,
    strongest,
    widest,
)
from heart.evaluation import Floats, Labels
from heart.plots import INK, PALETTE, STYLE, as_svg, figure

COLOURS: Final = PALETTE[:2]
MUTED: Final = "#5c6b78"
PALE: Final = "#f3f5f7"
SMALL: Final = 7.5
BINS: Final = 20
STEPS: Final = (1, 2, 4, 5, 10)
"""Widths of bins, times a power of ten: patients' values are whole or round numbers."""
PANELS: Final = 3
"""Panels side by side: with more, their labels would be too small for a printed column."""


@dataclass(frozen=True)
class Drawn:
    """A figure: its name, what it is for who cannot see it, what it shows, and SVG text."""

    name: str
    alt: str
    shows: str
    svg: str


def balance(y: Labels) -> Drawn:
    """How many patients each class has."""
    counts = np.bincount(y, minlength=2)
    with figure(4.4, 1.65) as (drawn, axes):
        bars = axes.barh(CLASSES, counts, color=COLOURS, height=0.66)
        axes.bar_label(bars, [f"{c} ({c / len(y):.1%})" for c in counts], padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.3)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("patients")
        _head(axes, "Finding at angiography", f"n = {len(y)}")
        svg = as_svg(drawn)
    shows = f"Of {len(y)} patients {counts[1]} have the disease, {Share.of(y)}; {counts[0]} do not."
    return Drawn("balance", "Two bars: patients without and with disease.", shows, svg)


def distributions(X: pd.DataFrame, y: Labels) -> Drawn:
    """Histograms by class, a panel a column; dashed lines are the medians."""
    rows = -(-X.shape[1] // PANELS)
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(7.0, 2.15 * rows + 0.3))
        panels = drawn.subplots(rows, PANELS, squeeze=False).ravel()
        for axes in panels[X.shape[1] :]:
            axes.remove()
        for axes, (name, values) in zip(panels, X.items(), strict=False):
            _histogram(axes, BY_NAME[str(name)], values.to_numpy(), y)
        for axes in panels[::PANELS]:
            axes.set_ylabel("% of the class")
        drawn.suptitle("Numeric attributes by class\n", x=0.01, ha="left", size=10, weight="bold")
        keys = [Patch(color=colour, alpha=0.6) for colour in COLOURS]
        dash = Line2D([], [], color=MUTED, linewidth=1, linestyle="--")
        drawn.legend([*keys, dash], [*CLASSES, "median"], loc="upper right", ncols=3)
        svg = as_svg(drawn)
    alt = f"Histograms of {', '.join(map(str, X))}: without and with disease, one over the other."
    return Drawn("distributions", alt, medians(X, y), svg)


def forest(
    name: str, groups: Mapping[str, Mapping[str, Share]], *, pooled: Share, title: str
) -> Drawn:
    """Shares with disease and their intervals, a row each, under the name of their group."""
    rows: list[tuple[str, Share | None]] = []
    for group, shares in groups.items():
        rows += [(group, None)] if len(groups) > 1 else []
        rows += [(label.replace("_", " "), share) for label, share in shares.items()]
    with figure(6.4 if len(groups) > 1 else 4.4, 0.95 + 0.2 * len(rows)) as (drawn, axes):
        axes.axvline(100 * pooled.value, color=MUTED, linewidth=0.9, linestyle="--")
        axes.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), xlabel="% with disease")
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        for place, (label, share) in enumerate(rows):
            if share:
                _forest_row(axes, place, share)
            else:
                _forest_heading(axes, place, BY_NAME[label])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        _head(axes, title, f"n = {pooled.n}; dashed: all patients, {pooled.value:.1%}")
        svg = as_svg(drawn)
    alt = f"The share with disease by {', '.join(groups)}: a point and its 95% interval a row."
    return Drawn(name, alt, widest(groups), svg)


def missing(X: pd.DataFrame, sites: npt.NDArray[np.str_]) -> Drawn:
    """The percentage of missing values, a row an attribute, a column a hospital and all."""
    names, counts = np.unique(sites, return_counts=True)
    shares = X.isna().groupby(sites).mean().T.assign(all=X.isna().mean())
    columns = [f"{name}\nn = {n}" for name, n in zip(shares, [*counts, len(X)], strict=True)]
    with figure(4.6, 0.9 + 0.24 * len(shares)) as (drawn, axes):
        colours = LinearSegmentedColormap.from_list("missing", [PALE, INK])
        values = 100 * shares.to_numpy()
        texts = [[percent(value) for value in row] for row in values]
        _tiles(axes, values, texts, colours=colours, scale=Normalize(0, 100))
        axes.axvline(len(names), color="white", linewidth=6)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=SMALL)
        axes.set_yticks(np.arange(len(shares)) + 0.5, list(shares.index))
        zeros = " and ".join(name for name in shares.index if BY_NAME[name].zero_is_missing)
        _head(axes, "Missing values", f"% of the patients; zeros of {zeros} count as missing")
        svg = as_svg(drawn)
    alt = f"Table of the percentage of missing values by attribute, for {', '.join(names)} and all."
    return Drawn("missing", alt, most_missing(shares), svg)


def correlations(pairs: Sequence[Correlation]) -> Drawn:
    """Spearman's correlations as a triangle, each with the number of patients behind it."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    rho = np.full((len(names), len(names)), np.nan)
    texts = [[""] * len(names) for _ in names]
    for pair in pairs:
        row, column = names.index(pair.second), names.index(pair.first)
        rho[row, column] = np.nan if pair.rho is None else pair.rho
        texts[row][column] = f"{'?' if pair.rho is None else signed(pair.rho)}\nn = {pair.n}"
    with figure(4.4, 3.9) as (drawn, axes):
        colours = LinearSegmentedColormap.from_list("rho", [COLOURS[0], PALE, COLOURS[1]])
        _tiles(axes, rho[1:, :-1], texts[1:], colours=colours, scale=Normalize(-1, 1))
        ticks = np.arange(len(names) - 1) + 0.5
        axes.set_xticks(ticks, names[:-1])
        axes.set_yticks(ticks, names[1:])
        _head(axes, "Correlations", "Spearman's rank correlation of the n patients who have both")
        svg = as_svg(drawn)
    alt = f"Triangle of Spearman's rank correlations between {', '.join(names)}."
    return Drawn("correlations", alt, strongest(pairs), svg)


def _head(axes: Axes, title: str, note: str) -> None:
    """A title with a quieter line below it."""
    axes.set_title(title, pad=19)
    axes.annotate(
        note, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points",
        color=MUTED, fontsize=SMALL,
    )  # fmt: skip


def _histogram(axes: Axes, attribute: Attribute, values: Floats, y: Labels) -> None:
    known = values[~np.isnan(values)]
    unit = f" ({attribute.unit})" if attribute.unit else ""
    axes.set_title(attribute.name)
    axes.set_title(f"n = {len(known)}", loc="right", color=MUTED, fontsize=SMALL, weight="normal")
    axes.set_xlabel(fill(f"{attribute.meaning}{unit}", 31), fontsize=SMALL)
    if not len(known):
        return
    edges = _edges(attribute, known)
    if attribute.words:
        axes.set_xticks(list(attribute.words))
    for label, colour in enumerate(COLOURS):
        found = known[y[~np.isnan(values)] == label]
        if len(found):
            heights = 100 * np.histogram(found, edges)[0] / len(found)
            axes.stairs(heights, edges, fill=True, alpha=0.3, color=colour)
            axes.stairs(heights, edges, linewidth=1.1, color=colour)
            axes.axvline(float(np.median(found)), color=colour, linewidth=1, linestyle="--")


def _edges(attribute: Attribute, known: Floats) -> list[float]:
    """Where bins begin and end: around each code, or at round numbers."""
    if attribute.words:
        return [code - 0.5 for code in (*attribute.words, max(attribute.words) + 1)]
    edges = MaxNLocator(BINS, steps=STEPS).tick_values(known.min(), known.max())
    # 3 * 0.4 is above 1.2: a patient on the edge would fall into the bin before.
    return [round(float(edge), 6) for edge in edges]


def _forest_row(axes: Axes, place: int, share: Share) -> None:
    axes.plot([100 * share.low, 100 * share.high], [place] * 2, color=COLOURS[1], linewidth=1.4)
    axes.plot(100 * share.value, place, "o", color=COLOURS[1], markersize=4.5)
    axes.annotate(
        f"{share.with_disease} of {share.n}", (1.02, place),
        xycoords=("axes fraction", "data"), va="center", color=MUTED, fontsize=SMALL,
    )  # fmt: skip


def _forest_heading(axes: Axes, place: int, attribute: Attribute) -> None:
    # Above the lines, which would strike the words through.
    axes.axhspan(place - 0.5, place + 0.5, color=PALE, zorder=2.5)
    axes.get_yticklabels()[place].set_fontweight("bold")
    if attribute.meaning != attribute.name:
        axes.text(1.5, place, attribute.meaning, color=MUTED, fontsize=SMALL, va="center")


def _tiles(
    axes: Axes,
    values: Floats,
    texts: Sequence[Sequence[str]],
    *,
    colours: Colormap,
    scale: Normalize,
) -> None:
    """A heatmap of tiles that bear their text; no tile where the value is NaN."""
    axes.pcolormesh(values, cmap=colours, norm=scale, edgecolors="white", linewidth=2)
    for (row, column), value in np.ndenumerate(values):
        # Rec. 709: how bright the eye finds a colour.
        dark = np.dot(colours(scale(value))[:3], (0.2126, 0.7152, 0.0722)) < 0.55
        axes.text(
            column + 0.5, row + 0.5, texts[row][column], ha="center", va="center",
            color="white" if dark and not np.isnan(value) else INK, fontsize=SMALL,
        )  # fmt: skip
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
