"""Running a graph of tasks in the test's own process, in place of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sspcore.core.errors import SspError
from sspcore.study import Study
from sspcore.study.engine.run import Outcome
from sspcore.study.engine.schedule import order
from sspcore.study.engine.task import Task
from sspcore.study.engine.work import perform


def run_in_process(
    client: None, study: Study, tasks: Mapping[str, Task], first: Sequence[Iterable[str]] = (),
    after: Callable[[Task], str | None] = lambda task: None, known: Iterable[tuple[str, float, float]] = (),
    outcome: Outcome | None = None,
) -> Outcome:
    """As `run_tasks`, without workers."""
    outcome = outcome or Outcome([], {}, set())
    for name in order(tasks):
        if {*tasks[name].needs} & {*outcome.failures, *outcome.left_out}:
            outcome.left_out.add(name)
            continue
        try:
            outcome.records.append(perform(tasks[name]))
            after(tasks[name])
        except SspError as error:
            outcome.failures[name] = str(error)
    return outcome


@contextmanager
def no_cluster(study: Study, workers: int | None, scheduler: str | None) -> Iterator[None]:
    """As `cluster`, without workers."""
    yield None


def without_cluster(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Let a module that runs graphs do so in the test's own process."""
    monkeypatch.setattr(module, "cluster", no_cluster)
    monkeypatch.setattr(module, "run_tasks", run_in_process)
