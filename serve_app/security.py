"""API keys: who may ask for what. ``python -m serve_app.security new NAME --scopes predict``.

A key is 256 random bits, and the setting holds its SHA-256: who reads the setting cannot ask.
A plain hash is enough only because nobody chose the key: a password would be guessed from it.
Keys are therefore made here, shown once, and kept by the client alone.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import ipaddress
import re
import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from heart.errors import ForbiddenError, UnauthorizedError, UsageError, run_main
from heart.settings import Settings

VARIABLE: Final = "HEART_API_KEYS"
RANDOM_BYTES: Final = 32
PREFIX: Final = "heart_"
"""Of every key, so that scanners for leaked secrets can know one when they see it."""

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
AUTHORIZATION: Final = b"authorization"
# RFC 6750: the scheme in any case, one token of these characters. No key of ours is as long.
BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,128}={0,2})")

Headers = Iterable[tuple[bytes, bytes]]


class Reach(StrEnum):
    """What a key may ask for: its scopes."""

    PREDICT = "predict"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key as the service knows it: whose, for what, and its SHA-256."""

    name: str
    scopes: frozenset[Reach]
    digest: bytes = field(repr=False)

    def require(self, scope: Reach) -> None:
        """Raise `ForbiddenError` where the key does not reach; `admin` reaches everything."""
        if scope not in self.scopes and Reach.ADMIN not in self.scopes:
            raise ForbiddenError(f"this needs a key with the scope {scope}")


class Keyring:
    """The keys that are known; several of one name are one client whose key is being changed."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, headers: Headers) -> ApiKey:
        """The key that a request bears; raises `UnauthorizedError`.

        Every key is compared, in constant time, so that the time taken tells nothing of them.
        """
        presented = hashlib.sha256(bearer(headers)).digest()
        found: ApiKey | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, presented):
                found = key
        if found is None:
            raise UnauthorizedError("the API key is not known here")
        return found


def bearer(headers: Headers) -> bytes:
    """The token of ``Authorization: Bearer``; raises `UnauthorizedError`, which never shows it."""
    given = [value for name, value in headers if name == AUTHORIZATION]
    if not given:
        raise UnauthorizedError("an API key is needed: send Authorization: Bearer KEY")
    found = BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise UnauthorizedError("the header must be Authorization: Bearer KEY, once")
    return found[1]


def parse_keys(text: str) -> Keyring:
    """The keys of ``name:scopes:sha256`` by commas; raises `UsageError`, which shows no hash."""
    keys = [_parse_key(entry, at) for at, entry in enumerate(text.split(","), 1) if entry.strip()]
    if len({key.digest for key in keys}) < len(keys):
        raise UsageError(f"{VARIABLE}: each key must be there once", field=VARIABLE)
    return Keyring(keys)


def _parse_key(entry: str, at: int) -> ApiKey:
    name, scopes, digest = ([part.strip() for part in entry.split(":")] + ["", "", ""])[:3]
    known = {scope.value for scope in Reach}
    if entry.count(":") != 2 or not NAME.fullmatch(name) or not DIGEST.fullmatch(digest):
        raise UsageError(
            f"{VARIABLE}: key {at} must be name:scopes:sha256, the name of letters, digits and "
            "._-, the sha256 of 64 hexadecimal digits",
            field=VARIABLE,
        )
    if not set(scopes.split("+")) <= known:
        raise UsageError(
            f"{VARIABLE}: the scopes of {name} must be {' and '.join(sorted(known))}, joined by +",
            field=VARIABLE,
        )
    return ApiKey(name, frozenset(map(Reach, scopes.split("+"))), bytes.fromhex(digest))


def new_key(name: str, scopes: Iterable[Reach]) -> tuple[str, str]:
    """A fresh key, and the entry by which the setting knows it."""
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return key, f"{name}:{'+'.join(sorted(set(scopes)))}:{digest}"


def check_exposure(settings: Settings, *, host: str) -> None:
    """Raise `UsageError` where anyone on the network could ask and nobody said that they may.

    Also raised where the setting of the keys is wrong.
    """
    if parse_keys(settings.api_keys) or settings.allow_open or is_loopback(host):
        return
    raise UsageError(
        f"the service is to listen on {host or 'every address'}, which other machines reach, and "
        f"{VARIABLE} is empty: "
        "make a key with `python -m serve_app.security new NAME`, or set HEART_ALLOW_OPEN=1 "
        "to serve whoever asks",
        field=VARIABLE,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost is not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main() -> int:
    """Print a new key, to be given to its client, and the entry to be added to the setting."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.security", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key")
    new.add_argument("name", help="whose key it is; letters, digits and ._-")
    new.add_argument(
        "--scopes",
        nargs="+",
        choices=[scope.value for scope in Reach],
        default=[Reach.PREDICT.value],
        help="what it may ask for (default: predict); admin reaches everything",
    )
    options = parser.parse_args()
    if not NAME.fullmatch(options.name):
        raise UsageError("NAME must be of letters, digits and ._-, 64 at most", field="NAME")
    key, entry = new_key(options.name, map(Reach, options.scopes))
    print(f"key    {key}\nentry  {entry}")
    print(f"The key is shown this once. Add the entry to {VARIABLE}, by a comma.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
