"""scripts/smoke.py: content with the real service, and with nothing that is a little off."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from heart.attributes import NAMES
from heart.bundle import Bundle
from heart.errors import run_main
from scripts import smoke
from scripts.smoke import PATIENT, main
from serve_app.environment import free_port

Change = Callable[[str, Any], Any]
"""An answer's path and its JSON; what is sent instead."""
CHECKS = (
    *("health", "ready", "predict", "known answer", "batch"),
    *("explain", "errors", "metrics", "page"),
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "AGAIN_S", 0.05)


@contextmanager
def changed(service: str, change: Change) -> Iterator[str]:
    """The service, but for one thing that it answers."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            request = urllib.request.Request(f"{service}{self.path}", data=body)
            for name in ("Content-Type", "X-Request-ID"):
                if name in self.headers:
                    request.add_header(name, self.headers[name])
            try:
                answer = urllib.request.urlopen(request, timeout=10)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                data, kind = answer.read(), answer.headers["Content-Type"]
                told = json.loads(data) if kind.startswith("application/json") else data.decode()
                sent = change(self.path, told)
                data = sent.encode() if isinstance(sent, str) else json.dumps(sent).encode()
                self.send_response(answer.status)
                for name in ("Content-Type", "X-Request-ID"):
                    self.send_header(name, answer.headers[name] or "")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def failures(out: str) -> dict[str, str]:
    """The checks that failed, each with what was told."""
    lines = [line for line in out.splitlines() if line.startswith("FAIL ")]
    return dict(line.removeprefix("FAIL ").split(": ", 1) for line in lines)


def test_the_service_passes_every_check(
    service: str, champion_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([service, "--home", str(champion_home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"ok   {name}" for name in CHECKS]


def test_the_version_may_be_in_a_registry(
    service: str, champion_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{champion_home / 'mlflow.db'}"
    assert main([service, "--tracking-uri", uri]) == 0
    assert "ok   known answer: 0." in capsys.readouterr().out
    with changed(service, _off) as url:
        assert main([url, "--tracking-uri", uri]) == 1
    assert "known answer" in failures(capsys.readouterr().out)


def test_a_probability_may_be_given(
    service: str, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    (known,) = bundle.predict([[PATIENT[name] for name in NAMES]])
    assert main([service, "--expect", str(known + 0.9e-5)]) == 0
    assert main([service, "--expect", str(known + 1.1e-5)]) == 1
    assert "known answer" in failures(capsys.readouterr().out)


def test_another_model_than_the_one_here_is_found(
    service: str, champion_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(path: str, told: Any) -> Any:
        return {**told, "run_id": "f" * 32} if path == "/predict" else told

    with changed(service, other) as url:
        assert main([url, "--home", str(champion_home)]) == 1
        assert f"is of run {'f' * 32}, the champion here of" in capsys.readouterr().out
        assert main([url, "--home", str(tmp_path)]) == 1
        assert "has no champion to compare with" in capsys.readouterr().out


def _off(path: str, told: Any) -> Any:
    if path == "/predict" and "probability" in told:
        told["probability"] += 1e-3
    return told


def _unlike(path: str, told: Any) -> Any:
    if path == "/explain":
        told["contributions"]["ca"] += 1e-3
    return told


def _at(where: str, change: Callable[[Any], Any]) -> Change:
    return lambda path, told: change(told) if path == where else told


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (_at("/health", lambda told: {**told, "status": "ill"}), {"health"}),
        (_at("/ready", lambda told: {"nothing": 0}), {"ready"}),
        (_off, {"batch", "explain", "known answer"}),
        (_unlike, {"explain"}),
        (_at("/predict/batch", lambda told: {"predictions": told["predictions"][::-1]}), {"batch"}),
        (_at("/predict", lambda told: {**told, "imputed": ["ca"]}), {"predict"}),
        (
            _at("/predict", lambda told: "no JSON"),
            {"predict", "known answer", "batch", "explain", "errors"},
        ),
        (_at("/metrics", lambda told: "# nothing\n"), {"metrics"}),
        (_at("/", lambda told: told.replace('name="thal"', "")), {"page"}),
    ],
)
def test_what_is_off_is_found_and_nothing_else(
    service: str,
    champion_home: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    failed: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "metrics" in failed:
        monkeypatch.setattr(smoke, "REPORTED_S", 0.2)
    with changed(service, change) as url:
        assert main([url, "--home", str(champion_home)]) == 1
    assert set(failures(capsys.readouterr().out)) == failed


def test_a_request_id_that_is_lost_is_found(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with changed(service, lambda _, told: told) as url:
        monkeypatch.setattr(smoke, "REQUEST_ID", "x" * 200)
        assert main([url]) == 1
    assert "X-Request-ID is" in failures(capsys.readouterr().out)["predict"]


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert run_main(lambda: main([url])) == 2
    assert capsys.readouterr().err == (
        f"error: nobody answers at {url}: is the service up, and the address right?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["127.0.0.1:8000"], "an address begins with http:// or https://"),
        ([], "name the service's address, or --prometheus, or both"),
        (["http://127.0.0.1:1", "--key-file", "/absent"], "/absent: No such file"),
    ],
)
def test_wrong_use(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(lambda: main(arguments)) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


@contextmanager
def prometheus(*values: tuple[str, str]) -> Iterator[str]:
    """What Prometheus answers about `up`, each time the next."""
    left = list(values)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = left.pop(0) if len(left) > 1 else left[0]
            result = [
                {"metric": {"instance": str(n)}, "value": [0, value]}
                for n, value in enumerate(told)
                if value
            ]
            data = json.dumps({"status": "success", "data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("values", "code", "told"),
    [
        ([("1", "1")], 0, "ok   targets: 2 up"),
        ([("1", "0")], 1, "down: 1"),
        ([("", "")], 1, 'none of up{job="heart"}'),
        ([("", ""), ("1", "0"), ("1", "1")], 0, "ok   targets: 2 up"),
    ],
)
def test_prometheus_is_asked_whether_the_targets_are_up(
    values: list[tuple[str, str]], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with prometheus(*values) as url:
        wait = "5" if code == 0 else "0"
        assert main(["--prometheus", url, "--wait", wait]) == code
    assert told in capsys.readouterr().out
