"""The figures of a model card, in the style of `heart.plots`, drawn from a version's artefacts."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from typing import Final

from heart.assessment import Bin
from heart.decision import NetBenefit
from heart.eda_figures import Drawn
from heart.plots import GRID, INK, PALETTE, as_svg, figure

THEME: Final = {INK: "var(--ink)", GRID: "var(--line)", PALETTE[0]: "var(--accent)"}
"""Colours that a page sets itself, so that a figure is legible on a dark one."""


@lru_cache(maxsize=4)  # the two renderings of a card share its figures
def calibration(bins: tuple[Bin, ...]) -> Drawn:
    """Observed share of disease against mean predicted probability, a point a group."""
    found = [b.interval for b in bins]
    below, above = [o.value - o.low for o in found], [o.high - o.value for o in found]
    with figure(4.6, 4.2) as (drawn, axes):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle="--", label="perfect")
        axes.errorbar(
            [b.predicted for b in bins],
            [o.value for o in found],
            yerr=[below, above],
            color=PALETTE[0],
            marker="o",
            markersize=4.5,
            linewidth=0,
            elinewidth=1.2,
            label="the model, 95% interval",
        )
        axes.set(
            xlabel="mean predicted probability",
            ylabel="observed share with disease",
            title="Calibration, out of fold",
            aspect="equal",
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
        axes.legend(loc="upper left")
        svg = as_svg(drawn)
    far = max(bins, key=lambda b: abs(b.predicted - b.observed))
    shows = (
        f"Furthest from the diagonal is the group with a mean prediction of {far.predicted:.3f}: "
        f"of its {far.n} patients {far.observed:.3f} have the disease."
    )
    alt = "Observed share with disease and its interval by predicted probability, and the diagonal."
    return Drawn("calibration", alt, shows, svg)


@lru_cache(maxsize=4)
def decision_curve(points: tuple[NetBenefit, ...]) -> Drawn:
    """Net benefit against the threshold: of the model, of treating all, of treating none."""
    x = [p.threshold for p in points]
    with figure(5.4, 3.6) as (drawn, axes):
        axes.axhline(0, color=INK, linewidth=0.9, linestyle="--", label="treat none")
        everyone = [p.treat_all for p in points]
        axes.plot(x, everyone, color=PALETTE[1], linewidth=1.4, label="treat all")
        model = [p.model for p in points]
        axes.plot(x, model, color=PALETTE[0], marker="o", markersize=3.5, label="the model")
        axes.set(
            xlabel="threshold probability",
            ylabel="net benefit per patient",
            title="Decision curve, out of fold",
        )
        drawn.legend(loc="outside lower center", ncols=3)
        svg = as_svg(drawn)
    best = sum(p.model > max(p.treat_all, 0) for p in points)
    shows = (
        f"The model's net benefit is above that of treating all and of treating none at {best} "
        f"of {len(points)} thresholds."
    )
    alt = "Net benefit of the model, of treating all and of treating none, against the threshold."
    return Drawn("decision-curve", alt, shows, svg)


def inline(drawn: Drawn) -> str:
    """A figure as an element of a page: in its colours, named for who cannot see it.

    The names inside are made this figure's own: two figures on a page must not share any.
    """
    svg = re.sub(r"<metadata>.*?</metadata>", "", drawn.svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawn.name}-", svg)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, variable)
    svg = svg.replace("fill: #ffffff", "fill: none")
    label = escape(f"{drawn.alt} {drawn.shows}", quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
