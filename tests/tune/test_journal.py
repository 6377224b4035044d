"""The journal: on the disk line by line, read back whole, damaged ones refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import scored

from heart.errors import StorageError, UsageError
from tune.candidates import Candidate, sample
from tune.journal import JOURNAL_FILE, Header, Journal, TrialRecord, record_of
from tune.options import Options
from tune.searchers import config_of
from tune.spaces import WIDE

SVM = Candidate("svm", {"C": 1.5, "gamma": 0.1})
HEADER = Header(
    run="a-search",
    options=Options(folds=3, resume=None),
    data_sha256="a",
    code_sha256="b",
    space_sha256="c",
    started=1.5,
)
RECORDS = [
    scored(SVM, [0.8, 0.9, 0.85]),
    scored(Candidate("dummy", {"strategy": "prior"}), [0.5], status="stopped"),
    scored(Candidate("mlp", {"hidden": 2}), [], status="failed", message="it raised\nthis"),
]
FULL_DISK = """
import resource, sys
from pathlib import Path
from heart.errors import StorageError
sys.path.insert(0, sys.argv[2])
from test_journal import HEADER, RECORDS
from tune.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.begin(HEADER)
journal.append(RECORDS[0])
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
try:
    journal.append(RECORDS[0])
except StorageError as error:
    print(error.message)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "a-search")
    made.begin(HEADER)
    for record in RECORDS:
        made.append(record)
    return made


def test_what_is_written_is_read(journal: Journal) -> None:
    header, records = journal.read()
    assert header == HEADER
    assert records == RECORDS
    assert records[2].message == "it raised\nthis"
    np.testing.assert_array_equal(
        records[0].probabilities(), np.tile(np.float32(np.linspace(0, 1, 6)), 3)
    )


def test_a_line_is_on_the_disk_as_soon_as_its_trial_ends(journal: Journal) -> None:
    for number in (5, 6):
        journal.append(RECORDS[0])
        assert journal.path.read_bytes().count(b"\n") == number


def test_candidates_keep_their_names(tmp_path: Path) -> None:
    drawn = sample(WIDE, number=len(WIDE.families), seed=0)
    odd = Candidate(
        "logistic_regression", {"C": float("inf"), "l1_ratio": None, "of": [1, (2, "ä")]}
    )
    journal = Journal(tmp_path / "a-search")
    journal.begin(HEADER)
    for candidate in (*drawn, odd):
        journal.append(scored(candidate, [0.5]))
    assert [r.candidate.id for r in journal.read()[1]] == [c.id for c in (*drawn, odd)]


@given(st.text())
def test_any_message_is_one_line(message: str) -> None:
    record = scored(SVM, [], status="failed", message=message)
    line = record.model_dump_json().encode()
    assert line.count(b"\n") == 0
    assert TrialRecord.model_validate_json(line) == record


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x1c", "\r"])
def test_a_line_ends_with_a_newline_alone(tmp_path: Path, separator: str) -> None:
    record = scored(SVM, [], status="failed", message=f"one{separator}two")
    journal = Journal(tmp_path / "a-search")
    journal.begin(HEADER)
    journal.append(record)
    assert journal.read() == (HEADER, [record])


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_last_line_cut_off_is_dropped(journal: Journal, cut: int) -> None:
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    assert journal.read() == (HEADER, RECORDS[:2])
    journal.repair()
    journal.append(RECORDS[2])
    assert journal.path.read_bytes() == content


def test_a_line_cut_off_inside_a_letter_is_dropped(journal: Journal) -> None:
    with journal.path.open("ab") as file:
        file.write('{"family": "ä'.encode()[:-1])
    assert journal.read() == (HEADER, RECORDS)


def test_a_whole_journal_needs_no_repair(journal: Journal) -> None:
    content = journal.path.read_bytes()
    journal.repair()
    assert journal.path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\n", b"{}\n", b"\x00\x00\xff\n", b'{"run": "a-search"}\n{}\n'],
)
def test_a_damaged_header_is_told(journal: Journal, content: bytes) -> None:
    journal.path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"--resume: {journal.path} is damaged"):
        journal.read()


def test_a_damaged_line_is_told(journal: Journal) -> None:
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([lines[0], b"{}", *lines[2:]]))
    with pytest.raises(UsageError, match="is damaged"):
        journal.read()


def test_a_search_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"there is no search in {tmp_path / 'absent'}"):
        Journal(tmp_path / "absent").read()


def test_a_search_is_of_one_process_at_a_time(journal: Journal) -> None:
    content = journal.path.read_bytes()
    told = "--resume: another process is running search a-search"
    with journal.alone():
        journal.append(RECORDS[0])
        with pytest.raises(UsageError, match=told), Journal(journal.path.parent).alone():
            pass
    with journal.alone():
        assert journal.path.read_bytes().startswith(content)


def test_a_search_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    absent = Journal(tmp_path / "absent")
    with pytest.raises(UsageError, match="there is no search in"), absent.alone():
        pass
    assert not absent.path.parent.exists()


def test_a_folder_is_begun_once(journal: Journal) -> None:
    with pytest.raises(StorageError, match="cannot be made: File exists"):
        Journal(journal.path.parent).begin(HEADER)
    assert journal.read() == (HEADER, RECORDS)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        Journal(tmp_path / "file" / "a-search").begin(HEADER)


@pytest.mark.full
def test_a_full_disk_is_told_and_costs_the_last_line_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a-search"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{folder / JOURNAL_FILE} cannot be written: File too large\n"
    journal = Journal(folder)
    journal.repair()
    journal.append(RECORDS[1])
    assert journal.read() == (HEADER, RECORDS[:2])


@pytest.mark.parametrize(
    ("folds", "message", "status"),
    [
        (3, None, "finished"),
        (2, None, "stopped"),
        (1, "it raised", "failed"),
        (0, "lost", "failed"),
    ],
)
def test_a_trial_ended_as_its_last_result_says(
    folds: int, message: str | None, status: str
) -> None:
    done = [fold.model_dump() for fold in RECORDS[0].folds][:folds]
    result = {"folds": done, "error_message": message, "worker": "host:1"}
    record = record_of(config_of(SVM), result, folds=3, ended=20.0)
    assert record.status == status
    assert record.message == message
    assert record.candidate == SVM
    assert len(record.folds) == folds
    assert record.started == (10.0 if folds else 20.0)
    assert record.ended == 20.0


def test_a_trial_whose_worker_was_lost_has_no_folds() -> None:
    record = record_of(config_of(SVM), {"error_message": "lost"}, folds=3, ended=20.0)
    assert (record.status, record.folds, record.worker) == ("failed", (), "")
    assert np.isnan(record.mean)
    assert record.fit_seconds == 0
