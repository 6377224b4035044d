"""A server of files, over HTTP and as S3 has them, for the tests of what is fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Folders:
    """The server's files by path, and what was asked of it.

    ``moved`` has the address that a path redirects to; ``promised`` are bytes that are announced
    and never sent; a ``slow`` server sends a byte at a time.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    promised: int = 0
    slow: bool = False
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, folder: Path) -> str:
        """Serve a folder's files under a path; the folder's address."""
        self.files |= {f"{path}/{file.name}": file.read_bytes() for file in folder.iterdir()}
        return f"{self.url}{path}"

    def gets(self, name: str) -> int:
        """How often a file was asked for."""
        return sum(how == "GET" and path.endswith(name) for how, path in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        content = self.begin()
        if content is not None:
            self.answer(200, {"Content-Length": str(len(content))})

    def do_GET(self) -> None:
        content = self.begin()
        if content is None:
            return
        folders = self.server.folders
        length = str(len(content) + folders.promised)
        self.answer(206 if "Range" in self.headers else 200, {"Content-Length": length})
        self.close_connection = folders.promised > 0
        if not folders.slow:
            self.wfile.write(content)
            return
        for i in range(len(content)):
            self.wfile.write(content[i : i + 1])
            if folders.closing.wait(0.2):
                return

    def begin(self) -> bytes | None:
        """The file's content; None where the answer is given already."""
        folders = self.server.folders
        folders.asked.append((self.command, self.path))
        folders.headers.append(self.headers)
        path = self.path.partition("?")[0]
        moved = folders.moved.get(path)
        if moved is None and path in folders.files:
            return folders.files[path]
        headers = {"Content-Length": "0", **({"Location": moved} if moved else {})}
        self.answer(302 if moved else 404, headers)
        return None

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        dated = {"ETag": '"1"', "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
        for name, value in {**dated, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folders: Folders) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders = folders

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was ended in the middle of an answer is what some tests want."""


@contextmanager
def serving() -> Iterator[Folders]:
    """A server without files yet."""
    server = Folders()
    http = Server(server)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
