"""API keys: how they are made, written down and recognised, and when the service needs some."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from heart.errors import ForbiddenError, UnauthorizedError, UsageError
from heart.settings import Settings
from serve_app import deployment
from serve_app.deployment import build
from serve_app.security import ApiKey, Keyring, Reach, new_key, parse_keys

WARD, WARD_ENTRY = new_key("ward", [Reach.PREDICT])
NEXT, NEXT_ENTRY = new_key("ward", [Reach.PREDICT])
BOTH, BOTH_ENTRY = new_key("clinic", [Reach.PREDICT, Reach.ADMIN])
KEYS = parse_keys(f"{WARD_ENTRY}, {NEXT_ENTRY},{BOTH_ENTRY},")
DIGEST = "0" * 64


def find(authorization: str, *others: str) -> ApiKey:
    values = [authorization, *others]
    return KEYS.find([(b"host", b"a"), *((b"authorization", v.encode("latin-1")) for v in values)])


@pytest.mark.parametrize("key", [WARD, NEXT])
def test_old_and_new_key_are_both_the_client_s(key: str) -> None:
    assert find(f"Bearer {key}").name == "ward"
    assert find(f"bEARER  {key}").scopes == {Reach.PREDICT}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {WARD}",
        WARD,
        f"Bearer {WARD[:-1]}",
        f"Bearer {WARD}x",
        f"Bearer {WARD} ",
        f"Bearer {WARD},{NEXT}",
        f"Bearer {WARD}\n",
        f"Bearer {WARD_ENTRY.split(':')[2]}",
        "Bearer " + "a" * 10_000,
        "Bearer \xff\xfe",
    ],
)
def test_anything_else_is_unknown_and_never_shown(given: str) -> None:
    with pytest.raises(UnauthorizedError) as error:
        find(given)
    assert WARD[-10:] not in error.value.message
    assert len(error.value.message) < 80


def test_two_keys_at_once_are_none() -> None:
    with pytest.raises(UnauthorizedError, match="once"):
        find(f"Bearer {WARD}", f"Bearer {WARD}")
    with pytest.raises(UnauthorizedError, match="an API key is needed"):
        KEYS.find([(b"host", b"a")])


def test_scopes() -> None:
    predict, both = find(f"Bearer {WARD}"), find(f"Bearer {BOTH}")
    predict.require(Reach.PREDICT)
    both.require(Reach.ADMIN)
    ApiKey("root", frozenset({Reach.ADMIN}), b"").require(Reach.PREDICT)
    with pytest.raises(ForbiddenError, match="scope admin"):
        predict.require(Reach.ADMIN)


def test_without_keys_none_is_asked_for() -> None:
    assert not parse_keys("")
    assert not Keyring()
    assert KEYS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ward", "key 1 must be name:scopes:sha256"),
        (f"{WARD_ENTRY},ward:predict", "key 2 must be"),
        (f"ward:predict:{DIGEST}:x", "key 1 must be"),
        (f":predict:{DIGEST}", "key 1 must be"),
        (f"a ward:predict:{DIGEST}", "key 1 must be"),
        (f"ward:predict:{DIGEST[1:]}", "key 1 must be"),
        (f"ward:predict:{WARD}", "key 1 must be"),
        (f"ward::{DIGEST}", "the scopes of ward must be admin and predict, joined by +"),
        (f"ward:predict+root:{DIGEST}", "the scopes of ward must be"),
        (f"{WARD_ENTRY},{WARD_ENTRY}", "each key must be there once"),
    ],
)
def test_a_wrong_setting_is_told_without_what_it_holds(text: str, what: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_keys(text)
    assert error.value.message.startswith(f"HEART_API_KEYS: {what}")
    assert DIGEST[1:] not in error.value.message
    assert WARD not in error.value.message


def test_a_hash_is_not_shown_by_accident() -> None:
    key = find(f"Bearer {WARD}")
    assert key.digest == hashlib.sha256(WARD.encode()).digest()
    assert repr(key.digest) not in repr(key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "heart.example", ""])
def test_no_service_without_keys_where_others_reach_it(host: str) -> None:
    with pytest.raises(UsageError, match="HEART_ALLOW_OPEN=1"):
        build(Settings(host=host))
    with pytest.raises(UsageError, match="HEART_ALLOW_OPEN=1"):
        build(Settings(host=host, api_keys=" , "))
    assert build(Settings(host=host, api_keys=WARD_ENTRY))
    assert build(Settings(host=host, allow_open=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_may_be_open(host: str) -> None:
    assert build(Settings(host=host))
    with pytest.raises(UsageError, match="HEART_API_KEYS"):
        build(Settings(host=host, api_keys="ward"))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serve_app.security", *words],
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_command_makes_a_key_and_its_entry() -> None:
    done = command("new", "clinic", "--scopes", "predict", "admin")
    words = [line.split() for line in done.stdout.splitlines()]
    (_, key), (_, entry) = words
    assert [word for word, _ in words] == ["key", "entry"]
    found = parse_keys(entry).find([(b"authorization", f"Bearer {key}".encode())])
    assert (found.name, found.scopes) == ("clinic", {Reach.PREDICT, Reach.ADMIN})
    assert key not in entry
    assert done.returncode == 0


def test_the_command_refuses_a_name_that_the_setting_would_not_take() -> None:
    done = command("new", "two words")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: NAME must be of letters")


def test_keys_are_long_and_all_different() -> None:
    keys = {new_key("ward", [Reach.PREDICT])[0] for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {len("heart_") + 43}


def test_a_replica_looks_where_serve_listens(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployment.listening_on() == "127.0.0.1"
    monkeypatch.setattr(deployment, "listening_on", lambda: "0.0.0.0")
    with pytest.raises(UsageError, match=r"to listen on 0\.0\.0\.0"):
        deployment.Heart(Settings())
