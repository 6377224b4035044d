"""What stands before every route: the key, the rate limit, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from heart.errors import UnauthorizedError
from heart.settings import Settings
from serve_app.limits import Limiter, address
from serve_app.security import ApiKey, Keyring, Reach, parse_keys

ASSETS: Final = "/static-offline-docs/"
OPEN: Final = frozenset(
    {
        *("/", "/page.css", "/page.js"),
        *("/docs", "/docs/oauth2-redirect", "/openapi.json", "/health", "/ready"),
    }
)
"""What anyone may ask for. Whatever is neither here nor in `NEEDS` needs the scope predict."""

NEEDS: Final[Mapping[str, Reach]] = {"/metrics": Reach.ADMIN}
PROBES: Final = frozenset({"/health", "/ready"})
"""Never counted: where many share an address, one of them could make the replica look dead."""

RawHeaders = list[tuple[bytes, bytes]]
POLICY: Final = b"content-security-policy"
HEADERS: Final[Mapping[bytes, bytes]] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    # JSON and text need nothing; the pages bring a policy of their own.
    POLICY: b"default-src 'none'; frame-ancestors 'none'",
    # No copy of an answer about a patient stays in a browser or a proxy.
    b"cache-control": b"no-store",
}
SECURE: Final[RawHeaders] = list(HEADERS.items())
"""For answers that have none of these themselves, ready to be appended."""


class Guard:
    """Lets a request through, or raises what it is refused with."""

    def __init__(self, keys: Keyring, limiter: Limiter | None = None, *, hops: int = 0) -> None:
        self._keys = keys
        self._limiter = limiter
        self._hops = hops

    @classmethod
    def of(cls, settings: Settings) -> Guard:
        """The guard that the settings ask for; raises `UsageError`."""
        rate, burst = settings.rate_limit, settings.rate_burst
        limiter = Limiter(rate=rate, burst=burst) if rate else None
        return cls(parse_keys(settings.api_keys), limiter, hops=settings.trusted_hops)

    @property
    def asks_for_keys(self) -> bool:
        """Whether a route that is not open needs a key."""
        return bool(self._keys)

    def scope(self, path: str) -> Reach | None:
        """The scope that a path needs where keys are asked for; None where it is open."""
        if path in OPEN or path.startswith(ASSETS):
            return None
        return NEEDS.get(path, Reach.PREDICT)

    def counts(self, path: str) -> bool:
        """Whether a path's requests count for the rate."""
        return path not in PROBES

    def check(self, scope: Scope, path: str) -> str | None:
        """The name of the key that a request bears, None where it needs none.

        Raises `UnauthorizedError`, `ForbiddenError` or `RateLimitedError`.
        ``path`` is that of the request without the prefix that the service is mounted under.
        Whoever shows no key that is known is counted by address, so that keys cannot be tried
        faster than the rate.
        """
        needed = self.scope(path) if self._keys else None
        if needed is None:
            if self._limiter is not None and self.counts(path):
                self._limiter.take(address(scope, self._hops))
            return None
        key = self._known(scope)
        if self._limiter is not None:
            self._limiter.take(f"key:{key.name}")
        key.require(needed)
        return key.name

    def _known(self, scope: Scope) -> ApiKey:
        try:
            return self._keys.find(scope["headers"])
        except UnauthorizedError:
            if self._limiter is not None:
                self._limiter.take(address(scope, self._hops))
            raise


def secure(headers: RawHeaders) -> RawHeaders:
    """An answer's headers and those of `HEADERS` that it does not have itself."""
    own = {name for name, _ in headers}
    return [*headers, *(header for header in SECURE if header[0] not in own)]
