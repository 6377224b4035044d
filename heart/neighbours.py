"""The ONNX graph of k nearest neighbours, in a handful of operators.

skl2onnx's own graph walks over the training rows one by one, a millisecond and more for a
patient. This one holds them in a constant and takes all distances at once.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.neighbors import KNeighborsClassifier

FEATURES_AXIS: Final = 2
OPSET: Final = 18
"""Where ReduceMean has its axes as an input."""


def converts(model: KNeighborsClassifier) -> bool:
    """Whether `convert` has a graph for a model: uniform weights, Manhattan or Euclidean."""
    return model.weights == "uniform" and model.metric == "minkowski" and model.p in (1, 2)


def shapes(operator: Any) -> None:
    """What the graph gives: labels, shape (n,), and probabilities, shape (n, 2)."""
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = Int64TensorType([rows])
    operator.outputs[1].type = FloatTensorType([rows, 2])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of a fitted KNeighborsClassifier of two classes that `converts`.

    Euclidean distances are compared by their squares.
    """
    model = operator.raw_operator
    label, probabilities = (output.full_name for output in operator.outputs)
    graph = _Graph(scope, container)
    known = graph.constant("known", np.asarray(model._fit_X, dtype=np.float32)[None])
    disease = graph.constant("disease", np.asarray(model._y == 1, dtype=np.float32))
    one = graph.constant("one", np.ones((1, 1), dtype=np.float32))
    middle = graph.constant("middle", np.array([1], dtype=np.int64))
    last = graph.constant("last", np.array([FEATURES_AXIS], dtype=np.int64))
    number = graph.constant("number", np.array([model.n_neighbors], dtype=np.int64))

    row = graph.node("Unsqueeze", operator.inputs[0].full_name, middle)
    apart = graph.node("Sub", row, known)
    size = graph.node("Abs", apart) if model.p == 1 else graph.node("Mul", apart, apart)
    distance = graph.node("ReduceSum", size, last, keepdims=0)
    _, nearest = graph.nodes("TopK", distance, number, outputs=2, largest=0, axis=1)
    share = graph.node("ReduceMean", graph.node("Gather", disease, nearest), middle)
    graph.node("Concat", graph.node("Sub", one, share), share, axis=1, into=probabilities)
    graph.node("ArgMax", probabilities, axis=1, keepdims=0, into=label)


class _Graph:
    """Adds nodes and constants under names of their own."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope, self._container = scope, container

    def constant(self, name: str, value: Any) -> str:
        """A constant; its name."""
        unique = str(self._scope.get_unique_variable_name(name))
        tensor = onnx.numpy_helper.from_array(value, unique)
        self._container.add_initializer(unique, tensor.data_type, None, tensor)
        return unique

    def node(self, kind: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        """A node with one output; its name."""
        (name,) = self.nodes(kind, *inputs, names=into and [into], **attributes)
        return name

    def nodes(
        self,
        kind: str,
        *inputs: str,
        outputs: int = 1,
        names: list[str] | str | None = None,
        **attributes: Any,
    ) -> list[str]:
        """A node; the names of its outputs."""
        made = list(names or (self._scope.get_unique_variable_name(kind) for _ in range(outputs)))
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(
            kind, list(inputs), made, name=name, op_version=OPSET, **attributes
        )
        return made
