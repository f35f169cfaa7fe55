"""Label maps of a clip: those of controls that share an image model are the same together and one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.studies import DATASET, TINY
from sspcore.evaluation.clips import read_prediction
from sspcore.metrics.confusion import iou_per_class
from sspcore.models.image import ImageSegmenter
from sspcore.models.systems import build, start_from, system
from sspcore.study import Study, scoring
from sspcore.study.engine.graph import Planner
from sspcore.study.predicting import MARK, predict_clip, predict_together

TOGETHER = ("Base", "Constant alpha 0.3", "Constant alpha 0.9")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose systems have the weights that they were initialised with."""
    made = Study.open("smoke", overrides=TINY, root=tmp_path)

    def model(self, name, dataset):
        torch.manual_seed(1)
        spec, profile = system(name), self.profile
        image = build(spec.starts_from if spec.kind == "control" else name, 8, profile, load_weights=False)
        if spec.kind == "image":
            return image.eval()
        control = build(name, 8, profile, load_weights=False)
        start_from(control, image.state_dict())
        return control.eval()

    monkeypatch.setattr(Study, "model", model)
    return made


def test_controls_predicted_together_write_the_bytes_of_each_alone_and_see_a_frame_once(study, tmp_path, monkeypatch):
    clip = study.clips(DATASET, "val")[0]
    for name in TOGETHER:
        predict_clip(study, study.model(name, DATASET), name, DATASET, clip, tmp_path / "alone" / name)
    calls, run = [], ImageSegmenter.logits_and_features
    monkeypatch.setattr(ImageSegmenter, "logits_and_features", lambda self, frames: calls.append(1) or run(self, frames))
    folders = {name: tmp_path / "together" / name for name in TOGETHER}
    failed = predict_together(study, folders, DATASET, clip)
    assert set(failed) == set(TOGETHER)
    assert len(calls) == len(clip)
    assert predict_together(study, folders, DATASET, clip) == failed
    assert len(calls) == len(clip)  # what is there is not made again
    for name in TOGETHER:
        alone = sorted((tmp_path / "alone" / name / clip.name).iterdir())
        assert len(alone) == len(clip) + 1
        for path in alone:
            assert (folders[name] / clip.name / path.name).read_bytes() == path.read_bytes(), (name, path.name)
    labels = {name: (folders[name] / clip.name / f"{clip.numbers[-1]:06d}.png").read_bytes() for name in TOGETHER}
    assert len(set(labels.values())) == len(TOGETHER)


def test_a_control_that_is_there_already_is_left_alone(study, tmp_path):
    clip = study.clips(DATASET, "val")[0]
    folders = {name: tmp_path / name for name in TOGETHER[1:]}
    predict_together(study, {TOGETHER[1]: folders[TOGETHER[1]]}, DATASET, clip)
    made = (folders[TOGETHER[1]] / clip.name / MARK).stat().st_mtime_ns
    assert set(predict_together(study, folders, DATASET, clip)) == set(folders)
    assert (folders[TOGETHER[1]] / clip.name / MARK).stat().st_mtime_ns == made


@pytest.mark.parametrize("names", [("Base", "SSP"), ("Base", "Constant alpha 0.3 (KD Base)"), ()])
def test_systems_that_share_no_image_model_are_refused(study, tmp_path, names):
    with pytest.raises(ValueError, match="one image system and controls"):
        predict_together(study, {name: tmp_path / name for name in names}, DATASET, study.clips(DATASET, "val")[0])


@pytest.mark.slow
def test_the_teachers_own_row_is_scored_at_its_own_size_where_the_profile_says_so(study, monkeypatch):
    own, theirs = study.changed({"score_teacher_at": "teacher_size"}), study.changed({"score_teacher_at": "input_size"})
    large, small = own.profile.teacher_size, own.profile.input_size
    sizes, evaluate = [], scoring.evaluate_system

    def record(clips, predictions, classes, flows, exact, size, conventions):
        sizes.append((read_prediction(predictions, clips[0], 1).shape, flows.size, size))
        assert flows.between(clips[0], 0, 1).shape[-2:] == exact.between(clips[0], 0, 1).shape[-2:] == size
        return evaluate(clips, predictions, classes, flows, exact, size, conventions)

    monkeypatch.setattr(scoring, "evaluate_system", record)
    rows = [each.evaluate(name, DATASET) for each, name in ((own, "Teacher"), (theirs, "Teacher"), (own, "Base"))]
    assert sizes == [(large,) * 3, (small,) * 3, (small,) * 3]
    assert rows[0]["miou"] != rows[1]["miou"]
    counts = own.counts("Base", DATASET)  # what the row rests on
    assert [entry["clip"] for entry in counts] == [clip.name for clip in own.clips(DATASET, "val")]
    summed = np.sum([entry["counts"] for entry in counts], axis=0)
    assert np.nanmean(iou_per_class(summed)) == pytest.approx(rows[2]["miou"])
    for score in ("tc", "tc_exact_flow"):
        assert np.mean([entry[score] for entry in counts]) == pytest.approx(rows[2][score])
    assert [tuple(row["scored_size"]) for row in rows] == [large, small, small]
    assert own.predict("Teacher", DATASET) == theirs.predict("Teacher", DATASET)  # one folder, two keys
    clip = own.clips(DATASET, "val")[0]
    assert {labels.shape for labels in own.label_maps("Teacher", DATASET, clip)} == {small}  # for pictures beside others'


def test_flow_for_the_teachers_row_is_a_task_of_its_size(study):
    own, tasks = study.changed({"score_teacher_at": "teacher_size"}), {}
    Planner(own, tasks).goals([("evaluate", "Teacher", DATASET), ("evaluate", "Base", DATASET)])
    sizes = {task.call.arguments[4] for task in tasks.values() if task.kind == "flow"}
    assert sizes == {own.profile.teacher_size, own.profile.input_size}
