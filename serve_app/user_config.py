"""What replicas are told to serve: Serve's ``user_config``, changed without a restart."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heart.errors import UsageError
from heart.sources import Reference


class ShadowOrder(BaseModel):
    """A challenger, and the share of the requests that it judges for comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: Reference
    share: float = Field(gt=0, le=1)


class UserConfig(BaseModel):
    """The model to serve, None for the champion of HEART_HOME, and what runs in its shadow."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: Reference | None = None
    shadow: ShadowOrder | None = None


def read_user_config(content: object) -> UserConfig:
    """The order in a ``user_config``; raises `UsageError`."""
    try:
        return UserConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in ("user_config", *first["loc"]))
        raise UsageError(f"{place}: {first['msg']}", field=place) from None
