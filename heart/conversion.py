"""From a fitted scikit-learn pipeline to an ONNX graph, and how far the two are apart."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from heart import neighbours
from heart.attributes import NAMES
from heart.bundle import INPUT, open_session, run_graph

PARITY_BOUND: Final = 1e-5
"""Largest difference in probability between pipeline and graph that is still served.

float32 carries seven digits; what it costs a model that converts well was measured at
8e-7 and less, what a split that fell on the other side costs at 1e-3 and more.
"""
OPSET: Final = 18
WIDTHS: Final = "one_column_each"
GRAPH_NAME: Final = "heart"
"""A name of our own: the converter's is drawn at random, and with it the checksum."""


def to_onnx(pipeline: Pipeline) -> bytes:
    """The graph of a fitted pipeline: ``attributes`` in, shape (n, 13), ``probabilities`` out."""
    inputs = [(name, FloatTensorType([None, 1])) for name in NAMES]
    with warnings.catch_warnings():
        # The converter reads attributes that scikit-learn has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        model = convert_sklearn(
            pipeline,
            initial_types=inputs,
            options={id(pipeline): {"zipmap": False}},
            **_own_converters(pipeline),
            name=GRAPH_NAME,
            target_opset=OPSET,
        )
    return bytes(_with_one_input(model).SerializeToString())


def _own_converters(pipeline: Pipeline) -> dict[str, Any]:
    """What the conversion is told of nearest neighbours of the kind that the spaces have."""
    model = pipeline[-1]
    if not isinstance(model, KNeighborsClassifier) or not neighbours.converts(model):
        return {}
    return {
        "custom_conversion_functions": {KNeighborsClassifier: neighbours.convert},
        "custom_shape_calculators": {KNeighborsClassifier: neighbours.shapes},
    }


def _with_one_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with one input in place of one a column, which it splits itself.

    onnxruntime takes as long to accept thirteen inputs as to compute a linear model.
    """
    shape = [None, len(NAMES)]
    table = onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, shape)
    widths = onnx.numpy_helper.from_array(np.ones(len(NAMES), dtype=np.int64), WIDTHS)
    split = onnx.helper.make_node("Split", [INPUT, WIDTHS], NAMES, axis=1)
    del model.graph.input[:]
    model.graph.input.append(table)
    model.graph.initializer.append(widths)
    model.graph.node.insert(0, split)
    return model


def probabilities(pipeline: Pipeline, X: pd.DataFrame) -> npt.NDArray[np.float64]:
    """The pipeline's probabilities of disease, shape (n,)."""
    return np.asarray(pipeline.predict_proba(X), dtype=np.float64)[:, 1]


def parity(pipeline: Pipeline, graph: bytes, X: pd.DataFrame) -> float:
    """The largest difference in probability between pipeline and graph over the rows of X."""
    served = run_graph(open_session(graph), X.to_numpy())
    return float(np.abs(served - probabilities(pipeline, X)).max())
