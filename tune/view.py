"""What a user sees while a search runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune.journal import TrialRecord

LINE_EVERY_S: Final = 5.0
REFRESH_PER_S: Final = 4


class View:
    """Done and total, the best so far, by family, the time left, the trials under way."""

    def __init__(self, *, total: int, cores: int, known: Sequence[TrialRecord]) -> None:
        self._console = Console(stderr=True)
        self._total, self._cores = total, cores
        self._known, self._running, self._over = len(known), 0, False
        self._records: list[TrialRecord] = list(known)
        self._started = self._told = time.monotonic()
        self._live: Live | None = None
        self._said: set[str] = set()

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(
                self._render(), console=self._console, refresh_per_second=REFRESH_PER_S
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        if self._live is not None:
            self._live.update(self._render())
            self._live.stop()
        elif self._records:
            self.say(self._line())

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def say_once(self, text: str) -> None:
        """A line of its own, unless it was told before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def add(self, record: TrialRecord) -> None:
        """Count a trial that ended."""
        self._records.append(record)

    def tick(self, running: int) -> None:
        """Show the time passing, and how many trials are under way."""
        self._running = running
        if self._live is not None:
            self._live.update(self._render())
        elif time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            self.say(self._line())

    def _line(self) -> str:
        best = self._best()
        told = f", best ROC-AUC {best.mean:.4f} {best.family}" if best else ""
        running = "" if self._over else f", {self._running} running on {self._cores} cores"
        return f"{self._done}/{self._total} trials{told}, {self._left()}{running}"

    @property
    def _done(self) -> int:
        return len(self._records)

    def _best(self, family: str | None = None) -> TrialRecord | None:
        finished = [
            r for r in self._records if r.status == "finished" and family in (None, r.family)
        ]
        return max(finished, key=lambda r: r.mean, default=None)

    def _left(self) -> str:
        passed = time.monotonic() - self._started
        new = self._done - self._known
        if self._total == self._known:
            return "nothing left to do"
        if not new and not self._running:
            return "workers are starting"
        if not new or self._over:
            return f"{passed:.0f} s"
        seconds = passed / new * (self._total - self._done)
        return f"{passed:.0f} s, about {seconds:.0f} s left"

    def _render(self) -> RenderableType:
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=60)
        return Group(Text(self._line()), bar, self._families())

    def _families(self) -> Table:
        table = Table("family", "done", "stopped", "failed", "best ROC-AUC", box=None)
        states = Counter((record.family, record.status) for record in self._records)
        for family in dict.fromkeys(record.family for record in self._records):
            best = self._best(family)
            table.add_row(
                family,
                *(str(states[family, status]) for status in ("finished", "stopped", "failed")),
                f"{best.mean:.4f}" if best else "",
            )
        return table
