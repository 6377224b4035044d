"""Requests as no HTTP client would send them: bytes on a socket."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.contract.conftest import Service

PIECE = b" " * 65536
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back; ``raw`` is all of it."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> list[tuple[str, str]]:
        head = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        lines = [line.partition(":") for line in head.split("\r\n")[1:]]
        return [(name.strip().lower(), value.strip()) for name, _, value in lines]

    @property
    def error(self) -> dict[str, Any]:
        body = self.raw.partition(b"\r\n\r\n")[2]
        return dict(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["error"])


def post(service: Service, path: str, headers: dict[str, str], body: Iterable[bytes]) -> Answer:
    """What the service says to a body that is sent piece by piece, until it says something."""
    head = {
        "Host": "heart",
        "Authorization": f"Bearer {service.key}",
        "Content-Type": "application/json",
        "Connection": "close",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return send(service, [f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), *body])


def send(service: Service, pieces: Iterable[bytes]) -> Answer:
    """The answer to bytes; what the service closes its ears to is not sent."""
    with socket.create_connection(service.address, timeout=PATIENCE_S) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return Answer(_read(connection))


def _read(connection: socket.socket) -> bytes:
    """One answer: where it ends, its sender need not close the connection at once."""
    raw = bytearray()
    try:
        while not _whole(raw) and (piece := connection.recv(65536)):
            raw += piece
    except ConnectionResetError:
        pass
    return bytes(raw)


def _whole(raw: bytes | bytearray) -> bool:
    head, ended, body = bytes(raw).partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(ended) and length is not None and len(body) >= int(length[1])
