"""The settings: one frozen object, one documented field each, read from ``HEART_*`` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heart.errors import UsageError

PREFIX = "HEART_"

PRIVACY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Settings(BaseModel):
    """Every setting of search and service."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    home: Path = Field(Path("artifacts"), description="folder that receives all output")
    tracking_uri: str = Field(
        "", description="MLflow tracking URI; empty: `mlflow.db` under HEART_HOME"
    )
    experiment: str = Field("heart", description="MLflow experiment of the searches")
    model_name: str = Field("heart", description="name of the registered model in MLflow")
    uci_url: str = Field(
        "https://archive.ics.uci.edu", description="where `--refresh` finds the data set"
    )
    download_timeout_s: float = Field(
        30.0,
        gt=0,
        description="seconds that an answer to `--refresh`, or a model, may take to come",
    )
    champion_poll_s: float = Field(
        1.0, gt=0, description="seconds between looks for the first champion by a service without"
    )
    recalibration: Path | None = Field(
        None, description="a hospital's recalibration, made by `python -m heart.recalibration`"
    )
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="probability from which a prediction is 1; declared, never fitted",
    )
    error_rate: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="share of each class that `low` and `high` may get wrong; else `uncertain`",
    )
    gate_roc_auc_floor: float = Field(
        0.8,
        ge=0.5,
        lt=1,
        description="lower bound of the CV ROC-AUC; each family of docs/results.md reaches it",
    )
    gate_roc_auc_ceiling: float = Field(
        0.94,
        gt=0.5,
        le=1,
        description="CV ROC-AUC above this is taken for a leak; docs/results.md has nothing near",
    )
    gate_group_roc_auc_floor: float = Field(
        0.65,
        ge=0.5,
        lt=1,
        description="ROC-AUC in each group with 20 of each class; the hardest hospital has 0.7",
    )
    gate_calibration_slope: float = Field(
        1.25,
        gt=1,
        description="calibration slope up to this, or one over it: a quarter too timid or sure",
    )
    gate_calibration_intercept: float = Field(
        0.2,
        gt=0,
        description="calibration intercept within this; 0.2 is 5 points at a probability of 0.5",
    )
    gate_margin: float = Field(
        0.01,
        ge=0,
        lt=0.5,
        description="ROC-AUC that a simpler family may lose; under the noise in docs/results.md",
    )
    host: str = Field("127.0.0.1", description="address that the service listens on")
    port: int = Field(8000, ge=1, le=65535, description="port that the service listens on")
    num_replicas: int = Field(
        1, ge=1, description="replicas of the service; the fewest where they may grow"
    )
    max_replicas: int | None = Field(
        None, ge=1, description="replicas that load may call for; empty: their number is fixed"
    )
    api_keys: str = Field(
        "", description="`name:scopes:sha256` of each key, by commas; empty: no keys are asked for"
    )
    allow_open: bool = Field(
        False, description="serve without keys on an address other than loopback"
    )
    rate_limit: float = Field(
        0.0,
        ge=0,
        description="requests a second of one key or address to a replica; 0: no limit. Behind "
        "HAProxy all without a key are one address, unless HEART_TRUSTED_HOPS tells them apart",
    )
    rate_burst: int = Field(
        100, ge=1, description="requests that one key or address may send at once"
    )
    trusted_hops: int = Field(
        0, ge=0, description="proxies in front whose X-Forwarded-For is believed"
    )
    body_timeout_s: float = Field(
        5.0, gt=0, description="seconds that a client may take to send a body"
    )
    request_timeout_s: float = Field(
        10.0,
        gt=0,
        description="seconds after which a batch or an explanation that waits is given up: 503",
    )
    payload_log: bool = Field(
        False, description="keep each patient and answer under `payloads/` of HEART_HOME"
    )
    payload_log_mb: float = Field(
        1024.0,
        gt=0,
        description="megabytes of payloads that a node's replicas keep; the oldest go first",
    )
    payload_key_file: Path | None = Field(
        None, description="file of the key that X-Patient-ID is hashed with before it is kept"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the service's request log"
    )
    managed_by: Literal["", "kuberay"] = Field(
        "", description="what owns the service's config, so that a rollout leaves it alone"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings that ``HEART_*`` variables say; raises `UsageError` on a wrong value."""
        environment = os.environ if environment is None else environment
        names = {f"{PREFIX}{name.upper()}": name for name in cls.model_fields}
        given = {names[key]: value for key, value in environment.items() if key in names}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            variable = f"{PREFIX}{str(first['loc'][0]).upper()}"
            raise UsageError(
                f'{variable}: {first["msg"]}, got "{first["input"]}"', field=variable
            ) from None

    @property
    def resolved_tracking_uri(self) -> str:
        """The tracking URI, absolute: Ray's workers change into folders of their own."""
        return self.tracking_uri or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"

    @property
    def shown_tracking_uri(self) -> str:
        """The tracking URI without the user, the password and the options it may hold."""
        return without_password(self.resolved_tracking_uri.partition("?")[0])

    @property
    def bundles(self) -> Path:
        """Where published bundles and the pointer to the champion are."""
        return self.home.resolve() / "bundles"

    @property
    def cache(self) -> Path:
        """Where models that came over the network are kept."""
        return self.home.resolve() / "cache"

    @property
    def payloads(self) -> Path:
        """Where each patient and answer is kept, if that is asked for."""
        return self.home.resolve() / "payloads"

    @property
    def promotions(self) -> Path:
        """The log of promotions."""
        return self.home.resolve() / "promotions.jsonl"

    @property
    def searches(self) -> Path:
        """Where each search writes its folder."""
        return self.home.resolve() / "search"


def without_password(text: str) -> str:
    """A text with the user and the password cut from the URIs in it; SQLite's have none."""
    return re.sub(r"(?<!sqlite)(:/+)\S*@", r"\1", text)


def keep_private() -> None:
    """Turn off the telemetry of Ray, MLflow and onnxruntime, and what MLflow prints, if not set."""
    for name, value in PRIVACY.items():
        os.environ.setdefault(name, value)
