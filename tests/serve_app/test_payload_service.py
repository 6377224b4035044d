"""A real service with the payload log on: what was answered is what is kept and computed again."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from heart.attributes import NAMES
from heart.bundle import Bundle
from heart.settings import Settings
from serve_app.deployment import build
from serve_app.payload_files import files
from serve_app.replay import main
from tests.serve_app.kept import read_back
from tests.serve_app.logs import log_lines

pytestmark = pytest.mark.full
KEY = b"0123456789abcdef"
IDENTIFIER = "ann-4711-meyer"


@dataclass(frozen=True)
class Service:
    """A service's settings, and what it answered before it ended."""

    settings: Settings
    single: httpx.Response
    batch: httpx.Response
    explained: httpx.Response
    refused: httpx.Response


@pytest.fixture(scope="module")
def ended(serve_url: str, champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service that was asked some times, and ended in good order."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(champion_home / "bundles", folder / "home" / "bundles")
    (folder / "key").write_bytes(KEY)
    settings = Settings(home=folder / "home", payload_log=True, payload_key_file=folder / "key")
    serve.run(build(settings), name="kept", route_prefix="/kept")
    known = {"age": 61.0370831, "sex": 1, "cp": "asymptomatic", "oldpeak": 3.3, "thalach": 111}
    patients = [known, {"age": 1_000}, {**known, "age": 40}]
    headers = {"X-Request-ID": "single", "X-Patient-ID": IDENTIFIER}
    with httpx.Client(base_url=f"{serve_url}/kept", timeout=30) as client:
        answers = Service(
            settings,
            client.post("/predict", json=known, headers=headers),
            client.post("/predict/batch", json={"patients": patients}),
            client.post("/explain", json=known),
            client.post("/predict", json={"age": 1_000}),
        )
    serve.delete("kept")
    return answers


def test_each_answer_is_kept_with_what_it_was_about(ended: Service, bundle: Bundle) -> None:
    answered = [ended.single, ended.batch, ended.explained]
    assert [answer.status_code for answer in answered] == [200, 200, 200]
    single, *batch, explained = read_back(ended.settings.payloads)
    answers = [p for p in ended.batch.json()["predictions"] if "error" not in p]
    assert [row["index"] for row in batch] == [0, 2] == [answer["index"] for answer in answers]
    rows = [single, *batch, explained]
    told = [ended.single.json(), *answers, ended.explained.json()]
    for row, answer in zip(rows, told, strict=True):
        assert row["probability"] == answer["probability"]
        assert row["prediction"] == answer["prediction"]
        assert row["model_version"] == ended.single.json()["model_version"]
        assert row["run_id"] == ended.single.json()["run_id"]
        assert row["metadata_sha256"] == bundle.metadata_sha256
    given = {"age": 61.0370831, "sex": 1, "cp": 4, "oldpeak": 3.3, "thalach": 111}
    assert {name: single[name] for name in NAMES} == {**dict.fromkeys(NAMES), **given}
    assert single["patient"] == hmac.new(KEY, IDENTIFIER.encode(), hashlib.sha256).hexdigest()
    assert [row["patient"] for row in batch] == [None, None]
    assert single["request_id"] == "single"
    assert {row["request_id"] for row in batch} == {ended.batch.headers["X-Request-ID"]}


def test_a_refused_patient_is_not_kept(ended: Service) -> None:
    assert ended.refused.status_code == 422
    kept = {row["request_id"] for row in read_back(ended.settings.payloads)}
    assert ended.refused.headers["X-Request-ID"] not in kept


def test_the_answers_are_computed_again(
    ended: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(ended.settings.home))
    assert main(["replay"]) == 0
    assert capsys.readouterr().out == "4 of 4 probabilities are the same to the last bit\n"
    assert main(["replay", "--request-id", "single"]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 ")


def test_neither_identifier_nor_attribute_is_logged(ended: Service) -> None:
    assert log_lines("single")
    assert log_lines(IDENTIFIER) == []
    assert log_lines("61.0370831") == []


def test_nothing_is_kept_unless_asked(
    client: httpx.Client, champion_home: Path, patient: dict[str, Any]
) -> None:
    headers = {"X-Patient-ID": IDENTIFIER}
    assert client.post("/predict", json=patient, headers=headers).status_code == 200
    assert files(champion_home / "payloads") == []
