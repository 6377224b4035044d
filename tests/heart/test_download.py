"""The refresh against a real HTTP server on the loopback, in the formats of UCI."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from heart import cohorts, download
from heart.attributes import NAMES
from heart.cohorts import SHA256, TABLE
from heart.download import CLEVELAND_SHA256, SITES, UCI_FOLDER, Refresh
from heart.errors import DownloadError, StorageError
from heart.settings import Settings

API = "/api/dataset?id=45"
DATA = "/static/public/45/data.csv"
GOOD = TABLE.read_bytes()
ENOUGH_S = 20.0


@dataclass
class Answer:
    """What the server gives; ``promised`` more bytes than it sends, ``drip`` one a time."""

    content: bytes = b""
    status: int = 200
    promised: int = 0
    drip: bool = False
    silent: bool = False


@dataclass
class Uci:
    """The server's answers by path, and what was asked of it."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def change(self, path: str, old: bytes, new: bytes) -> None:
        content = self.answers[path].content
        assert old in content
        self.answers[path].content = content.replace(old, new, 1)


def processed(site: str) -> str:
    return f"/{UCI_FOLDER}/processed.{site}.data"


def processed_text(table: pd.DataFrame, site: str) -> bytes:
    """A hospital's file as UCI spells it: floats in Cleveland's, -9 for some of the missing."""
    rows = table.loc[table["site"] == site, [*NAMES, "num"]]
    number = "{:.1f}" if site == "cleveland" else "{:g}"
    missing = {"switzerland": "-9"}.get(site, "?")
    lines = [
        ",".join(missing if pd.isna(cell) else number.format(cell) for cell in row)
        for row in rows.itertuples(index=False)
    ]
    return ("\n".join(lines) + "\n").encode()


def cleveland_text(table: pd.DataFrame) -> bytes:
    rows = table.loc[table["site"] == "cleveland", [*NAMES, "num"]]
    whole = [name for name in rows.columns if name not in download.FLOATS]
    return rows.astype(dict.fromkeys(whole, "int64")).to_csv(index=False).encode()


def metadata(data_url: str) -> bytes:
    variables = [{"name": name, "role": "Feature", "type": "Integer"} for name in NAMES]
    variables.append({"name": "num", "role": "Target", "type": "Integer"})
    described = {
        "uci_id": 45,
        "name": "Heart Disease",
        "data_url": data_url,
        "variables": variables,
        "additional_info": None,
        "intro_paper": None,
    }
    return json.dumps({"status": 200, "data": described}).encode()


def handler_for(server: Uci) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            answer = server.answers.get(self.path, Answer(status=404))
            if answer.silent:
                server.closing.wait()
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.content) + answer.promised))
            self.end_headers()
            if answer.drip:
                self.drip(answer.content)
            else:
                self.wfile.write(answer.content)

        def drip(self, content: bytes) -> None:
            for i in range(len(content)):
                if server.closing.wait(0.05):
                    return
                self.wfile.write(content[i : i + 1])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was ended in the middle of an answer is what some tests want."""


@contextmanager
def serving() -> Iterator[Uci]:
    server = Uci("")
    http = QuietServer(("127.0.0.1", 0), handler_for(server))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def uci(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uci]:
    """A server that gives what UCI gives."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        table = pd.read_csv(TABLE)
        for site in SITES:
            server.answers[processed(site)] = Answer(processed_text(table, site))
        server.answers[API] = Answer(metadata(f"{server.url}{DATA}"))
        server.answers[DATA] = Answer(cleveland_text(table))
        yield server


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "table.csv"
    path.parent.mkdir()
    path.write_bytes(GOOD)
    return path


def settings(url: str, timeout_s: float = ENOUGH_S) -> Settings:
    return Settings(uci_url=url, download_timeout_s=timeout_s)


def refresh(url: str, table: Path, timeout_s: float = ENOUGH_S) -> Refresh:
    return download.refresh(settings(url, timeout_s), table=table, expected=SHA256)


def refusal(url: str, table: Path, timeout_s: float = ENOUGH_S) -> str:
    """The one line that a refresh refuses with, having changed nothing."""
    before = {path: path.read_bytes() for path in table.parent.iterdir()}
    with pytest.raises(DownloadError) as caught:
        refresh(url, table, timeout_s)
    assert {path: path.read_bytes() for path in table.parent.iterdir()} == before
    assert "\n" not in caught.value.message
    assert "nothing was changed" in caught.value.message
    return caught.value.message


def test_the_good_table_is_confirmed_and_kept(uci: Uci, table: Path) -> None:
    inode = table.stat().st_ino
    found = refresh(uci.url, table)
    assert found.outcome == "confirmed"
    assert SHA256 in found.message
    assert (table.read_bytes(), table.stat().st_ino) == (GOOD, inode)
    assert uci.asked == [*(processed(site) for site in SITES), API, DATA]


@pytest.mark.full
@pytest.mark.parametrize("damaged", [b"", GOOD[:-1], None])
def test_a_damaged_table_is_restored(uci: Uci, table: Path, damaged: bytes | None) -> None:
    table.unlink()
    if damaged is not None:
        table.write_bytes(damaged)
    found = refresh(uci.url, table)
    assert found.outcome == "restored"
    assert str(table) in found.message
    assert table.read_bytes() == GOOD
    assert list(table.parent.iterdir()) == [table]


def test_a_slash_after_the_address_does_not_matter(uci: Uci, table: Path) -> None:
    assert refresh(f"{uci.url}/", table).outcome == "confirmed"


def test_rows_in_another_order_are_said_to_be_so(uci: Uci, table: Path) -> None:
    lines = uci.answers[processed("va")].content.splitlines(keepends=True)
    uci.answers[processed("va")].content = b"".join(reversed(lines))
    found = refresh(uci.url, table)
    assert found.outcome == "reordered"
    assert "the same rows in another order" in found.message
    assert table.read_bytes() == GOOD


def test_cleveland_in_another_order_is_said_to_be_so(uci: Uci, table: Path) -> None:
    header, *lines = uci.answers[DATA].content.splitlines(keepends=True)
    uci.answers[DATA].content = b"".join([header, *reversed(lines)])
    assert refresh(uci.url, table).outcome == "reordered"


def test_another_order_does_not_restore_a_damaged_table(uci: Uci, table: Path) -> None:
    table.write_bytes(GOOD[:-1])
    lines = uci.answers[processed("va")].content.splitlines(keepends=True)
    uci.answers[processed("va")].content = b"".join(reversed(lines))
    assert SHA256 in refusal(uci.url, table)


@pytest.mark.parametrize("site", SITES)
def test_a_changed_value_is_refused_with_both_checksums(uci: Uci, table: Path, site: str) -> None:
    first = uci.answers[processed(site)].content[:2]
    uci.change(processed(site), first, b"59")
    message = refusal(uci.url, table)
    assert message.startswith("the SHA-256 of the four processed files is ")
    found, expected = re.findall(r"\b[0-9a-f]{64}\b", message)
    assert found != expected == SHA256


def test_a_fraction_is_not_rounded_away(uci: Uci, table: Path) -> None:
    uci.change(processed("cleveland"), b"63.0,", b"63.4,")
    assert SHA256 in refusal(uci.url, table)


def test_a_changed_cleveland_of_ucimlrepo_is_refused(uci: Uci, table: Path) -> None:
    uci.change(DATA, b"\n63,", b"\n64,")
    message = refusal(uci.url, table)
    assert message.startswith("the SHA-256 of the table of ucimlrepo is ")
    assert f"expected {CLEVELAND_SHA256}" in message


@pytest.mark.full
@pytest.mark.parametrize("path", [processed("hungarian"), DATA])
def test_a_table_that_lacks_its_last_rows(uci: Uci, table: Path, path: str) -> None:
    lines = uci.answers[path].content.splitlines(keepends=True)
    uci.answers[path].content = b"".join(lines[:-10])
    assert "SHA-256" in refusal(uci.url, table)


def test_a_table_cut_in_the_middle_of_a_row(uci: Uci, table: Path) -> None:
    content = uci.answers[processed("switzerland")].content
    uci.answers[processed("switzerland")].content = content[: len(content) // 2]
    assert "processed.switzerland.data line 62 must be 14 numbers" in refusal(uci.url, table)


@pytest.mark.full
@pytest.mark.parametrize("content", [b"<html>\n<p>moved</p>", b"\xff\xfe\x00\x01", b"1,2\n"])
def test_something_that_is_no_table(uci: Uci, table: Path, content: bytes) -> None:
    uci.answers[processed("va")].content = content
    assert "processed.va.data line 1 must be 14 numbers" in refusal(uci.url, table)


def test_an_empty_answer(uci: Uci, table: Path) -> None:
    uci.answers[processed("va")].content = b""
    assert "SHA-256" in refusal(uci.url, table)


@pytest.mark.full
@pytest.mark.parametrize("path", [processed("va"), API, DATA])
def test_an_answer_shorter_than_promised(uci: Uci, table: Path, path: str) -> None:
    uci.answers[path].promised = 7
    message = refusal(uci.url, table)
    assert "7 more expected" in message
    assert message.startswith(uci.url)


@pytest.mark.full
@pytest.mark.parametrize(
    ("path", "status"),
    [(processed("cleveland"), 404), (processed("va"), 500), (API, 404), (API, 500), (DATA, 404)],
)
def test_an_error_of_the_server(uci: Uci, table: Path, path: str, status: int) -> None:
    uci.answers[path].status = status
    message = refusal(uci.url, table)
    assert str(status) in message
    if path != DATA:
        assert message.startswith(f"{uci.url}{path}: ")


@pytest.mark.full
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"status": 404}',
        b'{"status": 200}',
        b'{"status": 200, "data": null}',
        b'{"status": 200, "data": {"data_url": null}}',
        b'{"status": 200, "data": {"data_url": 5, "name": "x"}}',
        b"\xff",
    ],
)
def test_metadata_that_are_none(uci: Uci, table: Path, content: bytes) -> None:
    uci.answers[API].content = content
    message = refusal(uci.url, table)
    assert message.startswith(f"{uci.url}{API}: ucimlrepo gives no table: ")


def test_metadata_without_variables(uci: Uci, table: Path) -> None:
    described = json.loads(uci.answers[API].content)
    described["data"]["variables"] = [1, 2]
    uci.answers[API].content = json.dumps(described).encode()
    assert "ucimlrepo gives no table" in refusal(uci.url, table)


def test_a_table_with_other_columns(uci: Uci, table: Path) -> None:
    uci.change(DATA, b"thal,num", b"thallium,num")
    assert "ucimlrepo gives no table: KeyError" in refusal(uci.url, table)


@pytest.mark.full
@pytest.mark.parametrize("path", [processed("cleveland"), API, DATA])
@pytest.mark.parametrize("kind", ["silent", "drip"])
def test_a_server_that_does_not_come_to_an_end(uci: Uci, table: Path, path: str, kind: str) -> None:
    setattr(uci.answers[path], kind, True)
    begin = time.monotonic()
    message = refusal(uci.url, table, timeout_s=1.5)
    assert "no whole answer within 1.5 s (HEART_DOWNLOAD_TIMEOUT_S)" in message
    assert message.startswith(uci.url)
    assert time.monotonic() - begin < ENOUGH_S


def test_a_server_that_takes_the_connection_and_no_more(table: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert "no whole answer within 0.5 s" in refusal(url, table, timeout_s=0.5)


def test_nobody_listens(table: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    message = refusal(f"http://127.0.0.1:{port}", table)
    assert "cannot be reached: [Errno 111] Connection refused" in message


@pytest.mark.parametrize("url", ["nonsense", "", "http://", "gopher://127.0.0.1"])
def test_an_address_that_is_none(table: Path, url: str) -> None:
    refusal(url, table)


def test_an_address_of_another_kind(table: Path) -> None:
    message = refusal("file:///etc", table)
    assert "HEART_UCI_URL must begin with http:// or https://" in message


def test_a_folder_that_cannot_be_written(uci: Uci, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        refresh(uci.url, tmp_path / "file" / "table.csv")


def test_nothing_of_this_process_is_changed(uci: Uci, table: Path) -> None:
    from ucimlrepo import fetch

    before = (fetch.API_BASE_URL, socket.getdefaulttimeout(), Path.cwd())
    refresh(uci.url, table)
    assert (fetch.API_BASE_URL, socket.getdefaulttimeout(), Path.cwd()) == before


def command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heart.cohorts", "--refresh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HEART_UCI_URL": url, "HEART_DOWNLOAD_TIMEOUT_S": str(ENOUGH_S)},
    )


def test_the_command_says_what_it_found(uci: Uci) -> None:
    ended = command(uci.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("UCI serves the table of ")
    assert TABLE.read_bytes() == GOOD


@pytest.mark.full
def test_the_command_s_json(uci: Uci) -> None:
    ended = command(uci.url, "--json")
    assert json.loads(ended.stdout)["refresh"] == "confirmed"


def test_the_command_offline_is_one_line_and_exit_code_2() -> None:
    ended = command("http://127.0.0.1:9")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: http://127.0.0.1:9/")
    assert TABLE.read_bytes() == GOOD


def test_the_command_restores_the_table_it_then_describes(
    uci: Uci,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from heart import provenance

    table.write_bytes(GOOD[:-1])
    monkeypatch.setattr(cohorts, "TABLE", table)
    monkeypatch.setattr(provenance, "TABLE", table)
    monkeypatch.setenv("HEART_UCI_URL", uci.url)
    assert cohorts.main(["--refresh"]) == 0
    assert f"{table} is restored from UCI" in capsys.readouterr().out
    assert table.read_bytes() == GOOD
