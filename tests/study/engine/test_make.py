"""What a notebook opened by hand asks for: how it is made, what is said before, what is refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helpers.runs import run_in_process, without_cluster
from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.lock import exclusive
from sspcore.study import Study
from sspcore.study.engine import make as making
from sspcore.study.engine.make import make
from sspcore.study.engine.run import Outcome
from sspcore.study.engine.task import Task

GOAL = ("prepare", "uavid")
RULES = {"clips.uavid": {"frame_step": 1, "clip_length": 8, "min_clip_length": 4}}


@pytest.fixture
def study(uavid_release, tmp_path) -> Study:
    return Study.open("paper", data=uavid_release.parent, root=tmp_path / "artefacts", overrides=RULES)


@pytest.fixture
def clusters(monkeypatch) -> list[int | None]:
    """Numbers of workers of the clusters that were asked for; tasks run in this process."""
    asked: list[int | None] = []

    @contextmanager
    def cluster(study: Study, workers: int | None, scheduler: str | None) -> Iterator[None]:
        asked.append(workers)
        yield None

    without_cluster(monkeypatch, making)
    monkeypatch.setattr(making, "cluster", cluster)
    return asked


@pytest.fixture
def said(monkeypatch, caplog) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    caplog.set_level(logging.INFO, logger="sspcore.study.engine")
    return caplog


def test_short_work_is_done_in_this_process_and_not_spoken_of(study, clusters, said):
    make(study, GOAL)
    assert clusters == [] and len(study.clips("uavid", "train")) == 2
    assert not [record for record in said.records if "are missing" in record.getMessage()]


def test_long_work_is_announced_and_goes_to_workers(study, clusters, said, monkeypatch):
    monkeypatch.setattr(making, "SHORT", 0.0)
    monkeypatch.setattr(making, "WORTH_SAYING", 0.0)
    make(study, GOAL, workers=3)
    assert clusters == [3] and len(study.clips("uavid", "train")) == 2
    (line,) = [record.getMessage() for record in said.records if "are missing" in record.getMessage()]
    assert line.startswith("4 tasks are missing: about ") and " with 3 workers; what is finished stays" in line


def test_controls_are_streamed_with_their_image_model(tmp_path, monkeypatch):
    asked: dict[str, Task] = {}
    monkeypatch.setattr(making, "SHORT", math.inf)
    monkeypatch.setattr(making, "perform", lambda task: asked.setdefault(task.name, task))
    make(Study.open("smoke", root=tmp_path), ("evaluate all", ("Base", "Constant alpha 0.5", "SSP"), ("uavid", "ruralscapes")))
    streamed = {task.call.arguments[:2] for task in asked.values() if task.call.method == "predict part"}
    together = ("Base", "Constant alpha 0.5")
    assert streamed == {(names, dataset) for names in (together, ("SSP",)) for dataset in ("uavid", "ruralscapes")}
    said = making.announcement(asked.values(), 600.0, 2)  # before a long call: which trainings, and how long
    assert "missing, the training of Base (start), Base, SSP among them: about 10 min with 2 workers" in said


def test_nothing_is_started_for_what_is_there(study, clusters, said, monkeypatch):
    make(study, GOAL)
    monkeypatch.setattr(making, "SHORT", 0.0)
    monkeypatch.setattr(making, "exclusive", None)
    make(study, GOAL)
    assert clusters == []


def test_what_failed_is_raised(study, clusters, monkeypatch):
    monkeypatch.setattr(making, "SHORT", 0.0)
    monkeypatch.setattr(making, "run_tasks", lambda *rest: Outcome([], {"a": "a: it broke"}, {"b"}))
    with pytest.raises(SspError, match="^a: it broke; 1 tasks that need it were left out$"):
        make(study, GOAL)


def test_a_run_that_is_at_work_on_the_same_folder_is_not_disturbed(study, clusters):
    with exclusive(study.workspace.base), pytest.raises(ArtefactError, match="another run .* is at work there"):
        make(study, GOAL)
    assert not study.workspace.clips("uavid").exists()
    make(study, GOAL)


def test_rows_of_several_systems_and_variants_are_goals_too(tmp_path, clusters, monkeypatch):
    monkeypatch.setattr(making, "SHORT", 0.0)
    study, seen = Study.open("smoke", root=tmp_path), []
    monkeypatch.setattr(making, "run_tasks", lambda client, study, tasks: seen.append(tasks) or Outcome([], {}, set()))
    make(study, ("evaluate all", ("Base", "SSP"), ("uavid", "ruralscapes")))
    make(study, ("train all", ("Base", "SSP"), ("uavid",)))
    make(study, ("variants", (({"training.video.lambda_tc": 0.25}, "SSP", "uavid"), ({}, "SSP", "uavid"))))
    rows, trainings, variants = ([
        (*task.call.arguments,) for task in tasks.values() if task.call.method == method
    ] for tasks, method in zip(seen, ("evaluate", "train", "evaluate"), strict=True))
    assert sorted(rows) == [(name, dataset) for name in ("Base", "SSP") for dataset in ("ruralscapes", "uavid")]
    assert sorted(trainings) == [("Base", "uavid"), ("Base (start)", "uavid"), ("SSP", "uavid")]
    assert variants == [("SSP", "uavid")] * 2


def test_stages_of_a_study_with_a_maker_ask_it_once(study, clusters, monkeypatch):
    asked = []

    def maker(study: Study, goal: tuple) -> None:
        asked.append(goal)
        make(study, goal)

    monkeypatch.setattr(making, "run_tasks", run_in_process)
    opened = Study.open("paper", data=study.release_root, root=study.workspace.root, overrides=RULES, maker=maker)
    assert len(opened.clips("uavid", "train")) == 2
    opened.clips("uavid", "val")
    opened.prepare("uavid")
    assert asked == [GOAL]
