"""Whole processes with all that they start: run, watched, measured, ended. Linux alone."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SAMPLE_EVERY_S: Final = 0.5
LEAVE_S: Final = 15.0
"""How long what a program leaves behind may run on: Ray's processes take a second."""
PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True)
class Usage:
    """What a process and all it started took."""

    wall_seconds: float
    cpu_seconds: float
    driver_peak_mb: float


class ProgramError(Exception):
    """A measured program failed or took too long."""


def run_process(command: Sequence[str], *, folder: Path, timeout: float) -> Usage:
    """Run a program to its end with all it starts; raises `ProgramError`."""
    log = folder / "log"
    before = _children_cpu()
    with log.open("wb") as out:
        clock = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = Watch(process.pid, timeout)
        watch.start()
        try:
            code = process.wait()
            wall = time.perf_counter() - clock
        finally:
            watch.end()
            end_descendants(patience=LEAVE_S if process.returncode == 0 else 0)
            process.wait()
    if code != 0:
        why = f"no end after {timeout:g} s" if watch.too_late else f"exit code {code}"
        raise ProgramError(f"{why}: {_tail(log)}")
    cpu = max(_children_cpu() - before, watch.cpu_seconds)
    return Usage(wall_seconds=wall, cpu_seconds=cpu, driver_peak_mb=watch.peak_mb)


class Watch(threading.Thread):
    """Looks at a process and its descendants now and then, and kills it when its time is up."""

    def __init__(self, pid: int, timeout: float) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self.too_late = False
        self._pid = pid
        self._deadline = time.monotonic() + timeout
        self._over = threading.Event()
        self._cpu: dict[tuple[int, str], float] = {}

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all processes seen, less what each took after it was last looked at."""
        return sum(self._cpu.values())

    def run(self) -> None:
        """Look until told to end."""
        while not self._over.wait(SAMPLE_EVERY_S):
            self._look()
            if time.monotonic() > self._deadline:
                self.too_late = True
                _kill(self._pid)
                return

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, _peak_mb(self._pid))
        for stat in descendants(os.getpid()):
            self._cpu[stat.pid, stat.started] = stat.cpu_seconds


@dataclass(frozen=True)
class Stat:
    """A line of /proc/PID/stat."""

    pid: int
    parent: int
    started: str
    cpu_seconds: float


def descendants(root: int) -> list[Stat]:
    """The processes under one, whoever started them."""
    children: dict[int, list[Stat]] = {}
    for stat in _processes():
        children.setdefault(stat.parent, []).append(stat)
    found: list[Stat] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [stat.pid for stat in below]
    return found


def end_descendants(*, patience: float) -> None:
    """Wait for what a program left behind, kill what stays, and take in their usage."""
    deadline = time.monotonic() + patience
    while left := descendants(os.getpid()):
        for stat in left:
            if time.monotonic() > deadline:
                _kill(stat.pid)
            _reap(stat.pid)
        time.sleep(0.05)


def adopt_orphans() -> None:
    """Become the parent of processes whose own has gone: Ray leaves its workers to others."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hear_ctrl_c() -> None:
    """Hear of Ctrl-C, and have what is started hear of it, in the background of a shell too.

    There a process begins with its ears shut, and its children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _processes() -> Iterator[Stat]:
    ticks = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        cpu = (int(fields[11]) + int(fields[12])) / ticks
        yield Stat(int(path.parent.name), int(fields[1]), fields[19], cpu)


def _peak_mb(pid: int) -> float:
    """The most memory a process has held so far; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM:")), 0.0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _environment(folder: Path) -> dict[str, str]:
    """The caller's, less what would send a program elsewhere or have it compile every time."""
    unwanted = ("HEART_", "MLFLOW_TRACKING", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    return kept | {"HEART_HOME": str(folder / "artifacts")}


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return "\n".join(lines[-15:]) or "no output"
