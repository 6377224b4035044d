"""A hospital's own recalibration as the service reads it: two numbers and where they are from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from heart.bundle import Bundle
from heart.calibration import Calibration
from heart.errors import BundleError


class Recalibration(BaseModel):
    """Two numbers for one hospital and one version of the model, and what they brought.

    The Brier scores are of the hospital's patients, ``brier_after`` cross-validated.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    number: int
    at: datetime
    model_version: str
    onnx_sha256: str
    data_sha256: str
    n: int
    events: int
    calibration: Calibration
    brier_before: float
    brier_after: float

    @property
    def name(self) -> str:
        """What an answer's version says of it."""
        return f"{self.site}.{self.number}"

    def fits(self, bundle: Bundle) -> bool:
        """Whether it was made for this model."""
        return self.onnx_sha256 == bundle.metadata.onnx_sha256


def read_recalibration(path: Path) -> Recalibration:
    """A recalibration, whichever model it is for; raises `BundleError`."""
    try:
        return Recalibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}", field=str(path)) from error
    except ValidationError as error:
        raise BundleError(f"{path} is no recalibration", field=str(path)) from error


def load_recalibration(path: Path, bundle: Bundle) -> Recalibration:
    """A recalibration that was made for this model; raises `BundleError`."""
    found = read_recalibration(path)
    if not found.fits(bundle):
        raise BundleError(
            f"{path} is for version {found.model_version} of the model, {bundle.version} is served",
            field=str(path),
        )
    return found
