"""HTTP and WebSockets of the API server's stand-in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import yaml

if TYPE_CHECKING:
    from apiserver import ApiServer

Object = dict[str, Any]
WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TYPE = ("apiVersion", "kind")
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<version>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|portforward))?"
)


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = yaml.safe_load(self.rfile.read(length)) if length else None
        self.api.requests.append(Request(self.command, parts.path, query, body))
        try:
            rule = self.api.rule(self.command, parts.path)
            if rule is not None and rule.code is None:
                self.api.silence()
                return
            if rule is not None and rule.code is not None:
                raise RefusedError(rule.code, "Refused", rule.message)
            self._answer(parts.path, query, body)
        except RefusedError as refused:
            self._json(refusal(refused.code, refused.reason, refused.message), refused.code)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, path: str, query: dict[str, str], body: Any) -> None:
        if self.headers.get("Authorization") != "Bearer a-token":
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        match = _PATH.fullmatch(path)
        if match is None:
            self._json(self.api.discover(path))
            return
        version = match["version"] or match["core"]
        namespace, plural = match["namespace"] or "", match["plural"]
        name, sub = match["name"], match["sub"]
        dry = query.get("dryRun") == "All"
        if sub == "log":
            self.api.read(version, plural, namespace, name)
            tail = int(query["tailLines"]) if "tailLines" in query else None
            follow = query.get("follow", "").lower() == "true"
            self._stream(f"{line}\n" for line in self.api.log(name, follow=follow, tail=tail))
        elif sub == "portforward":
            self.api.read(version, plural, namespace, name)
            self._forward(name, int(query["ports"]))
        elif self.command == "GET" and query.get("watch", "").lower() == "true":
            events = self.api.watch(version, plural, namespace, query)
            self._stream(f"{json.dumps(event)}\n" for event in events)
        elif self.command == "GET" and name:
            self._json(self.api.read(version, plural, namespace, name))
        elif self.command == "GET":
            items, at = self.api.find(version, plural, namespace, query)
            bare = [{k: v for k, v in one.items() if k not in _TYPE} for one in items]
            self._json({"kind": "List", "metadata": {"resourceVersion": str(at)}, "items": bare})
        elif self.command == "POST":
            self._json(self.api.create(version, namespace, body, dry=dry), 201)
        elif self.command == "DELETE":
            self._json(self.api.delete(version, plural, namespace, name, dry=dry))
        else:
            assert self.headers["Content-Type"] == "application/apply-patch+yaml"
            found, made = self.api.apply(
                *(version, plural, namespace, name, body),
                manager=query["fieldManager"],
                force=query.get("force", "").lower() == "true",
                dry=dry,
            )
            self._json(found, 201 if made else 200)

    def _json(self, content: Object, code: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = line.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _forward(self, pod: str, port: int) -> None:
        """A WebSocket of the protocol v4.channel.k8s.io: a byte of channel, then data."""
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        for channel in (0, 1):
            self._frame(bytes([channel]) + struct.pack("<H", port))
        target = self.api.ports.get((pod, port))
        if target is None:
            self._frame(b"\x01connection refused")
            return
        with socket.create_connection(("127.0.0.1", target)) as far:
            self._carry(far)

    def _carry(self, far: socket.socket) -> None:
        near = self.connection
        while True:
            ready, _, _ = select.select([near, far], [], [])
            if far in ready:
                data = far.recv(65_536)
                if not data:
                    self._frame(b"", opcode=8)
                    return
                self._frame(b"\x00" + data)
            if near in ready:
                opcode, data = self._received()
                if opcode == 8:
                    return
                if data[:1] == b"\x00":
                    far.sendall(data[1:])

    def _frame(self, data: bytes, *, opcode: int = 2) -> None:
        size = len(data)
        head = bytes([0x80 | opcode])
        head += (
            bytes([size])
            if size < 126
            else bytes([126]) + struct.pack(">H", size)
            if size < 65_536
            else bytes([127]) + struct.pack(">Q", size)
        )
        self.connection.sendall(head + data)

    def _received(self) -> tuple[int, bytes]:
        head = self._exactly(2)
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._exactly(8))
        mask = self._exactly(4)
        data = self._exactly(size)
        return head[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.connection.recv(size - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data


def refusal(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
