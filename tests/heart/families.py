"""Every family with parameters that fit in a fraction of a second."""

from __future__ import annotations

from typing import Any, Final

PARAMS: Final[dict[str, dict[str, Any]]] = {
    "dummy": {"strategy": "prior"},
    "naive_bayes": {"var_smoothing": 0.1},
    "logistic_regression": {"C": 0.3, "l1_ratio": 0.5, "solver": "saga", "max_iter": 5000},
    "decision_tree": {"max_depth": 4, "min_samples_leaf": 10},
    "logistic_interactions": {"C": 0.003, "max_iter": 5000},
    "quadratic_discriminant": {"reg_param": 0.3},
    "bagging": {"n_estimators": 30, "min_samples_leaf": 5, "max_features": 0.5},
    "random_forest": {"n_estimators": 50, "min_samples_leaf": 3},
    "extra_trees": {"n_estimators": 50, "min_samples_leaf": 3},
    "adaboost": {"n_estimators": 50, "max_depth": 1, "learning_rate": 0.5},
    "gradient_boosting": {"n_estimators": 60, "max_depth": 3, "subsample": 0.8},
    "svm": {"C": 1.0, "gamma": 0.05},
    "k_nearest_neighbours": {"n_neighbors": 15},
    "mlp": {"hidden": 3, "alpha": 10.0, "max_iter": 5000, "tol": 0.01},
}
SERVABLE: Final = sorted(set(PARAMS) - {"dummy"})
TREES: Final = {
    "adaboost",
    "bagging",
    "decision_tree",
    "extra_trees",
    "gradient_boosting",
    "random_forest",
}
