"""What is served equals what was fitted, on all rows and with values missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from heart.attributes import ATTRIBUTES, NAMES
from heart.bundle import open_session, run_graph
from heart.cohorts import Cohort, load, split
from heart.conversion import PARITY_BOUND, parity, probabilities, to_onnx
from heart.pipelines import FAMILIES, as_frame, build
from tests.heart.families import PARAMS, SERVABLE


def attribute_values(low: float, high: float, codes: list[int]) -> st.SearchStrategy[float]:
    known = st.sampled_from(codes).map(float) if codes else st.floats(low, high, width=32)
    return known | st.just(float("nan"))


rows: st.SearchStrategy[np.ndarray[Any, Any]] = st.lists(
    st.tuples(*(attribute_values(a.low, a.high, list(a.words)) for a in ATTRIBUTES)),
    min_size=1,
    max_size=20,
).map(np.array)


def fitted(family: str, train: Cohort, **others: Any) -> Pipeline:
    return build(family, PARAMS[family], seed=42, **others).fit(train.X, train.y)


def test_every_family_but_the_dummy_is_tested() -> None:
    assert set(SERVABLE) == set(FAMILIES) - {"dummy"}


@pytest.mark.parametrize("family", SERVABLE)
def test_the_graph_is_the_pipeline(family: str, train: Cohort, patients: Cohort) -> None:
    model = fitted(family, train)
    nothing = as_frame(np.full((1, len(NAMES)), np.nan))
    rows = pd.concat([patients.X, nothing])
    assert patients.X.isna().any(axis=1).sum() > 600
    assert parity(model, to_onnx(model), rows) <= PARITY_BOUND == 1e-5


def test_a_scaled_forest_exceeds_the_bound(train: Cohort, patients: Cohort) -> None:
    scaled = fitted("random_forest", train, preprocessing="reference")
    assert parity(scaled, to_onnx(scaled), patients.X) > 100 * PARITY_BOUND


def test_neighbours_weighted_by_distance_exceed_the_bound(train: Cohort, patients: Cohort) -> None:
    params = {"n_neighbors": 15, "weights": "distance"}
    model = build("k_nearest_neighbours", params, seed=42).fit(train.X, train.y)
    assert parity(model, to_onnx(model), patients.X) > 100 * PARITY_BOUND


def test_parity_is_the_largest_difference_of_any_row(train: Cohort, patients: Cohort) -> None:
    one, other = (build("logistic_regression", {"C": c}, seed=1) for c in (0.01, 10.0))
    graph = to_onnx(one.fit(train.X, train.y))
    other.fit(train.X, train.y)
    apart = [parity(other, graph, patients.X.iloc[[row]]) for row in range(10)]
    assert parity(other, graph, patients.X.iloc[:10]) == pytest.approx(max(apart), abs=1e-6)


@given(rows=rows)
@settings(deadline=None, max_examples=30)
def test_the_graph_is_the_pipeline_for_any_patient(
    rows: np.ndarray[Any, Any], pipeline: Pipeline, graph: bytes
) -> None:
    served = run_graph(open_session(graph), rows)
    np.testing.assert_allclose(served, probabilities(pipeline, as_frame(rows)), atol=PARITY_BOUND)


def test_a_graph_is_the_same_bytes_each_time(pipeline: Pipeline, graph: bytes) -> None:
    assert to_onnx(pipeline) == graph


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("n_neighbors", [1, 36])
def test_neighbours_are_those_of_the_pipeline(p: int, n_neighbors: int) -> None:
    train, test = split(load("all"), test_size=0.2, seed=42)
    params = {"n_neighbors": n_neighbors, "p": p}
    pipeline = build("k_nearest_neighbours", params, seed=42).fit(train.X, train.y)
    graph = to_onnx(pipeline)
    assert parity(pipeline, graph, train.X) < 1e-6
    assert parity(pipeline, graph, test.X) < 1e-6


@pytest.mark.parametrize("params", [{"p": 3}, {"weights": "distance"}])
def test_neighbours_of_another_kind_have_the_converter_s_graph(params: dict[str, Any]) -> None:
    patients = load("cleveland")
    pipeline = build("k_nearest_neighbours", {"n_neighbors": 5, **params}, seed=42)
    graph = to_onnx(pipeline.fit(patients.X, patients.y))
    assert onnx.load_from_string(graph).graph.node[-1].op_type != "ArgMax"
    run_graph(open_session(graph), patients.X.to_numpy()[:3])
