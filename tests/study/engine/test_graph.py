"""The graph of a study: which tasks make a goal, what they need, what is shared, what is left out because it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sspcore.core.store import seal
from sspcore.models.systems import START, SYSTEMS
from sspcore.study import Study, places
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.schedule import needed_by, order
from sspcore.study.engine.task import Task
from sspcore.study.engine.work import METHODS
from sspcore.study.places import Place

DATASETS = ("uavid", "ruralscapes")


@pytest.fixture
def study(tmp_path) -> Study:
    return Study.open("smoke", root=tmp_path)


def planned(study: Study, *goals: tuple, **options) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    Planner(study, tasks, **options).goals(goals)
    return tasks


def called(tasks: dict[str, Task], *call: object) -> Task:
    """The only task that makes this call."""
    (found,) = (task for task in tasks.values() if (task.call.method, *task.call.arguments)[: len(call)] == call)
    return found


def calls(tasks: dict[str, Task], names) -> set[tuple]:
    """Which calls tasks make: method, and what tells them apart."""
    return {(tasks[name].call.method, *map(str, tasks[name].call.arguments)) for name in names}


def made(place: Place) -> None:
    """Put an artefact there that counts as made."""
    place.folder.mkdir(parents=True)
    seal(place.folder, place.key, place.title, 0.0)


def test_all_of_a_study_is_one_graph_without_circles(study):
    tasks = planned(study, *(("evaluate", name, dataset) for dataset in DATASETS for name in SYSTEMS))
    assert len(order(tasks)) == len(tasks) and {need for task in tasks.values() for need in task.needs} <= {*tasks}
    assert {task.kind for task in tasks.values()} == {
        "render", "prepare", "register", "flow", "train", "label", "fuse", "predict", "score", "seal",
    }
    assert all(task.call.method in METHODS and task.units > 0 for task in tasks.values())
    titles = [task.title for task in tasks.values() if task.kind != "flow"]  # the flow of a clip is asked for piece by piece
    assert len({*titles}) == len(titles) and "UAVid: training KD-SSP" in titles
    assert {task.rate for task in tasks.values() if task.kind == "train"} >= {"train SSP", "train Teacher", "train Base"}
    goals = [called(tasks, "evaluate", name, dataset).name for dataset in DATASETS for name in SYSTEMS]
    assert needed_by(tasks, goals) == {*tasks}, "nothing is made that is not needed"


def test_planning_makes_nothing_and_names_last(study):
    first, second = (planned(study, ("evaluate", "KD-SSP", "uavid")) for _ in range(2))
    assert first == second and not study.workspace.base.exists()


def test_what_a_training_needs_is_named(study):
    tasks = planned(study, ("train", "KD-SSP", "uavid"), ("train", "Base", "uavid"))
    needs = calls(tasks, called(tasks, "train", "KD-SSP").needs)
    assert {("prepare", "uavid"), ("fused", "uavid"), ("train", "KD Base", "uavid")} <= needs
    clips = [clip.name for clip in Planner(study, {}).clips("uavid", "train")]
    for kind in ("register", "flow"):  # flow is of the loss of temporal consistency
        assert {call[3] for call in needs if call[0] == kind and call[2] == "train"} == {*clips}
    assert calls(tasks, called(tasks, "train", "Base").needs) == {("prepare", "uavid"), ("train", "Base (start)", "uavid")}
    label = called(tasks, "label", "uavid", clips[0])
    assert calls(tasks, label.needs) == {("prepare", "uavid"), ("train", "Teacher", "uavid")}
    assert called(tasks, "labels").needs == tuple(called(tasks, "label", "uavid", clip).name for clip in clips)


@pytest.mark.parametrize("name, kinds", [
    ("SSP", {"register", "flow"}), ("SSP (no registration)", {"flow"}), ("SSP (no interpolation)", {"register", "flow"}),
    ("TCB_ppm", set()), ("NetWarp", {"flow"}),
])
def test_a_training_waits_for_the_motion_that_it_reads(study, name, kinds):
    """As `fitting` gives stores of motion to its windows: L_tc wants flow, whether frames are registered or not."""
    tasks = planned(study, ("train", name, "uavid"))
    assert {tasks[need].kind for need in called(tasks, "train", name).needs} & {"register", "flow"} == kinds


def test_predictions_wait_only_for_the_motion_of_their_own_clip(study):
    tasks = planned(study, ("predict", "SSP", "uavid"), ("predict", "DFF", "uavid"), ("predict", "Base", "uavid"))
    for clip in Planner(study, {}).clips("uavid", "val"):
        needs = {
            name: {call[:4] for call in calls(tasks, called(tasks, "predict part", (name,), "uavid", clip.name).needs)}
            for name in ("SSP", "DFF", "Base")
        }
        both = {("prepare", "uavid")}
        assert needs["SSP"] == both | {("train", "SSP", "uavid"), ("register", "uavid", "val", clip.name)}
        assert needs["DFF"] == both | {("train", "DFF", "uavid"), ("flow", "uavid", "val", clip.name)}
        assert needs["Base"] == both | {("train", "Base", "uavid")}


def test_who_holds_a_flow_of_its_own_waits_for_none(study):
    other = study.changed({"train_flow": True})
    tasks = planned(other, ("train", "DFF", "uavid"), ("predict", "NetWarp", "uavid"))
    assert {task.kind for task in tasks.values()} == {"render", "prepare", "train", "predict", "seal"}


def test_a_control_is_streamed_with_the_weights_of_what_it_starts_from(study):
    tasks = planned(study, ("evaluate", "Constant alpha 0.5", "uavid"))
    assert {task.call.arguments[0] for task in tasks.values() if task.kind == "train"} == {"Base (start)", "Base"}
    part = next(task for task in tasks.values() if task.call.method == "predict part")
    assert part.rate == "predict Base" and ("train", "Base", "uavid") in calls(tasks, part.needs)


def test_controls_are_streamed_together_with_their_image_model(study):
    controls = study.controls(["KD Base"])
    goals = [("evaluate", name, "uavid") for name in ("Base", "KD Base", "SSP", *controls)]
    tasks = planned(study, *goals, controls=controls)
    parts = [task for task in tasks.values() if task.call.method == "predict part"]
    clips = Planner(study, {}).clips("uavid", "val")
    together = {("Base", "Constant alpha 0.5"), ("KD Base", "Constant alpha 0.5 (KD Base)"), ("SSP",)}
    assert {task.call.arguments[0] for task in parts} == together and len(parts) == len(together) * len(clips)
    for names in together:
        of_names = [task.name for task in parts if task.call.arguments[0] == names]
        assert all(set(called(tasks, "predict", name).needs) == {*of_names} for name in names)


def test_what_is_streamed_with_controls_is_not_streamed_again_for_a_variant(study):
    tasks = planned(study, ("evaluate", "Base", "uavid"), controls=study.controls())
    before = {*tasks}
    Planner(study.changed({"training.video.lambda_tc": 0.25}), tasks).goal("evaluate", "Base", "uavid")
    assert {*tasks} == before


def test_only_what_is_missing_or_stale_is_planned(study):
    everything = planned(study, ("evaluate", "SSP", "uavid"))
    made(places.clips(study, "uavid"))
    without_data = planned(study, ("evaluate", "SSP", "uavid"))
    assert {*everything} - {*without_data} == {
        name for name, task in everything.items() if task.call.method in ("render", "prepare part", "prepare")
    }
    made(places.training(study, "SSP", "uavid"))
    assert not [task for task in planned(study, ("evaluate", "SSP", "uavid")).values() if task.kind == "train"]
    made(places.predictions(study, "SSP", "uavid"))
    tasks = planned(study, ("evaluate", "SSP", "uavid"))
    assert {task.kind for task in tasks.values()} == {"flow", "score"} and len(called(tasks, "evaluate").needs) == 2
    made(places.scores(study, "SSP", "uavid"))
    assert planned(study, ("evaluate", "SSP", "uavid")) == {}
    other = study.changed({"metric_flow": "dis-medium"})
    assert {task.kind for task in planned(other, ("evaluate", "SSP", "uavid")).values()} == {"flow", "score"}


def test_seeds_share_the_data_and_titles_name_theirs(tmp_path):
    tasks: dict[str, Task] = {}
    for seed in (0, 1):
        Planner(Study.open("smoke", seed, root=tmp_path), tasks, several=True).goal("evaluate", "SSP", "uavid")
    one = planned(Study.open("smoke", 0, root=tmp_path), ("evaluate", "SSP", "uavid"))
    assert {*one} <= {*tasks}
    shared = {"render", "prepare", "register", "flow"}
    kinds = [task.kind for name, task in tasks.items() if name not in one]
    assert not shared & {*kinds} and kinds.count("train") == 2
    titles = [task.title for task in tasks.values()]
    assert "UAVid: training SSP (seed 0)" in titles and "UAVid: training SSP (seed 1)" in titles
    assert not [task.title for task in tasks.values() if task.kind in shared and "seed" in task.title]
    assert len([task for task in tasks.values() if task.title == "UAVid: preparing clips"]) == 1


def test_variants_share_what_their_setting_does_not_change(study):
    goals = [("evaluate", "SSP", "uavid")]
    tasks = planned(study, *goals)
    before = {*tasks}
    Planner(study.changed({"training.video.lambda_tc": 0.25}), tasks).goals(goals)
    assert sorted(tasks[name].kind for name in {*tasks} - before) == ["predict", "predict", "score", "seal", "train"]
    assert {tasks[name].call.arguments[0] for name in {*tasks} - before} == {"SSP", ("SSP",)}


def test_force_makes_its_kinds_again_once_a_run(study, tmp_path):
    goal = ("evaluate", "Base", "uavid")
    for place in (places.clips(study, "uavid"), places.training(study, "Base", "uavid"),
                  places.predictions(study, "Base", "uavid"), places.scores(study, "Base", "uavid")):
        made(place)
    forced = Study.open("smoke", root=tmp_path, force=("evaluate",))
    kinds = {task.kind: task for task in planned(forced, goal).values()}
    assert set(kinds) == {"flow", "score"} and kinds["score"].call.study.force == ("evaluate",)
    assert kinds["score"].name not in planned(study.changed({"metric_flow": "dis-medium"}), goal)
    both = planned(Study.open("smoke", root=tmp_path, force=("predict", "evaluate")), goal)
    assert {task.kind for task in both.values()} == {"predict", "seal", "flow", "score"}
    scores = places.scores(study, "Base", "uavid")
    seal(scores.folder, scores.key, "again", 0.0)  # since the run began
    assert planned(forced, goal) == {}


def test_held_out_sequences_of_training_take_the_place_of_validation(tmp_path):
    study = Study.open("smoke", root=tmp_path, overrides={"held_out": 1})
    tasks = planned(study, ("evaluate", "SSP", "uavid"))
    whole = [task.call.arguments[2] for task in tasks.values() if task.call.method == "predict part"]
    every = Planner(study, {})
    clips = {split: {clip.name for clip in every.clips("uavid", split)} for split in ("train", "val")}
    assert {*whole} == clips["val"] and not clips["train"] & clips["val"]
    assert {clip.split for split in clips for clip in every.clips("uavid", split)} == {"train"}
    registered = {task.call.arguments[1:] for task in tasks.values() if task.kind == "register"}
    assert registered == {(split, name) for split in clips for name in clips[split]}
    assert {clip.split for clip in every._every_clip("uavid")} == {"train", "val"}, "all are prepared"
    other = Planner(study.changed({"held_out_fold": 1}), {})
    assert {clip.name for clip in other.clips("uavid", "val")} == clips["train"]


def test_students_of_the_truth_wait_for_no_teacher(study):
    goal, by_truth = ("evaluate", "KD Base", "uavid"), study.changed({"distil_from": "truth"})
    tasks = planned(by_truth, goal)
    assert {task.call.arguments[0] for task in tasks.values() if task.kind == "train"} == {START, "KD Base"}
    assert {task.kind for task in tasks.values()} >= {"label", "render"}
    assert places.labels(by_truth, "uavid").folder != places.labels(study, "uavid").folder
    assert by_truth.train_key("KD Base", "uavid") != study.train_key("KD Base", "uavid")
    assert by_truth.train_key("SSP", "uavid") == study.train_key("SSP", "uavid") and "truth" in by_truth.data_origin


def test_a_real_release_is_planned_from_its_headers(uavid_release, tmp_path):
    rules = {"clips.uavid": {"frame_step": 1, "clip_length": 8, "min_clip_length": 4}}
    study = Study.open("paper", data=uavid_release.parent, root=tmp_path / "artefacts", overrides=rules)
    tasks = planned(study, ("prepare", "uavid"), ("flow_error", "uavid"))
    assert sorted(task.title for task in tasks.values()) == [
        "UAVid: preparing clips", "UAVid: preparing seq1", "UAVid: preparing seq16", "UAVid: preparing seq2",
    ]
    assert called(tasks, "prepare").call.study.data == str(uavid_release.parent)
    assert Path(called(tasks, "prepare").call.study.root) == tmp_path / "artefacts"


def test_training_on_registered_crops_waits_for_no_registration(tmp_path):
    study = Study.open("smoke", root=tmp_path, overrides={"register_crops": True})
    tasks = planned(study, ("train", "SSP", "uavid"))
    assert not any(task.kind == "register" for task in tasks.values())
    tasks = planned(study, ("predict", "SSP", "uavid"))
    assert {task.call.arguments[1] for task in tasks.values() if task.kind == "register"} == {"val"}


@pytest.mark.parametrize("registration, on_device", [("lk", False), ("lightglue", True)])
def test_networks_that_register_have_a_device_of_their_own(registration, on_device, tmp_path):
    study = Study.open("smoke", root=tmp_path, overrides={"registration": registration})
    tasks = planned(study, ("predict", "SSP", "uavid"))
    assert {task.device for task in tasks.values() if task.kind == "register"} == {on_device}
