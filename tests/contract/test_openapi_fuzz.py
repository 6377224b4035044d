"""Schemathesis against the OpenAPI document: every check, valid and invalid requests alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import Service

HERE = Path(__file__).parent


def fuzz(service: Service, folder: Path, *options: str) -> int:
    """How many requests were made; fails with what schemathesis says where a check failed."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(HERE / "schemathesis.toml"),
            ),
            *("run", f"{service.url}/openapi.json", "--checks", "all", "--no-color"),
            *("--header", f"Authorization: Bearer {service.admin}", "--warnings", "off"),
            *("--generation-deterministic", "--no-shrink"),
            *("--report", "json", "--report-json-path", str(report), *options),
        ],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads(report.read_text())["test_cases"]["generated"])


def test_500_requests(service: Service, tmp_path: Path) -> None:
    assert fuzz(service, tmp_path, "--max-examples", "30") >= 500


@pytest.mark.long
@pytest.mark.timeout(900)
def test_5000_requests(service: Service, tmp_path: Path) -> None:
    assert fuzz(service, tmp_path, "--max-examples", "1600") >= 5000
