"""Logistic regression alone: the space of the benchmarks that need a linear champion, soon."""

from __future__ import annotations

from typing import Final

from tune.spaces import FamilySpace, LogUniform, Space

LINEAR: Final = Space(
    name="linear",
    families=(
        FamilySpace(
            "logistic_regression",
            {"C": LogUniform(0.01, 1.0), "solver": "lbfgs", "l1_ratio": 0.0, "max_iter": 1000},
        ),
    ),
)
