"""Small graphs of tasks that do nothing."""

from __future__ import annotations

from hypothesis import strategies as st

from sspcore.study.engine.task import Task


def task(
    name: str, *needs: str, kind: str = "train", units: float = 1.0, rate: str = "train Base", device: bool = False,
) -> Task:
    """A task of that name, with a title made of it."""
    return Task(name, kind, f"UAVid: task {name}", None, needs, units, rate, device)


@st.composite
def graphs(draw: st.DrawFn, largest: int = 14) -> tuple[dict[str, Task], dict[str, float]]:
    """A graph of at least one task, each with some of the earlier ones as needs, and seconds for every task."""
    count = draw(st.integers(1, largest))
    # names in another order than the graph's, so that ties by name are no help
    names = draw(st.permutations([f"t{number:02d}" for number in range(count)]))
    tasks = {}
    for position, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:position]), max_size=3, unique=True)) if position else []
        tasks[name] = task(name, *needs)
    return tasks, {name: draw(st.floats(0, 20)) for name in names}
