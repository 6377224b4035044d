"""What was kept is computed again to the last bit, and what was tampered with is found."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from heart.attributes import NAMES
from heart.bundle import METADATA_FILE, Bundle, load_champion, read_champion
from heart.calibration import Calibration
from heart.errors import DataError, UsageError
from heart.hospital import Recalibration
from heart.settings import Settings
from serve_app.judging import judge
from serve_app.payload_files import files, from_parquet, to_parquet
from serve_app.replay import main, replay
from tests.serve_app.kept import DAY_NS, Clock, Told, open_log

BATCH = 50


@pytest.fixture
def home(tmp_path: Path, champion_home: Path) -> Path:
    """A HEART_HOME of this test's own, with the champion."""
    shutil.copytree(champion_home / "bundles", tmp_path / "home" / "bundles")
    return tmp_path / "home"


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEART_HOME", str(home))
    return Settings(home=home)


@pytest.fixture
def rows(patient: dict[str, Any]) -> list[list[float]]:
    """Patients of many ages and thirds of a millimetre, some with values missing."""
    known = [float(patient[name]) for name in NAMES]
    return [
        [
            *(20 + i, *known[1:9]),
            i / 3,
            *(known[10], math.nan if i % 2 else 0.0, math.nan if i % 3 else 3.0),
        ]
        for i in range(BATCH)
    ]


@pytest.fixture
def kept(own: Settings, bundle: Bundle, rows: list[list[float]]) -> Settings:
    """A day of single patients, and one request with all of them on the day after."""
    clock = Clock()
    log = open_log(own, Told(), clock=clock)
    for number, row in enumerate(rows):
        clock.ns += 1_000
        log.keep(bundle, [row], judge(bundle, [row]), request_id=f"r{number}", patient=None)
    clock.ns += DAY_NS
    log.keep(
        bundle,
        rows,
        judge(bundle, rows),
        request_id="batch",
        patient=None,
        places=range(0, 2 * BATCH, 2),
    )
    log.close()
    return own


def tamper(path: Path, change: Callable[[dict[str, Any]], None], *, row: int) -> None:
    """Change a row of a file, which stays a good file."""
    table = from_parquet(path)
    content = table.to_pylist()
    change(content[row])
    path.write_bytes(to_parquet(pa.Table.from_pylist(content, schema=table.schema)))


def test_everything_is_the_same(kept: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay"]) == 0
    assert capsys.readouterr().out == "100 of 100 probabilities are the same to the last bit\n"


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (["--request-id", "r7"], 1),
        (["--request-id", "batch"], BATCH),
        (["--day", "2026-01-01"], BATCH),
        (["--day", "2026-01-02"], BATCH),
    ],
)
def test_a_part_of_it(
    kept: Settings, options: list[str], number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *options]) == 0
    assert capsys.readouterr().out.startswith(f"{number} of {number} probabilities")


@pytest.mark.parametrize("options", [["--request-id", "r99"], ["--day", "2026-01-03"]])
def test_nothing_is_not_everything(kept: Settings, options: list[str]) -> None:
    with pytest.raises(DataError, match="nothing of that is kept in "):
        main(["replay", *options])


def test_a_day_that_is_none() -> None:
    with pytest.raises(UsageError, match='--day must be a date as 2026-01-31, got "today"'):
        main(["replay", "--day", "today"])


def test_a_probability_that_was_changed_in_its_last_bit(
    kept: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(row: dict[str, Any]) -> None:
        row["probability"] = float(np.nextafter(row["probability"], 1))

    first, second = files(kept.payloads)
    tamper(first, change, row=7)
    tamper(second, change, row=3)
    assert main(["replay"]) == 1
    *different, last = capsys.readouterr().out.splitlines()
    at = datetime(2026, 1, 1, 12, 0, 0, 8, tzinfo=UTC).isoformat()
    assert different[0].startswith(f"r7[0] at {at}, version ")
    assert different[1].startswith("batch[6] at 2026-01-02T12:00:00.000050+00:00, version ")
    assert len(different) == 2
    assert last == "98 of 100 probabilities are the same to the last bit"


def test_an_attribute_that_was_changed(kept: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    def change(row: dict[str, Any]) -> None:
        row["oldpeak"] += 1

    tamper(files(kept.payloads)[1], change, row=0)
    assert main(["replay"]) == 1
    different, last = capsys.readouterr().out.splitlines()
    assert different.startswith("batch[0] at ")
    assert last.startswith("99 of 100 ")


def test_a_list_of_differences_comes_to_an_end(
    kept: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(row: dict[str, Any]) -> None:
        row["probability"] = 0.5

    for number in range(BATCH):
        tamper(files(kept.payloads)[0], change, row=number)
    assert main(["replay", "--day", "2026-01-01"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[20:] == [
        "and 30 more",
        "0 of 50 probabilities are the same to the last bit",
    ]


def test_a_version_that_is_not_here(kept: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    champion = read_champion(kept.bundles)
    assert champion is not None
    folder = kept.bundles / champion.folder
    shutil.move(folder, kept.cache / champion.metadata_sha256)
    assert main(["replay"]) == 0  # a version that was fetched is as good
    (kept.cache / champion.metadata_sha256 / METADATA_FILE).unlink()
    capsys.readouterr()
    assert main(["replay"]) == 1
    unknown, last = capsys.readouterr().out.splitlines()
    assert unknown.startswith(
        f"100 answers cannot be computed again: no bundle with metadata of SHA-256 "
        f"{champion.metadata_sha256} under "
    )
    assert last.startswith("0 of 100 ")


def test_a_hospital_s_recalibration_is_found_by_its_name(
    own: Settings,
    bundle: Bundle,
    rows: list[list[float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = Recalibration(
        site="north.ward",
        number=2,
        at=datetime.now(UTC),
        model_version=bundle.version,
        onnx_sha256=bundle.metadata.onnx_sha256,
        data_sha256="0" * 64,
        n=60,
        events=30,
        calibration=Calibration(method="sigmoid", intercept=0.3, slope=0.7),
        brier_before=0.2,
        brier_after=0.1,
    )
    path = own.bundles / "recalibrations" / "north.ward" / "2.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.model_dump_json())
    served = load_champion(own.bundles)
    assert served is not None
    served.recalibrate(made.calibration, name=made.name)
    log = open_log(own, Told())
    log.keep(served, rows[:1], judge(served, rows[:1]), request_id="a", patient=None)
    log.close()
    ((table),) = [from_parquet(path).to_pylist() for path in files(own.payloads)]
    assert table[0]["recalibration"] == "north.ward.2"
    assert table[0]["model_version"] == f"{bundle.version}+north.ward.2"
    assert main(["replay"]) == 0
    path.write_text(made.model_copy(update={"calibration": Calibration()}).model_dump_json())
    assert main(["replay"]) == 1
    path.unlink()
    capsys.readouterr()
    assert main(["replay"]) == 1
    assert "north.ward/2.json cannot be read" in capsys.readouterr().out
    elsewhere = own.home / "elsewhere.json"
    elsewhere.write_text(made.model_dump_json())
    assert replay(own.model_copy(update={"recalibration": elsewhere})).same == 1
