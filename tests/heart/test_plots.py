"""Every figure is well-formed SVG, the same for the same data, and shows what it is given."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from heart import plots
from heart.evaluation import Floats, Labels, scores

rng = np.random.default_rng(0)
Y: Labels = rng.integers(0, 2, 200)
P: Floats = np.clip(0.4 * Y + rng.uniform(0, 0.6, 200), 0, 1)
ODD = "a < b & “c” -- $x"
FIGURES: dict[str, Callable[[], str]] = {
    "roc_curves": lambda: plots.roc_curves({"forest": (Y, P), ODD: (Y, 1 - P)}),
    "calibration": lambda: plots.calibration({"forest": (Y, P), ODD: (Y, 1 - P)}),
    "confusion": lambda: plots.confusion(Y, P, threshold=0.5, title=ODD),
    "strips": lambda: plots.strips(
        {f"family {n}": [0.8, 0.9] for n in range(12)} | {ODD: []}, title=ODD, xlabel=ODD
    ),
    "parameters": lambda: plots.parameters(
        {"C": [(0.1, 0.8), (10, 0.9)], "max_depth": [(None, 0.8), (4, 0.9)]},
        logarithmic={"C": True, "max_depth": True},
        title=ODD,
    ),
}


def points(svg: str) -> int:
    """How many markers a figure has."""
    return sum(element.tag.endswith("}use") for element in ET.fromstring(svg).iter())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_well_formed_and_drawn_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = FIGURES[name]()
    root = ET.fromstring(svg)
    assert "a &lt; b &amp; “c”" in svg
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(str(root.get("width")).removesuffix("pt")) > 200


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_data_make_the_same_text(name: str) -> None:
    assert FIGURES[name]() == FIGURES[name]()


def test_the_style_stays_inside() -> None:
    before = dict(mpl.rcParams)
    for draw in FIGURES.values():
        draw()
    assert dict(mpl.rcParams) == before


def test_other_data_make_another_figure() -> None:
    first = plots.confusion(Y, P, threshold=0.5, title="t")
    assert first != plots.confusion(Y, P, threshold=0.2, title="t")


def test_a_strip_has_a_point_a_value() -> None:
    few = plots.strips({"a": [0.8], "b": [0.7]}, title="t", xlabel="x")
    many = plots.strips({"a": [0.8] * 9, "b": [0.7]}, title="t", xlabel="x")
    assert points(many) - points(few) == 8


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 9).map(lambda n: n / 10)), min_size=2
    ).filter(lambda found: len({y for y, _ in found}) == 2)
)
@settings(deadline=None, max_examples=50)
def test_the_roc_points_are_scikit_learns(rows: list[tuple[int, float]]) -> None:
    y, p = np.array([y for y, _ in rows]), np.array([p for _, p in rows])
    x, height = plots.roc_points(y, p)
    expected = metrics.roc_curve(y, p, drop_intermediate=False)
    np.testing.assert_allclose(x, expected[0])
    np.testing.assert_allclose(height, expected[1])
    assert metrics.auc(x, height) == pytest.approx(scores(y, p)["roc_auc"])


@pytest.mark.parametrize("n", [1, 5, 9, 11])
def test_few_rows_have_a_calibration_curve(n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ET.fromstring(plots.calibration({"few": (Y[:n], P[:n])}))
