"""A search beside the service does not disturb it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.mark.full
def test_the_service_answers_on_while_a_search_registers(
    client: httpx.Client, champion_home: Path, patient: dict[str, Any]
) -> None:
    before = client.post("/predict", json=patient).json()
    search = subprocess.Popen(
        [sys.executable, "-m", "tune.search", "--folds", "2", "--num-samples", "3"],
        env=os.environ | {"HEART_HOME": str(champion_home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    answers = 0
    while search.poll() is None:
        answer = client.post("/predict", json=patient)
        assert answer.status_code == 200
        assert answer.json() == before
        answers += 1
    assert search.returncode == 0, search.stderr and search.stderr.read()
    assert answers > 100
