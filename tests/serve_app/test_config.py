"""The config that the service starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from heart.errors import BundleError, RegistryError, UsageError
from heart.settings import Settings
from heart.sources import Reference, champion_reference
from serve_app import config
from serve_app.__main__ import check
from serve_app.user_config import UserConfig, read_user_config


@pytest.fixture
def reference(champion_home: Path) -> Reference:
    found = champion_reference(champion_home / "bundles")
    assert found is not None
    return found


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command prints, after Serve's own schema has read it."""
    assert config.main(arguments) == 0
    content: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return ServeDeploySchema.model_validate(content).model_dump(exclude_unset=True)


def told(content: dict[str, Any]) -> UserConfig:
    """What the config tells the one deployment of its one application."""
    (application,) = content["applications"]
    (deployment,) = application["deployments"]
    assert (application["name"], deployment["name"]) == ("heart", "heart")
    return read_user_config(deployment["user_config"])


@pytest.mark.parametrize("arguments", [[], ["champion"], ["1"]])
def test_it_names_the_champion(
    arguments: list[str],
    champion_home: Path,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEART_HOME", str(champion_home))
    monkeypatch.setenv("HEART_PORT", "8123")
    content = printed(capsys, *arguments)
    assert told(content) == UserConfig(model=reference)
    assert content["http_options"] == {"host": "127.0.0.1", "port": 8123}


def test_without_a_champion_it_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    assert told(printed(capsys)) == UserConfig()


def test_an_unknown_version(champion_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEART_HOME", str(champion_home))
    with pytest.raises(RegistryError, match="heart has no version 99"):
        config.main(["99"])


def test_what_would_fail_later_is_refused_at_the_start(
    champion_home: Path, reference: Reference, tmp_path: Path
) -> None:
    contradicting = Settings(home=champion_home, num_replicas=3, max_replicas=2)
    with pytest.raises(UsageError, match="HEART_MAX_REPLICAS must be at least"):
        check(contradicting, reference)
    damaged = reference.model_copy(update={"sha256": "a" * 64})
    with pytest.raises(BundleError, match="is damaged"):
        check(Settings(home=champion_home), damaged)
    unread = Settings(home=champion_home, recalibration=tmp_path / "none.json")
    with pytest.raises(BundleError, match=r"none\.json cannot be read"):
        check(unread, reference)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"modle": None}, "user_config.modle: Extra inputs are not permitted"),
        ({"model": {"version": "1"}}, "user_config.model.uri: Field required"),
        ("3", "user_config: Input should be a valid dictionary"),
    ],
)
def test_an_order_that_is_none(content: object, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_user_config(content)
    assert refused.value.message.startswith(why)
