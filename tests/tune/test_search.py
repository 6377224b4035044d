"""The search as a whole, on the shared Ray and a real MLflow database."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from heart.bundle import load_champion, read_champion
from heart.errors import UsageError
from heart.registry import Registry
from heart.settings import Settings
from tune.journal import FoldRecord, Journal
from tune.options import Options
from tune.result import Result
from tune.search import run
from tune.tracking import PARENT_TAG, TRIAL_TAG

REFERENCE = {"roc_auc": 0.953, "accuracy": 0.867, "precision": 0.885, "recall": 0.821}
POOLED = {
    "roc_auc": 0.919,
    "accuracy": 0.832,
    "precision": 0.826,
    "recall": 0.882,
    "f1": 0.853,
}
BUDGET_S = 40.0
FINAL_FIT_S = 10.0
FINITE = """
from tune.space import Choice, FamilySpace, Space
FINITE = Space("finite", (
    FamilySpace("logistic_regression", {"C": Choice((0.1, 1.0, 10.0)), "max_iter": 1000}),
    FamilySpace("random_forest", {"n_estimators": 50, "max_depth": Choice((None, 4, 8))}),
    FamilySpace("svm", {"C": Choice((0.1, 1.0, 10.0)), "gamma": 0.02}),
))
"""


def children(settings: Settings, result: Result) -> list[object]:
    client = MlflowClient(settings.resolved_tracking_uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`{PARENT_TAG}` = '{result.run_id}'", max_results=1000
    )
    return list(found)


@pytest.mark.full
def test_reference_repeats_the_published_baseline(ray_instance: int, stored: Settings) -> None:
    result = run(Options(cohort="cleveland", space="reference", seed=42), stored)
    assert result is not None
    assert result.trials.finished == 31
    assert result.winner.family == "logistic_regression"
    assert result.winner.params["C"] == 0.1
    assert result.winner.params["solver"] == "liblinear"
    assert round(result.cv["roc_auc"].value, 3) == 0.896
    assert {name: round(result.test[name].value, 3) for name in REFERENCE} == REFERENCE
    assert result.model_version is None
    assert read_champion(stored.bundles) is None
    with (stored.searches / result.run / "leaderboard.csv").open() as file:
        board = list(csv.DictReader(file))
    forests = [float(row["mean_roc_auc"]) for row in board if row["family"] == "random_forest"]
    assert len(forests) == 24
    assert round(max(forests), 3) == 0.894


@pytest.mark.full
def test_pooled_reference_repeats_the_published_baseline(
    ray_instance: int, stored: Settings
) -> None:
    result = run(Options(cohort="all", space="reference-pooled"), stored)
    assert result is not None
    assert result.rows == {"train": 734, "test": 184}
    assert round(result.cv["roc_auc"].value, 3) == 0.878
    assert round(result.cv_deviation["roc_auc"], 3) == 0.042
    assert {name: round(result.test[name].value, 3) for name in POOLED} == POOLED


def test_winner_is_chosen_on_cross_validation_alone(
    champion_result: Result, champion_home: Path
) -> None:
    folder = champion_home / "search" / champion_result.run
    with (folder / "leaderboard.csv").open() as file:
        board = list(csv.DictReader(file))
    finished = [row for row in board if row["status"] == "finished"]
    best = max(finished, key=lambda row: float(row["mean_roc_auc"]))
    assert best["candidate"] == champion_result.winner.candidate
    assert float(best["mean_roc_auc"]) == pytest.approx(champion_result.cv["roc_auc"].value)


def test_result_file_is_the_result(champion_result: Result, champion_home: Path) -> None:
    folder = champion_home / "search" / champion_result.run
    written = json.loads((folder / "result.json").read_text())
    assert Result.model_validate(written) == champion_result
    for score in (*written["cv"].values(), *written["test"].values()):
        assert score["low"] <= score["value"] <= score["high"]


def test_each_trial_is_one_child_run_with_an_honest_status(
    champion_result: Result, champion_home: Path
) -> None:
    runs = children(Settings(home=champion_home), champion_result)
    assert len({run.data.tags[TRIAL_TAG] for run in runs}) == len(runs)
    statuses = [run.info.status for run in runs]
    assert statuses.count("FINISHED") == champion_result.trials.finished
    assert statuses.count("KILLED") == champion_result.trials.stopped
    assert statuses.count("FAILED") == champion_result.trials.failed
    for child in runs:
        assert ("stopped_early" in child.data.tags) == (child.info.status == "KILLED")
        assert child.data.params["family"]
        assert 0 <= child.data.metrics["mean_roc_auc"] <= 1


def test_champion_is_registered_with_its_lineage(
    champion_result: Result, champion_home: Path
) -> None:
    settings = Settings(home=champion_home)
    client = MlflowClient(settings.resolved_tracking_uri)
    version = client.get_model_version_by_alias(settings.model_name, "champion")
    bundle = load_champion(settings.bundles)
    assert bundle is not None
    assert bundle.version == str(version.version) == champion_result.model_version
    assert bundle.metadata.parity <= 1e-5
    assert version.run_id == champion_result.run_id
    assert version.tags["data_sha256"] == champion_result.checksums["data"]
    assert version.tags["code_version"] == champion_result.code_version
    assert version.tags["seed"] == "42"
    assert "scikit-learn" in version.tags["packages"]


@pytest.mark.full
def test_a_search_on_another_cohort_never_replaces_the_champion(
    champion_result: Result, champion_home: Path
) -> None:
    settings = Settings(home=champion_home)
    before = read_champion(settings.bundles)
    result = run(Options(cohort="cleveland", folds=3, num_samples=3), settings)
    assert result is not None
    assert result.model_version is not None
    assert not result.champion
    assert "cleveland" in result.reason
    assert read_champion(settings.bundles) == before


@pytest.mark.full
def test_the_same_recipe_does_not_replace_itself(
    champion_result: Result, champion_home: Path
) -> None:
    settings = Settings(home=champion_home)
    before = read_champion(settings.bundles)
    result = run(Options(folds=3, num_samples=8), settings)
    assert result is not None
    assert result.winner.candidate == champion_result.winner.candidate
    assert not result.champion
    assert read_champion(settings.bundles) == before


def folds_of(settings: Settings, options: Options) -> dict[str, list[FoldRecord]]:
    """What each candidate's folds gave in a search, all that the journal has to the last bit."""
    result = run(options, settings)
    assert result is not None
    _, records = Journal(settings.searches / result.run).read()
    timed = {"fit_seconds": 0.0, "score_seconds": 0.0, "started": 0.0}
    return {r.candidate.id: [fold.model_copy(update=timed) for fold in r.folds] for r in records}


@pytest.mark.full
@pytest.mark.parametrize(
    ("algorithm", "scheduler"),
    [("random", "none"), ("grid", "none"), ("random", "asha"), ("optuna", "none")],
)
def test_same_seed_same_scores_whatever_the_workers(
    ray_instance: int, stored: Settings, tmp_path: Path, algorithm: str, scheduler: str
) -> None:
    space = tmp_path / "finite.py"
    space.write_text(FINITE)
    options = Options(
        space=f"{space}:FINITE" if algorithm == "grid" else "default",
        algorithm=algorithm,
        scheduler=scheduler,
        folds=3,
        num_samples=8,
        register_model=False,
    )
    one, two = (
        folds_of(stored, options.model_copy(update={"max_concurrent": workers}))
        for workers in (1, 2)
    )
    assert one.keys() == two.keys()
    assert len(one) >= 8
    # Which folds ASHA runs depends on what has ended; what a fold gives does not.
    both = {name: min(len(one[name]), len(two[name])) for name in one}
    assert {name: one[name][:n] for name, n in both.items()} == {
        name: two[name][:n] for name, n in both.items()
    }
    assert all(both.values())
    if scheduler == "none":
        assert one == two


@pytest.mark.full
def test_optuna_tries_as_many_as_asked_and_no_register_makes_no_version(
    ray_instance: int, stored: Settings
) -> None:
    options = Options(folds=2, num_samples=6, algorithm="optuna", register_model=False)
    result = run(options, stored)
    assert result is not None
    trials = result.trials
    assert trials.finished + trials.stopped + trials.failed == 6
    assert result.model_version is None
    client = MlflowClient(stored.resolved_tracking_uri)
    assert not client.search_registered_models()


@pytest.mark.full
def test_a_time_budget_ends_the_search_with_what_it_has(
    ray_instance: int, stored: Settings, tmp_path: Path
) -> None:
    space = tmp_path / "finite.py"
    space.write_text(FINITE.replace('"n_estimators": 50', '"n_estimators": 100_000'))
    options = Options(space=f"{space}:FINITE", folds=3, time_budget=BUDGET_S, register_model=False)
    result = run(options, stored)
    assert result is not None
    assert result.ending == "time_budget"
    assert 3 <= result.trials.finished < result.trials.planned == 9
    assert BUDGET_S <= result.wall_seconds < BUDGET_S + FINAL_FIT_S


def test_resume_of_a_finished_search_is_refused(
    champion_result: Result, champion_home: Path
) -> None:
    with pytest.raises(UsageError, match="is finished"):
        run(Options(resume=champion_result.run), Settings(home=champion_home))


@pytest.mark.full
def test_a_search_that_was_cut_off_goes_on_where_it_was(
    champion_result: Result, champion_home: Path, stored: Settings
) -> None:
    name = champion_result.run
    journal = stored.searches / name / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    whole = (champion_home / "search" / name / "journal.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    kept = "".join(lines[:-3])
    journal.write_text(kept + lines[-3][:100])
    result = run(Options(resume=name), stored)
    assert result is not None
    assert journal.read_text().startswith(kept)
    assert len(journal.read_text().splitlines()) == len(lines)
    assert result.winner.candidate == champion_result.winner.candidate
    assert result.test == champion_result.test
    tried = [child.data.tags[TRIAL_TAG] for child in children(stored, result)]
    assert len(tried) == len(set(tried)) == champion_result.trials.planned


@pytest.mark.full
@pytest.mark.parametrize("champion", [True, False], ids=["promoted", "registered"])
def test_a_search_cut_off_after_it_registered_makes_no_second_version(
    champion_result: Result, champion_home: Path, tmp_path: Path, champion: bool
) -> None:
    settings = Settings(home=tmp_path / "artifacts")
    shutil.copytree(champion_home, settings.home)
    (settings.searches / champion_result.run / "result.json").unlink()
    registry = Registry(MlflowClient(settings.resolved_tracking_uri), settings)
    before = [version.version for version in registry.versions()]
    if not champion:
        client = MlflowClient(settings.resolved_tracking_uri)
        client.delete_registered_model_alias(settings.model_name, "champion")
    result = run(Options(resume=champion_result.run), settings)
    assert result is not None
    assert (result.model_version, result.champion) == (champion_result.model_version, True)
    assert result.reason == champion_result.reason
    assert result.gates == champion_result.gates
    assert [version.version for version in registry.versions()] == before
