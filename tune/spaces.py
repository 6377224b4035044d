"""What is searched: families of models and the values of their hyperparameters, as data.

A space lists its families from the simplest to the most complex; that order decides which of
two equally good candidates is chosen by ``--select one-se``. A space of one's own is a
module-level `Space` in a Python file, passed as ``--space path.py:NAME``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from heart.errors import HeartError, UsageError
from tune.space import Choice, FamilySpace, Integer, LogUniform, Space, Uniform

REFERENCE: Final = Space(
    name="reference",
    cohort="cleveland",
    treatment="complete",
    preprocessing="reference",
    split_by_site=False,
    registers=False,
    families=(
        FamilySpace("dummy", {"strategy": "most_frequent"}),
        FamilySpace(
            "logistic_regression",
            {
                "C": Choice((0.1, 1.0, 10.0)),
                "solver": Choice(("liblinear", "lbfgs")),
                "max_iter": 500,
            },
        ),
        FamilySpace(
            "random_forest",
            {
                "n_estimators": Choice((150, 250)),
                "max_depth": Choice((None, 8, 12)),
                "min_samples_split": Choice((2, 5)),
                "min_samples_leaf": Choice((1, 2)),
            },
        ),
    ),
)
"""The grid of a published one-machine system on the complete Cleveland rows."""

REFERENCE_POOLED: Final = Space(
    name="reference-pooled",
    cohort="all",
    treatment="raw",
    preprocessing="reference-pooled",
    split_by_site=False,
    registers=False,
    families=(
        FamilySpace("logistic_regression", {"max_iter": 1000}),
        FamilySpace("random_forest", {"n_estimators": 200}),
    ),
)
"""The two models of another, on the pooled hospitals with zeros left as they are."""

_TREES: Final = {
    "n_estimators": Choice((100, 200, 300)),
    "max_depth": Choice((None, 4, 6, 8)),
    "max_features": Choice(("sqrt", 0.3, 0.5)),
    "min_samples_leaf": Integer(1, 20),
}

DEFAULT: Final = Space(
    name="default",
    families=(
        FamilySpace("dummy", {"strategy": "prior"}),
        FamilySpace(
            "logistic_regression",
            {
                "C": LogUniform(0.003, 30.0),
                "l1_ratio": Choice((0.0, 0.25, 0.5, 0.75, 1.0)),
                "solver": "saga",
                "max_iter": 5000,
            },
        ),
        FamilySpace(
            "k_nearest_neighbours",
            {
                "n_neighbors": Integer(5, 75),
                # Weights by distance are off by 0.1 and more after the conversion to ONNX.
                "weights": "uniform",
                "p": Choice((1, 2)),
            },
        ),
        # With C above 15 or gamma below 0.001 float32 is off by more than 1e-5.
        FamilySpace("svm", {"C": LogUniform(0.03, 10.0), "gamma": LogUniform(0.001, 0.3)}),
        FamilySpace("extra_trees", _TREES),
        FamilySpace("random_forest", _TREES),
        FamilySpace(
            "gradient_boosting",
            {
                "n_estimators": Integer(50, 300),
                "learning_rate": LogUniform(0.01, 0.2),
                "max_depth": Integer(1, 4),
                "subsample": Uniform(0.5, 1.0),
                "min_samples_leaf": Integer(1, 30),
            },
        ),
        FamilySpace(
            "mlp",
            {"hidden": Integer(2, 16), "alpha": LogUniform(0.1, 30.0), "max_iter": 10000},
        ),
    ),
)
"""Ranges for 300 to 900 rows: from strong shrinkage to hardly any, from stumps to full trees."""

_WIDE_TREES: Final = {
    "n_estimators": Choice((200, 400)),
    "criterion": Choice(("gini", "log_loss")),
    "max_depth": Choice((None, 3, 4, 6, 8, 12)),
    "max_features": Choice(("sqrt", 0.2, 0.3, 0.5, 0.8, None)),
    "min_samples_leaf": Integer(1, 40),
}

WIDE: Final = Space(
    name="wide",
    families=(
        FamilySpace("dummy", {"strategy": "prior"}),
        FamilySpace(
            "logistic_regression",
            {
                "C": LogUniform(0.001, 100.0),
                "l1_ratio": Uniform(0.0, 1.0),
                "solver": "saga",
                "max_iter": 20000,
            },
        ),
        FamilySpace("naive_bayes", {"var_smoothing": LogUniform(0.001, 3.0)}),
        FamilySpace(
            "decision_tree",
            {
                "criterion": Choice(("gini", "log_loss")),
                "max_depth": Choice((2, 3, 4, 5, 6)),
                "min_samples_leaf": Integer(5, 60),
            },
        ),
        FamilySpace(
            "logistic_interactions",
            # Of 253 columns; liblinear converges in a fiftieth of saga's time.
            {
                "C": LogUniform(0.0003, 0.5),
                "l1_ratio": Choice((0.0, 1.0)),
                "solver": "liblinear",
                "max_iter": 5000,
            },
        ),
        # Below 0.01 the covariance of the codes' columns, which add up to one, is singular.
        FamilySpace("quadratic_discriminant", {"reg_param": Uniform(0.02, 1.0)}),
        FamilySpace(
            "k_nearest_neighbours",
            {
                "n_neighbors": Integer(3, 120),
                "weights": "uniform",
                "p": Choice((1, 2)),
            },
        ),
        FamilySpace("svm", {"C": LogUniform(0.01, 15.0), "gamma": LogUniform(0.001, 1.0)}),
        FamilySpace("extra_trees", _WIDE_TREES),
        FamilySpace("random_forest", _WIDE_TREES),
        FamilySpace(
            "bagging",
            {
                "n_estimators": Choice((100, 200)),
                "max_samples": Uniform(0.2, 1.0),
                "max_features": Uniform(0.2, 1.0),
                "min_samples_leaf": Integer(1, 20),
            },
        ),
        FamilySpace(
            "adaboost",
            {
                "n_estimators": Integer(50, 300),
                "learning_rate": LogUniform(0.02, 1.0),
                "max_depth": Integer(1, 3),
            },
        ),
        FamilySpace(
            "gradient_boosting",
            {
                "n_estimators": Integer(50, 600),
                "learning_rate": LogUniform(0.005, 0.3),
                "max_depth": Integer(1, 6),
                "max_features": Choice(("sqrt", 0.5, None)),
                "subsample": Uniform(0.4, 1.0),
                "min_samples_leaf": Integer(1, 50),
            },
        ),
        FamilySpace(
            "mlp",
            {"hidden": Integer(2, 32), "alpha": LogUniform(0.1, 100.0), "max_iter": 10000},
        ),
    ),
)
"""For a long run: more families, pairwise interactions, and each range wider."""

SPACES: Final[Mapping[str, Space]] = {
    space.name: space for space in (DEFAULT, WIDE, REFERENCE, REFERENCE_POOLED)
}


def find_space(name: str) -> Space:
    """A space by its name, or from ``path.py:NAME``; raises `UsageError`."""
    if name in SPACES:
        return SPACES[name]
    path, colon, attribute = name.rpartition(":")
    if not colon:
        raise UsageError(
            f'--space must be {", ".join(SPACES)} or path.py:NAME, got "{name}"', field="space"
        )
    return _from_file(Path(path), attribute)


def _from_file(path: Path, attribute: str) -> Space:
    spec = importlib.util.spec_from_file_location("heart_user_space", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"--space: {path} is no Python file", field="space")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except HeartError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise UsageError(f"--space: {path}: {told}", field="space") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Space):
        raise UsageError(f"--space: {path} has no Space named {attribute}", field="space")
    return found
