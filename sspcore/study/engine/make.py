"""Goals of a study, made on all cores: what `sspcore reproduce` and notebooks opened by hand call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from distributed import Client

from sspcore.core.lock import exclusive
from sspcore.models.systems import SYSTEMS, system
from sspcore.study.engine.cluster import connected, default_workers, local_cluster
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.display import open_display
from sspcore.study.engine.estimate import Estimate, in_words
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.run import Outcome, Run
from sspcore.study.engine.schedule import order, priorities, simulate
from sspcore.study.engine.task import Task
from sspcore.study.engine.work import perform
from sspcore.study.engine.workers import workers_of
from sspcore.study.stages import Study

log = logging.getLogger(__name__)

SHORT = 8.0  # expected seconds below which no cluster is started
SOON = ("predict", "seal", "score")  # a trained system's row is short work: it does not wait for other trainings
SEVERAL = {"train all": "train", "evaluate all": "evaluate"}
WORTH_SAYING = 60.0  # seconds of work that are announced before they begin


@contextmanager
def cluster(study: Study, workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """A local cluster of `workers`, or the one at `scheduler`."""
    if scheduler is not None:
        with connected(scheduler) as client:
            yield client
    else:
        with local_cluster(workers, shared_gpus=study.profile.machine.processes != 1) as client:
            yield client


def run_tasks(
    client: Client, study: Study, tasks: Mapping[str, Task], first: Sequence[Iterable[str]] = (),
    after: Callable[[Task], str | None] = lambda task: None, known: Iterable[tuple[str, float, float]] = (),
    outcome: Outcome | None = None,
) -> Outcome:
    """Run a graph and show how it goes.

    Args:
        first: groups of tasks that are wanted early.
        known: (rate, units, seconds) of tasks that were measured before.
        outcome: see `Run`.
    """
    costs = Costs.load(known)
    seconds = {name: costs.seconds(task) for name, task in tasks.items()}
    priority = priorities(tasks, seconds, [group for group in map(tuple, first) if group], SOON)
    count = len(workers_of(client))
    display = open_display(Estimate(tasks, costs, max(1, count), priority))
    try:
        return Run(client, study.workspace.base, tasks, priority, display, after, outcome)()
    finally:
        display.close()


def make(study: Study, goal: tuple[Any, ...], workers: int | None = None) -> None:
    """Make a goal of a study, such as ("train", "SSP", "uavid"), if it is not there; on all cores if it takes a while.

    Raises: SspError if it could not be made, or if a run is at work on the same artefacts.
    """
    tasks: dict[str, Task] = {}
    planners: dict[str, Planner] = {}  # one a set of settings
    goals = list(_parts_of(study, goal))
    controls = tuple(dict.fromkeys(name for _, (_, *names) in goals for name in names[:-1] if system(name).kind == "control"))
    for changed, each in goals:
        settings = changed.profile.model_dump_json()
        planners.setdefault(settings, Planner(changed, tasks, controls=controls)).goal(*each)
    if not tasks:
        return
    costs, count = Costs.load(), workers or default_workers()
    seconds = {name: costs.seconds(task) for name, task in tasks.items()}
    expected = simulate(tasks, seconds, count, priorities(tasks, seconds)).makespan
    if expected > WORTH_SAYING:
        log.info("%s", announcement(tasks.values(), expected, count))
    with exclusive(study.workspace.base):
        if expected < SHORT:
            for name in order(tasks):
                perform(tasks[name])
            return
        with cluster(study, workers, None) as client:
            run_tasks(client, study, tasks).raise_failures()


def announcement(tasks: Collection[Task], seconds: float, workers: int) -> str:
    """What is about to be made, which trainings are part of it, and how long it takes: one line before a long call."""
    trained = {task.call.arguments[0] for task in tasks if task.kind == "train"}
    named = f", the training of {', '.join(name for name in SYSTEMS if name in trained)} among them" if trained else ""
    return (
        f"{len(tasks)} tasks are missing{named}: about {in_words(seconds)} with {workers} workers; "
        "what is finished stays if you interrupt"
    )


def _parts_of(study: Study, goal: tuple[Any, ...]) -> Iterator[tuple[Study, tuple[Any, ...]]]:
    """A goal as those that the graph knows, each with the study that it belongs to."""
    kind, *arguments = goal
    if kind in SEVERAL:
        names, datasets = arguments
        yield from ((study, (SEVERAL[kind], name, dataset)) for dataset in datasets for name in names)
    elif kind == "variants":
        yield from ((study.changed(overrides), ("evaluate", name, dataset)) for overrides, name, dataset in arguments[0])
    else:
        yield study, goal
