"""A real Prometheus watches a real search, with the cluster's rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heart.settings import Settings
from tests import prometheus as monitored
from tests.prometheus import needs_prometheus
from tune.options import Options
from tune.search import run

PATIENCE_S = 90.0
OPTIONS = Options(num_samples=24, folds=3, register_model=False)
PANELS = [q for q in monitored.queries() if q.board == "search" and not q.on_pods]
RECORDS = sorted(name for name in monitored.records() if name.startswith("heart:search_"))


@needs_prometheus
@pytest.mark.full
def test_every_query_finds_the_search(ray_instance: int, stored: Settings, tmp_path: Path) -> None:
    asked = [query.filled(namespace=".*") for query in PANELS]
    assert len(asked) > 10
    assert RECORDS
    with monitored.prometheus(tmp_path) as watching, ThreadPoolExecutor(1) as aside:
        missing = aside.submit(watching.missing, [*asked, *RECORDS], within=PATIENCE_S)
        result = run(OPTIONS, stored)
        assert missing.result() == []
        assert result is not None
        (best,) = watching.ask("max(max_over_time(ray_heart_search_best_score[10m]))")
        assert float(best["value"][1]) <= result.cv["roc_auc"].value + 1e-9
