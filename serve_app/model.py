"""The model that a replica serves: the one it was told to, or the champion; or none yet."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from heart.attributes import ATTRIBUTES, parse_patient
from heart.bundle import Bundle
from heart.calibration import Calibration
from heart.errors import BundleError, NoModelError
from heart.hospital import load_recalibration, read_recalibration
from heart.settings import Settings
from heart.sources import Reference, champion_reference, fetch

HOW_TO = "run `python -m tune.search` to make one; the service takes it up by itself"


@dataclass(frozen=True)
class Loaded:
    """A bundle, where it is from, and the hospital's calibration that follows its own."""

    bundle: Bundle
    reference: Reference
    recalibration: Calibration | None = None
    warning: str | None = None


class Model:
    """Holds one model and swaps it whole: a request takes the bundle once and keeps it."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings, self._log = settings, log
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded | None:
        """What is served, None without a model."""
        return self._loaded

    @property
    def bundle(self) -> Bundle | None:
        """The bundle to predict with, None without a model."""
        return None if self._loaded is None else self._loaded.bundle

    @property
    def version(self) -> str | None:
        """The version that is served, None without a model."""
        return None if self._loaded is None else self._loaded.bundle.version

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the model that is served, None without a model."""
        return None if self._loaded is None else self._loaded.bundle.metadata.lineage.run_id

    def require(self) -> Bundle:
        """The bundle to predict with; raises `NoModelError`."""
        if self._loaded is None:
            raise NoModelError(f"no model is loaded: {HOW_TO}")
        return self._loaded.bundle

    async def load(self, reference: Reference | None) -> None:
        """Serve another model, the champion for None; where that fails, what it was.

        The requests are answered meanwhile. Raises `BundleError` where the model cannot be had
        or judges nobody, `NoModelError` where there is no champion, `StorageError`.
        """
        loaded = await asyncio.to_thread(self._read, reference)
        self._loaded = loaded
        fields = {"model_version": self.version, "run_id": self.run_id}
        self._log.info("model loaded", extra={"fields": fields})
        if loaded.warning is not None:
            self._log.warning(loaded.warning)

    def _read(self, reference: Reference | None) -> Loaded:
        champion = champion_reference(self._settings.bundles) if reference is None else None
        wanted = reference or champion
        if wanted is None:
            raise NoModelError(f"no champion in {self._settings.bundles}: {HOW_TO}")
        loaded = self._recalibrated(
            fetch(wanted, self._settings), wanted, strict=champion is wanted
        )
        try_out(loaded.bundle)
        return loaded

    def _recalibrated(self, bundle: Bundle, reference: Reference, *, strict: bool) -> Loaded:
        """The bundle with the hospital's own calibration, which is for one model alone.

        A model that was named is served without one that is for another, as a rollout would
        else have to restart the service; its version then lacks the suffix. The champion, which
        nobody named, is not served then.
        """
        path = self._settings.recalibration
        if path is None:
            return Loaded(bundle, reference)
        own = load_recalibration(path, bundle) if strict else read_recalibration(path)
        if not own.fits(bundle):
            return Loaded(
                bundle,
                reference,
                warning=f"version {bundle.version} is served without the recalibration "
                f"{own.name}, which is for version {own.model_version}",
            )
        bundle.recalibrate(own.calibration, name=own.name)
        return Loaded(bundle, reference, own.calibration)


def try_out(bundle: Bundle) -> None:
    """Judge the example patient, which also warms the graph up; raises `BundleError`."""
    patient = parse_patient({attribute.name: attribute.example for attribute in ATTRIBUTES}, "uci")
    (probability,) = bundle.predict([patient])
    if not 0 <= probability <= 1:
        raise BundleError(
            f"version {bundle.version} gives the example patient no probability but {probability}"
        )
