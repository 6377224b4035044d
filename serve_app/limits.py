"""How many requests one client may send: a bucket of tokens for each, in a bounded table.

Each replica counts for itself: a client may send up to the rate times the number of replicas.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from heart.errors import RateLimitedError

MAX_CLIENTS: Final = 10_000
"""Clients that are remembered, about 2 MB; beyond it the one longest silent is forgotten."""

FORWARDED: Final = b"x-forwarded-for"
UNKNOWN: Final = "unknown"
IPV6_SITE: Final = 64
"""Bits of an IPv6 address that tell clients apart: one client commands all addresses of a /64."""


class Limiter:
    """A bucket of ``burst`` tokens a client, refilled at ``rate`` a second.

    A bucket is kept as the time at which it will be full again (the generic cell rate
    algorithm, ITU-T I.371): one float, and none for a client whose bucket is full.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / rate
        # A thousandth more: the sum of a burst's intervals is inexact.
        self._depth = (burst + 0.001) / rate
        self._rate, self._burst = rate, burst
        self._max_clients = max_clients
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str) -> None:
        """Take a token from a client's bucket; raises `RateLimitedError` where there is none."""
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + self._interval
        if full_at - now > self._depth:
            raise self._refusal(full_at - now - self._depth)
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._max_clients:
            self._full_at.popitem(last=False)

    def _refusal(self, wait_s: float) -> RateLimitedError:
        error = RateLimitedError(
            f"more than {self._burst} requests at once or {self._rate:g} a second from one client"
        )
        error.retry_after_s = math.ceil(wait_s)
        return error


def address(scope: Scope, hops: int) -> str:
    """Whom a request without a key is counted to: the peer, or whom trusted proxies name.

    Each of ``hops`` proxies in front has appended its peer to X-Forwarded-For: the client is
    that many entries from the end, and what stands before it the client may have made up.
    Where the header has fewer, or no address there, the request came another way, and is
    counted to the peer.
    """
    client = scope.get("client")
    peer = client[0] if client else UNKNOWN
    if not hops:
        return _site(peer)
    given = b",".join(value for name, value in scope["headers"] if name == FORWARDED)
    entries = given.decode("latin-1").split(",")
    return _site(entries[-hops].strip() if len(entries) >= hops else peer, otherwise=peer)


@functools.lru_cache(MAX_CLIENTS)
def _site(text: str, *, otherwise: str = UNKNOWN) -> str:
    """An address as a client's: IPv4 whole, of IPv6 the network."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return otherwise
    if isinstance(found, ipaddress.IPv4Address):
        return text
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> IPV6_SITE << IPV6_SITE))
