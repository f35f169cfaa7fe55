"""Small graphs of tasks that do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from sspcore.study.engine.schedule import Schedule
from sspcore.study.engine.task import Task


def task(
    name: str, *needs: str, kind: str = "train", units: float = 1.0, rate: str = "train Base", device: bool = False,
) -> Task:
    """A task of that name, with a title made of it."""
    return Task(name, kind, f"UAVid: task {name}", None, needs, units, rate, device)


@st.composite
def graphs(draw: st.DrawFn, largest: int = 14, shortest: float = 0.0) -> tuple[dict[str, Task], dict[str, float]]:
    """A graph of at least one task, each with some of the earlier ones as needs, and seconds for every task."""
    count = draw(st.integers(1, largest))
    # names in another order than the graph's, so that ties by name are no help
    names = draw(st.permutations([f"t{number:02d}" for number in range(count)]))
    tasks = {}
    for position, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:position]), max_size=3, unique=True)) if position else []
        tasks[name] = task(name, *needs)
    return tasks, {name: draw(st.floats(shortest, 20)) for name in names}


class Clock:
    """A clock that stands still until `now` is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def replay(events: Any, schedule: Schedule, clock: Clock, reports: bool = True) -> Iterator[str]:
    """Send a schedule's events to an Estimate or a Display and stop after each at its task; `reports`: progress too."""
    moments = []
    for name, slot in schedule.slots.items():
        moments += [(slot.start, 2, name), (slot.end, 1 if slot.end > slot.start else 3, name)]
        if reports and slot.end > slot.start:
            moments += [(slot.start + (slot.end - slot.start) * tenth / 10, 2.5, name) for tenth in range(1, 10)]
    for clock.now, what, name in sorted(moments):
        if what == 2:
            events.started(name)
        elif what == 2.5:
            events.progress(name, round(10 * (clock.now - schedule.slots[name].start) / _length(schedule, name)), 10)
        else:
            events.done(name, _length(schedule, name))
        yield name


def _length(schedule: Schedule, name: str) -> float:
    return schedule.slots[name].end - schedule.slots[name].start
