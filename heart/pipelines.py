"""Preprocessing and the families of estimators.

A pipeline is a ColumnTransformer and an estimator. Everything here converts to ONNX: a
family that does not (HistGradientBoosting) is left out, and trees are not scaled, since a
scaled threshold falls on the other side of a value once both are rounded to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from heart.attributes import BY_NAME, CATEGORICAL, NAMES, NUMERIC
from heart.errors import UsageError

Preprocessing = Literal["default", "reference", "reference-pooled"]
PREPROCESSINGS: tuple[Preprocessing, ...] = get_args(Preprocessing)
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A kind of model: how to make its estimator, and whether it wants scaled columns."""

    name: str
    make: Callable[..., BaseEstimator]
    scaled: bool
    seeded: bool = True


def _interactions(*, random_state: int, **params: Any) -> BaseEstimator:
    """Logistic regression on the columns and their pairwise products, all scaled again."""
    return make_pipeline(
        PolynomialFeatures(2, interaction_only=True, include_bias=False),
        StandardScaler(),
        LogisticRegression(random_state=random_state, **params),
    )


def _adaboost(*, max_depth: int, random_state: int, **params: Any) -> BaseEstimator:
    """Boosted trees of a few splits; of one split they are stumps."""
    tree = DecisionTreeClassifier(max_depth=max_depth)
    return AdaBoostClassifier(tree, random_state=random_state, **params)


def _bagging(*, min_samples_leaf: int, random_state: int, **params: Any) -> BaseEstimator:
    """Trees, each on some of the rows and some of the columns (Louppe and Geurts, 2012)."""
    tree = DecisionTreeClassifier(min_samples_leaf=min_samples_leaf)
    return BaggingClassifier(tree, random_state=random_state, **params)


def _svm(*, random_state: int, **params: Any) -> BaseEstimator:
    """An RBF machine whose margins become probabilities by Platt's sigmoid over five folds."""
    machine = SVC(kernel="rbf", random_state=random_state, **params)
    return CalibratedClassifierCV(machine, method="sigmoid", cv=5, ensemble=False)


def _mlp(*, hidden: int, random_state: int, **params: Any) -> BaseEstimator:
    """One hidden layer; L-BFGS, which on hundreds of rows converges where Adam wanders."""
    return MLPClassifier((hidden,), solver="lbfgs", random_state=random_state, **params)


_FAMILIES = (
    Family("dummy", DummyClassifier, scaled=False),
    Family("naive_bayes", GaussianNB, scaled=True, seeded=False),
    Family("logistic_regression", LogisticRegression, scaled=True),
    Family("decision_tree", DecisionTreeClassifier, scaled=False),
    Family("logistic_interactions", _interactions, scaled=True),
    Family("quadratic_discriminant", QuadraticDiscriminantAnalysis, scaled=True, seeded=False),
    Family("bagging", _bagging, scaled=False),
    Family("random_forest", RandomForestClassifier, scaled=False),
    Family("extra_trees", ExtraTreesClassifier, scaled=False),
    Family("adaboost", _adaboost, scaled=False),
    Family("gradient_boosting", GradientBoostingClassifier, scaled=False),
    Family("svm", _svm, scaled=True),
    Family("k_nearest_neighbours", KNeighborsClassifier, scaled=True, seeded=False),
    Family("mlp", _mlp, scaled=True),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _FAMILIES}


def build(
    family: str, params: Params, *, seed: int, preprocessing: Preprocessing = "default"
) -> Pipeline:
    """An unfitted pipeline: ``preprocess``, then ``model``. Raises `UsageError`."""
    return Pipeline(
        [
            ("preprocess", preprocessor(family, preprocessing)),
            ("model", estimator(family, params, seed=seed)),
        ]
    )


def estimator(family: str, params: Params, *, seed: int) -> BaseEstimator:
    """The unfitted estimator of a family; raises `UsageError` naming a wrong parameter."""
    known = _family(family)
    seeded = {"random_state": seed} if known.seeded else {}
    try:
        return known.make(**params, **seeded)
    except TypeError as error:
        raise UsageError(f"{family} takes no such parameters: {error}", field=family) from error


def preprocessor(family: str, preprocessing: Preprocessing) -> ColumnTransformer:
    """The unfitted preprocessing of a family.

    Missing numbers become the median, missing codes the most frequent one, without an
    indicator: in these data what is missing says which hospital it was, and a hospital's
    prevalence is no fact about the next patient. ``reference`` and ``reference-pooled``
    repeat the published recipes, which scale for every family; they differ in whether ``ca``
    is a number or a code.
    """
    numeric, categorical = columns(preprocessing)
    scaled = preprocessing != "default" or _family(family).scaled
    numbers = [("impute", SimpleImputer(strategy="median"))]
    if scaled:
        numbers.append(("scale", StandardScaler()))
    codes = [
        ("impute", SimpleImputer(strategy="most_frequent")),
        ("encode", _encoder(categorical, preprocessing)),
    ]
    return ColumnTransformer(
        [("numeric", Pipeline(numbers), numeric), ("categorical", Pipeline(codes), categorical)]
    )


def is_scaled(family: str, preprocessing: Preprocessing) -> bool:
    """Whether a family's preprocessing scales; families that agree can share a prepared fold."""
    return preprocessing != "default" or _family(family).scaled


def columns(preprocessing: Preprocessing) -> tuple[list[str], list[str]]:
    """The numeric and the categorical attributes, in the order of the data set."""
    if preprocessing != "reference-pooled":
        return list(NUMERIC), list(CATEGORICAL)
    numeric = [name for name in NUMERIC if name != "ca"]
    return numeric, [name for name in NAMES if name not in numeric]


def _encoder(categorical: list[str], preprocessing: Preprocessing) -> OneHotEncoder:
    """One column a code; the codes are declared, so that a rare one cannot be forgotten."""
    if preprocessing != "default":
        return OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    codes = [[float(code) for code in BY_NAME[name].words] for name in categorical]
    return OneHotEncoder(categories=codes, drop="if_binary", sparse_output=False)


def _family(name: str) -> Family:
    try:
        return FAMILIES[name]
    except KeyError:
        raise UsageError(
            f'"{name}" is no family; the families are {", ".join(FAMILIES)}', field=name
        ) from None


def as_frame(X: Any) -> pd.DataFrame:
    """Rows of shape (n, 13) as the frame that a pipeline takes."""
    return pd.DataFrame(X, columns=list(NAMES))
