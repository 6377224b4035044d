"""A change of what a running service serves: told, waited for, checked, watched, taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from heart.bundle import Bundle
from heart.errors import HeartError, RolloutError
from heart.settings import Settings
from heart.sources import fetch
from serve_app.reconfiguration import State
from serve_app.service import Service
from serve_app.traffic import between, count
from serve_app.user_config import UserConfig

PAUSE_S: Final = 0.5
COUNT_AGE_S: Final = 4.0
"""How old the counts may be that a node exports: a replica passes them on every second, and Ray
every other (serve_app.environment)."""


class Ending(IntEnum):
    """How a rollout ended, as an exit code; 2 is a wrong use."""

    DONE = 0
    GONE_BACK = 1
    UNKNOWN = 3


@dataclass(frozen=True)
class Bounds:
    """How long replicas may take to change, how long they are watched, and what is too much.

    ``error_rate`` is the share of answers with a status of 500 or more.
    """

    arrive_s: float
    watch_s: float
    error_rate: float


class Rollout:
    """Changes what a running service serves, and goes back by itself."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        bounds: Bounds,
        *,
        patients: Sequence[Sequence[float]],
        say: Callable[[str], None],
    ) -> None:
        self._service, self._settings, self._bounds = service, settings, bounds
        self._patients, self._say = patients, say

    def change(self, order: UserConfig) -> Ending:
        """Serve what ``order`` names; how it ended.

        Raises `UsageError` where the service cannot be changed in place, and `BundleError`.
        """
        before = self._before()
        bundle = self._fetch(order)
        self._say(f"before: {named(before)}; now: {named(order)}")
        try:
            self._service.change(order)
            self._settle(order, bundle)
            self._watch(order, bundle)
        except (HeartError, KeyboardInterrupt) as error:
            self._say(f"going back: {reason(error)}")
            return self._go_back(before)
        self._say(f"done: {named(order)}")
        return Ending.DONE

    def _before(self) -> UserConfig:
        """What to go back to; the version that is served where the config names none.

        The champion that nobody named may be another one by the time of going back.
        """
        before = self._service.user_config()
        served = {state.model for state in self._service.states()}
        if before.model is None and len(served) == 1:
            return before.model_copy(update={"model": served.pop()})
        return before

    def _go_back(self, before: UserConfig) -> Ending:
        try:
            # First of all: a bundle that cannot be had here the replicas may have, and one that
            # cannot load it keeps what it has and reports.
            self._service.change(before)
            self._settle(before, self._fetch(before))
        except (HeartError, KeyboardInterrupt) as error:
            self._say(f"it is not known what is served: {reason(error)}")
            return Ending.UNKNOWN
        self._say(f"gone back: {named(before)}")
        return Ending.GONE_BACK

    def _fetch(self, order: UserConfig) -> Bundle | None:
        """What the replicas are to judge as; None where no version is named."""
        return None if order.model is None else fetch(order.model, self._settings)

    def _settle(self, order: UserConfig, bundle: Bundle | None) -> None:
        """Wait until each replica has heard of an order, and check each."""
        ends = time.monotonic() + self._bounds.arrive_s
        while not self._arrived(order):
            if time.monotonic() > ends:
                raise RolloutError(f"not in every replica after {self._bounds.arrive_s:g} s")
            time.sleep(PAUSE_S)
        number = self._check(order, bundle)
        judged = "" if bundle is None else f", judging {len(self._patients)} patients as it does"
        self._say(f"served by {number} {'replica' if number == 1 else 'replicas'}{judged}")

    def _arrived(self, order: UserConfig) -> bool:
        """Whether every replica has dealt with the order; Serve asks none while it changes."""
        try:
            states = self._service.states()
        except RolloutError:
            return False
        return len(states) >= self._service.replicas() and all(s.order == order for s in states)

    def _check(self, order: UserConfig, bundle: Bundle | None) -> int:
        """How many replicas were asked; raises `RolloutError` where one is not as it should be."""
        states = self._service.states([] if bundle is None else self._patients)
        for state in states:
            check(state, order, bundle, self._patients)
        for warning in sorted({state.warning for state in states if state.warning is not None}):
            self._say(f"warning: {warning}")
        return len(states)

    def _watch(self, order: UserConfig, bundle: Bundle | None) -> None:
        """Look at each replica and at the errors for a while; raises `RolloutError`."""
        if not self._bounds.watch_s:
            return
        # What was answered before the change is counted first.
        time.sleep(COUNT_AGE_S)
        start = count(self._service.application)
        ends = time.monotonic() + self._bounds.watch_s
        while True:
            over = time.monotonic() > ends
            traffic = between(start, count(self._service.application))
            if traffic.error_rate > self._bounds.error_rate:
                raise RolloutError(f"{traffic}, more than a share of {self._bounds.error_rate:g}")
            self._check(order, bundle)
            if over:
                break
            time.sleep(PAUSE_S)
        self._say(f"watched for {self._bounds.watch_s:g} s: {traffic}")


def check(
    state: State, order: UserConfig, bundle: Bundle | None, patients: Sequence[Sequence[float]]
) -> None:
    """Raise `RolloutError` unless a replica serves what was ordered, to the last bit."""
    if state.failures:
        raise RolloutError(f"a replica reports: {'; '.join(state.failures)}")
    if state.order != order or (order.shadow and order.shadow.model) != state.shadow:
        raise RolloutError("a replica was told something else meanwhile")
    if bundle is None:
        return
    if state.model != order.model:
        raise RolloutError(f"a replica serves version {state.version or 'none'}")
    p = bundle.predict(patients)
    if state.recalibration is not None:
        p = state.recalibration.apply(p)
    if tuple(p.tolist()) != state.probabilities:
        raise RolloutError("a replica judges otherwise than the same bundle does here")


def reason(error: HeartError | KeyboardInterrupt) -> str:
    """Why a change was not done, in words."""
    return error.message if isinstance(error, HeartError) else "interrupted"


def named(order: UserConfig) -> str:
    """What is served, in words."""
    model = "the champion" if order.model is None else f"version {order.model.version}"
    if order.shadow is None:
        return model
    return f"{model}, version {order.shadow.model.version} in shadow of {order.shadow.share:g}"
