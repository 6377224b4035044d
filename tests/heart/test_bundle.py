"""The served artefact: what was saved is what is loaded, or a `BundleError` says why not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from heart.attributes import ATTRIBUTES, NAMES
from heart.bundle import (
    CHAMPION_FILE,
    EVALUATION_FILE,
    INPUT,
    METADATA_FILE,
    MODEL_FILE,
    PROBABILITY_OUTPUT,
    Bundle,
    Champion,
    load_bundle,
    load_champion,
    open_session,
    read_champion,
    run_graph,
    save_bundle,
    write_champion,
)
from heart.cohorts import Cohort
from heart.conversion import PARITY_BOUND, probabilities, to_onnx
from heart.errors import BundleError
from heart.files import sha256
from heart.metadata import Metadata
from heart.pipelines import build
from tests.heart.conftest import EVALUATION
from tests.heart.families import PARAMS, SERVABLE

PATIENT = [attribute.example for attribute in ATTRIBUTES]


def change_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def with_input(name: str, new: str, graph: bytes) -> bytes:
    """The graph with an input or an output renamed."""
    model = onnx.load_from_string(graph)
    for value in [*model.graph.input, *model.graph.output]:
        value.name = new if value.name == name else value.name
    for node in model.graph.node:
        node.input[:] = [new if found == name else found for found in node.input]
        node.output[:] = [new if found == name else found for found in node.output]
    return bytes(model.SerializeToString())


def test_what_is_loaded_is_what_was_saved(
    bundle_folder: Path, metadata: Metadata, pipeline: Pipeline, patients: Cohort
) -> None:
    bundle = load_bundle(bundle_folder, version="7")
    assert (bundle.version, bundle.metadata) == ("7", metadata)
    expected = probabilities(pipeline, patients.X)
    np.testing.assert_allclose(bundle.predict(patients.X.to_numpy()), expected, atol=PARITY_BOUND)


def test_a_bundle_holds_a_graph_and_json_and_no_pickle(bundle_folder: Path, graph: bytes) -> None:
    assert {path.name for path in bundle_folder.iterdir()} == {
        MODEL_FILE,
        EVALUATION_FILE,
        METADATA_FILE,
    }
    assert (bundle_folder / MODEL_FILE).read_bytes() == graph
    json.loads((bundle_folder / METADATA_FILE).read_text())


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_changed_byte_of_the_graph(bundle_folder: Path, graph: bytes, position: int) -> None:
    change_byte(bundle_folder / MODEL_FILE, position)
    found = sha256((bundle_folder / MODEL_FILE).read_bytes())
    with pytest.raises(BundleError, match=r"model\.onnx is damaged") as error:
        load_bundle(bundle_folder, version="1")
    assert found in error.value.message
    assert sha256(graph) in error.value.message


def test_a_changed_byte_of_the_metadata(bundle_folder: Path) -> None:
    path = bundle_folder / METADATA_FILE
    expected = sha256(path.read_bytes())
    path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    with pytest.raises(BundleError, match=r"metadata\.json is damaged") as error:
        load_bundle(bundle_folder, version="1", metadata_sha256=expected)
    assert expected in error.value.message
    assert sha256(path.read_bytes()) in error.value.message


@pytest.mark.parametrize("name", [MODEL_FILE, METADATA_FILE])
def test_a_missing_file_is_named(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read: No such file"):
        load_bundle(bundle_folder, version="1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"threshold": NaN}',
        b"[" * 100_000,
    ],
)
def test_garbage_for_metadata(bundle_folder: Path, content: bytes) -> None:
    (bundle_folder / METADATA_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"metadata\.json is no metadata of a bundle"):
        load_bundle(bundle_folder, version="1")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 100, b"\xff" * 5000])
def test_garbage_for_a_graph(tmp_path: Path, metadata: Metadata, content: bytes) -> None:
    changed = metadata.model_copy(update={"onnx_sha256": sha256(content)})
    save_bundle(tmp_path, content, changed, evaluation=EVALUATION)
    with pytest.raises(BundleError, match=r"model\.onnx is no ONNX graph") as error:
        load_bundle(tmp_path, version="1")
    assert "\n" not in error.value.message


@given(cut=st.integers(0, 4000), position=st.integers(0, 600), value=st.integers(0, 255))
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_graph_opens_or_is_refused_quietly(
    capfd: pytest.CaptureFixture[str], graph: bytes, cut: int, position: int, value: int
) -> None:
    broken = bytearray(graph[: len(graph) - cut])
    if broken:  # the cut may have left nothing, which is to be refused as well
        broken[position % len(broken)] = value
    with suppress(BundleError):
        open_session(bytes(broken))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", [INPUT, PROBABILITY_OUTPUT])
def test_the_graph_of_another_model_is_refused(graph: bytes, name: str) -> None:
    with pytest.raises(BundleError, match=r"must take attributes .* colour\b"):
        open_session(with_input(name, "colour", graph))


def test_a_pointer_is_read_as_it_was_written(tmp_path: Path) -> None:
    champion = Champion(version="3", run_id="fedcba9876543210", metadata_sha256="0" * 64)
    write_champion(tmp_path, champion)
    assert read_champion(tmp_path) == champion
    assert champion.folder == "3-fedcba98"


def test_without_a_pointer_there_is_no_champion(tmp_path: Path) -> None:
    assert read_champion(tmp_path / "bundles") is None
    assert load_champion(tmp_path / "bundles") is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"{}", b'{"version": 1}'])
def test_garbage_for_a_pointer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHAMPION_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"champion\.json is no pointer to a version"):
        load_champion(tmp_path)


def test_a_pointer_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / CHAMPION_FILE).mkdir()
    with pytest.raises(BundleError, match=r"champion\.json cannot be read: Is a directory"):
        read_champion(tmp_path)


def publish(bundles: Path, graph: bytes, metadata: Metadata) -> Path:
    """A champion's files; the folder of its bundle."""
    run_id = metadata.lineage.run_id
    folder = bundles / Champion.folder_name("3", run_id)
    save_bundle(folder, graph, metadata, evaluation=EVALUATION)
    checksum = sha256((folder / METADATA_FILE).read_bytes())
    write_champion(bundles, Champion(version="3", run_id=run_id, metadata_sha256=checksum))
    return folder


def test_the_champion_is_the_version_pointed_to(
    tmp_path: Path, graph: bytes, metadata: Metadata
) -> None:
    publish(tmp_path, graph, metadata)
    champion = load_champion(tmp_path)
    assert champion is not None
    assert (champion.version, champion.metadata) == ("3", metadata)


def test_a_champion_whose_metadata_changed_is_refused(
    tmp_path: Path, graph: bytes, metadata: Metadata
) -> None:
    folder = publish(tmp_path, graph, metadata)
    save_bundle(
        folder, graph, metadata.model_copy(update={"threshold": 0.9}), evaluation=EVALUATION
    )
    with pytest.raises(BundleError, match=r"metadata\.json is damaged"):
        load_champion(tmp_path)


def test_a_champion_without_its_folder_is_an_error_and_not_none(
    tmp_path: Path, graph: bytes, metadata: Metadata
) -> None:
    folder = publish(tmp_path, graph, metadata)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="3-01234567"):
        load_champion(tmp_path)


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder, version="1")


def patient(**values: float) -> list[float]:
    return [values.get(name, known) for name, known in zip(NAMES, PATIENT, strict=True)]


def test_a_value_beyond_the_training_rows_is_named_with_their_range(bundle: Bundle) -> None:
    assert bundle.warnings(patient(age=90, oldpeak=-5)) == [
        "age 90 is outside the training range 28 to 77",
        "oldpeak -5 is outside the training range -2 to 6.2",
    ]


def test_the_ends_of_a_range_belong_to_it(bundle: Bundle) -> None:
    assert bundle.warnings(patient(age=28)) == bundle.warnings(patient(age=77)) == []
    assert len(bundle.warnings(patient(age=27.9))) == len(bundle.warnings(patient(age=77.1))) == 1


def test_a_missing_value_is_outside_of_nothing(bundle: Bundle) -> None:
    assert bundle.warnings(patient(age=math.nan, chol=math.nan)) == []


@pytest.mark.parametrize("family", SERVABLE)
def test_a_row_is_answered_alike_alone_and_among_others(
    family: str, train: Cohort, patients: Cohort
) -> None:
    session = open_session(to_onnx(build(family, PARAMS[family], seed=42).fit(train.X, train.y)))
    rows = patients.X.to_numpy()
    whole = run_graph(session, rows)
    within = 1e-6 if family == "quadratic_discriminant" else 0
    alone = [run_graph(session, rows[[row]])[0] for row in range(0, len(rows), 7)]
    np.testing.assert_allclose(alone, whole[::7], rtol=0, atol=within)
    for first, size in [(0, 2), (5, 3), (100, 8), (301, 17), (400, 250)]:
        part = run_graph(session, rows[first : first + size])
        np.testing.assert_allclose(part, whole[first : first + size], rtol=0, atol=within)


def test_rows_may_be_lists(bundle: Bundle) -> None:
    as_array = bundle.predict(np.array([PATIENT, patient(ca=3)]))
    assert bundle.predict([PATIENT, patient(ca=3)]).tolist() == as_array.tolist()


def test_serving_imports_neither_scikit_learn_nor_mlflow() -> None:
    script = "import sys, heart.bundle, heart.explanation; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"sklearn", "mlflow", "pandas", "matplotlib", "skl2onnx", "onnx", "ray", "fastapi"}
    loaded = set(found.stdout.split())
    assert "heart.bundle" in loaded
    assert heavy & loaded == set()


def test_the_metadata_name_what_it_takes_to_fit_again(metadata: Metadata, bundle: Bundle) -> None:
    written: dict[str, Any] = bundle.metadata.model_dump(mode="json")
    assert Metadata.model_validate_json(json.dumps(written)) == metadata
    assert written["recipe"] == {
        "family": "logistic_regression",
        "params": {"C": 0.1},
        "preprocessing": "default",
    }
