"""The model that a replica serves: the champion, or none yet."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from heart.bundle import Bundle, load_champion
from heart.errors import BundleError, NoModelError
from heart.hospital import load_recalibration

HOW_TO = "run `python -m tune.search` to make one; the service takes it up by itself"


class Model:
    """Holds the champion once there is one. It is never swapped for another by itself."""

    def __init__(
        self, bundles: Path, log: logging.Logger, *, recalibration: Path | None = None
    ) -> None:
        self.bundle: Bundle | None = None
        self._bundles, self._recalibration = bundles, recalibration
        self._log = log
        self._told: str | None = None

    @property
    def version(self) -> str | None:
        """The version that is served, None without a model."""
        return None if self.bundle is None else self.bundle.version

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the model that is served, None without a model."""
        return None if self.bundle is None else self.bundle.metadata.lineage.run_id

    def require(self) -> Bundle:
        """The bundle to predict with; raises `NoModelError`."""
        if self.bundle is None:
            raise NoModelError(f"no model is loaded: {HOW_TO}")
        return self.bundle

    def look(self) -> None:
        """Load the champion if there is one; a damaged one is reported and waited out."""
        try:
            self.bundle = self._load()
        except BundleError as error:
            self._tell(f"the champion cannot be loaded, waiting for another: {error.message}")
            return
        if self.bundle is None:
            self._tell(f"no champion in {self._bundles}: {HOW_TO}")
        else:
            self._log.info(
                "model loaded",
                extra={"fields": {"model_version": self.version, "run_id": self.run_id}},
            )

    async def wait(self, poll_s: float) -> None:
        """Look for the first champion every ``poll_s`` seconds until there is one."""
        while self.bundle is None:
            await asyncio.sleep(poll_s)
            await asyncio.to_thread(self.look)

    def _load(self) -> Bundle | None:
        """The champion, with the hospital's own calibration where one is named."""
        bundle = load_champion(self._bundles)
        if bundle is not None and self._recalibration is not None:
            own = load_recalibration(self._recalibration, bundle)
            bundle.recalibrate(own.calibration, name=own.name)
        return bundle

    def _tell(self, message: str) -> None:
        """Log once per distinct message: the look is repeated every second."""
        if message != self._told:
            self._told = message
            self._log.warning(message)
