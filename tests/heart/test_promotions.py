"""The log of promotions is only ever added to, and shows what was done to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from heart.errors import RegistryError, StorageError
from heart.promotions import Promotion, append, read


def promotion(version: str, before: str | None = None) -> Promotion:
    return Promotion(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        action="promote",
        version=version,
        before=before,
        reason="better",
        forced=False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "promotions.jsonl"
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        append(path, promotion(version, before))
    return path


def test_what_was_added_is_read_in_its_order(log: Path) -> None:
    assert [(p.version, p.before) for p in read(log)] == [("1", None), ("2", "1"), ("3", "2")]


def test_adding_leaves_what_is_there(log: Path) -> None:
    before = log.read_bytes()
    append(log, promotion("4", "3"))
    assert log.read_bytes().startswith(before)


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [lines[0].replace(b"better", b"worse"), *lines[1:]], 2),
        (lambda lines: [lines[0], b"{}", lines[2]], 2),
        (lambda lines: [lines[0], lines[1][:20]], 2),
    ],
)
def test_a_log_that_was_changed_is_told_and_not_added_to(log: Path, change, line: int) -> None:  # type: ignore[no-untyped-def]
    log.write_bytes(b"\n".join(change(log.read_bytes().splitlines())) + b"\n")
    before = log.read_bytes()
    with pytest.raises(RegistryError, match=f"was changed: line {line}"):
        read(log)
    with pytest.raises(RegistryError, match=f"was changed: line {line}"):
        append(log, promotion("4"))
    assert log.read_bytes() == before


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be"):
        append(tmp_path / "file" / "promotions.jsonl", promotion("1"))
