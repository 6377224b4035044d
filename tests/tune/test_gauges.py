"""What Prometheus reads of a search that runs."""

from __future__ import annotations

import time
import urllib.request

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from records import plan_of, scored

from heart.settings import Settings
from tune import gauges
from tune.candidates import Candidate
from tune.gauges import Gauges
from tune.searches import Search

PATIENCE_S = 15.0
PREFIX = "ray_heart_search_"
GOOD = scored(Candidate("svm", {"C": 1}), [0.9, 0.8])
LESS = scored(Candidate("svm", {"C": 2}), [0.7, 0.8])
CUT = scored(Candidate("mlp", {"hidden": 2}), [0.99], status="stopped")
FAILED = scored(Candidate("mlp", {"hidden": 3}), [], status="failed", message="it raised")


def samples(search: Search) -> dict[tuple[str, str], float]:
    """Each of a search's gauges on the ports that Ray exports, by its name and status."""
    found: list[Sample] = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                found.extend(family.samples)
    own = [sample for sample in found if sample.labels.get("search") == search.name]
    return {(s.name.removeprefix(PREFIX), s.labels.get("status", "")): s.value for s in own}


def samples_until(search: Search, name: str, value: float) -> dict[tuple[str, str], float]:
    deadline = time.monotonic() + PATIENCE_S
    while (found := samples(search)).get((name, "")) != value:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@pytest.fixture
def search(ray_instance: int, stored: Settings) -> Search:
    return Search(plan_of(), stored, f"gauges-{time.time_ns()}")


def test_what_has_ended_is_told_while_it_runs(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "EVERY_S", 0.1)
    with Gauges(search):
        before = samples_until(search, "planned_trials", 8)
        assert ("best_score", "") not in before, "no trial has finished yet"
        assert before["trials", "finished"] == 0
        search.records.extend([LESS, GOOD, CUT, FAILED])
        after = samples_until(search, "best_score", pytest.approx(0.85))
    assert after == {
        ("planned_trials", ""): 8,
        ("trials", "finished"): 2,
        ("trials", "stopped"): 1,
        ("trials", "failed"): 1,
        ("best_score", ""): pytest.approx(0.85),
    }


def test_a_search_leaves_no_thread(search: Search) -> None:
    entered = Gauges(search)
    with entered:
        assert entered._thread.is_alive()
    assert not entered._thread.is_alive()
