"""Kill, damage and swap under steady load, as ``scripts/faults.py`` does it: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults.py"
GAPS = {"replicas", "proxy", "manager"}
"""The loss of the last replica or of the only proxy: a gap, and a bound for it."""
GAP_S = 10.0
NAMES = (
    *("replica", "replicas", "controller", "proxy", "manager"),
    *("node", "bundle", "mlflow", "swaps", "gcs"),
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each fault cost, of one run of all of them."""
    out = tmp_path_factory.mktemp("faults") / "faults.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())["outcomes"]
    return {outcome["fault"]: outcome for outcome in found}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    outcome = outcomes[name]
    assert outcome["asked"] > 100
    assert outcome["wrong"] == 0
    assert outcome["gap_s"] < GAP_S
    if name not in GAPS:
        assert outcome["lost"] == 0, outcome["why"]


def test_swaps_change_the_version_and_need_no_second_try(
    outcomes: dict[str, dict[str, Any]],
) -> None:
    swaps = outcomes["swaps"]
    assert len(swaps["versions"]) == 2
    assert min(swaps["versions"].values()) > swaps["asked"] / 5
    assert swaps["repeated"] == 0
