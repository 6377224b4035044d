"""The options of `bench_search.py`, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench_figures import PROGRAMS
from bench_workloads import REFERENCE_CANDIDATES, Workload

from heart.errors import UsageError


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    p = argparse.ArgumentParser(
        prog="bench_search.py",
        description="Time the search against GridSearchCV, Optuna and plain Ray Tune.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        "--sizes", default="reference,100,300,1000", help="reference, or numbers of candidates"
    )
    p.add_argument("--rows", default="1000,10000,100000", help="rows of resampled tables")
    p.add_argument("--rivals", default=",".join(PROGRAMS), help="programs to measure")
    p.add_argument("--seeds", type=int, default=5, help="seeds to compare early stopping with")
    p.add_argument("--seed-candidates", type=int, default=60, help="candidates of each seed")
    p.add_argument("--row-candidates", type=int, default=30, help="candidates on a resampled table")
    p.add_argument("--seed", type=int, default=42, help="candidates, folds, estimators; the first")
    p.add_argument("--runs", type=int, default=1, help="of each program; medians are reported")
    p.add_argument("--timeout", type=float, default=7200.0, help="seconds for one program")
    p.add_argument("--no-warm-up", action="store_true", help="all programs have run here before")
    p.add_argument("--out", type=Path, default=Path("artifacts/bench_search.json"))
    return p


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def numbers_of(option: str, text: str) -> list[int]:
    """Numbers with commas between them; raises `UsageError`."""
    words = _words(text)
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise UsageError(f'{option} takes numbers from 1, got "{word}"', field=option)
    return [int(word) for word in words]


def programs_of(text: str) -> list[str]:
    """Names of programs with commas between them; raises `UsageError`."""
    words = _words(text)
    for word in words:
        if word not in PROGRAMS:
            raise UsageError(f'--rivals takes {", ".join(PROGRAMS)}, got "{word}"', field="rivals")
    return words


def sizes_of(text: str, seed: int) -> list[Workload]:
    """The workloads of ``--sizes``; raises `UsageError`."""
    words = _words(text)
    numbers = iter(numbers_of("--sizes", ",".join(word for word in words if word != "reference")))
    return [
        Workload("reference", "reference", REFERENCE_CANDIDATES, seed)
        if word == "reference"
        else Workload(f"{word} candidates", "default", next(numbers), seed)
        for word in words
    ]
