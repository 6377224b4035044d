"""The served artefact: an ONNX graph and its metadata in a folder; no pickle.

A bundle folder holds ``model.onnx``, ``evaluation.json`` (what was measured, and the gates)
and ``metadata.json``. Published bundles stand under
``bundles/<version>-<run>``, and ``bundles/champion.json`` points to the one that is served. This
module needs neither scikit-learn nor MLflow: a replica imports it and little else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from pydantic import BaseModel, ConfigDict, ValidationError

from heart.attributes import ATTRIBUTES
from heart.calibration import Calibration
from heart.errors import BundleError
from heart.files import sha256, write_json, write_whole
from heart.metadata import Metadata

MODEL_FILE = "model.onnx"
METADATA_FILE = "metadata.json"
EVALUATION_FILE = "evaluation.json"
CHAMPION_FILE = "champion.json"
INPUT = "attributes"
PROBABILITY_OUTPUT = "probabilities"
DEPENDENT = "quadratic_discriminant"
"""The family whose sums onnxruntime takes in another order for another number of rows."""

_REFUSALS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
    ValueError,  # names that are not UTF-8
)

Rows = npt.NDArray[np.float64] | npt.NDArray[np.float32] | Sequence[Sequence[float]]


class Champion(BaseModel):
    """The pointer to what is served: a version and the checksum of its metadata."""

    model_config = ConfigDict(frozen=True)

    version: str
    run_id: str
    metadata_sha256: str

    @property
    def folder(self) -> str:
        """The bundle's folder under ``bundles/``."""
        return self.folder_name(self.version, self.run_id)

    @staticmethod
    def folder_name(version: str, run_id: str) -> str:
        """Version and run: a new database counts versions from 1 again, runs are unique."""
        return f"{version}-{run_id[:8]}"


class Bundle:
    """A loaded model, ready to predict."""

    def __init__(
        self,
        graph: bytes,
        metadata: Metadata,
        *,
        version: str,
        evaluation: bytes = b"{}",
        metadata_sha256: str = "",
    ) -> None:
        self.metadata = metadata
        self.evaluation = evaluation
        self.version = version
        self.metadata_sha256 = metadata_sha256
        self.recalibration: str | None = None
        self.calibrations: tuple[Calibration, ...] = (metadata.calibration,)
        self._session = open_session(graph)
        known = metadata.training_ranges
        self._ranges = tuple(
            (column, attribute.name, known[attribute.name].low, known[attribute.name].high)
            for column, attribute in enumerate(ATTRIBUTES)
            if attribute.name in known
        )

    @property
    def rows_are_independent(self) -> bool:
        """Whether a row's answer is the same to the last bit, whichever rows are beside it."""
        return self.metadata.recipe.family != DEPENDENT

    def predict(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Probabilities of disease, shape (n,), for rows of shape (n, 13), NaN where missing."""
        p = run_graph(self._session, rows)
        for calibration in self.calibrations:
            p = calibration.apply(p)
        return p

    def recalibrate(self, calibration: Calibration, *, name: str) -> None:
        """Apply a hospital's own calibration after the model's; the version tells its name."""
        self.calibrations = (*self.calibrations, calibration)
        self.recalibration = name
        self.version = f"{self.version}+{name}"

    def warnings(self, patient: Sequence[float]) -> list[str]:
        """Which attributes of one patient lie outside what the model was trained on."""
        return [
            f"{name} {patient[column]:g} is outside the training range {low:g} to {high:g}"
            for column, name, low, high in self._ranges
            if patient[column] < low or patient[column] > high
        ]


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """An onnxruntime session of one thread: replicas and trials share the cores already."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            graph,
            sess_options=options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it prints, then tries the same again
        )
    except _REFUSALS as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{MODEL_FILE} is no ONNX graph: {reason}", field=MODEL_FILE) from error
    inputs = {taken.name for taken in session.get_inputs()}
    outputs = {output.name for output in session.get_outputs()}
    if inputs != {INPUT} or PROBABILITY_OUTPUT not in outputs:
        raise BundleError(
            f"{MODEL_FILE} must take {INPUT} and give {PROBABILITY_OUTPUT}, "
            f"it takes {', '.join(sorted(inputs))} and gives {', '.join(sorted(outputs))}",
            field=MODEL_FILE,
        )
    return session


def run_graph(session: onnxruntime.InferenceSession, rows: Rows) -> npt.NDArray[np.float64]:
    """Probabilities of disease, shape (n,), for rows of shape (n, 13), in float32 in the graph.

    A row's answer does not depend on the rows beside it, to the last bit but for `DEPENDENT`,
    where it does by up to 4e-7. One row alone goes in twice: a matrix of one row takes another
    way and would differ in the last bit.
    """
    table = np.asarray(rows, dtype=np.float32)
    if len(table) == 1:
        return run_graph(session, np.concatenate((table, table)))[:1]
    (probabilities,) = session.run([PROBABILITY_OUTPUT], {INPUT: table})
    return np.asarray(probabilities, dtype=np.float64)[:, 1]


def save_bundle(folder: Path, graph: bytes, metadata: Metadata, *, evaluation: bytes) -> None:
    """Write a bundle, the metadata last: a folder without them is no bundle."""
    write_whole(folder / MODEL_FILE, graph)
    write_whole(folder / EVALUATION_FILE, evaluation)
    write_json(folder / METADATA_FILE, metadata.model_dump(mode="json"))


def load_bundle(folder: Path, *, version: str, metadata_sha256: str | None = None) -> Bundle:
    """Load a bundle and verify its checksums; raises `BundleError`."""
    content = _read(folder / METADATA_FILE)
    if metadata_sha256 is not None:
        _verify(folder / METADATA_FILE, content, metadata_sha256)
    try:
        metadata = Metadata.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(
            f"{folder / METADATA_FILE} is no metadata of a bundle: "
            f"{error.error_count()} fields are wrong",
            field=METADATA_FILE,
        ) from error
    graph = _read(folder / MODEL_FILE)
    _verify(folder / MODEL_FILE, graph, metadata.onnx_sha256)
    evaluation = _read(folder / EVALUATION_FILE)
    _verify(folder / EVALUATION_FILE, evaluation, metadata.evaluation_sha256)
    return Bundle(
        graph,
        metadata,
        version=version,
        evaluation=evaluation,
        metadata_sha256=sha256(content),
    )


def write_champion(bundles: Path, champion: Champion) -> None:
    """Point to another version; readers see the old pointer or the new one."""
    write_json(bundles / CHAMPION_FILE, champion.model_dump(mode="json"))


def remove_champion(bundles: Path) -> None:
    """Point to no version."""
    path = bundles / CHAMPION_FILE
    if path.is_file():
        path.unlink()


def read_champion(bundles: Path) -> Champion | None:
    """The pointer, or None where no champion was published; raises `BundleError`."""
    path = bundles / CHAMPION_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}", field=str(path)) from error
    try:
        return Champion.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{path} is no pointer to a version", field=str(path)) from error


def load_champion(bundles: Path) -> Bundle | None:
    """The champion's bundle, verified, or None where there is none; raises `BundleError`."""
    champion = read_champion(bundles)
    if champion is None:
        return None
    return load_bundle(
        bundles / champion.folder,
        version=champion.version,
        metadata_sha256=champion.metadata_sha256,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}", field=str(path)) from error


def _verify(path: Path, content: bytes, expected: str) -> None:
    found = sha256(content)
    if found != expected:
        raise BundleError(
            f"{path} is damaged: SHA-256 {found}, expected {expected}", field=str(path)
        )
