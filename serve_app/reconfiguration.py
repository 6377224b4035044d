"""Taking up what ``user_config`` says while requests are answered, and saying what failed."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from heart.calibration import Calibration
from heart.errors import HeartError, NoModelError, UsageError
from heart.sources import Reference
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.shadow import Shadow
from serve_app.user_config import UserConfig, read_user_config

AGAIN_S: Final = 0.5
"""How soon a replica that starts looks again for the model that is named."""


@dataclass(frozen=True)
class State:
    """What a replica tells of itself: the order it dealt with last, how, and what it serves.

    ``probabilities`` are those of the patients it was asked about, as it would answer them.
    """

    order: UserConfig | None
    shadow: Reference | None
    failures: tuple[str, ...]
    model: Reference | None = None
    version: str | None = None
    recalibration: Calibration | None = None
    warning: str | None = None
    probabilities: tuple[float, ...] = ()


class Reconfiguration:
    """Changes a replica's model and shadow one order at a time, and never raises.

    Serve ends a replica whose ``reconfigure`` raises, and with it its model that worked. A replica
    that starts and has not got the model that is named looks again for ``first_s`` seconds, in
    which Serve sends it no request and the others answer.
    """

    def __init__(
        self,
        model: Model,
        shadow: Shadow,
        metrics: Metrics,
        log: logging.Logger,
        *,
        first_s: float = 0.0,
    ) -> None:
        self._first_s = first_s
        self._model, self._shadow = model, shadow
        self._metrics, self._log = metrics, log
        self._wanted: UserConfig | None = None
        self._done: UserConfig | None = None
        self._failures: dict[str, str] = {}
        self._told: str | None = None
        self._turn = asyncio.Lock()

    async def apply(self, user_config: object) -> None:
        """Take up an order; where a part of it fails, that part stays what it was."""
        async with self._turn:
            try:
                wanted = read_user_config(user_config)
            except UsageError as error:
                self._failures["order"] = error.message
                self._tell(f"the order was not understood: {error.message}")
                self._metrics.count_reconfigure_failure()
                return
            # Serve repeats an order where a replica's rank changed.
            if wanted == self._done and not self._failures:
                return
            self._wanted, self._failures = wanted, {}
            for done in (await self._load_model(), await self._load_shadow()):
                if not done:
                    self._metrics.count_reconfigure_failure()
            self._done = wanted
        first_s, self._first_s = self._first_s, 0.0
        if wanted.model is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(first_s):
                    await self.wait(AGAIN_S)

    async def wait(self, poll_s: float) -> None:
        """Look for the first model every ``poll_s`` seconds until there is one."""
        while self._model.bundle is None:
            # The first look is that of `apply`, which Serve calls at the start.
            await asyncio.sleep(poll_s)
            async with self._turn:
                if self._model.bundle is None:
                    await self._load_model()

    async def state(self, patients: Sequence[Sequence[float]]) -> State:
        """What this replica serves; ``patients`` of shape (n, 13) are judged by it."""
        loaded = self._model.loaded
        state = State(
            order=self._done,
            shadow=self._shadow.reference,
            failures=tuple(self._failures.values()),
        )
        if loaded is None:
            return state
        p = await asyncio.to_thread(loaded.bundle.predict, patients) if patients else ()
        return replace(
            state,
            model=loaded.reference,
            version=loaded.bundle.version,
            recalibration=loaded.recalibration,
            warning=loaded.warning,
            probabilities=tuple(float(probability) for probability in p),
        )

    async def _load_model(self) -> bool:
        """Whether the model that is wanted is served, or none is wanted and none there."""
        order = None if self._wanted is None else self._wanted.model
        try:
            with self._failing("model"):
                await self._model.load(order)
        except NoModelError as error:
            if self._model.bundle is None:
                self._tell(error.message)
                return True
            self._failures["model"] = error.message
        return "model" not in self._failures

    async def _load_shadow(self) -> bool:
        order = None if self._wanted is None else self._wanted.shadow
        with self._failing("shadow"):
            await self._shadow.load(order)
        return "shadow" not in self._failures

    @contextmanager
    def _failing(self, part: str) -> Iterator[None]:
        """Keep and tell why a part could not be loaded."""
        try:
            yield
        except NoModelError:
            raise
        except HeartError as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001 - Serve would end the replica
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
        else:
            self._failures.pop(part, None)
            return
        self._failures[part] = f"{part}: {reason}"
        self._tell(f"the {part} cannot be loaded, it stays what it was: {reason}")

    def _tell(self, message: str) -> None:
        """Log once per distinct message: the look is repeated every second."""
        if message != self._told:
            self._told = message
            self._log.warning(message)
