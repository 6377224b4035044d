"""A reference gives the bundle that it means, whole and verified, or says why not."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from pydantic import ValidationError

from heart import transfer
from heart.attributes import ATTRIBUTES
from heart.bundle import (
    EVALUATION_FILE,
    METADATA_FILE,
    MODEL_FILE,
    Bundle,
    load_bundle,
    save_bundle,
)
from heart.errors import BundleError, StorageError
from heart.files import sha256
from heart.metadata import Metadata
from heart.settings import Settings
from heart.sources import KEPT, LOCK, Reference, fetch, reference_of
from tests.faults.test_search_faults import mlflow_server
from tests.heart.folders import Folders, serving

PATIENT = [attribute.example for attribute in ATTRIBUTES]
FETCH = """
import sys
from pathlib import Path
from heart.settings import Settings
from heart.sources import Reference, fetch
reference = Reference(version="3", uri=sys.argv[1], sha256=sys.argv[2])
print(fetch(reference, Settings(home=Path(sys.argv[3]))).version, flush=True)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def reference(server: Folders, bundle_folder: Path) -> Reference:
    """A version that the server has under /models/3."""
    uri = server.put("/models/3", bundle_folder)
    return reference_of(bundle_folder, "3").model_copy(update={"uri": uri})


def entries(settings: Settings) -> set[str]:
    """What is in the cache but its lock."""
    return {path.name for path in settings.cache.iterdir()} - {LOCK}


def assert_is(bundle: Bundle, folder: Path) -> None:
    expected = load_bundle(folder, version="3")
    assert (bundle.version, bundle.metadata) == ("3", expected.metadata)
    assert bundle.evaluation == expected.evaluation
    np.testing.assert_array_equal(bundle.predict([PATIENT]), expected.predict([PATIENT]))


def refusal(reference: Reference, settings: Settings) -> str:
    """The one line that a fetch refuses with, having kept nothing."""
    with pytest.raises(BundleError) as caught:
        fetch(reference, settings)
    assert "\n" not in caught.value.message
    assert not settings.cache.exists() or entries(settings) == set()
    return caught.value.message


def python(reference: Reference, settings: Settings) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, reference.uri, reference.sha256, str(settings.home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("scheme", ["", "file://", "file://localhost"])
def test_a_folder_of_this_machine_is_read_where_it_is(
    bundle_folder: Path, settings: Settings, scheme: str
) -> None:
    spaced = bundle_folder.rename(bundle_folder.with_name("a bundle"))
    made = reference_of(spaced, "3")
    assert (made.version, made.uri) == ("3", str(spaced))
    assert made.sha256 == sha256((spaced / METADATA_FILE).read_bytes())
    uri = f"{scheme}{spaced.as_uri().removeprefix('file://')}" if scheme else made.uri
    assert_is(fetch(made.model_copy(update={"uri": uri}), settings), spaced)
    assert not settings.home.exists()


def test_a_reference_is_absolute(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle_folder.parent)
    assert reference_of(Path(bundle_folder.name), "3") == reference_of(bundle_folder, "3")


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"metadata\.json cannot be read: No such file"):
        reference_of(tmp_path, "3")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uri", ""),
        ("uri", "models/3"),
        ("uri", "http:///models"),
        ("uri", "http://[models"),
        ("uri", "ftp://host/models"),
        ("uri", "file://host/models"),
        ("uri", "file:models"),
        ("uri", "s3:///models"),
        ("uri", "s3://key:hunter2@bucket/models"),
        ("version", ""),
        ("version", "3\n"),
        ("version", "v" * 65),
        ("sha256", "0" * 63),
        ("sha256", "A" * 64),
        ("other", "1"),
    ],
)
def test_what_is_no_reference(field: str, value: str) -> None:
    good = {"version": "3", "uri": "/models/3", "sha256": "0" * 64}
    Reference.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        Reference.model_validate({**good, field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
    assert "hunter2" not in str(caught.value)


def test_over_http_it_is_fetched_once(
    server: Folders, reference: Reference, settings: Settings, bundle_folder: Path
) -> None:
    assert_is(fetch(reference, settings), bundle_folder)
    assert [path for _, path in server.asked] == [
        f"/models/3/{name}" for name in (METADATA_FILE, MODEL_FILE, EVALUATION_FILE)
    ]
    server.files.clear()
    assert_is(fetch(reference, settings), bundle_folder)
    assert len(server.asked) == 3
    assert entries(settings) == {reference.sha256}


@pytest.mark.parametrize("name", [METADATA_FILE, MODEL_FILE, EVALUATION_FILE])
def test_a_damaged_entry_is_fetched_again(
    server: Folders, reference: Reference, settings: Settings, bundle_folder: Path, name: str
) -> None:
    fetch(reference, settings)
    damaged = settings.cache / reference.sha256 / name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert_is(fetch(reference, settings), bundle_folder)
    assert server.gets(name) == 2
    assert_is(load_bundle(settings.cache / reference.sha256, version="3"), bundle_folder)


@pytest.mark.parametrize("name", [METADATA_FILE, MODEL_FILE, EVALUATION_FILE])
def test_what_is_not_what_the_reference_says_is_refused(
    server: Folders, reference: Reference, settings: Settings, name: str
) -> None:
    server.files[f"/models/3/{name}"] += b" "
    message = refusal(reference, settings)
    assert message.startswith(f"{reference.uri}: {name} is damaged: SHA-256 ")


def test_an_answer_shorter_than_promised(
    server: Folders, reference: Reference, settings: Settings
) -> None:
    server.promised = 7
    server.files[f"/models/3/{METADATA_FILE}"] = b"{"
    assert f"{METADATA_FILE} is damaged" in refusal(reference, settings)


def test_a_file_that_is_not_there(
    server: Folders, reference: Reference, settings: Settings
) -> None:
    del server.files[f"/models/3/{MODEL_FILE}"]
    expected = f"{reference.uri}: {MODEL_FILE}: the server answers 404 Not Found"
    assert refusal(reference, settings) == expected


def test_nobody_listens(reference: Reference, settings: Settings) -> None:
    nobody = reference.model_copy(update={"uri": "http://127.0.0.1:9/models/3"})
    assert "cannot be reached: [Errno 111] Connection refused" in refusal(nobody, settings)


def test_a_server_that_does_not_come_to_an_end(
    server: Folders, reference: Reference, settings: Settings
) -> None:
    server.slow = True
    begin = time.monotonic()
    message = refusal(reference, settings.model_copy(update={"download_timeout_s": 1.0}))
    assert message == f"{reference.uri}: not whole within 1 s (HEART_DOWNLOAD_TIMEOUT_S)"
    assert time.monotonic() - begin < 10


def test_what_is_too_large_is_not_read_to_its_end(
    server: Folders, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LIMIT_MB", 1)
    server.files["/models/3/large"] = bytes((1 << 20) - 1)
    server.files["/models/3/small"] = bytes(2)
    transfer.copy(reference.uri, ["large"], tmp_path)
    with pytest.raises(BundleError, match="small: the files are larger than 1 MB"):
        transfer.copy(reference.uri, ["large", "small"], tmp_path)


def test_a_redirect_is_followed_over_http_and_to_nothing_else(
    server: Folders, reference: Reference, settings: Settings, bundle_folder: Path
) -> None:
    path = f"/models/3/{MODEL_FILE}"
    server.files["/elsewhere"] = server.files.pop(path)
    server.moved[path] = (bundle_folder / MODEL_FILE).as_uri()
    assert "the server answers 302" in refusal(reference, settings)
    server.moved[path] = "ftp://127.0.0.1/elsewhere"
    assert "unknown url type: ftp" in refusal(reference, settings)
    server.moved[path] = f"{server.url}/elsewhere"
    assert_is(fetch(reference, settings), bundle_folder)


def test_a_password_goes_to_its_server_and_nowhere_else(
    server: Folders, reference: Reference, settings: Settings
) -> None:
    uri = f"{reference.uri.replace('//', '//ann:hunt%40r2@')}/?signature=hunter3#part"
    with serving() as other:
        path = f"/models/3/{METADATA_FILE}"
        server.moved[path] = f"{other.url}/elsewhere"
        message = refusal(reference.model_copy(update={"uri": uri}), settings)
        assert message == f"{server.url}/models/3/: {METADATA_FILE}: the server answers 404 " + (
            "Not Found"
        )
        assert "Authorization" not in other.headers[0]
    assert server.asked == [("GET", f"{path}?signature=hunter3")]
    expected = base64.b64encode(b"ann:hunt@r2").decode()
    assert server.headers[0]["Authorization"] == f"Basic {expected}"


def test_two_replicas_at_once_fetch_once(
    server: Folders, reference: Reference, settings: Settings
) -> None:
    both = [python(reference, settings) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["3\n", "3\n"]
    assert server.gets(METADATA_FILE) == 1
    assert entries(settings) == {reference.sha256}


def test_a_replica_that_dies_on_the_way_leaves_nothing_in_the_way(
    server: Folders, reference: Reference, settings: Settings, bundle_folder: Path
) -> None:
    server.slow = True
    process = python(reference, settings)
    while not server.asked:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert reference.sha256 not in entries(settings)
    server.slow = False
    assert_is(fetch(reference, settings), bundle_folder)
    assert entries(settings) == {reference.sha256}


def test_what_was_not_used_for_longest_goes_first(
    server: Folders,
    settings: Settings,
    graph: bytes,
    metadata: Metadata,
    tmp_path: Path,
) -> None:
    made = []
    for number in range(KEPT + 1):
        folder = tmp_path / str(number)
        evaluation = str(number).encode()
        own = metadata.model_copy(update={"evaluation_sha256": sha256(evaluation)})
        save_bundle(folder, graph, own, evaluation=evaluation)
        uri = server.put(f"/{number}", folder)
        made.append(reference_of(folder, "3").model_copy(update={"uri": uri}))
    for reference in made[:KEPT]:
        fetch(reference, settings)
    fetch(made[0], settings)
    fetch(made[KEPT], settings)
    assert entries(settings) == {reference.sha256 for reference in made} - {made[1].sha256}


def test_a_cache_that_cannot_be_written(reference: Reference, settings: Settings) -> None:
    settings.home.mkdir()
    settings.cache.write_bytes(b"")
    with pytest.raises(StorageError, match=r"cache/\.lock cannot be written: Not a directory"):
        fetch(reference, settings)


def test_from_s3_with_the_keys_of_the_environment(
    server: Folders,
    reference: Reference,
    settings: Settings,
    bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ward")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    in_s3 = reference.model_copy(update={"uri": "s3://models/3/"})
    assert_is(fetch(in_s3, settings), bundle_folder)
    assert server.gets(MODEL_FILE) == 1
    (signed,) = {headers["Authorization"].partition("/")[0] for headers in server.headers}
    assert signed == "AWS4-HMAC-SHA256 Credential=ward"
    assert all("/eu-north-1/s3/" in headers["Authorization"] for headers in server.headers)
    absent = Reference(version="3", uri="s3://models/4", sha256="0" * 64)
    with pytest.raises(BundleError, match=r"^s3://models/4: metadata\.json: FileNotFoundError"):
        fetch(absent, settings)


def test_a_replica_does_not_hold_the_client_of_s3() -> None:
    check = "import sys, heart.sources; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.full
def test_from_an_mlflow_server(settings: Settings, bundle_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with mlflow_server(tmp_path / "server", port):
        client = MlflowClient(tracking_uri=uri)
        run = client.create_run(client.create_experiment("heart")).info
        client.log_artifacts(run.run_id, str(bundle_folder), "bundle")
        place = run.artifact_uri.removeprefix("mlflow-artifacts:/")
        folder = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{place}/bundle"
        own = reference_of(bundle_folder, "3").model_copy(update={"uri": folder})
        assert_is(fetch(own, settings), bundle_folder)
    # What was fetched needs no server any more.
    assert_is(fetch(own, settings), bundle_folder)
