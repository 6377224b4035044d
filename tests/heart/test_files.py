"""A file is written whole or not at all; a lock holds across processes."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heart.errors import StorageError, UsageError
from heart.files import locked, sha256, write_json, write_whole

FULL_DISK = """
import resource, sys
from pathlib import Path
from heart.errors import StorageError
from heart.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error.message)
"""
HOLD = """
import sys
from pathlib import Path
from heart.files import locked
print("asking", flush=True)
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def python(script: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def hear(other: subprocess.Popen[bytes]) -> bytes:
    assert other.stdout is not None
    return other.stdout.readline()


@given(old=st.binary(max_size=50), new=st.binary(max_size=50))
@settings(deadline=None, max_examples=25)
def test_what_is_written_is_there_and_nothing_beside_it(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "deep" / "file"
    write_whole(path, old)
    write_whole(path, new)
    assert path.read_bytes() == new
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_content_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    output, _ = python(FULL_DISK, path).communicate(timeout=30)
    assert output.decode() == f"{path} cannot be written: File too large\n"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_old_content_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_whole(path, b"old")
    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "result.json"
    with pytest.raises(StorageError, match=f"{path} cannot be written: Not a directory") as error:
        write_whole(path, b"")
    assert error.value.field == str(path)


def test_a_target_that_is_a_folder_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_whole(tmp_path / "result.json", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_readers_meet_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {bytes([digit]) * 100_000 for digit in b"ab"}
    write_whole(path, max(contents))
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            for content in contents:
                write_whole(path, content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    met = set()
    while not done.is_set():
        met.add(path.read_bytes())
    writer.join()
    assert met <= contents


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_json_is_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"b": 1, "a": [None]})
    assert (tmp_path / "file").read_text() == '{\n  "b": 1,\n  "a": [\n    null\n  ]\n}\n'


def test_json_without_a_standard_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"heart")
    told = subprocess.run(["sha256sum", tmp_path / "file"], capture_output=True, check=True)
    assert told.stdout.decode().split()[0] == sha256(b"heart")


def test_one_process_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    with locked(path):
        other = python(HOLD, path)
        assert hear(other) == b"asking\n"
        assert other.stdout is not None
        assert select.select([other.stdout], [], [], 0.5)[0] == []
    assert hear(other) == b"held\n"
    other.communicate()


def test_a_lock_that_another_process_holds_can_be_refused(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = python(HOLD, path)
    assert [hear(other), hear(other)] == [b"asking\n", b"held\n"]
    taken = UsageError("it is taken")
    with pytest.raises(UsageError, match="it is taken"), locked(path, taken=taken):
        pass
    other.communicate()
    with locked(path, taken=taken):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    other = python(HOLD, tmp_path / ".lock")
    assert [hear(other), hear(other)] == [b"asking\n", b"held\n"]
    other.kill()
    other.communicate()
    with locked(tmp_path / ".lock"):
        pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="inside"), locked(tmp_path / ".lock"):
            raise RuntimeError("inside")


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / ".lock"
    with pytest.raises(StorageError, match=f"{path} cannot be written"), locked(path):
        pass
