"""Tasks done one by one make what the methods of a study make, each no more than its own part of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from sspcore.core import provenance
from sspcore.core.errors import ArtefactError
from sspcore.core.lock import at_work_on
from sspcore.study import Study, places
from sspcore.study.engine import work
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.task import Task
from sspcore.study.engine.work import perform
from sspcore.study.outline import planned_clips

TINY = {
    "rendering.workers": 1, "rendering.releases.uavid.train_sequences": 1, "rendering.releases.uavid.frames": 9,
    "clips.uavid.clip_length": 4, **{f"training.{name}.epochs": 1 for name in (
        "teacher", "image_start", "image", "video", "tcb", "kd_image", "kd_video", "recurrent",
    )},
}
SYSTEMS = ("SSP", "NetWarp", "KD-SSP")
SCORED = (*SYSTEMS, "Base", "Constant alpha 0.5")
GOALS = (*(("evaluate", name, "uavid") for name in SCORED), ("train", "SSP-R", "uavid"), ("flow_error", "uavid"))
OWN = {  # what the files of a task's kind are called, below the folder of the profile
    "render": r"releases/", "prepare": r"clips/\.uavid\.\w+\.partial/", "register": r"motion/uavid/registration-",
    "flow": r"motion/uavid/flow-", "train": r"runs/.*/training/", "label": r"runs/.*/\.labels\.\w+\.partial/",
    "fuse": r"runs/.*/\.labels-fused-\w+\.\w+\.partial/", "predict": r"runs/.*/\.predictions\.\w+\.partial/",
    "score": r"runs/.*/scores/|motion/uavid/metric-flow-error/",
}


def opened(root: Path, **options) -> Study:
    return Study.open("smoke", root=root, overrides=TINY, **options)


def planned(study: Study, goals: Iterable[tuple] = GOALS) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    Planner(study, tasks, controls=study.controls()).goals(goals)
    return tasks


def files(base: Path) -> dict[str, int]:
    """Every file below a folder, and when it was written."""
    return {path.relative_to(base).as_posix(): path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()}


def content(path: Path) -> bytes:
    """Of a file, without times, which are different in every run."""
    if path.suffix != ".json":
        return path.read_bytes()
    tree = json.loads(path.read_text())
    if path.name == "key.json":
        tree = {name: tree[name] for name in ("key", "title")}
    return re.sub(rb'"seconds": [^,}]+', b"", json.dumps(tree).encode())


def a_late_order(tasks: dict[str, Task], seed: int) -> list[str]:
    """A random order in which every goal is reached with nothing done that it does not need."""
    chance, done = np.random.default_rng(seed), {}

    def do(name: str) -> None:
        for need in map(str, chance.permutation(tasks[name].needs)):
            if need in tasks and need not in done:
                do(need)
        done[name] = None

    for name in sorted(tasks, key=lambda name: (tasks[name].kind != "train", chance.random())):
        if name not in done:
            do(name)
    return list(done)


@pytest.fixture(scope="module", autouse=True)
def _one_commit():
    """Checkpoints name the commit, which may change between the two studies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "git_commit", lambda: "c0ffee")
        yield


@pytest.fixture(scope="module")
def by_methods(tmp_path_factory) -> Study:
    """Made by the stages themselves."""
    study = opened(tmp_path_factory.mktemp("methods"))
    study.evaluate_all(SCORED, ["uavid"])
    study.train("SSP-R", "uavid")
    study.flow_error("uavid")
    return study


@pytest.fixture(scope="module")
def performed(tmp_path_factory) -> tuple[Study, dict[str, Task], dict[str, set[str]]]:
    """Made task by task in a random order: the study, its tasks, and the files that each task has left."""
    study = opened(tmp_path_factory.mktemp("tasks"))
    tasks, left, before = planned(study), {}, {}
    for name in a_late_order(tasks, seed=3):
        perform(tasks[name])
        now = files(study.workspace.base)
        left[name] = {path for path in now if now[path] != before.get(path)}
        before = now
    return study, tasks, left


def test_clips_are_those_that_were_foretold(performed):
    study, *_ = performed
    made = [(c.split, c.name, c.numbers, c.labelled) for split in ("train", "val") for c in study.clips("uavid", split)]
    assert made == [(c.split, c.name, c.numbers, c.labelled) for c in planned_clips(study.profile, "uavid", None)]
    assert len(made) == 4


def test_each_task_makes_its_own_part_and_nothing_else(performed):
    """Whatever a task makes beyond that, a need was left out of the graph for."""
    _, tasks, left = performed
    for name, task in tasks.items():
        if task.kind == "seal":  # the parts were there: it moves them, and adds files of the whole
            assert {path.split("/")[-1] for path in left[name] if path.count(".partial") == 0} >= {"key.json"}, task.title
            continue
        # the same flow may be a part of several tasks: of windows of training, and of pairs that are fused
        assert left[name] or task.kind == "flow", f"{task.title}: made nothing"
        others = [path for path in left[name] if not re.match(OWN[task.kind], path)]
        assert not others, f"{task.title}: {others}"
    trained = {task.call.arguments[0]: name for name, task in tasks.items() if task.kind == "train"}
    assert {*trained} == {"Base (start)", "Base", "Teacher", "KD Base", "SSP-R", *SYSTEMS}
    for name in trained.values():
        assert len({path.split("/training/")[0] for path in left[name]}) == 1


def test_nothing_half_made_and_no_lock_is_left(performed):
    study, *_ = performed
    assert not [path for path in study.workspace.base.rglob(".*") if path.name.endswith((".partial", ".lock"))]


@pytest.mark.slow
def test_files_are_those_of_the_methods_byte_for_byte(by_methods, performed):
    study, *_ = performed
    ours, theirs = study.workspace.base, by_methods.workspace.base
    assert {*files(ours)} == {*files(theirs)}
    differing = [name for name in sorted(files(ours)) if content(ours / name) != content(theirs / name)]
    assert not differing


def test_what_is_made_is_not_planned_and_a_task_that_is_repeated_does_nothing(performed):
    study, tasks, _ = performed
    assert planned(opened(study.workspace.root)) == {}
    before = files(study.workspace.base)
    work.opened.cache_clear()
    for task in tasks.values():
        perform(task)
    assert files(study.workspace.base) == before


def test_parts_that_are_there_are_brought_together_as_they_are(performed):
    """As after a kill: of a stage that is forced, one clip was predicted, and a part of another run lies there too."""
    study, *_ = performed
    forced = opened(study.workspace.root, force=("predict",))
    tasks = planned(forced, [("predict", "NetWarp", "uavid")])
    parts = [task for task in tasks.values() if task.kind == "predict"]
    (whole,) = (task for task in tasks.values() if task.kind == "seal")
    assert len(parts) == 2 and {task.kind for task in tasks.values()} == {"flow", "predict", "seal"}
    place = places.predictions(forced, "NetWarp", "uavid")
    foreign = place.folder.with_name(f".{place.folder.name}.former.partial")
    foreign.mkdir()
    perform(parts[0])
    (first,) = place.working.iterdir()
    there = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    perform(parts[0])
    perform(whole)
    assert {path.name: path.stat().st_mtime_ns for path in (place.folder / first.name).iterdir()} == there
    assert len([path for path in place.folder.iterdir() if path.is_dir()]) == 2
    assert not foreign.exists() and not place.working.exists()
    assert planned(forced, [("predict", "NetWarp", "uavid")]) == {}


def test_a_part_that_another_process_makes_is_waited_for(performed, monkeypatch):
    study, *_ = performed
    forced = opened(study.workspace.root, force=("predict",))
    part = next(task for task in planned(forced, [("predict", "SSP", "uavid")]).values() if task.kind == "predict")
    asked = []

    def impatient(folder: Path):
        asked.append(folder)
        return at_work_on(folder, patience=0.1)

    monkeypatch.setattr(work, "at_work_on", impatient)
    clip = places.predictions(forced, "SSP", "uavid").working / part.call.arguments[2]
    with at_work_on(clip), pytest.raises(ArtefactError, match=r"process \d+ on \S+ has been at work on it"):
        perform(part)
    assert asked == [clip]


def test_a_clip_that_is_not_there_is_named(performed):
    study, *_ = performed
    with pytest.raises(ArtefactError, match="no clip seq99_000001 of the split val"):
        work.clip_named(study, "uavid", "val", "seq99_000001")
