"""How much of a run is done and how long the rest will take, from the events of its tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sspcore.study.engine.costs import Costs
from sspcore.study.engine.schedule import simulate
from sspcore.study.engine.task import Task

INTERVAL = 1.0  # seconds between two estimates; more where an estimate takes long
BUSY = 0.05  # share of the time that may go into estimates
LEAST = 1e-3  # seconds that any task has left
TRUST = 0.1  # share of a task at which its own speed counts as much as what was expected of it


@dataclass
class Running:
    """A task at work: when it began and how far it is (`now`), counted from its first report (`first`)."""

    began: float
    total: float = 0.0
    first: tuple[float, float] = (0.0, 0.0)  # clock, share
    now: tuple[float, float] = (0.0, 0.0)


class Estimate:
    """Share and time left of a run.

    Attributes:
        workers, devices: as for `schedule.simulate`.
        all_done: names of tasks that are done.
        spent: seconds of those that did anything.
        running: the tasks at work.
    """

    def __init__(
        self, tasks: Mapping[str, Task], costs: Costs, workers: int, priority: Mapping[str, float],
        devices: int | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tasks, self.costs, self.priority = tasks, costs, priority
        self.workers, self.devices, self.clock = workers, devices, clock
        self.all_done: set[str] = set()
        self.running: dict[str, Running] = {}
        self.spent = 0.0
        self._left = dict(tasks)
        self._last: tuple[float, float, float] | None = None  # when, time left, share
        self._interval = INTERVAL
        self._shown = 0.0  # share

    def resize(self, workers: int, devices: int | None) -> None:
        """There are so many workers from now on."""
        self.workers, self.devices = workers, devices

    def started(self, name: str) -> None:
        """A worker begins with a task, perhaps for the second time."""
        self.running[name] = Running(self.clock())

    def progress(self, name: str, done: float, total: float | None) -> None:
        """A task is so far; it may have several bars, one after the other."""
        run = self.running.setdefault(name, Running(self.clock()))
        if not total:
            return
        at = self.clock(), min(done / total, 1.0)
        if total != run.total or at[1] < run.now[1]:  # another bar
            run.total, run.first = total, at
        run.now = at

    def done(self, name: str, seconds: float, made: bool = True) -> None:
        """A task is done; one that was up to date (not `made`) tells nothing about costs."""
        self.running.pop(name, None)
        self._left.pop(name, None)
        self.all_done.add(name)
        if made:
            self.spent += seconds
            self.costs.observe(self.tasks[name], seconds)

    def withdrawn(self, name: str) -> None:
        """A task waits for a worker again."""
        self.running.pop(name, None)

    def failed(self, name: str) -> None:
        """A task and all that need it will not be done."""
        self.running.pop(name, None)
        lost = [name]
        for each in lost:  # grows on the way
            if self._left.pop(each, None) is not None:
                lost += [other for other, task in self._left.items() if each in task.needs]

    @property
    def seconds_left(self) -> float:
        """Seconds until all is done; not below 0."""
        when, left, _ = self._estimated()
        return max(left - (self.clock() - when), 0.0)

    @property
    def is_known(self) -> bool:
        """Whether anything is known of this machine: a task was measured, now or in an earlier run, or tells how far it is."""
        return bool(self.costs.measured or any(run.now[1] for run in self.running.values())) or not self._left

    @property
    def left_in_words(self) -> str:
        """The time left, for people: "18 min left"."""
        return f"{in_words(self.seconds_left)} left" if self.is_known else "time not known yet"

    @property
    def share(self) -> float:
        """Share of the work that is done, 0..1, by seconds; it never falls, also where costs turn out to be higher.

        0 until `is_known`.
        """
        if self.is_known:
            self._shown = max(self._shown, self._estimated()[2] if self._left else 1.0)
        return self._shown

    def share_of(self, name: str) -> float:
        """Share of a running task that is done, 0..1: as it tells, or by its time."""
        run, now = self.running[name], self.clock()
        gone = now - run.began
        return run.now[1] or gone / (gone + self._remaining(name, now))

    def _estimated(self) -> tuple[float, float, float]:
        now = self.clock()
        if self._last is None or now - self._last[0] >= self._interval or not self._left:
            began = time.perf_counter()
            seconds = {name: self._remaining(name, now) for name in self._left}
            priority = {name: math.inf if name in self.running else self.priority[name] for name in self._left}
            schedule = simulate(self._left, seconds, max(self.workers, 1), priority, self.devices)
            spent, left = self.spent + sum(now - run.began for run in self.running.values()), sum(seconds.values())
            self._last = now, schedule.makespan, spent / (spent + left) if spent else 0.0
            self._interval = max(INTERVAL, (time.perf_counter() - began) / BUSY)
        return self._last

    def _remaining(self, name: str, now: float) -> float:
        expected, run = self.costs.seconds(self.tasks[name]), self.running.get(name)
        if run is None:
            return expected
        (first, start), (at, share) = run.first, run.now
        if start < share < 1:
            whole = (at - first + TRUST * expected) / (share - start + TRUST)
            left = (1 - share) * whole - (now - at)
        else:
            left = expected - (now - run.began)
        return max(abs(left), LEAST)  # a task that is late by a minute is given another


def lasted(seconds: float) -> str:
    """A time that was measured, for people: "45 s", "1.4 min"."""
    return f"{seconds:.0f} s" if seconds < 59.5 else f"{seconds / 60:.1f} min"


def in_words(seconds: float) -> str:
    """A time that is estimated, for people: "45 s", "18 min", "2.6 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
