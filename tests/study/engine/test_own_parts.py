"""Data of one's own in the engine: the clips that are foretold are those that its tasks make, part by part."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.own import describe, images, label_png, video
from sspcore.cli.main import main
from sspcore.data.clips import load_clips
from sspcore.study import Study
from sspcore.study.engine import data_tasks
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.task import Task
from sspcore.study.engine.work import perform
from sspcore.study.outline import planned_clips


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A video that is shared between the splits, a folder of images with a gap, and four stills."""
    root = tmp_path / "Hafen Süd"
    describe(root, {
        "video": "{sequence}.mp4", "frames": "pics/{sequence}/{frame}.png", "labels": "l/{sequence}/{frame}.png",
        "stills": "stills/{still}.png", "still_labels": "stills/{still}_label.png",
    }, validation_share=0.25, frame_step=2)
    video(root / "flight one.mp4", 16)
    images(root / "pics" / "a", [3, 4, 5, 9, 10, 11, 12, 13])
    for name in ("l/flight one/3", "l/flight one/13", *(f"stills/s{number}_label" for number in range(4))):
        label_png(root / f"{name}.png")
    for number in range(4):
        images(root / "stills", [number], f"s{number}.png")
    return root


def planned(study: Study, dataset: str) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    Planner(study, tasks, controls=study.controls()).goals([("prepare", dataset)])
    return tasks


def test_what_is_foretold_is_made_in_parts(flight, tmp_path, monkeypatch):
    monkeypatch.setattr(data_tasks, "STILLS_OF_A_TASK", 3)
    study = Study.open("smoke", root=tmp_path / "work", dataset=flight)
    (dataset,) = study.profile.datasets
    tasks = planned(study, dataset)
    parts = [task for task in tasks.values() if task.call.method == "prepare part"]
    assert sorted(task.call.arguments[1] for task in parts) == [("a",), ("flight one",), ("s0", "s1", "s2"), ("s3",)]
    for task in (*parts, *(task for task in tasks.values() if task not in parts)):
        perform(task)
    made = [clip for split in ("train", "val") for clip in load_clips(study.workspace.clips(dataset), split)]
    foretold = planned_clips(study.profile, dataset, study.checked(dataset).sequences)
    assert sorted((c.split, c.name, c.numbers, c.labelled) for c in made) == sorted(
        (c.split, c.name, c.numbers, c.labelled) for c in foretold
    )
    numbers = {(clip.split, clip.sequence): clip.numbers for clip in made}
    # every second frame, counted from the label: the last quarter is another clip
    assert numbers["train", "flight one"] == (1, 3, 5, 7, 9, 11) and numbers["val", "flight one"] == (13, 15)
    assert numbers["train", "a"] == (3, 5, 10) and numbers["val", "s3"] == (0,)
    assert planned(Study.open("smoke", root=tmp_path / "work", dataset=flight), dataset) == {}


def test_the_command_says_what_it_has_prepared(flight, tmp_path, capsys):
    arguments = ["prepare", "--dataset", str(flight), "--profile", "smoke", "--root", str(tmp_path / "work")]
    assert main(arguments) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("Own: ") and Path(lines[0].removeprefix("Own: ")).is_dir()
    assert lines[1:4] == [
        "split sequences clips frames labelled frames", "train 5 5 12 4", "val 2 2 3 2",
    ]
    assert lines[4:] == ["share of labelled pixels train val", "road 37.5 % 37.5 %", "car 62.5 % 62.5 %"]
    made = (tmp_path / "work").rglob("clip.json")
    times = {path: path.stat().st_mtime_ns for path in made}
    assert main(arguments) == 0 and {path: path.stat().st_mtime_ns for path in times} == times


def test_videos_of_one_name_in_both_splits_share_no_motion(tmp_path):
    root = tmp_path / "flight"
    describe(root, {"video": "{split}/{sequence}.mp4", "labels": "{split}/{sequence}/{frame}.png"})
    for split, n_frames in (("train", 4), ("val", 6)):
        video(root / split / "a.mp4", n_frames)
        label_png(root / split / "a" / "1.png")
    study = Study.open("smoke", root=tmp_path / "work", dataset=root)
    (dataset,) = study.profile.datasets
    clips = [clip for split in ("train", "val") for clip in study.clips(dataset, split)]
    assert [clip.name for clip in clips] == ["a_000000", "a_000000"]
    assert [len(study.homographies(dataset).clip(clip).ok) for clip in clips] == [3, 5]
    assert len({study.flows(dataset).path(clip, 1, 0) for clip in clips}) == 2
    tasks: dict[str, Task] = {}
    Planner(study, tasks, controls=study.controls()).goals([("train", "SSP", dataset), ("motion", dataset)])
    for kind in ("register", "flow"):
        assert {task.call.arguments[1] for task in tasks.values() if task.kind == kind} == {"train", "val"}
