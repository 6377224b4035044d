"""One family each: the spaces of the benchmarks that need a champion of it, soon."""

from __future__ import annotations

from typing import Final

from tune.space import FamilySpace, LogUniform, Space

LINEAR: Final = Space(
    name="linear",
    families=(
        FamilySpace(
            "logistic_regression",
            {"C": LogUniform(0.01, 1.0), "solver": "lbfgs", "l1_ratio": 0.0, "max_iter": 1000},
        ),
    ),
)
BOOSTED: Final = Space(
    name="boosted",
    families=(
        FamilySpace(
            "gradient_boosting",
            {"n_estimators": 300, "max_depth": 4, "learning_rate": LogUniform(0.005, 0.02)},
        ),
    ),
)
"""As many and as deep as the default space has them, and so as slow."""
