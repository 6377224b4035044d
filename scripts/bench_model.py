"""The model that `bench_serve.py` has all servers serve, and the patients as each takes them."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from heart import cohorts
from heart.attributes import NAMES
from heart.bundle import MODEL_FILE, Bundle, load_champion, read_champion
from heart.errors import NoModelError
from heart.pipelines import build
from heart.settings import Settings

if TYPE_CHECKING:
    from heart.pipelines import Preprocessing

THIS: Final = "this"
TWO: Final = "this-two"
REPLICAS: Final = {THIS: 1, TWO: 2}
BATCH: Final = 100
ONE, MANY, WHY = "1 patient", f"{BATCH} patients", "1 explanation"
"""What is asked for."""
SPACES: Final = {"linear": "LINEAR", "boosted": "BOOSTED"}
"""Families that a champion may be made of, in `bench_spaces`."""


@dataclass(frozen=True)
class Model:
    """The model as the rivals take it, and the patients as they are asked about."""

    folder: Path
    home: Path
    patients: tuple[dict[str, float | None], ...]


def prepare(folder: Path, home: Path | None, family: str) -> Model:
    """Find a champion or make one, and write its pipeline, fitted again, beside its graph."""
    if home is None:
        home = folder / "home"
        search(home, family)
    settings = Settings(home=home)
    champion, bundle = read_champion(settings.bundles), load_champion(settings.bundles)
    if champion is None or bundle is None:
        raise NoModelError(f"no champion in {home}: run `python -m tune.search`")
    lineage = bundle.metadata.lineage
    train, test = cohorts.split(
        cohorts.load("all"), test_size=lineage.test_size, seed=lineage.split_seed
    )
    shutil.copy(settings.bundles / champion.folder / MODEL_FILE, folder / "model.onnx")
    pipeline = refitted(bundle, train)
    (folder / "model.pickle").write_bytes(pickle.dumps(pipeline))
    rows = test.X[list(NAMES)].head(BATCH).to_dict("records")
    patients = tuple({str(k): None if math.isnan(v) else v for k, v in row.items()} for row in rows)
    return Model(folder, home, patients)


def search(home: Path, family: str) -> None:
    """A champion of one family, by the project's own search."""
    command = [sys.executable, "-m", "tune.search", "--num-samples", "4", "--scheduler", "none"]
    spaces = Path(__file__).with_name("bench_spaces.py").resolve()
    command += ["--space", f"{spaces}:{SPACES[family]}"]
    environment = {**os.environ, "HEART_HOME": str(home)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def refitted(bundle: Bundle, train: cohorts.Cohort) -> Any:
    """The scikit-learn pipeline that the bundle's graph was made of."""
    recipe = bundle.metadata.recipe
    pipeline = build(
        recipe.family,
        recipe.params,
        preprocessing=cast("Preprocessing", recipe.preprocessing),
        seed=bundle.metadata.lineage.seed,
    )
    return pipeline.fit(train.X, train.y)


def bodies(model: Model, program: str, asked: str) -> list[str]:
    """The same patients as each server takes them, a body a line."""
    patients = model.patients
    batch = asked == MANY
    groups = [list(patients)] if batch else [[p] for p in patients]
    if program == "mlflow":
        return [json.dumps({"dataframe_records": group}) for group in groups]
    if program == "mlserver":
        return [json.dumps(columns(group)) for group in groups]
    if batch:
        named = program in (*REPLICAS, "bentoml")
        whole: Any = {"patients": patients} if named else patients
        return [json.dumps(whole)]
    return [json.dumps({"patient": p} if program == "bentoml" else p) for p in patients]


def columns(patients: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Patients as the Open Inference Protocol has a DataFrame: a tensor a column."""
    inputs = [
        {
            "name": name,
            "shape": [len(patients), 1],
            "datatype": "FP64",
            "data": [patient[name] for patient in patients],
        }
        for name in NAMES
    ]
    outputs = [{"name": "predict_proba"}]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": outputs}


def path(program: str, asked: str) -> str:
    """Where a server takes patients."""
    if program == "mlflow":
        return "/invocations"
    if program == "mlserver":
        return "/v2/models/heart/infer"
    return {ONE: "/predict", MANY: "/predict/batch", WHY: "/explain"}[asked]
