"""The studies: known figures, no patient on both sides, the same twice, the page as written."""

from __future__ import annotations

import numpy as np
import pytest
import ray
from rich.progress import Progress

from heart import cohorts
from heart.cohorts import Cohort
from heart.errors import run_main
from tune import study, study_page
from tune.candidates import Candidate
from tune.study import FAMILIES, FOLDS, REPEATS, Pool, Results


@pytest.fixture(scope="module")
def patients() -> Cohort:
    return cohorts.load("all")


@pytest.fixture(scope="module")
def results(ray_instance: object, module_patch: pytest.MonkeyPatch) -> Results:
    """All three studies, of two quick families and four candidates."""
    module_patch.setattr(study, "FAMILIES", {k: FAMILIES[k] for k in QUICK})
    module_patch.setattr(study, "NESTED_CANDIDATES", 4)
    with Progress(disable=True) as progress:
        return study.run(Pool(progress))


QUICK = ("logistic_regression", "naive_bayes")


@pytest.fixture(scope="module")
def module_patch():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize(("name", "expected"), [("cleveland", 0.91), ("all", 0.88)])
def test_logistic_regression_is_as_known(name: cohorts.CohortName, expected: float) -> None:
    """5 folds, 4 repeats, seed 1: about 0.91 on Cleveland's 303, 0.88 on the pooled 918."""
    table = cohorts.load(name)
    folds = [
        fold["roc_auc"]
        for repeat in range(REPEATS)
        for fold in study.score_repeat(table, "logistic_regression", repeat)
    ]
    assert len(folds) == FOLDS * REPEATS
    assert np.mean(folds) == pytest.approx(expected, abs=0.01)


def test_a_hospital_is_scored_by_models_of_the_others(patients: Cohort) -> None:
    found = study.score_hospital(patients, "logistic_regression", "cleveland")
    assert (found.site, found.n) == ("cleveland", 303)
    assert found.scores["roc_auc"].value == pytest.approx(0.87, abs=0.02)


@pytest.mark.full
@pytest.mark.parametrize("family", ["logistic_regression", "gradient_boosting", "svm"])
def test_the_same_figures_twice(patients: Cohort, family: str) -> None:
    rows = np.random.default_rng(0).choice(len(patients), 200, replace=False)
    table = patients.take(np.sort(rows))
    assert study.score_repeat(table, family, 0) == study.score_repeat(table, family, 0)


def test_a_candidate_that_fails_is_never_chosen(patients: Cohort) -> None:
    data = study._inner(patients)
    assert np.isnan(study.score_candidate(data, Candidate("logistic_regression", {"C": -1.0})))


@pytest.mark.full
def test_every_study_is_there(results: Results) -> None:
    assert ray.is_initialized()
    assert [(r.cohort, r.rows, r.family) for r in results.repeated] == [
        (cohort, rows, family)
        for cohort, rows in (("all", 918), ("cleveland", 303))
        for family in QUICK
    ]
    assert {(row.family, row.hospital.site) for row in results.left_out} == {
        (family, site)
        for family in QUICK
        for site in ("cleveland", "hungarian", "switzerland", "va")
    }
    assert [(n.cohort, n.candidates, len(n.chosen)) for n in results.nested] == [
        ("all", 4, FOLDS),
        ("cleveland", 4, FOLDS),
    ]


@pytest.mark.full
def test_nested_is_no_better_than_it_should_be(results: Results) -> None:
    for nested in results.nested:
        assert 0.75 < nested.scores["roc_auc"].value < 0.94


@pytest.mark.full
def test_the_page_shows_every_figure(results: Results) -> None:
    page = study_page.markdown(results)
    for row in results.repeated:
        assert f"{row.scores['roc_auc'].value:.3f}" in page
    for left in results.left_out:
        assert f"{left.hospital.prevalence:.0%} | {left.family}" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


@pytest.mark.full
def test_results_survive_their_json(results: Results) -> None:
    assert Results.model_validate_json(results.model_dump_json()) == results


def test_a_page_that_is_a_folder_is_one_line(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(lambda: study.main(["--out", str(tmp_path)])) == 2
    assert "--out must be a file" in capsys.readouterr().err
