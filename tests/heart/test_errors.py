"""Errors travel between processes whole, and a command tells one on one line."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from heart import errors
from heart.errors import BundleError, DownloadError, HeartError, UsageError, run_main


def family(kind: type[HeartError]) -> Iterator[type[HeartError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


KINDS = [kind for kind in family(HeartError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", [None, "thal"])
def test_an_error_survives_pickle(kind: type[HeartError], field: str | None) -> None:
    copy = pickle.loads(pickle.dumps(kind("thal must be 3", field=field)))
    assert type(copy) is kind
    assert (copy.message, copy.field, str(copy)) == ("thal must be 3", field, "thal must be 3")


def test_each_class_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(KINDS) > 10
    assert len(set(codes)) == len(codes)


def test_what_a_caller_did_is_a_4xx_and_what_we_lack_a_5xx() -> None:
    assert {kind.status for kind in KINDS} <= set(HTTPStatus)
    statuses = {kind.code: int(kind.status) for kind in KINDS}
    assert {code for code, status in statuses.items() if 400 <= status < 500} == {
        "invalid_value",
        "missing_attribute",
        "unknown_attribute",
        "malformed_body",
        "media_type",
        "body_too_large",
        "unauthorized",
        "forbidden",
        "rate_limited",
        "body_timeout",
        "usage",
        "registry",
        "promotion",
    }
    assert all(status in (500, 503) for status in statuses.values() if status >= 500)


def test_a_command_without_errors_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [run_main(lambda: 0), run_main(lambda: 130)] == [0, 130]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [UsageError("--folds must be 2"), DownloadError("no\nanswer")])
def test_an_error_is_one_line_and_exit_code_2(
    error: HeartError, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise error

    assert run_main(main) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {' '.join(error.message.split())}\n"
    assert captured.out == ""


def test_the_systems_error_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "absent"
    assert run_main(lambda: len(path.read_bytes())) == 2
    assert capsys.readouterr().err == f"error: {path}: No such file or directory\n"


def test_the_systems_error_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise OSError(28, "No space left on device")

    assert run_main(main) == 2
    assert capsys.readouterr().err == "error: system: No space left on device\n"


def test_a_fault_of_the_code_is_not_hidden() -> None:
    def main() -> int:
        raise KeyError("thal")

    with pytest.raises(KeyError):
        run_main(main)


def test_an_error_is_caught_by_its_class_and_by_the_tree() -> None:
    assert issubclass(DownloadError, errors.DataError)
    with pytest.raises(HeartError):
        raise BundleError("damaged")
