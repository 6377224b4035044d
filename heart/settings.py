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
        30.0, gt=0, description="seconds that `--refresh` waits for an answer of the server"
    )
    champion_poll_s: float = Field(
        1.0, gt=0, description="seconds between looks for the first champion by a service without"
    )
    num_replicas: int = Field(1, ge=1, description="replicas of the service")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the service's request log"
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
    def searches(self) -> Path:
        """Where each search writes its folder."""
        return self.home.resolve() / "search"


def without_password(text: str) -> str:
    """A text with the user and the password cut from the URIs in it; SQLite's have none."""
    return re.sub(r"(?<!sqlite)(:/+)\S*@", r"\1", text)


def keep_private() -> None:
    """Turn the telemetry of Ray, MLflow and onnxruntime off unless the caller turned it on."""
    for name, value in PRIVACY.items():
        os.environ.setdefault(name, value)
