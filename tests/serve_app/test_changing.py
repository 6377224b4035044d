"""Where a change fails, what was served before is ordered again, whatever else fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

from heart.errors import BundleError, HeartError, UsageError
from heart.settings import Settings
from heart.sources import Reference
from serve_app import changing
from serve_app.changing import Bounds, Ending, Rollout
from serve_app.reconfiguration import State
from serve_app.user_config import UserConfig

BOUNDS = Bounds(arrive_s=1, watch_s=0, error_rate=0.01)
OLD, NEW = (
    UserConfig(model=Reference(version=version, uri=f"/{version}", sha256=version * 64))
    for version in "12"
)


class Replica:
    """A service of one replica, which cannot load the version `NEW`."""

    application = "heart"

    def __init__(self) -> None:
        self.told = [OLD]

    def user_config(self) -> UserConfig:
        return self.told[-1]

    def change(self, order: UserConfig) -> None:
        self.told.append(order)

    def replicas(self) -> int:
        return 1

    def states(self, patients: Sequence[Sequence[float]] = ()) -> list[State]:
        order = self.told[-1]
        failures = ("model: it is damaged",) if order == NEW else ()
        return [State(order=order, shadow=None, failures=failures, model=OLD.model)]


class Nothing:
    """A bundle that judges nobody."""

    def predict(self, rows: object) -> Any:
        return memoryview(b"")


def roll_out(
    monkeypatch: pytest.MonkeyPatch, fetch: Callable[..., Any]
) -> tuple[Ending, Replica, list[str]]:
    """Roll `NEW` out, which fails; how it ended, the replica, and what was said."""
    replica, lines = Replica(), list[str]()
    monkeypatch.setattr(changing, "fetch", fetch)
    rollout = Rollout(replica, Settings(), BOUNDS, patients=[], say=lines.append)  # type: ignore[arg-type]
    return rollout.change(NEW), replica, lines


def test_it_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ending, replica, lines = roll_out(monkeypatch, lambda *_: Nothing())
    assert ending is Ending.GONE_BACK
    assert replica.told == [OLD, NEW, OLD]
    assert lines[-1] == "gone back: version 1"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (BundleError("model.onnx is damaged"), "model.onnx is damaged"),
        (UsageError("no application heart runs"), "no application heart runs"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_bundle_of_before_that_cannot_be_had_here(
    monkeypatch: pytest.MonkeyPatch, error: HeartError | KeyboardInterrupt, why: str
) -> None:
    """The replicas may have it: they are told all the same, and nobody says that all is well."""

    def fetch(model: Reference, settings: Settings) -> Nothing:
        if model == OLD.model:
            raise error
        return Nothing()

    ending, replica, lines = roll_out(monkeypatch, fetch)
    assert ending is Ending.UNKNOWN
    assert replica.told == [OLD, NEW, OLD]
    assert lines[-1] == f"it is not known what is served: {why}"


def test_what_cannot_be_had_in_the_first_place_is_not_ordered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(*_: object) -> NoReturn:
        raise BundleError("it is away")

    with pytest.raises(BundleError):
        roll_out(monkeypatch, fetch)
