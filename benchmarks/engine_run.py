"""Runs of the study in folders of their own, watched from outside: memory and CPU time of all processes, rows, kills."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import common

TABLES = ("results.json", "results.md", "results.csv", "results.tex")
STILL_AT_WORK = "still at work"  # what a run says that waited in vain for the processes of a killed one
SAMPLED = 1.0  # seconds between two looks at the processes
Poll = Callable[["Run"], Any]


@dataclass
class Run:
    """A run of `./reproduce.sh` in a clone, with a data folder of its own.

    Attributes:
        peak_bytes: largest size of all its processes together at one moment; what they share counts once.
        rows: "data set: system" -> seconds after which it was in the results table.
    """

    process: psutil.Popen
    home: Path
    profile: str
    log: Path
    began: float = field(default_factory=time.monotonic)
    peak_bytes: int = 0
    rows: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def tree(self) -> list[psutil.Process]:
        """Its processes that are alive; the first is the one that was started."""
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def tables(self) -> dict[str, str]:
        """The tables without the minutes that the run took, and what its tasks took."""
        folder = self.home / self.profile / "figures" / "tables"
        found = {name: (folder / name).read_text(encoding="utf-8") for name in TABLES}
        results = json.loads(found["results.json"])
        results["provenance"].pop("minutes", None)
        return found | {"results.json": json.dumps(results, indent=1)}

    def tasks(self) -> list[dict[str, Any]]:
        """What the run noted of its tasks."""
        noted = json.loads((self.home / self.profile / "engine.json").read_text(encoding="utf-8"))
        return noted["tasks"] if isinstance(noted, dict) else noted

    def _sample(self) -> None:
        size = 0
        for process in self.tree():
            try:
                size += _size(process)
            except (OSError, psutil.Error):  # it has just ended
                continue
        self.peak_bytes = max(self.peak_bytes, size)
        try:
            results = json.loads((self.home / self.profile / "figures" / "tables" / "results.json").read_bytes())
        except (OSError, ValueError):
            return
        for row in results["rows"]:
            self.rows.setdefault(f"{row['dataset']}: {row['system']}", round(self.age, 1))


def clone(target: Path) -> Path:
    """A fresh clone of what is committed here."""
    subprocess.run(["git", "clone", "-q", str(common.REPOSITORY), str(target)], check=True)
    return target


def commit(repository: Path) -> str:
    """The commit that is checked out."""
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True).stdout


def start(repository: Path, home: Path, profile: str, *options: str) -> Run:
    """Start a run in a process group of its own, in the environment that is active here; its output goes to `home`.log."""
    home.mkdir(parents=True, exist_ok=True)
    log = home.with_suffix(".log")
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSPCORE_")}
    environment |= {"VIRTUAL_ENV": sys.prefix, "PYTHONPATH": "", "SSPCORE_HOME": str(home)}
    with log.open("wb") as file:
        process = psutil.Popen(
            ["bash", "./reproduce.sh", "--profile", profile, *options], cwd=repository, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )
    return Run(process, home, profile, log)


def watch(run: Run, poll: Poll | None = None, interval: float = 0.1) -> int:
    """Follow a run to its end; returns its status. `poll` is called every `interval` seconds and may kill processes."""
    before, sampled = _children_cpu(), 0.0
    while run.process.poll() is None:
        if run.age - sampled >= SAMPLED:
            sampled = run.age
            run._sample()
        if poll is not None:
            poll(run)
        time.sleep(interval)
    run.seconds, run.cpu_seconds = run.age, _children_cpu() - before
    return run.process.returncode


def finish(
    repository: Path, home: Path, profile: str, *options: str, poll: Poll | None = None, interval: float = 0.1,
) -> Run:
    """Run to the end. A start that waited in vain for a killed run's processes is repeated, as it says.

    Raises: RuntimeError with the end of the log if the run fails.
    """
    while True:
        run = start(repository, home, profile, *options)
        if watch(run, poll, interval) == 0:
            return run
        text = run.log.read_text(errors="replace")
        if STILL_AT_WORK not in text:
            raise RuntimeError(f"the run ended with status {run.process.returncode}: {text[-3000:]}")


def kill(process: psutil.Process) -> None:
    """SIGKILL to one process; it may have ended already."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def remove(folders: Sequence[Path]) -> None:
    """Delete finished runs."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _size(process: psutil.Process) -> int:
    """Bytes of memory: the process's share of what it shares with others, where the system tells it (Linux)."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, PermissionError):
        return process.memory_info().rss
    return next(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _children_cpu() -> float:
    """CPU seconds of all processes that were started from here and waited for, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
