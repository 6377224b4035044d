"""``python -m heart.registry`` on the champion that the suite's search registered."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from heart import bundle, promotions
from heart.bundle import METADATA_FILE
from heart.errors import run_main
from heart.files import sha256
from heart.registry import Registry
from heart.registry_command import again, main
from heart.settings import Settings
from heart.store import connect
from heart.versions import CHECKSUM_TAG

ROLLBACK_S = 2.0


@pytest.fixture
def home(champion_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the home with the champion; its artefacts stay where they are."""
    made = tmp_path / "artifacts"
    made.mkdir()
    for name in ("mlflow.db", "promotions.jsonl"):
        shutil.copy(champion_home / name, made)
    shutil.copytree(champion_home / "bundles", made / "bundles")
    monkeypatch.setenv("HEART_HOME", str(made))
    return made


@pytest.fixture
def registry(home: Path) -> Registry:
    settings = Settings(home=home)
    return Registry(connect(settings), settings)


def command(*arguments: str) -> int:
    return run_main(lambda: main(arguments))


def second(registry: Registry, **changes: object) -> str:
    """Another version: the champion's bundle with other metadata."""
    champion = registry.champion()
    assert champion is not None
    folder = registry.settings.home / "made"
    shutil.copytree(next(registry.settings.bundles.glob("1-*")), folder)
    metadata = champion.metadata.model_copy(update=changes)
    (folder / METADATA_FILE).write_text(metadata.model_dump_json())
    run_id = metadata.lineage.run_id
    client = connect(registry.settings)
    source = client.get_run(run_id).info.artifact_uri
    made = client.create_model_version(
        "heart", source=source, run_id=run_id, tags={CHECKSUM_TAG: checksum(folder)}
    )
    shutil.copytree(folder, registry.settings.bundles / f"{made.version}-{run_id[:8]}")
    return str(made.version)


def checksum(folder: Path) -> str:
    return sha256((folder / METADATA_FILE).read_bytes())


def test_list_names_versions_and_aliases(
    home: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    version = second(registry)
    registry.challenge(version)
    assert command("list") == 0
    _, *rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [row[:2] for row in rows] == [[version, "challenger"], ["1", "champion"]]


def test_show_tells_lineage_gates_and_promotions(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("show", "champion") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == "1"
    assert told["metadata"]["lineage"]["cohort"] == "all"
    assert all(gate["passed"] for gate in told["evaluation"]["gates"])
    assert [p["action"] for p in told["promotions"]] == ["promote"]


def test_promote_and_rollback(
    home: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    version = second(registry)
    assert command("promote", version, "--why", "a try") == 0
    assert registry.aliases().champion == version
    started = time.monotonic()
    assert command("rollback", "--why", "it was one") == 0
    assert time.monotonic() - started < ROLLBACK_S
    assert registry.aliases().champion == "1"
    assert capsys.readouterr().out.splitlines() == [
        f"version {version} is champion",
        "version 1 is champion again",
    ]
    assert [p.reason for p in promotions.read(home / "promotions.jsonl")][1:] == [
        "a try",
        "it was one",
    ]


def test_what_did_not_pass_needs_force(
    home: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = json.loads(registry.load("1").evaluation)
    evaluation["gates"][0]["passed"] = False
    content = json.dumps(evaluation).encode()
    version = second(registry, evaluation_sha256=sha256(content))
    folder = next(registry.settings.bundles.glob(f"{version}-*"))
    (folder / bundle.EVALUATION_FILE).write_bytes(content)
    assert command("promote", version, "--why", "I like it") == 2
    assert "did not pass audit: " in capsys.readouterr().err
    assert registry.aliases().champion == "1"
    assert command("promote", version, "--why", "I like it", "--force") == 0
    assert capsys.readouterr().out == f"version {version} is champion, by force\n"
    assert promotions.read(home / "promotions.jsonl")[-1].forced


def test_verify_computes_the_test_scores_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("verify", "champion") == 0
    assert "checksums and test scores are as registered" in capsys.readouterr().out


def test_a_score_that_was_painted_is_found(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = registry.champion()
    assert champion is not None
    told = champion.metadata.test["roc_auc"].model_copy(update={"value": 0.99})
    version = second(registry, test=champion.metadata.test | {"roc_auc": told})
    assert command("verify", version) == 2
    assert "roc_auc is 0.8" in capsys.readouterr().err


def test_a_version_of_another_table_is_told(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = registry.champion()
    assert champion is not None
    lineage = champion.metadata.lineage.model_copy(update={"data_sha256": "f" * 64})
    version = second(registry, lineage=lineage)
    assert command("verify", version) == 2
    assert f"was trained on the table {'f' * 64}" in capsys.readouterr().err


def test_again_gives_both_values(registry: Registry) -> None:
    champion = registry.champion()
    assert champion is not None
    found = again(champion)
    assert set(found) == set(champion.metadata.test)
    assert found["roc_auc"][0] == pytest.approx(found["roc_auc"][1], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "99"), "heart has no version 99"),
        (("show", "best"), "heart has no version best"),
        (("show", "challenger"), "no version is challenger"),
        (("rollback", "--why", "x"), "there is no previous champion"),
        (("promote", "7", "--why", "x"), "heart has no version 7"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_2(
    home: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {told}")
    assert error.count("\n") == 1


def test_a_store_that_is_away_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    monkeypatch.setenv("HEART_TRACKING_URI", "http://127.0.0.1:9")
    assert command("list") == 2
    assert "does not answer" in capsys.readouterr().err
