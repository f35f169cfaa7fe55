"""What a worker does for a task: one function a method of `Call`, on artefacts that are on disk.

A task may be repeated, or begun on another worker while a first one is still busy with it: what is there already is left as
it is, and a lock lets one process at a time make a part.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker

from sspcore.core.errors import ArtefactError
from sspcore.core.lock import at_work_on, stay_in_run
from sspcore.core.machine import one_thread
from sspcore.core.parallel import allow_children
from sspcore.core.paths import Workspace
from sspcore.core.progress import reporting
from sspcore.core.types import Size, VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.data.prepare import Job, missing_clips, prepare_sequence, warn_of_copies
from sspcore.data.releases import list_sequences
from sspcore.study import Study, places
from sspcore.study.chapters import Chapter
from sspcore.study.engine.task import Record, StudySpec, Task
from sspcore.study.predicting import predict_clip, predict_together
from sspcore.study.profiles import Profile
from sspcore.synthetic import render_sequence

TOPIC = "sspcore"  # of the events that workers send
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
ROOM_BYTES = 2**20  # a failure with less left than that is put down to it
_one_at_a_time = threading.Lock()  # a worker of several threads may be sent tasks of several runs


def perform(task: Task, run: str = "") -> Record:
    """Do a task with one thread, in a worker of Dask or in any other process; a worker's progress is sent as events of `run`.

    A process does one task at a time: they share models, frames in memory and the environment of the kernels of notebooks.

    Raises: what the work raises; ArtefactError naming the worker for a full disk or a lack of memory.
    """
    with _one_at_a_time:
        allow_children()
        where, report = _here()
        began, spent = time.time(), _cpu_seconds()
        if report is not None:
            report({"event": "started", "run": run, "task": task.name})
        try:
            with one_thread(), reporting(lambda what, done, total: report and report({
                "event": "progress", "run": run, "task": task.name, "done": done, "total": total,
            })):
                result = METHODS[task.call.method](task.call.study, *task.call.arguments)
        except Exception as error:
            if (problem := _lacking(error, task.call.study.root)) is None:
                raise
            raise ArtefactError(f"worker {where}: {task.title}: {problem}") from error
        return Record(task.name, began, time.time(), _cpu_seconds() - spent, _peak_mib(), where, result is not False)


def _lacking(error: BaseException | None, root: str) -> str | None:
    """Which room a failed task lacked, and what to do; None if it failed of something else.

    Libraries report a full disk in their own ways, PyTorch as a RuntimeError, and their message does not always say so.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return "memory has run out; start fewer workers (--workers)"
        if isinstance(error, OSError) and error.errno in NO_ROOM or os.strerror(errno.ENOSPC) in str(error):
            return f"no space left at {getattr(error, 'filename', None) or root}; free some and run again"
        error = error.__cause__ or error.__context__
    if Path(root).is_dir() and shutil.disk_usage(root).free < ROOM_BYTES:
        return f"no space left at {root}; free some and run again"
    return None


def _here() -> tuple[str, Callable[[dict[str, Any]], None] | None]:
    """This process by name and host, and how it sends events; None outside a worker."""
    try:
        worker: Worker = get_worker()
    except ValueError:
        return f"process {os.getpid()} on {socket.gethostname()}", None
    return f"{worker.name} on {socket.gethostname()}", lambda event: worker.log_event(TOPIC, event)


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_mib() -> float:
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(largest / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there, KiB elsewhere


@lru_cache(maxsize=2)
def opened(spec: StudySpec, dataset: str) -> Study:
    """The study of a task, kept with its frames in memory for the next tasks on the same data set."""
    profile = Profile.model_validate_json(spec.profile)
    study = Study(
        profile, spec.seed, None if spec.data is None else Path(spec.data), Workspace(profile.folder, Path(spec.root)),
        frozenset(spec.force), began=spec.began,
    )
    stay_in_run()
    return study


@lru_cache(maxsize=1)
def trained(spec: StudySpec, name: str, dataset: str) -> VideoSegmenter:
    """A trained system, kept for the next clip that it streams."""
    return opened(spec, dataset).model(name, dataset)


def clip_named(study: Study, dataset: str, split: str, name: str) -> Clip:
    """A prepared clip. Raises ArtefactError if the data set has none of that name."""
    for clip in study.clips(dataset, split):
        if clip.name == name:
            return clip
    raise ArtefactError(f"{study.workspace.clips(dataset)}: no clip {name} of the split {split}; prepare again with --force")


def render(spec: StudySpec, dataset: str, sequence: str) -> None:
    """One sequence of a rendered release."""
    study = opened(spec, dataset)
    rendering = study.profile.rendering
    render_sequence(dataset, rendering.releases[dataset], rendering.seed, study.release_folder(dataset), sequence)


def prepare_part(spec: StudySpec, dataset: str, names: tuple[str, ...]) -> None:
    """The clips of one video, of both its splits if it is shared between them; or those of several stills."""
    study = opened(spec, dataset)
    place, rules, described = places.clips(study, dataset), study.profile.clips[dataset], study.spec(dataset)
    if place.is_made():
        return
    if study.is_real:
        sequences = study.checked(dataset).sequences
    else:
        sequences = list_sequences(study.release_folder(dataset) / dataset, described)
    with at_work_on(place.working / names[0]):
        for found in (each for each in sequences if each.name in names):
            clips, _ = missing_clips(found, rules, place.working)
            if clips:
                warn_of_copies(found.video, prepare_sequence(Job(found, described, rules, place.working, clips)))


def register(spec: StudySpec, dataset: str, split: str, clip: str) -> bool:
    """Homographies of a clip; False where all were there."""
    study = opened(spec, dataset)
    store, frames = study.homographies(dataset), clip_named(study, dataset, split, clip)
    missing = not any((store.root / clip).rglob("*.npy"))
    store.clip(frames)
    return missing


def flow(
    spec: StudySpec, dataset: str, split: str, clip: str, estimator: str, size: Size, pairs: tuple[tuple[int, int], ...]
) -> bool:
    """Flow of pairs of frames (source, target) of a clip at a size (H, W); False where all was there."""
    study = opened(spec, dataset)
    store, frames = study.flows(dataset, estimator, size), clip_named(study, dataset, split, clip)
    for source, target in pairs:
        store.between(frames, source, target)
    return store.computed > 0


def label(spec: StudySpec, dataset: str, clip: str) -> None:
    """The teacher's logits of one clip."""
    study = opened(spec, dataset)
    place = places.labels(study, dataset)
    if not place.is_made():
        with at_work_on(place.working / clip):
            clips = [clip_named(study, dataset, "train", clip)]
            study.label(dataset, clips, place.working, lambda: trained(spec, places.TEACHER, dataset))


def fuse(spec: StudySpec, dataset: str, clip: str) -> None:
    """The fused logits of one clip."""
    study = opened(spec, dataset)
    place = places.fused(study, dataset)
    if not place.is_made():
        with at_work_on(place.working / clip):
            study.fuse(dataset, [clip_named(study, dataset, "train", clip)], place.working)


def predict_part(spec: StudySpec, names: tuple[str, ...], dataset: str, clip: str) -> None:
    """The label maps of one clip: of one system, or of an image system and controls on it."""
    study = opened(spec, dataset)
    every = {name: places.predictions(study, name, dataset) for name in names}
    missing = {name: place.working for name, place in every.items() if not place.is_made()}
    if not missing:
        return
    frames = clip_named(study, dataset, "val", clip)
    with at_work_on(every[names[0]].working / clip):
        if len(names) == 1:
            predict_clip(study, trained(spec, names[0], dataset), names[0], dataset, frames, missing[names[0]])
        else:
            predict_together(study, missing, dataset, frames)


def train(spec: StudySpec, name: str, dataset: str) -> None:
    """One training; models that are kept for streaming make room first."""
    trained.cache_clear()
    opened(spec, dataset).train(name, dataset)


def execute_chapter(spec: StudySpec, chapter: Chapter) -> None:
    """A notebook. What executes it is loaded here: most workers never need it, and it takes seconds."""
    from sspcore.study.executing import execute

    execute(chapter)


METHODS: dict[str, Callable[..., Any]] = {
    "render": render,
    "prepare part": prepare_part,
    "prepare": lambda spec, dataset: opened(spec, dataset).prepare(dataset),
    "register": register,
    "flow": flow,
    "train": train,
    "label": label,
    "labels": lambda spec, dataset: opened(spec, dataset).teacher_labels(dataset),
    "fuse": fuse,
    "fused": lambda spec, dataset: opened(spec, dataset).fused_labels(dataset),
    "predict part": predict_part,
    "predict": lambda spec, name, dataset: opened(spec, dataset).predict(name, dataset),
    "evaluate": lambda spec, name, dataset: opened(spec, dataset).evaluate(name, dataset),
    "flow_error": lambda spec, dataset: opened(spec, dataset).flow_error(dataset),
    "draw": lambda spec, draw, dataset, *rest: draw(opened(spec, dataset), dataset, *rest),
    "notebook": execute_chapter,
}
