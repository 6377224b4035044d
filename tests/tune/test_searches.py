"""A search on the disk that is taken up again: by one process, and as it was."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from records import plan_of, scored

from heart.errors import UsageError
from heart.settings import Settings
from tune import search
from tune.journal import Journal
from tune.options import Options
from tune.searches import Search, header_of, resumed

NAME = "20260101-000000-abcd"


@pytest.fixture
def cut_off(settings: Settings) -> Search:
    """A search of which one trial has ended."""
    made = Search(plan_of(), settings, NAME)
    made.journal.begin(header_of(made))
    made.journal.append(scored(made.plan.candidates[0], [0.8, 0.9, 0.85]))
    return made


def content(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_it_is_taken_up_with_its_options_and_trials(cut_off: Search) -> None:
    again = resumed(Options(resume=NAME, time_budget=9.5), cut_off.settings)
    given = cut_off.plan.options.model_copy(update={"time_budget": 9.5})
    assert again.plan.options == given
    assert [record.candidate for record in again.records] == [cut_off.plan.candidates[0]]


def test_a_second_process_is_refused_and_writes_nothing(cut_off: Search) -> None:
    settings = cut_off.settings
    before = content(settings.home)
    with cut_off.journal.path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=f"another process is running search {NAME}"):
            search.run(Options(resume=NAME), settings)
    assert content(settings.home) == before


@pytest.mark.parametrize("begun", [True, False], ids=["resumed", "new"])
def test_a_search_is_kept_to_its_process_from_its_first_trial_to_its_end(
    cut_off: Search, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """``_fit_and_conclude`` is all that comes after the journal is there."""
    refused: list[str] = []

    def second(running: Search, *_: object) -> None:
        with pytest.raises(UsageError, match="another process is running"), running.journal.alone():
            pass
        refused.append(running.name)

    monkeypatch.setattr(search, "_run", lambda s: search._search(s, None, 1))  # type: ignore[arg-type]
    monkeypatch.setattr(search, "_fit_and_conclude", second)
    options = Options(resume=NAME) if begun else Options()
    search.run(options, cut_off.settings, plan=cut_off.plan)
    assert len(refused) == 1
    assert (refused == [NAME]) == begun
    with Journal(cut_off.settings.searches / refused[0]).alone():
        pass


@pytest.mark.parametrize("what", ["data_sha256", "code_sha256", "space_sha256"])
def test_a_search_of_other_data_or_code_is_refused(cut_off: Search, what: str) -> None:
    header, _ = cut_off.journal.read()
    other = header.model_copy(update={what: "0" * 64})
    cut_off.journal.path.write_text(f"{other.model_dump_json()}\n")
    before = content(cut_off.settings.home)
    told = f"--resume: search {NAME} had {what} {'0' * 64}, which is {getattr(header, what)} now"
    with pytest.raises(UsageError, match=told):
        search.run(Options(resume=NAME), cut_off.settings)
    assert content(cut_off.settings.home) == before
