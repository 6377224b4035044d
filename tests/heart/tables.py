"""Tables made for audits, out of the bundled one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from heart import cohorts
from heart.attributes import ATTRIBUTES, BY_NAME, NAMES

FROM_ZERO = {
    "cp": {1: 0, 2: 1, 3: 2, 4: 3},
    "slope": {1: 0, 2: 1, 3: 2},
    "thal": {3: 0, 6: 1, 7: 2},
}
CODED = [a.name for a in ATTRIBUTES if a.kaggle]


def bundled(*sites: str) -> pd.DataFrame:
    """The bundled table, or the rows of some of its hospitals: site, the 13, num."""
    table = cohorts.read_table().drop(columns="row")
    return table[table["site"].isin(sites)].reset_index(drop=True) if sites else table


def plain(*sites: str) -> pd.DataFrame:
    """The same as it circulates: without site, with a target of 0 and 1."""
    table = bundled(*sites)
    return table[list(NAMES)].assign(target=(table["num"] > 0).astype(int))


def inverted(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(target=1 - table["target"])


def recoded(table: pd.DataFrame, coding: Literal["kaggle", "from_zero"]) -> pd.DataFrame:
    """A table in UCI's codes, in another coding; the target is left alone."""
    table = table.copy()
    if coding == "from_zero":
        for name, codes in FROM_ZERO.items():
            table[name] = table[name].map(codes)
        return table
    for name in CODED:
        codes = {uci: code for code, uci in BY_NAME[name].kaggle.items() if uci is not None}
        missing = [code for code, uci in BY_NAME[name].kaggle.items() if uci is None]
        table[name] = table[name].map(codes).fillna(missing[0] if missing else np.nan)
    return table


def ambiguous(table: pd.DataFrame) -> pd.DataFrame:
    """The rows all of whose codes UCI's coding and the other one have."""
    valid = [
        table[name].isna()
        | (table[name].isin(list(BY_NAME[name].words)) & table[name].isin(BY_NAME[name].kaggle))
        for name in CODED
    ]
    return table[np.logical_and.reduce(valid)].reset_index(drop=True)


def strangers(table: pd.DataFrame) -> pd.DataFrame:
    """Like these patients, but none of them, nor nearly: each cholesterol is 20 to 30 higher."""
    rng = np.random.default_rng(0)
    return table.assign(
        chol=table["chol"] + rng.integers(20, 30, len(table)),
        thalach=table["thalach"] + rng.integers(3, 6, len(table)),
    )
