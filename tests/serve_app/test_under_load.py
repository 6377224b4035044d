"""scripts/under_load.py: what it calls lost, and what not."""

from __future__ import annotations

import sys
from typing import Protocol

import pytest

from heart.bundle import Bundle
from scripts import under_load
from serve_app.environment import free_port


class Run(Protocol):
    def __call__(self, *words: str, url: str = ...) -> int: ...


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_load, "BEFORE_S", 0.3)
    monkeypatch.setattr(under_load, "AFTER_S", 0.3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, service: str) -> Run:
    def call(*words: str, url: str = service) -> int:
        monkeypatch.setattr(sys, "argv", ["under_load.py", url, *words])
        return under_load.main()

    return call


def test_a_command_that_loses_nothing(
    run: Run, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--version", bundle.version, "--", "true") == 0
    told = capsys.readouterr().out
    assert f"by version {bundle.version}; lost: 0" in told


def test_the_exit_code_is_the_commands(run: Run) -> None:
    assert run("--", "sh", "-c", "exit 3") == 3


def test_another_version_answers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", "no such", "--", "true") == 1
    assert "still answers, not no such" in capsys.readouterr().out


def test_a_refusal_is_a_loss(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(under_load, "BODY", "{}")
    assert run("--", "true") == 1
    assert "x ValueError: status 422" in capsys.readouterr().out


def test_nobody_there_is_a_loss(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert run("--", "true", url=nowhere) == 1
    assert "answered: none" in capsys.readouterr().out
