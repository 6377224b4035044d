"""A new hospital: intercept and slope refitted on its labelled patients, the model left alone.

``python -m heart.recalibration FILE --site NAME`` writes a numbered file beside the bundles;
``HEART_RECALIBRATION`` names the one that a service applies. A model that ranks patients well
elsewhere is often wrong about how many are ill; two numbers mend that with few patients
(Steyerberg and others, 2004).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.model_selection import StratifiedKFold

from heart.assessment import SMALLEST_CELL
from heart.audit import audit, read
from heart.audit_table import parse
from heart.bundle import Bundle, load_champion
from heart.calibration import Floats, Labels, fit_calibration
from heart.calibration_choice import cross_calibrated
from heart.errors import DataError, NoModelError, UsageError, run_main
from heart.files import locked, sha256, write_json
from heart.hospital import Recalibration
from heart.settings import Settings

FOLDER: Final = "recalibrations"
FOLDS: Final = 5
SEED: Final = 0
SITE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


def recalibrate(
    bundle: Bundle, y: Labels, X: Floats, *, site: str, number: int, data: str
) -> Recalibration:
    """Refit intercept and slope on patients X, shape (n, 13), with labels y, shape (n,).

    Raises `DataError` for fewer than 20 patients of a class, and where the cross-validated
    Brier score says that the hospital is served better without.
    """
    fewest = int(np.bincount(y, minlength=2).min())
    if fewest < SMALLEST_CELL:
        raise DataError(
            f"a recalibration needs {SMALLEST_CELL} patients of each class, got {fewest}"
        )
    p = bundle.predict(X)
    parts = [
        rows for _, rows in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(X, y)
    ]
    before = float(np.mean((p - y) ** 2))
    after = float(np.mean((cross_calibrated("sigmoid", y, p, parts) - y) ** 2))
    if after >= before:
        raise DataError(
            f"no recalibration: the Brier score would go from {before:.4f} to {after:.4f}"
        )
    return Recalibration(
        site=site,
        number=number,
        at=datetime.now(UTC),
        model_version=bundle.version,
        onnx_sha256=bundle.metadata.onnx_sha256,
        data_sha256=data,
        n=len(y),
        events=int(y.sum()),
        calibration=fit_calibration("sigmoid", y, p),
        brier_before=before,
        brier_after=after,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Recalibrate the champion for a hospital."""
    parser = argparse.ArgumentParser(
        prog="python -m heart.recalibration", description="Recalibrate the champion for a hospital."
    )
    parser.add_argument(
        "file", type=Path, help="a CSV of its patients, with UCI's attributes and num"
    )
    parser.add_argument("--site", required=True, help="a short name: small letters and digits")
    options = parser.parse_args(arguments)
    if not SITE.fullmatch(options.site):
        raise UsageError(
            f'--site must be small letters, digits, "_" and "-", got "{options.site}"', field="site"
        )
    settings = Settings.from_environment()
    bundle = load_champion(settings.bundles)
    if bundle is None:
        raise NoModelError("there is no champion to recalibrate: run `python -m tune.search`")
    y, X = _patients(options.file)
    folder = settings.bundles / FOLDER / options.site
    with locked(folder / ".lock"):
        number = 1 + max((int(p.stem) for p in folder.glob("[0-9]*.json")), default=0)
        data = sha256(options.file.read_bytes())
        made = recalibrate(bundle, y, X, site=options.site, number=number, data=data)
        path = folder / f"{number}.json"
        write_json(path, made.model_dump(mode="json"))
    _tell(made, path)
    return 0


def _tell(made: Recalibration, path: Path) -> None:
    line = made.calibration
    print(
        f"{made.site}: {made.n} patients, {made.events} with disease; intercept "
        f"{line.intercept:+.3f}, slope {line.slope:.3f}; Brier score {made.brier_before:.4f}, "
        f"cross-validated {made.brier_after:.4f} after"
    )
    print(f"HEART_RECALIBRATION={path} serves it")


def _patients(path: Path) -> tuple[Labels, Floats]:
    """Labels (n,) and attributes (n, 13) of a file in UCI's coding; raises `DataError`."""
    frame = read(path)
    report = audit(frame)
    if report.coding != "uci" or report.inverted:
        read_as = f"coding {report.coding}{', target inverted' if report.inverted else ''}"
        raise DataError(f"{path} must be in UCI's coding, it is read as {read_as}")
    table = parse(frame, "file")
    known = ~np.isnan(table.label)
    return table.label[known].astype(np.int64), table.in_uci("uci").to_numpy()[known]


if __name__ == "__main__":
    sys.exit(run_main(main))
