"""What a study is cut into: tasks, each a pure function of artefacts that are on disk before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StudySpec:
    """A study by values, as it is sent to a worker.

    Attributes:
        profile: all its settings, as JSON.
        seed: of training.
        data: folder of the real releases; None where they are rendered, or are data sets of one's own.
        folders: that workers have to see beside `root`: of real data.
        root: folder of artefacts; workers on other machines see it under the same path.
        force: kinds of stages to make again.
        began: when the run began, seconds since the epoch: what was made since is not forced again.
    """

    profile: str
    seed: int
    data: str | None
    root: str
    force: tuple[str, ...] = ()
    began: float = 0.0
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """What a worker does: the function `method` of `sspcore.study.engine.work`, on a study."""

    study: StudySpec
    method: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Task:
    """A node of the graph.

    Attributes:
        name: unique in its graph: its kind and a hash of what it makes, or which notebook or pictures.
        kind: "render", "prepare", "register", "flow", "train", "label", "fuse", "predict", "score", "draw", "notebook", or
            "seal", which brings the parts of an artefact together.
        title: for people.
        call: what a worker does.
        needs: names of the tasks that must be done before.
        units: amount of work, in the unit of its rate.
        rate: which seconds a unit apply (see `sspcore.study.engine.costs`).
        device: whether it wants a GPU where there is one.
    """

    name: str
    kind: str
    title: str
    call: Call
    needs: tuple[str, ...] = ()
    units: float = 1.0
    rate: str = "other"
    device: bool = False


@dataclass(frozen=True)
class Record:
    """What is known of a task that is done: when (seconds since the epoch) and where it ran, and what it took.

    Attributes:
        cpu_seconds: of the worker's process and of those that it started.
        peak_mib: largest size so far of the worker's process.
        worker: its name and host.
        made: False where what it makes was there already.
    """

    name: str
    start: float
    end: float
    cpu_seconds: float
    peak_mib: float
    worker: str
    made: bool = True

    @property
    def seconds(self) -> float:
        return self.end - self.start
