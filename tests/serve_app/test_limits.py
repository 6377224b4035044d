"""The rate of one client, and who a client is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heart.errors import RateLimitedError
from serve_app.limits import Limiter, address


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


def taken(limiter: Limiter, client: str, tries: int) -> int:
    """How many of so many tries at once succeed."""
    got = 0
    for _ in range(tries):
        try:
            limiter.take(client)
            got += 1
        except RateLimitedError:
            pass
    return got


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limiter = Limiter(rate=2, burst=5, clock=clock)
    assert taken(limiter, "a", 20) == 5
    clock.now += 0.49
    assert taken(limiter, "a", 20) == 0
    clock.now += 0.02
    assert taken(limiter, "a", 20) == 1
    clock.now += 100
    assert taken(limiter, "a", 20) == 5


def test_clients_do_not_share() -> None:
    limiter = Limiter(rate=1, burst=3, clock=Clock())
    assert taken(limiter, "a", 9) == 3
    assert taken(limiter, "b", 9) == 3


@pytest.mark.parametrize(("rate", "wait"), [(0.1, 10), (3, 1), (1000, 1)])
def test_when_to_try_again(rate: float, wait: int) -> None:
    clock = Clock()
    limiter = Limiter(rate=rate, burst=1, clock=clock)
    limiter.take("a")
    with pytest.raises(RateLimitedError) as error:
        limiter.take("a")
    assert error.value.retry_after_s == wait
    clock.now += wait
    limiter.take("a")


@given(
    rate=st.floats(0.01, 1e4),
    burst=st.integers(1, 200),
    waits=st.lists(st.floats(0, 5), min_size=1, max_size=300),
)
def test_never_more_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, waits: list[float]
) -> None:
    clock = Clock()
    limiter = Limiter(rate=rate, burst=burst, clock=clock)
    started, got = clock.now, 0
    for wait in waits:
        clock.now += wait
        got += taken(limiter, "a", 3)
        assert got <= burst + (clock.now - started) * rate + 0.01


def test_the_table_is_bounded_and_forgets_whom_it_heard_least_of() -> None:
    limiter = Limiter(rate=1, burst=1, max_clients=3, clock=Clock())
    for client in ("a", "b", "c"):
        limiter.take(client)
    assert taken(limiter, "a", 1) == 0
    for client in ("d", "e", "f", "g"):
        limiter.take(client)
    assert len(limiter) == 3
    assert taken(limiter, "g", 1) == 0
    assert taken(limiter, "a", 1) == 1


FORWARDED = [(b"x-forwarded-for", b"6.6.6.6, 203.0.113.7"), (b"x-forwarded-for", b"10.0.0.2")]


@pytest.mark.parametrize(
    ("hops", "client"),
    [(0, "127.0.0.1"), (1, "10.0.0.2"), (2, "203.0.113.7"), (3, "6.6.6.6"), (4, "127.0.0.1")],
)
def test_as_many_entries_are_believed_as_proxies_are_trusted(hops: int, client: str) -> None:
    assert address({"client": ("127.0.0.1", 5), "headers": FORWARDED}, hops) == client


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("2001:db8:1:2::7", "2001:db8:1:2::"),
        ("2001:db8:1:3::7", "2001:db8:1:3::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("/run/socket", "unknown"),
    ],
)
def test_one_network_of_ipv6_is_one_client(peer: str, client: str) -> None:
    assert address({"client": (peer, 5), "headers": []}, 0) == client


@pytest.mark.parametrize("value", [b"", b"unknown", b"1.2.3.4:80", b"\xff", b"1.2.3.4,", b"me"])
def test_what_is_no_address_is_counted_to_the_peer(value: bytes) -> None:
    scope = {"client": ("10.1.1.1", 5), "headers": [(b"x-forwarded-for", value)]}
    assert address(scope, 1) == "10.1.1.1"
    assert address({**scope, "client": None, "headers": []}, 1) == "unknown"
