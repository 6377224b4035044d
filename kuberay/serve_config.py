"""The Serve config inside a RayService, and the model that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml
from pydantic import ValidationError

from heart.errors import ClusterError
from heart.sources import Reference
from kuberay.cluster import Object

APPLICATION: Final = "heart"
DEPLOYMENT: Final = "heart"


@dataclass(frozen=True)
class Served:
    """What ``user_config`` names: the model, None for the champion of HEART_HOME."""

    model: Reference | None
    shadow: dict[str, Any] | None


def served(service: Object) -> Served:
    """The model that a RayService names; raises `ClusterError` where it cannot be read."""
    user_config = _deployment(_parse(service)).get("user_config") or {}
    try:
        model = user_config.get("model")
        return Served(
            None if model is None else Reference.model_validate(model), user_config.get("shadow")
        )
    except (ValidationError, AttributeError):
        raise ClusterError("serveConfigV2 names a model that is no reference") from None


def with_model(service: Object, model: Reference | None) -> str:
    """The RayService's serveConfigV2 with another model, all else as it was.

    A shadow of the same version is dropped: it would be compared with itself.
    """
    config = _parse(service)
    deployment = _deployment(config)
    user_config = dict(deployment.get("user_config") or {})
    user_config["model"] = None if model is None else model.model_dump()
    shadow = user_config.get("shadow")
    if model is not None and shadow and shadow.get("model", {}).get("sha256") == model.sha256:
        user_config["shadow"] = None
    deployment["user_config"] = user_config
    return yaml.safe_dump(config, sort_keys=False)


def _parse(service: Object) -> dict[str, Any]:
    try:
        config = yaml.safe_load(service["spec"]["serveConfigV2"])
    except (KeyError, yaml.YAMLError):
        config = None
    if not isinstance(config, dict):
        raise ClusterError("the RayService has no serveConfigV2 that can be read")
    return config


def _deployment(config: dict[str, Any]) -> dict[str, Any]:
    for application in config.get("applications") or []:
        if application.get("name") == APPLICATION:
            for deployment in application.get("deployments") or []:
                if deployment.get("name") == DEPLOYMENT:
                    found: dict[str, Any] = deployment
                    return found
    raise ClusterError(
        f"serveConfigV2 has no deployment {DEPLOYMENT} in an application {APPLICATION}"
    )
