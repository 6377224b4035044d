"""The command line of the search."""

from __future__ import annotations

import pytest

from heart.errors import UsageError
from tune.options import ALGORITHMS, SCHEDULERS, SELECTIONS, Options, parser, read_options
from tune.searches import OVERRIDDEN_ON_RESUME

CONTRACT = {
    "--cohort": ("cleveland", "cohort", "cleveland"),
    "--space": ("wide", "space", "wide"),
    "--num-samples": ("7", "num_samples", 7),
    "--algorithm": ("optuna", "algorithm", "optuna"),
    "--scheduler": ("none", "scheduler", "none"),
    "--select": ("one-se", "select", "one-se"),
    "--folds": ("4", "folds", 4),
    "--repeats": ("2", "repeats", 2),
    "--seed": ("1", "seed", 1),
    "--split-seed": ("3", "split_seed", 3),
    "--test-size": ("0.3", "test_size", 0.3),
    "--time-budget": ("9.5", "time_budget", 9.5),
    "--max-concurrent": ("2", "max_concurrent", 2),
    "--address": ("auto", "address", "auto"),
    "--resume": ("20260101-000000-abcd", "resume", "20260101-000000-abcd"),
}
SWITCHES = {"--quick", "--no-register", "--json", "--help", "-h"}
SETTINGS = {"--tracking-uri": "tracking_uri", "--experiment": "experiment"}


def test_the_options_are_those_of_the_contract() -> None:
    known = {option for action in parser()._actions for option in action.option_strings}
    assert known == set(CONTRACT) | SWITCHES | set(SETTINGS)


def test_the_defaults_are_those_of_the_contract() -> None:
    options, settings = read_options([])
    assert options == Options(
        cohort=None,
        space="default",
        num_samples=60,
        algorithm=None,
        scheduler=None,
        select="best",
        folds=5,
        repeats=1,
        seed=42,
        split_seed=42,
        test_size=0.2,
        time_budget=None,
        max_concurrent=None,
        address="local",
        register_model=True,
        resume=None,
        json_output=False,
    )
    assert settings == {}


@pytest.mark.parametrize("option", CONTRACT)
def test_each_option_is_taken(option: str) -> None:
    text, name, value = CONTRACT[option]
    options, _ = read_options([option, text])
    assert options == Options().model_copy(update={name: value})


@pytest.mark.parametrize("option", SETTINGS)
def test_an_option_overrides_a_setting(option: str) -> None:
    assert read_options([option, "there"]) == (Options(), {SETTINGS[option]: "there"})


def test_quick_is_three_folds_and_eight_candidates() -> None:
    assert read_options(["--quick"])[0] == Options(folds=3, num_samples=8)


def test_quick_leaves_what_is_given_beside_it() -> None:
    assert read_options(["--quick", "--folds", "5"])[0] == Options(folds=5, num_samples=8)
    assert read_options(["--num-samples", "60", "--quick"])[0] == Options(folds=3)


def test_no_register_and_json() -> None:
    options, _ = read_options(["--no-register", "--json"])
    assert options == Options(register_model=False, json_output=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["extra"],
        ["--num", "3"],
        ["--cohort", "switzerland"],
        ["--algorithm", "hyperband"],
        ["--scheduler", "pbt"],
        ["--select", "worst"],
        ["--num-samples", "many"],
        ["--folds", "2.5"],
        ["--time-budget", "1h"],
        ["--test-size"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_lacks_ends_it_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        read_options(arguments)
    assert ending.value.code == 2
    told = capsys.readouterr().err
    assert all(word in told for word in arguments)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--num-samples", "0", "0"),
        ("--num-samples", "-3", "-3"),
        ("--repeats", "0", "0"),
        ("--max-concurrent", "0", "0"),
        ("--time-budget", "0", "0"),
        ("--time-budget", "-1.5", "-1.5"),
        ("--time-budget", "nan", "nan"),
        ("--time-budget", "inf", "inf"),
        ("--test-size", "0", "0"),
        ("--test-size", "1", "1"),
        ("--test-size", "nan", "nan"),
        ("--seed", "-1", "-1"),
        ("--seed", str(2**32), str(2**32)),
        ("--split-seed", "-1", "-1"),
        ("--split-seed", str(2**32), str(2**32)),
    ],
)
def test_a_wrong_number_is_told_with_its_option(option: str, value: str, told: str) -> None:
    with pytest.raises(UsageError, match=rf"^{option} must .* got {told}$"):
        read_options([f"{option}={value}"])


def test_every_repeat_has_a_seed() -> None:
    last = str(2**32 - 1)
    assert read_options(["--seed", last])[0].seed == 2**32 - 1
    with pytest.raises(UsageError, match="--seed must be from 0 to"):
        read_options(["--seed", last, "--repeats", "2"])


@pytest.mark.parametrize(
    "option", sorted({*CONTRACT} - {"--resume", "--time-budget", "--max-concurrent", "--address"})
)
def test_resume_refuses_what_it_would_ignore(option: str) -> None:
    with pytest.raises(UsageError, match=rf"--resume .* it takes only .*, got {option}$"):
        read_options(["--resume", "a-search", option, CONTRACT[option][0]])


def test_resume_refuses_what_is_the_default() -> None:
    told = r"got --no-register, --num-samples, --quick$"
    with pytest.raises(UsageError, match=told):
        read_options(["--quick", "--resume", "a-search", "--no-register", "--num-samples=60"])


def test_resume_takes_what_does_not_change_a_score() -> None:
    arguments = "--resume a-search --time-budget 9 --max-concurrent 1 --address auto --json"
    options, settings = read_options([*arguments.split(), "--experiment", "mine"])
    assert options.model_dump(include=set(OVERRIDDEN_ON_RESUME)) == {
        "time_budget": 9,
        "max_concurrent": 1,
        "address": "auto",
        "json_output": True,
    }
    assert settings == {"experiment": "mine"}


@pytest.mark.parametrize("algorithm", [[], ["--algorithm", "grid"]], ids=["implied", "asked for"])
def test_a_grid_has_the_candidates_it_has(algorithm: list[str]) -> None:
    arguments = ["--space", "reference", *algorithm, "--num-samples"]
    with pytest.raises(UsageError, match=r"--num-samples must be 31, .* got 60;"):
        read_options([*arguments, "60"])
    assert read_options([*arguments, "31"])[0].num_samples == 31


def test_some_of_a_grid_can_be_drawn() -> None:
    options, _ = read_options(
        ["--space", "reference", "--algorithm", "random", "--num-samples", "5"]
    )
    assert options.num_samples == 5


def test_quick_can_walk_a_grid() -> None:
    assert read_options(["--quick", "--space", "reference"])[0].folds == 3


def test_help_names_each_choice() -> None:
    told = parser().format_help()
    for choice in (*ALGORITHMS, *SCHEDULERS, *SELECTIONS, "reference-pooled", "wide"):
        assert choice in told
