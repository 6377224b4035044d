"""The patients: load, check, clean, split; the provenance of every row.

``python -m heart.cohorts`` prints where the table comes from and what is in it,
``--refresh`` compares it with what UCI serves today.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from heart import download
from heart.attributes import ATTRIBUTES, NAMES
from heart.errors import DataError, UsageError, run_main
from heart.files import sha256 as checksum
from heart.settings import Settings

CohortName = Literal["all", "cleveland"]
COHORTS: tuple[CohortName, ...] = get_args(CohortName)
Treatment = Literal["clean", "raw", "complete"]
TREATMENTS: tuple[Treatment, ...] = get_args(Treatment)

TABLE = Path(str(resources.files("heart").joinpath("data", "heart_disease_uci.csv")))
SHA256 = "d32cd731a4608b8367b9bda3c474651baf85e9a2ceac9f9493a8e9463756d91a"
ZERO_IS_MISSING = [attribute.name for attribute in ATTRIBUTES if attribute.zero_is_missing]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients in the order of the table, n of them.

    ``X`` is (n, 13), the attributes in the order of `NAMES`, float64 in UCI coding and the
    units of `heart.attributes`, NaN where missing. ``y`` (n,) is 1 with disease (num > 0) and
    0 without. ``sites`` (n,) names the hospital and ``rows`` (n,) the row in that hospital's
    file, counted from 1: the two trace a patient. ``sha256`` is that of the whole table.
    """

    name: CohortName
    X: pd.DataFrame
    y: npt.NDArray[np.int64]
    sites: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    sha256: str

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Cohort:
        """The patients at these positions, in that order, or those where a mask is true."""
        return Cohort(
            name=self.name,
            X=self.X.iloc[index].reset_index(drop=True),
            y=self.y[index],
            sites=self.sites[index],
            rows=self.rows[index],
            sha256=self.sha256,
        )


def load(name: CohortName, *, treatment: Treatment = "clean", table: Path | None = None) -> Cohort:
    """A cohort of the bundled table, or of a copy of it, without the exact duplicates.

    ``clean`` turns the zeros that stand for a missing value into NaN, ``raw`` leaves them,
    ``complete`` keeps the raw rows that lack nothing. Raises `DataError` where the table
    cannot be read or one byte of it has changed, `UsageError` for an unknown name.
    """
    _check_choice("cohort", name, COHORTS)
    _check_choice("treatment", treatment, TREATMENTS)
    patients = drop_duplicates(read_table(table))
    if name != "all":
        patients = patients[patients["site"] == name]
    if treatment == "complete":
        patients = patients.dropna()
    X = patients[list(NAMES)].reset_index(drop=True)
    if treatment == "clean":
        X = without_zeros(X)
    return Cohort(
        name=name,
        X=X,
        y=np.asarray(patients["num"] > 0, dtype=np.int64),
        sites=patients["site"].to_numpy(np.str_),
        rows=patients["row"].to_numpy(np.int64),
        sha256=SHA256,
    )


def without_zeros(X: pd.DataFrame) -> pd.DataFrame:
    """The attributes, shape (n, 13), with NaN for the zeros that stand for a missing value."""
    zeros = X[ZERO_IS_MISSING]
    return X.assign(**zeros.mask(zeros == 0))


def split(
    cohort: Cohort, *, test_size: float, seed: int, by_site: bool = True
) -> tuple[Cohort, Cohort]:
    """The rows to train on and the rows to test on, stratified by target and, mostly, site.

    Without ``by_site`` these are the rows, and the order of rows, that scikit-learn's
    `train_test_split` gives for that seed: published baselines depend on it. Raises
    `UsageError` for a size outside (0, 1), `DataError` where a stratum cannot be divided.
    """
    if not 0 < test_size < 1:
        raise UsageError(
            f"test_size must be between 0 and 1, both excluded, got {test_size}", field="test_size"
        )
    strata = _strata(cohort, by_site=by_site)
    try:
        train, test = train_test_split(
            np.arange(len(cohort)), test_size=test_size, random_state=seed, stratify=strata
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"test_size {test_size} cannot divide {len(cohort)} patients: {reason}",
            field="test_size",
        ) from error
    parts = cohort.take(train), cohort.take(test)
    if any(len(np.unique(part.y)) < 2 for part in parts):
        raise DataError(f"test_size {test_size} leaves a class without patients", field="test_size")
    return parts


def read_table(path: Path | None = None) -> pd.DataFrame:
    """The whole table, checked: site, row within the site's file, the attributes, num.

    Raises `DataError` where it cannot be read or is not byte for byte the known table.
    """
    path = TABLE if path is None else path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", field=str(path)
        ) from error
    found = checksum(content)
    if found != SHA256:
        raise DataError(
            f"{path} is not the known table: its SHA-256 is {found}, expected {SHA256}; "
            "python -m heart.cohorts --refresh restores the bundled table",
            field=str(path),
        )
    dtypes = {"site": str, "num": np.int64} | dict.fromkeys(NAMES, np.float64)
    table = pd.read_csv(io.BytesIO(content), dtype=dtypes)
    table.insert(1, "row", table.groupby("site").cumcount() + 1)
    return table


def drop_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """One of each group of rows with equal attributes and num, the first, whatever the site.

    A patient entered twice would otherwise be trained on and tested on.
    """
    return table.drop_duplicates([*NAMES, "num"], keep="first")


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f'{what} must be {" or ".join(choices)}, got "{value}"', field=what)


def _strata(cohort: Cohort, *, by_site: bool) -> npt.NDArray[np.str_]:
    """The stratum of each patient; raises `DataError` for one of a single patient."""
    # In the order of 0 and 1: the seeded split depends on how the classes sort.
    target = np.where(cohort.y == 1, "target 1", "target 0")
    strata = np.char.add(np.char.add(cohort.sites, " "), target) if by_site else target
    names, counts = np.unique(strata, return_counts=True)
    for name, count in zip(names, counts, strict=True):
        if count < 2:
            raise DataError(
                f'stratum "{name}" has 1 patient, who cannot be on both sides of a split; '
                "stratify without the site, or take a larger cohort",
                field="site",
            )
    return np.asarray(strata, dtype=np.str_)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the provenance of the bundled table, after a refresh where one is asked for."""
    # Imported here because it describes what this module loads.
    from heart import provenance

    parser = argparse.ArgumentParser(
        prog="python -m heart.cohorts", description="Where the patients come from."
    )
    parser.add_argument("--refresh", action="store_true", help="compare the table with UCI's")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(arguments)
    found = None
    if options.refresh:
        found = download.refresh(Settings.from_environment(), table=TABLE, expected=SHA256)
    provenance.show(found, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
