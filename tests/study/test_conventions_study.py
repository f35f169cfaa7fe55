"""Readings of the conventions in a study: each is in the key of what it changes, and flow, labels and rows follow."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.models.systems import SYSTEMS, control
from sspcore.motion import registration
from sspcore.motion.flow import ZeroFlow
from sspcore.motion.names import FLOW_NAMES, REGISTRATOR_NAMES
from sspcore.motion.readings import flow_under, fusion_flow, registrator_under
from sspcore.study import Study, data, scoring, stages
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.task import Task
from sspcore.study.keys import Keys
from sspcore.study.profiles import load_profile

NAMES = [*SYSTEMS, control(0.5).name]
KINDS = ("training", "predictions", "scores")
RAFT = {"flow": "raft-20", "metric_flow": "raft-20", "registration": "lightglue"}
SSP = {name for name, spec in SYSTEMS.items() if spec.method == "ssp"}
DISTILLED = {"KD-SSP", "KD-SSP-R"}


def found(**overrides: object) -> dict[str, str]:
    keys = Keys(load_profile("smoke", overrides), 0, lambda dataset: ["release"])
    of_systems = {f"{kind} {name}": getattr(keys, kind)(name, "uavid") for name in NAMES for kind in KINDS}
    return of_systems | {
        "labels": keys.labels("uavid", False), "fused labels": keys.labels("uavid", True), "error": keys.flow_error("uavid"),
        "clips": keys.clips("uavid"), "flow": keys.motion("uavid", "flow"),
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return found(**RAFT)


def behind(systems: set[str], kinds: tuple[str, ...] = KINDS) -> set[str]:
    return {f"{kind} {name}" for name in systems for kind in kinds}


SCORES = behind(set(NAMES), ("scores",))
CONTROL = behind({control(0.5).name})


@pytest.mark.parametrize("field, stale", [
    ("flow_warp", behind(SSP) | {"fused labels"}),
    ("feature_warp", behind({"DFF", "NetWarp"})),
    ("soft_occlusion", behind(SSP)),
    ("outside_view", behind(SSP) | {"fused labels"}),
    ("occlusion", behind(DISTILLED) | {"fused labels"}),
    ("raft_input", behind(SSP | {"DFF", "NetWarp"}) | {"fused labels", "error"} | SCORES),
    ("disk_input", behind(SSP) | CONTROL),
    ("registration_rule", behind(SSP) | CONTROL),
    ("fusion_updates", behind(DISTILLED) | {"fused labels"}),
    ("half_pixel", behind(SSP) | CONTROL),
    ("past_outside", behind(SSP) | CONTROL),
    ("past_border", behind(SSP) | CONTROL),
    ("tcb_weights", behind({"TCB_ppm"})),
    ("tcb_start", behind({"TCB_ppm", "TCB_ocr"}, ("predictions", "scores"))),
    ("netwarp_state", behind({"NetWarp"}, ("predictions", "scores"))),
    ("tc", SCORES),
    ("vc", set()),  # no column of the results table; see test_measures
])
def test_each_reading_is_in_the_keys_of_what_it_changes(before, field, stale):
    after = found(**RAFT, **{f"conventions.{field}": getattr(REFERENCE, field)})
    assert {name for name in before if before[name] != after[name]} == stale


def test_every_reading_is_looked_at():
    (mark,) = test_each_reading_is_in_the_keys_of_what_it_changes.pytestmark
    assert [field for field, _ in mark.args[1]] == list(Conventions.model_fields)


def test_readings_of_raft_and_disk_concern_these_alone():
    before = found()
    for field in ("raft_input", "disk_input", "fusion_updates"):
        assert found(**{f"conventions.{field}": getattr(REFERENCE, field)}) == before


def test_without_consistency_loss_its_readings_change_nothing():
    without = {"training.video.lambda_tc": 0}
    before, after = (found(**without, **{"conventions.soft_occlusion": reading}) for reading in ("l1", "sum"))
    assert before["training SSP"] == after["training SSP"] and before["training KD-SSP"] != after["training KD-SSP"]


@pytest.mark.parametrize("system", ["SSP (gate)", "SSP (gate at inference)"])
def test_a_past_read_along_flow_is_one_of_the_input_of_raft(system):
    profiles = (load_profile("smoke", RAFT | {"training.video.lambda_tc": 0, "conventions.raft_input": each})
                for each in ("unit", "imagenet"))
    before, after = (Keys(profile, 0, lambda dataset: ["release"]).training(system, "uavid") for profile in profiles)
    assert before != after


@pytest.mark.parametrize("name, conventions, system, fusion", [
    ("raft-20", CORRECTED, "raft-20", "raft-20"),
    ("raft-20", REFERENCE, "raft-20-imagenet", "raft-15-imagenet"),
    ("raft-20", Conventions(raft_input="imagenet"), "raft-20-imagenet", "raft-20-imagenet"),
    ("raft-20", Conventions(fusion_updates="15"), "raft-20", "raft-15"),
    ("raft-20-imagenet", REFERENCE, "raft-20-imagenet", "raft-15-imagenet"),
    ("raft-8-imagenet", CORRECTED, "raft-8-imagenet", "raft-8-imagenet"),
    ("dis-medium", REFERENCE, "dis-medium", "dis-medium"),
    ("zero", REFERENCE, "zero", "zero"),
])
def test_names_of_flow_under_the_conventions(name, conventions, system, fusion):
    assert (flow_under(name, conventions), fusion_flow(name, conventions)) == (system, fusion)
    assert {system, fusion} <= set(FLOW_NAMES)


def test_a_study_says_under_which_readings_its_numbers_are(tmp_path):
    corrected, reference = (
        Study.open("smoke", root=tmp_path, overrides={"conventions": each}).data_origin for each in ("corrected", "reference")
    )
    assert reference.replace("the reference's conventions; ", "") == corrected != reference


def test_names_of_registrators_under_the_conventions():
    assert all(registrator_under(name, CORRECTED) == name for name in REGISTRATOR_NAMES)
    assert registrator_under("lightglue", Conventions(disk_input="imagenet")) == "lightglue-imagenet"
    assert registrator_under("lightglue", Conventions(registration_rule="ransac")) == "lightglue-ransac"
    assert registrator_under("lk", REFERENCE) == registrator_under("lk-ransac", REFERENCE) == "lk-ransac"
    assert registrator_under("identity", REFERENCE) == "identity"
    assert {registrator_under(name, REFERENCE) for name in REGISTRATOR_NAMES} <= set(REGISTRATOR_NAMES)


def test_the_registrator_of_a_study_follows(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "build_registrator", lambda name, device: name)
    study = Study.open("smoke", root=tmp_path, overrides=RAFT | {"conventions": "reference"})
    assert study.registrator == "lightglue-imagenet-ransac"
    tasks: dict[str, Task] = {}
    Planner(study, tasks).goals([("evaluate", "SSP", "uavid")])
    others = study.changed({"conventions.disk_input": "unit"})
    Planner(others, tasks).goals([("evaluate", "SSP", "uavid")])
    clips = [clip for split in ("train", "val") for clip in Planner(study, {}).clips("uavid", split)]
    assert sum(task.kind == "register" for task in tasks.values()) == 2 * len(clips)  # tasks of their own


def test_disk_sees_what_the_name_says(monkeypatch):
    seen = []

    def detect(disk, matcher, frames, max_features):
        seen.append(frames)
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)

    monkeypatch.setattr(registration, "load_networks", lambda device: (None, None))
    monkeypatch.setattr(registration, "detect_and_match", detect)
    frame = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    for name in ("lightglue", "lightglue-imagenet-ransac"):
        made = registration.build_registrator(name)
        made(frame, frame)
        assert made.name == name
    unit = frame.transpose(2, 0, 1) / 255
    np.testing.assert_allclose(seen[0][0].numpy(), unit, atol=1e-6)
    mean, std = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    np.testing.assert_allclose(seen[1][0].numpy(), (unit - mean) / std, atol=1e-5)


def test_flow_of_a_study_follows(monkeypatch, tmp_path):
    asked: list[str] = []

    def build(name: str, device: object) -> ZeroFlow:
        asked.append(name)
        return ZeroFlow()

    monkeypatch.setattr(data, "build_flow", build)
    study = Study.open("smoke", root=tmp_path, overrides=RAFT | {"conventions": "reference"})
    study.flows("uavid")
    study.flows("uavid", "raft-8")
    study.fusion_flows("uavid")
    assert asked == ["raft-20-imagenet", "raft-8-imagenet", "raft-15-imagenet"]
    tasks: dict[str, Task] = {}
    Planner(study, tasks).goals([("evaluate", "KD-SSP", "uavid")])
    flows = {(task.call.arguments[1], task.call.arguments[3]) for task in tasks.values() if task.kind == "flow"}
    assert flows == {("train", "raft-20-imagenet"), ("train", "raft-15-imagenet"), ("val", "raft-20-imagenet")}


def test_checkpoints_of_a_study_say_their_conventions(tmp_path):
    study = Study.open("smoke", root=tmp_path, overrides=RAFT | {"conventions": "reference"})
    config = study.config("SSP", "uavid")
    assert config.conventions == REFERENCE
    assert (config.flow, config.registration) == ("raft-20-imagenet", "lightglue-imagenet-ransac")
    assert not config.options.mask_alpha and not config.options.half_pixel and config.options.border == "zeros"


def test_fused_labels_of_a_study_follow(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(stages, "fuse_clips", lambda clips, source, target, flows, conventions: seen.append(conventions))
    monkeypatch.setattr(Study, "teacher_labels", lambda self, dataset: None)
    Study.open("smoke", root=tmp_path, overrides={"conventions": "reference"}).fuse("uavid", [], tmp_path)
    assert seen == [REFERENCE]


def test_a_row_is_scored_under_the_profiles_conventions(monkeypatch, tmp_path):
    seen = []

    def evaluate(*arguments):
        seen.append(arguments[-1])
        return {"miou": 0.5, "tc": 0.25}

    (tmp_path / "stream.json").write_text('{"registration_fallback_rate": null}')
    monkeypatch.setattr(scoring, "evaluate_system", evaluate)
    monkeypatch.setattr(scoring, "training_steps", lambda *arguments: 1)
    profile = load_profile("smoke", {"conventions": "reference"})
    study = SimpleNamespace(
        profile=profile, spec=lambda dataset: SimpleNamespace(n_classes=3), clips=lambda *arguments: [],
        flows=lambda *arguments: None, exact_flows=lambda *arguments: None, scored_size=lambda spec: profile.input_size,
    )
    assert scoring.row(study, "Base", "uavid", tmp_path)["tc"] == 0.25 and seen == [REFERENCE]
