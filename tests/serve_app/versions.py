"""Versions of a model for the tests of changing it: each differs from the champion in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from heart.attributes import NAMES
from heart.bundle import INPUT, MODEL_FILE, PROBABILITY_OUTPUT, load_bundle, save_bundle
from heart.calibration import Calibration
from heart.files import sha256
from heart.gates import evaluation_of
from heart.metadata import Metadata
from heart.sources import Reference, reference_of

OLDEST = 77
"""The oldest patient of the bundled table; the graph of `failing` fails for those above."""
INTERCEPT = 1.0


def version(
    of: Path,
    to: Path,
    number: str,
    *,
    graph: bytes | None = None,
    evaluation: bytes | None = None,
    **metadata: Any,
) -> Reference:
    """A bundle like another's, with another graph, evaluation or other metadata."""
    bundle = load_bundle(of, version="of")
    graph = (of / MODEL_FILE).read_bytes() if graph is None else graph
    evaluation = bundle.evaluation if evaluation is None else evaluation
    sums = {"onnx_sha256": sha256(graph), "evaluation_sha256": sha256(evaluation)}
    changed = bundle.metadata.model_dump() | sums | metadata
    save_bundle(to, graph, Metadata.model_validate(changed), evaluation=evaluation)
    return reference_of(to, number)


def cautious(of: Path, to: Path, number: str) -> Reference:
    """A version that gives every patient a higher probability."""
    calibration = Calibration(method="sigmoid", intercept=INTERCEPT, slope=1.0)
    return version(of, to, number, calibration=calibration.model_dump())


def doubtful(of: Path, to: Path, number: str) -> Reference:
    """A version that did not pass its first gate."""
    evaluation = evaluation_of(load_bundle(of, version="of"))
    first, *others = evaluation.gates
    gates = (first.model_copy(update={"passed": False}), *others)
    changed = evaluation.model_copy(update={"gates": gates})
    return version(of, to, number, evaluation=changed.model_dump_json().encode())


def failing(of: Path, to: Path, number: str) -> Reference:
    """A version whose graph fails for patients above `OLDEST`: it looks the age up in a table."""
    model = onnx.load_from_string((of / MODEL_FILE).read_bytes())
    before = f"{PROBABILITY_OUTPUT}_before"
    for node in model.graph.node:
        renamed = [before if name == PROBABILITY_OUTPUT else name for name in node.output]
        node.output[:] = renamed
    tables = {
        "nothing_by_age": np.zeros(OLDEST + 1, dtype=np.float32),
        "age_column": np.array([NAMES.index("age")], dtype=np.int64),
    }
    for name, table in tables.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("Gather", [INPUT, "age_column"], ["age_alone"], axis=1),
            make("Cast", ["age_alone"], ["age_index"], to=onnx.TensorProto.INT64),
            make("Gather", ["nothing_by_age", "age_index"], ["nothing"], axis=0),
            make("Add", [before, "nothing"], [PROBABILITY_OUTPUT]),
        ]
    )
    return version(of, to, number, graph=model.SerializeToString())
