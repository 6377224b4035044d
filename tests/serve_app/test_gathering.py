"""Who asks at the same moment is judged together, and no answer shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from heart.attributes import ATTRIBUTES
from heart.bundle import DEPENDENT, Bundle
from serve_app import gathering
from serve_app.answers import Verdict
from serve_app.gathering import Gathering
from serve_app.judging import judge

PATIENTS = [
    [float(age if attribute.name == "age" else attribute.example) for attribute in ATTRIBUTES]
    for age in range(30, 80)
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Version and number of patients of each call of a graph."""
    made: list[tuple[str, int]] = []

    def count(bundle: Bundle, patients: Sequence[Sequence[float]]) -> list[Verdict]:
        made.append((bundle.version, len(patients)))
        return judge(bundle, patients)

    monkeypatch.setattr(gathering, "judge", count)
    return made


def copy(bundle: Bundle, *, version: str, family: str | None = None) -> Bundle:
    """The same under another name, without reading it again."""
    other = object.__new__(Bundle)
    other.__dict__.update(bundle.__dict__, version=version)
    if family is not None:
        recipe = bundle.metadata.recipe.model_copy(update={"family": family})
        other.metadata = bundle.metadata.model_copy(update={"recipe": recipe})
    return other


async def ask(bundles: Sequence[Bundle]) -> list[Any]:
    """All patients at the same moment, each of the next bundle in turn."""
    one = Gathering()
    asked = [one.judge(bundles[i % len(bundles)], row) for i, row in enumerate(PATIENTS)]
    return await asyncio.gather(*asked, return_exceptions=True)


def test_one_call_judges_all_as_it_would_each(bundle: Bundle, calls: list[Any]) -> None:
    verdicts = asyncio.run(ask([bundle]))
    assert calls == [(bundle.version, len(PATIENTS))]
    assert verdicts == [judge(bundle, [row])[0] for row in PATIENTS]
    assert len({verdict["probability"] for verdict in verdicts}) > 1


def test_rounds_are_apart(bundle: Bundle, calls: list[Any]) -> None:
    async def twice() -> None:
        one = Gathering()
        await asyncio.gather(*(one.judge(bundle, row) for row in PATIENTS[:3]))
        await one.judge(bundle, PATIENTS[3])

    asyncio.run(twice())
    assert [number for _, number in calls] == [3, 1]


def test_each_model_judges_its_own(bundle: Bundle, calls: list[Any]) -> None:
    asyncio.run(ask([bundle, copy(bundle, version="other")]))
    assert {version for version, _ in calls} == {bundle.version, "other"}
    assert sum(number for _, number in calls) == len(PATIENTS)


def test_a_family_whose_rows_depend_on_each_other(bundle: Bundle, calls: list[Any]) -> None:
    alone = copy(bundle, version="alone", family=DEPENDENT)
    asyncio.run(ask([alone]))
    assert calls == [("alone", 1)] * len(PATIENTS)


def test_a_graph_that_fails(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each who asked is told, and those who ask later are judged."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    async def then() -> Any:
        one = Gathering()
        with monkeypatch.context() as patched:
            patched.setattr(gathering, "judge", fail)
            asked = (one.judge(bundle, row) for row in PATIENTS)
            failed = await asyncio.gather(*asked, return_exceptions=True)
        return failed, await one.judge(bundle, PATIENTS[0])

    failed, verdict = asyncio.run(then())
    assert [type(error) for error in failed] == [ZeroDivisionError] * len(PATIENTS)
    assert verdict == judge(bundle, PATIENTS[:1])[0]


def test_who_gives_up_takes_nobody_along(bundle: Bundle) -> None:
    async def leave() -> tuple[Any, ...]:
        one = Gathering()
        tasks = [asyncio.create_task(one.judge(bundle, row)) for row in PATIENTS[:3]]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return tuple(await asyncio.gather(*tasks, return_exceptions=True))

    first, gone, last = asyncio.run(leave())
    assert isinstance(gone, asyncio.CancelledError)
    assert [first, last] == [judge(bundle, [PATIENTS[i]])[0] for i in (0, 2)]
