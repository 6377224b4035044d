"""Settings come from ``HEART_*`` variables, and the README lists them as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from heart.errors import UsageError
from heart.settings import PREFIX, PRIVACY, Settings, keep_private, without_password

README = Path(__file__).parents[2] / "README.md"
GIVEN: dict[str, tuple[str, Any]] = {
    "home": ("/data/heart", Path("/data/heart")),
    "tracking_uri": ("http://mlflow:5000", "http://mlflow:5000"),
    "experiment": ("ward", "ward"),
    "model_name": ("risk", "risk"),
    "uci_url": ("http://mirror", "http://mirror"),
    "download_timeout_s": ("2.5", 2.5),
    "champion_poll_s": ("0.2", 0.2),
    "recalibration": ("/data/hungary.json", Path("/data/hungary.json")),
    "threshold": ("0.3", 0.3),
    "error_rate": ("0.05", 0.05),
    "gate_roc_auc_floor": ("0.75", 0.75),
    "gate_roc_auc_ceiling": ("0.96", 0.96),
    "gate_group_roc_auc_floor": ("0.6", 0.6),
    "gate_calibration_slope": ("1.5", 1.5),
    "gate_calibration_intercept": ("0.3", 0.3),
    "gate_margin": ("0.02", 0.02),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("8080", 8080),
    "num_replicas": ("4", 4),
    "max_replicas": ("8", 8),
    "api_keys": ("ward:predict:" + 64 * "0", "ward:predict:" + 64 * "0"),
    "allow_open": ("1", True),
    "rate_limit": ("50", 50.0),
    "rate_burst": ("10", 10),
    "trusted_hops": ("1", 1),
    "body_timeout_s": ("2", 2.0),
    "request_timeout_s": ("5", 5.0),
    "payload_log": ("1", True),
    "payload_log_mb": ("64", 64.0),
    "payload_key_file": ("/run/key", Path("/run/key")),
    "managed_by": ("kuberay", "kuberay"),
    "log_level": ("DEBUG", "DEBUG"),
}
WRONG = [
    ("download_timeout_s", "soon"),
    ("download_timeout_s", "0"),
    ("download_timeout_s", "inf"),
    ("champion_poll_s", "-1"),
    ("champion_poll_s", "nan"),
    ("threshold", "1"),
    ("error_rate", "0"),
    ("gate_roc_auc_floor", "0.4"),
    ("gate_calibration_slope", "1"),
    ("num_replicas", "0"),
    ("num_replicas", "1.5"),
    ("num_replicas", ""),
    ("port", "0"),
    ("port", "65536"),
    ("allow_open", "perhaps"),
    ("rate_limit", "-1"),
    ("body_timeout_s", "0"),
    ("log_level", "debug"),
]


def test_every_field_has_a_value_here_that_is_not_its_default() -> None:
    assert set(GIVEN) == set(Settings.model_fields)
    defaults = Settings()
    assert [n for n, (_, value) in GIVEN.items() if getattr(defaults, n) == value] == []


@pytest.mark.parametrize("name", GIVEN)
def test_a_variable_sets_its_field_and_no_other(name: str) -> None:
    text, value = GIVEN[name]
    found = Settings.from_environment({f"{PREFIX}{name.upper()}": text, "PATH": "/bin"})
    assert found == Settings().model_copy(update={name: value})


def test_the_process_is_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEART_NUM_REPLICAS", "3")
    assert Settings.from_environment().num_replicas == 3


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_named_with_its_variable(name: str, text: str) -> None:
    variable = f"{PREFIX}{name.upper()}"
    with pytest.raises(UsageError) as error:
        Settings.from_environment({variable: text})
    assert error.value.message.startswith(f"{variable}: Input should be ")
    assert error.value.message.endswith(f', got "{text}"')
    assert error.value.field == variable


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().num_replicas = 2  # type: ignore[misc]


def test_paths_do_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.resolved_tracking_uri == f"sqlite:///{tmp_path}/artifacts/mlflow.db"
    assert settings.bundles == tmp_path / "artifacts" / "bundles"
    assert settings.searches == tmp_path / "artifacts" / "search"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ann:hunter2@db:5432/heart", "postgresql://db:5432/heart"),
        ("postgresql://ann:hun/t@r2@db/heart", "postgresql://db/heart"),
        ("postgresql:/ann:hunter2@db/heart", "postgresql:/db/heart"),
        ("mysql+pymysql://db/heart?password=hunter2", "mysql+pymysql://db/heart"),
        ("https://ann@mlflow.example/path", "https://mlflow.example/path"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/ann@work/mlflow.db", "sqlite:////home/ann@work/mlflow.db"),
        ("mlruns", "mlruns"),
    ],
)
def test_the_shown_uri_hides_who_and_how(uri: str, shown: str) -> None:
    assert Settings(tracking_uri=uri).shown_tracking_uri == shown


def test_a_password_is_cut_from_a_sentence() -> None:
    text = "no answer from 'http://ann:hunter2@db/api' or http://ann:hunter2@db: ask ann@example"
    assert without_password(text) == "no answer from 'http://db/api' or http://db: ask ann@example"


def test_privacy_is_the_default_and_not_a_decree(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PRIVACY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    keep_private()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    for name in PRIVACY:  # what was set beside monkeypatch goes with it
        monkeypatch.setenv(name, os.environ[name])


def test_the_readme_lists_the_settings_as_they_are() -> None:
    """A row is a name, its default (an empty cell for an empty one), its description."""
    lines = README.read_text().splitlines()
    listed = [
        tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))
        for line in lines
        if line.startswith(f"| `{PREFIX}")
    ]
    assert listed == [
        (
            f"`{PREFIX}{name.upper()}`",
            "" if field.default in ("", None) else f"`{field.default}`",
            field.description,
        )
        for name, field in Settings.model_fields.items()
    ]
