"""The payload log keeps each answer exactly, within its bound, and never in an answer's way."""

from __future__ import annotations

import hashlib
import hmac
import math
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heart.attributes import NAMES
from heart.bundle import Bundle
from heart.errors import DataError, UsageError
from heart.settings import Settings
from serve_app import payload_files, payloads
from serve_app.judging import judge
from serve_app.payload_files import (
    SCHEMA,
    Entry,
    attributes,
    files,
    from_parquet,
    to_parquet,
    to_table,
)
from serve_app.payloads import PayloadLog, patient_id, read_key
from tests.serve_app.kept import DAY_NS, Clock, Told, open_log, read_back
from tests.serve_app.logs import eventually

KEY = b"0123456789abcdef0123456789abcdef"
LOST = """
import sys, time
from pathlib import Path
from heart.bundle import load_champion
from heart.settings import Settings
from serve_app import payload_files, payloads
from serve_app.judging import judge
from tests.serve_app.kept import Told, open_log
payloads.FLUSH_S = 0.01
home = Path(sys.argv[1])
bundle = load_champion(Path(sys.argv[2]))
rows = [[float(part) for part in sys.argv[3].split(",")]]
log = open_log(Settings(home=home), Told())
for number in range(10**9):
    log.keep(bundle, rows, judge(bundle, rows), request_id=str(number), patient=None)
    time.sleep(0.0005)
    if number == 20:
        print("running", flush=True)
"""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def row(patient: dict[str, Any]) -> list[float]:
    """The patient as judged, with one value missing."""
    return [math.nan if name == "ca" else float(patient[name]) for name in NAMES]


@pytest.fixture
def keyed(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    return settings.model_copy(update={"payload_key_file": path})


def keep(
    log: PayloadLog,
    bundle: Bundle,
    rows: list[list[float]],
    *,
    request_id: str = "a",
    patient: bytes | None = None,
) -> None:
    log.keep(
        bundle,
        rows,
        judge(bundle, rows),
        request_id=request_id,
        patient=patient,
        places=range(len(rows)),
    )


def test_a_row_says_all_there_is(
    keyed: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    clock = Clock()
    log = open_log(keyed, told, clock=clock)
    keep(log, bundle, [row], patient=b"4711")
    clock.ns += 1_000
    keep(log, bundle, [row, row], request_id="b")
    log.close()
    kept = read_back(keyed.payloads)
    (verdict,) = judge(bundle, [row])
    expected = {
        "time": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "index": 0,
        "request_id": "a",
        "model_version": bundle.version,
        "run_id": bundle.metadata.lineage.run_id,
        "metadata_sha256": bundle.metadata_sha256,
        "recalibration": None,
        **{name: None if name == "ca" else v for name, v in zip(NAMES, row, strict=True)},
        "probability": verdict["probability"],
        "prediction": verdict["prediction"],
        "patient": hmac.new(KEY, b"4711", hashlib.sha256).hexdigest(),
    }
    later = {**expected, "time": datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC), "patient": None}
    assert kept == [
        expected,
        {**later, "request_id": "b"},
        {**later, "request_id": "b", "index": 1},
    ]
    assert (told.dropped, told.lines) == ([], [])


def test_the_identifier_itself_is_nowhere(
    keyed: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    log = open_log(keyed, told)
    keep(log, bundle, [row], patient=b"ann-4711-meyer")
    log.close()
    (path,) = files(keyed.payloads)
    assert b"ann-4711-meyer" not in path.read_bytes()
    assert b"ann-4711-meyer" not in to_parquet(from_parquet(path).replace_schema_metadata())


def test_without_a_key_no_identifier_is_kept(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    log = open_log(settings, told)
    keep(log, bundle, [row], patient=b"4711")
    log.close()
    assert [kept["patient"] for kept in read_back(settings.payloads)] == [None]


@given(
    rows=st.lists(
        st.lists(st.floats(allow_infinity=False), min_size=len(NAMES), max_size=len(NAMES)),
        min_size=1,
        max_size=4,
    ),
    probability=st.floats(0, 1),
)
@hypothesis_settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_floats_are_kept_to_the_last_bit(
    rows: list[list[float]], probability: float, bundle: Bundle, tmp_path: Path
) -> None:
    (verdict,) = judge(bundle, [[math.nan] * len(NAMES)])
    verdicts = [{**verdict, "probability": probability} for _ in rows]
    entry = Entry(1, "a", None, bundle, rows, verdicts, range(len(rows)))  # type: ignore[arg-type]
    path = tmp_path / "rows.parquet"
    path.write_bytes(to_parquet(to_table([entry])))
    table = from_parquet(path)
    found, given_rows = attributes(table), np.array(rows)
    assert np.array_equal(np.isnan(found), np.isnan(given_rows))
    known = ~np.isnan(given_rows)
    assert found[known].tobytes() == given_rows[known].tobytes()
    answered = table.column("probability").to_numpy()
    assert answered.tobytes() == np.full(len(rows), probability).tobytes()


def test_other_programs_read_the_days_as_a_data_set(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    log = open_log(settings, told)
    keep(log, bundle, [row])
    log.close()
    found = pyarrow.dataset.dataset(settings.payloads, partitioning="hive").to_table()
    assert (found.num_rows, found.column("day").to_pylist()) == (1, ["2026-01-01"])


def test_nobody_else_reads_them(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    log = open_log(settings, told)
    keep(log, bundle, [row])
    log.close()
    (path,) = files(settings.payloads)
    modes = [p.stat().st_mode & 0o777 for p in (path, path.parent, settings.payloads)]
    assert modes == [0o600, 0o700, 0o700]


def test_what_is_kept_is_on_the_disk_within_seconds(
    settings: Settings,
    bundle: Bundle,
    row: list[float],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "FLUSH_S", 0.05)
    log = open_log(settings, told)
    for number in range(3):
        keep(log, bundle, [row], request_id=str(number))
        eventually(lambda seen=number: len(read_back(settings.payloads)) == seen + 1)
    assert [path.name for path in files(settings.payloads)] == ["one-1.parquet"]
    log.close()


def test_a_full_batch_does_not_wait(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    log = open_log(settings, told)
    keep(log, bundle, [row] * payloads.FLUSH_ROWS)
    begin = time.monotonic()
    eventually(lambda: files(settings.payloads))
    assert time.monotonic() - begin < payloads.FLUSH_S
    log.close()


def test_a_new_day_is_a_new_folder(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    clock = Clock()
    log = open_log(settings, told, clock=clock)
    keep(log, bundle, [row], request_id="before")
    clock.ns += DAY_NS // 2 - 1_000
    keep(log, bundle, [row], request_id="last")
    clock.ns += 1_000
    keep(log, bundle, [row], request_id="first")
    log.close()
    found = {
        path.relative_to(settings.payloads).as_posix(): [
            row["request_id"] for row in from_parquet(path).to_pylist()
        ]
        for path in files(settings.payloads)
    }
    assert found == {
        "day=2026-01-01/one-1.parquet": ["before", "last"],
        "day=2026-01-02/one-2.parquet": ["first"],
    }
    assert files(settings.payloads, day="2026-01-02")[0].name == "one-2.parquet"


def test_a_file_that_is_full_is_followed_by_another(
    settings: Settings,
    bundle: Bundle,
    row: list[float],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "FLUSH_ROWS", 10)
    monkeypatch.setattr(payload_files, "FILE_ROWS", 20)
    log = open_log(settings, told)
    for number in range(5):
        keep(log, bundle, [row] * 10, request_id=str(number))
        eventually(lambda seen=number: len(read_back(settings.payloads)) == 10 * seen + 10)
    log.close()
    sizes = [from_parquet(path).num_rows for path in files(settings.payloads)]
    assert sizes == [20, 20, 10]


def test_two_replicas_share_a_folder(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    both = [open_log(settings, told, replica=name) for name in ("one", "two")]
    for number, log in enumerate(both * 5):
        keep(log, bundle, [row], request_id=str(number))
    for log in both:
        log.close()
    assert [path.name for path in files(settings.payloads)] == ["one-1.parquet", "two-1.parquet"]
    kept = {kept["request_id"] for kept in read_back(settings.payloads)}
    assert kept == {str(number) for number in range(10)}


def test_the_oldest_files_make_room(
    settings: Settings,
    bundle: Bundle,
    row: list[float],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "FLUSH_ROWS", 1)
    bound = settings.model_copy(update={"payload_log_mb": 0.05})
    old = settings.payloads / "day=2025-12-31" / "dead-1.parquet"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(20_000))
    (old.parent / ".dead-2.parquet.half").write_bytes(bytes(20_000))
    clock = Clock()
    log = open_log(bound, told, clock=clock)
    random = np.random.default_rng(0)
    for number in range(40):
        rows = [
            [*random.uniform(90, 99, 1), *row[1:9], *random.uniform(0, 6, 1), *row[10:]]
            for _ in range(50)
        ]
        keep(log, bundle, rows, request_id=str(number))
        eventually(lambda: log._in == log._out)
        size = sum(path.stat().st_size for path in settings.payloads.glob("*/*"))
        assert size <= 50_000
    log.close()
    assert not old.parent.exists()
    kept = [int(kept["request_id"]) for kept in read_back(settings.payloads)]
    assert set(kept) == set(range(min(kept), 40))
    assert 0 < min(kept) < 39
    assert told.dropped == []


def test_a_full_disk_is_told_and_waited_out(
    settings: Settings,
    bundle: Bundle,
    row: list[float],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "FLUSH_S", 0.05)
    monkeypatch.setattr(payloads, "CAPACITY_ROWS", 3)
    settings.home.mkdir()
    settings.payloads.write_bytes(b"in the way")
    log = open_log(settings, told)
    for number in range(5):
        keep(log, bundle, [row], request_id=str(number))
    eventually(lambda: told.dropped)
    assert told.dropped == [2]
    message, fields = told.lines[0]
    assert (message, fields["rows"]) == ("payloads wait to be written", 3)
    assert "cannot be written: Not a directory" in fields["reason"]
    assert ("payloads dropped", {"rows": 2, "reason": "the buffer is full"}) in told.lines
    settings.payloads.unlink()
    eventually(lambda: files(settings.payloads))
    log.close()
    assert [kept["request_id"] for kept in read_back(settings.payloads)] == ["0", "1", "2"]
    assert told.dropped == [2]


def test_what_the_disk_never_took_is_counted_at_the_end(
    settings: Settings, bundle: Bundle, row: list[float], told: Told
) -> None:
    settings.home.mkdir()
    settings.payloads.write_bytes(b"in the way")
    log = open_log(settings, told)
    keep(log, bundle, [row, row])
    log.close()
    assert told.dropped == [2]
    assert told.lines[-1] == ("payloads dropped", {"rows": 2, "reason": "the replica ends"})


def test_a_mistake_of_ours_costs_its_rows_and_not_the_log(
    settings: Settings,
    bundle: Bundle,
    row: list[float],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "FLUSH_S", 0.05)
    log = open_log(settings, told)
    wrong: Any = [[*row[:-1], "3.25 mg"]]
    log.keep(bundle, wrong, judge(bundle, [row]), request_id="a", patient=None)
    eventually(lambda: told.dropped)
    assert told.dropped == [1]
    ((message, fields),) = told.lines
    assert message == "payloads dropped"
    assert fields["reason"].endswith(" to_table")
    assert "3.25" not in str(told.lines)
    keep(log, bundle, [row])
    eventually(lambda: read_back(settings.payloads))
    log.close()


def test_a_replica_that_is_killed_leaves_no_half_file(
    settings: Settings, champion_home: Path, row: list[float]
) -> None:
    command = [sys.executable, "-c", LOST, str(settings.home), str(champion_home / "bundles")]
    process = subprocess.Popen(
        [*command, ",".join(map(repr, row))], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    for _ in range(50):
        time.sleep(0.01)
        read_back(settings.payloads)
    eventually(lambda: files(settings.payloads))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = [int(kept["request_id"]) for kept in read_back(settings.payloads)]
    assert kept == list(range(len(kept)))


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "one-1.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"one-1\.parquet cannot be read: ArrowInvalid"):
        from_parquet(path)
    path.write_bytes(to_parquet(SCHEMA.empty_table().drop_columns(["index"])))
    with pytest.raises(DataError, match="has other columns than the payload log"):
        from_parquet(path)


def test_the_key(settings: Settings, keyed: Settings, tmp_path: Path) -> None:
    assert read_key(settings) is None
    assert read_key(keyed) == KEY
    assert keyed.payload_key_file is not None
    keyed.payload_key_file.write_bytes(KEY[:15])
    with pytest.raises(UsageError, match="must hold at least 16 bytes, got 15") as caught:
        open_log(keyed, Told())
    assert KEY[:15].decode() not in caught.value.message
    keyed.payload_key_file.unlink()
    with pytest.raises(UsageError, match=r"HEART_PAYLOAD_KEY_FILE: .*/key cannot be read"):
        open_log(keyed, Told())


def test_the_identifier_is_read_from_the_header() -> None:
    headers = [(b"x-request-id", b"a"), (b"x-patient-id", b"4711")]
    assert patient_id({"type": "http", "headers": headers}) == b"4711"
    assert patient_id({"type": "http", "headers": headers[:1]}) is None


def test_a_replica_without_a_payload_log_does_not_load_arrow() -> None:
    check = "import sys, serve_app.payloads; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
