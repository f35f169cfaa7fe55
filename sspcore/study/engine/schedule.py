"""List scheduling of a graph of tasks: when each would run on how many workers, and which tasks should come first.

A free worker takes, of the tasks whose needs are done, the one of the highest priority. The runner does so for real; here
it is worked out for known seconds a task, to estimate the time left and to predict other numbers of workers.

Conventions: a graph is {name: task}; a need that is not in the graph counts as done; seconds are not negative.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sspcore.study.engine.task import Task


class Slot(NamedTuple):
    """Where and when a task runs; seconds from the start of the schedule."""

    worker: int
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """A whole run: one slot a task. Workers are numbered from 0, those with a device after the others."""

    slots: dict[str, Slot]
    workers: int

    @property
    def makespan(self) -> float:
        """Seconds until the last task ends."""
        return max((slot.end for slot in self.slots.values()), default=0.0)

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they work, 0..1; 1 for an empty schedule."""
        work = sum(slot.end - slot.start for slot in self.slots.values())
        return work / (self.workers * self.makespan) if self.makespan else 1.0


def simulate(
    tasks: Mapping[str, Task], seconds: Mapping[str, float], workers: int, priority: Mapping[str, float],
    devices: int | None = None,
) -> Schedule:
    """List scheduling; ties are broken by name.

    Args:
        seconds: how long each task takes.
        workers: how many tasks run at a time.
        priority: the highest goes first.
        devices: further workers, which have a GPU: only they take the tasks with `device`, and no others.
            None: there are none, and all tasks are alike.
    Raises: ValueError if a task waits for itself, or if nothing can run a task.
    """
    followers, waits = _followers(tasks), {name: _waits(task, tasks) for name, task in tasks.items()}
    free = [list(range(workers)), list(range(workers, workers + (devices or 0)))]  # heaps of worker numbers
    ready: list[list[tuple[float, str]]] = [[], []]
    running: list[tuple[float, str, int, int]] = []  # end, name, worker, class
    slots: dict[str, Slot] = {}
    now = 0.0

    def kind(name: str) -> int:
        return int(devices is not None and tasks[name].device)

    for name, count in waits.items():
        if not count:
            heapq.heappush(ready[kind(name)], (-priority[name], name))
    while True:
        for which in (0, 1):
            while ready[which] and free[which]:
                name, worker = heapq.heappop(ready[which])[1], heapq.heappop(free[which])
                slots[name] = Slot(worker, now, now + seconds[name])
                heapq.heappush(running, (slots[name].end, name, worker, which))
        if not running:
            break
        now = running[0][0]
        while running and running[0][0] == now:
            _, name, worker, which = heapq.heappop(running)
            heapq.heappush(free[which], worker)
            for follower in followers[name]:
                waits[follower] -= 1
                if not waits[follower]:
                    heapq.heappush(ready[kind(follower)], (-priority[follower], follower))
    if len(slots) < len(tasks):
        left = min(tasks.keys() - slots.keys())
        raise ValueError(f"task {left} can never run: it waits for itself, or there is no worker for it")
    return Schedule(slots, workers + (devices or 0))


def upward_rank(tasks: Mapping[str, Task], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the longest path from the start of each task to an end of the graph, the task's own included.

    Raises: ValueError if a task waits for itself.
    """
    followers, ranks = _followers(tasks), {}
    for name in reversed(order(tasks)):
        ranks[name] = seconds[name] + max((ranks[follower] for follower in followers[name]), default=0.0)
    return ranks


def critical_path(tasks: Mapping[str, Task], seconds: Mapping[str, float]) -> tuple[list[str], float]:
    """The longest path through the graph, which no number of workers makes shorter, and its length in seconds.

    Of several, the one whose names come first. Raises: ValueError if a task waits for itself.
    """
    ranks, followers, path = upward_rank(tasks, seconds), _followers(tasks), []
    candidates: Iterable[str] = ranks
    while longest := min(candidates, key=lambda name: (-ranks[name], name), default=None):
        path.append(longest)
        candidates = followers[longest]
    return path, max(ranks.values(), default=0.0)


def priorities(
    tasks: Mapping[str, Task], seconds: Mapping[str, float], first: Sequence[Iterable[str]] = (), soon: Collection[str] = (),
) -> dict[str, float]:
    """Priorities for `simulate` and the runner: what early goals need first, then some kinds, all else by upward rank.

    Args:
        first: groups of goals. A group's tasks, and whatever they need, come before those of later groups and before
            the rest; among them the longest path to an end goes first.
        soon: kinds of tasks that come before the rest, such as short ones whose results people wait for.
    Raises: ValueError if a task waits for itself.
    """
    ranks = upward_rank(tasks, seconds)
    step = max(ranks.values(), default=0.0) + 1.0
    result = {name: rank + step * (tasks[name].kind in soon) for name, rank in ranks.items()}
    placed: set[str] = set()
    for position, goals in enumerate(first):
        new = needed_by(tasks, goals) - placed
        placed |= new
        result |= {name: ranks[name] + (len(first) + 1 - position) * step for name in new}
    return result


def needed_by(tasks: Mapping[str, Task], goals: Iterable[str]) -> set[str]:
    """The goals that are in the graph, with all that they need."""
    found, waiting = set(), list(goals)
    while waiting:
        name = waiting.pop()
        if name in tasks and name not in found:
            found.add(name)
            waiting += tasks[name].needs
    return found


def order(tasks: Mapping[str, Task]) -> list[str]:
    """All names, each after its needs. Raises: ValueError if a task waits for itself."""
    followers, waits = _followers(tasks), {name: _waits(task, tasks) for name, task in tasks.items()}
    done = [name for name, count in waits.items() if not count]
    for name in done:  # grows on the way
        for follower in followers[name]:
            waits[follower] -= 1
            if not waits[follower]:
                done.append(follower)
    if len(done) < len(tasks):
        raise ValueError(f"task {min(name for name, count in waits.items() if count)} waits for itself")
    return done


def _waits(task: Task, tasks: Mapping[str, Task]) -> int:
    return sum(need in tasks for need in set(task.needs))


def _followers(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """Name -> the tasks that need it, in the order of their names."""
    followers: dict[str, list[str]] = {name: [] for name in tasks}
    for name in sorted(tasks):
        for need in set(tasks[name].needs):
            if need in followers:
                followers[need].append(name)
    return followers
