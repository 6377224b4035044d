"""What an audit reads and what it says: a table of patients from outside, and a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from heart.attribute import MISSING, Attribute
from heart.attributes import ATTRIBUTES, NAMES
from heart.errors import DataError

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Part = Literal["file", "test", "both"]
Severity = Literal["serious", "note"]
TableCoding = Literal["uci", "kaggle", "from_zero"]
"""``from_zero`` numbers UCI's codes in their order, from 0, and does not invert the target."""

CODINGS: Final[tuple[TableCoding, ...]] = get_args(TableCoding)
# The coded column may stand beside the finding that it was made of: that one is then a leak.
TARGETS: Final = ("target", "condition", "HeartDisease", "num")
SITES: Final = ("site", "dataset")
LABELS: Final = (0, 1, 2, 3, 4)
SHOWN_ROWS: Final = 20
DECIMALS: Final = 2
"""oldpeak has one decimal and the rest none; what a float32 adds lies behind the second."""


class Finding(BaseModel):
    """One thing that is wrong with a table, or good to know; never a patient's value.

    ``rows`` are at most 20 of the ``n_rows`` rows that it is about, counted from 1 without the
    header, and those of the test table where ``table`` is ``both``. None are named where a
    finding is about the table as a whole.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    severity: Severity
    table: Part
    n_rows: int
    rows: tuple[int, ...] = ()
    rule: str
    found: str


def numbered(mask: Sequence[bool] | Mask) -> tuple[int, ...]:
    """The first rows where a mask of shape (n,) is true, counted from 1."""
    return tuple(int(i) + 1 for i in np.flatnonzero(mask)[:SHOWN_ROWS])


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of n patients. ``numbers``, ``words`` and ``nonsense`` are (n, 13).

    ``numbers`` are in the table's own coding, ``words`` the UCI codes of cells that are words,
    ``nonsense`` is true for a cell that is neither, nor missing. ``label`` (n,) is 1 where the
    target is 1 to 4, 0 where it is 0, NaN otherwise.
    """

    frame: pd.DataFrame
    target: str
    site: str | None
    numbers: pd.DataFrame
    words: pd.DataFrame
    nonsense: pd.DataFrame
    label: Floats

    def __len__(self) -> int:
        return len(self.frame)

    def in_uci(self, coding: TableCoding) -> pd.DataFrame:
        """The attributes (n, 13) in UCI coding, if the table is in that one.

        NaN where missing, where zero means missing, and where no patient can have the value.
        """
        values = self.numbers.mask(self.impossible)
        for a in ATTRIBUTES:
            if a.words:
                values[a.name] = values[a.name].map(codes(a, coding)).fillna(self.words[a.name])
            elif a.zero_is_missing:
                values[a.name] = values[a.name].mask(values[a.name] == 0)
        return values.astype(np.float64)

    def strays(self, coding: TableCoding) -> Mask:
        """The rows (n,) with a code that this coding lacks and another has."""
        return np.asarray((self._lacking[coding] & ~self.impossible).any(axis=1), dtype=np.bool_)

    @cached_property
    def impossible(self) -> pd.DataFrame:
        """The cells (n, 13) that no patient can have, whatever the coding."""
        uci, kaggle, from_zero = self._lacking.values()
        cells = self.nonsense | (uci & kaggle & from_zero)
        for a in ATTRIBUTES:
            if not a.words:
                numbers = self.numbers[a.name]
                allowed = numbers.between(a.low, a.high) | (numbers.eq(0) & a.zero_is_missing)
                cells[a.name] |= numbers.notna() & ~allowed
        return cells

    @cached_property
    def _lacking(self) -> dict[TableCoding, pd.DataFrame]:
        """The cells (n, 13) that are codes, but none of a coding."""
        given = self.numbers.notna() & [bool(a.words) for a in ATTRIBUTES]
        return {
            coding: given & ~self.numbers.isin({a.name: list(codes(a, coding)) for a in ATTRIBUTES})
            for coding in CODINGS
        }


@dataclass(frozen=True, eq=False)
class Patients:
    """A table once it is read: X (n, 13) in UCI coding, y (n,) with 1 for disease, or NaN."""

    table: Table
    X: pd.DataFrame
    y: Floats
    part: Part

    def __len__(self) -> int:
        return len(self.X)

    def finding(
        self, name: str, severity: Severity, rows: Mask, *, rule: str, found: str
    ) -> Finding:
        """A finding about some rows; ``found`` is what is said of them, after their number."""
        n = int(rows.sum())
        return Finding(
            name=name,
            severity=severity,
            table=self.part,
            n_rows=n,
            rows=numbered(rows),
            rule=rule,
            found=f"{n} {'row' if n == 1 else 'rows'} {found}",
        )


def codes(attribute: Attribute, coding: TableCoding) -> dict[int, float]:
    """Each code of a coding with the UCI code it stands for, NaN where it means missing."""
    if coding == "from_zero":
        return {i: float(code) for i, code in enumerate(attribute.words)}
    if coding == "kaggle" and attribute.kaggle:
        return {
            code: MISSING if uci is None else float(uci) for code, uci in attribute.kaggle.items()
        }
    return {code: float(code) for code in attribute.words}


def parse(frame: pd.DataFrame, part: Part = "file") -> Table:
    """Read the cells of a table: the 13 attributes and a target. Other columns are kept.

    An empty cell, ``?`` and -9 are missing, as at UCI. Raises `DataError` where a column is
    absent, or no row is there, or none has a label.
    """
    target = next((name for name in TARGETS if name in frame), None)
    absent = [name for name in NAMES if name not in frame]
    if absent:
        raise _refusal(part, f"lacks the columns {', '.join(absent)}")
    if target is None:
        raise _refusal(part, f"has no target: no column {', '.join(TARGETS[:-1])} or {TARGETS[-1]}")
    frame = frame.reset_index(drop=True)
    label = _label(frame[target])
    if np.isnan(label).all():
        raise _refusal(part, f"has no row whose {target} is 0 (no disease) or 1 to 4 (disease)")
    cells = {a.name: _cells(frame[a.name], a) for a in ATTRIBUTES}
    numbers, words, nonsense = (
        pd.DataFrame({name: kinds[i] for name, kinds in cells.items()}) for i in range(3)
    )
    return Table(
        frame=frame,
        target=target,
        site=next((name for name in SITES if name in frame), None),
        numbers=numbers,
        words=words,
        nonsense=nonsense,
        label=label,
    )


def keys(X: pd.DataFrame, y: Floats | None = None) -> npt.NDArray[np.uint64]:
    """A hash (n,) of each patient's attributes, and label, where it is given."""
    rows = X.round(DECIMALS)
    if y is not None:
        rows = rows.assign(label=y)
    return np.asarray(pd.util.hash_pandas_object(rows, index=False), dtype=np.uint64)


def _refusal(part: Part, what: str) -> DataError:
    return DataError(f"the {part} table {what}" if part == "test" else f"the table {what}")


def _label(column: pd.Series) -> Floats:
    numbers, _ = _numbers(column)
    return np.asarray((numbers > 0).astype(float).where(numbers.isin(LABELS)), dtype=np.float64)


def _cells(column: pd.Series, attribute: Attribute) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Numbers, UCI codes of words, and whether a cell is nonsense, each of shape (n,)."""
    numbers, text = _numbers(column)
    words = text.map({word: float(code) for code, word in attribute.words.items()})
    return numbers, words.astype(float), text.notna() & numbers.isna() & words.isna()


def _numbers(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The numbers among the cells, and the text of the cells that are not missing."""
    text = column.astype("string").str.strip()
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    missing = text.isin(["", "?"]) | numbers.eq(-9)
    return numbers.mask(missing), text.mask(missing)
