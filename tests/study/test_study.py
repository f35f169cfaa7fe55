"""The whole line in the smoke profile: fresh artefacts are reused, the same seed gives the same rows, errors are one line."""

from __future__ import annotations

import json
import logging
import time

import numpy as np
import pytest
import torch

from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.images import to_tensor
from sspcore.core.provenance import RUN_BEGAN
from sspcore.core.types import Outputs, Window
from sspcore.data.clips import class_shares
from sspcore.data.truth import exact_motion
from sspcore.models.checkpoint import load_checkpoint
from sspcore.models.systems import system
from sspcore.motion.geometry import warp_by_flow
from sspcore.study import Study
from sspcore.study.fitting import objective
from sspcore.training.losses import balanced_weights, cross_entropy

TINY = {
    "rendering.releases.uavid.train_sequences": 2, "rendering.releases.uavid.frames": 9, "training.image_start.epochs": 1,
    "training.image.epochs": 1, "training.video.epochs": 1,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return Study.open("smoke", root=tmp_path_factory.mktemp("a"), overrides=TINY)


@pytest.fixture(scope="module")
def results(study) -> dict:
    return study.results(["Base", "SSP"], ["uavid"])


def test_rows_have_the_promised_fields(results):
    assert [row["system"] for row in results["rows"]] == ["Base", "SSP", "Constant alpha 0.5"]
    assert [row["kind"] for row in results["rows"]] == ["image", "video", "control"]
    for row in results["rows"]:
        for name in ("miou", "tc", "tc_exact_flow", "tc_reference", "miou_moving"):
            assert row[name] is None or 0 <= row[name] <= 1
        assert set(row["per_class_iou"]) == {"road", "vegetation", "tree", "person", "vehicle", "water", "building", "roof"}
        assert row["training_steps"] == results["rows"][0]["training_steps"] and row["encoder_start"] == "ImageNet (PyPI)"
    assert results["rows"][0]["registration_fallback_rate"] is None
    origin = results["provenance"]
    for name in ("commit", "profile", "seed", "versions", "machine", "data_key", "minutes", "data"):
        assert name in origin
    assert "not the real data set" in origin["data"] and origin["metric_flow_epe_px"]["uavid"] > 0


@pytest.mark.slow
def test_same_seed_gives_byte_identical_rows_and_another_seed_does_not(results, tmp_path):
    again = Study.open("smoke", root=tmp_path, overrides=TINY).results(["Base", "SSP"], ["uavid"])
    assert json.dumps(again["rows"]) == json.dumps(results["rows"])
    other = Study.open("smoke", root=tmp_path, overrides=TINY, seed=1).results(["Base"], ["uavid"])
    assert json.dumps(other["rows"][0]) != json.dumps(results["rows"][0])


def test_balanced_classes_reach_the_loss(study, results):
    recipe = "training.recurrent.class_balance"
    window = Window(torch.zeros(1, 1, 3, 4, 4), labels=torch.arange(8).repeat_interleave(2).view(1, 1, 4, 4))
    logits = torch.randn(1, 1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    losses = {}
    for exponent, limit in ((0.0, None), (1.0, None), (1.0, 1.5)):
        changes = {recipe: exponent, "training.recurrent.class_weight_limit": limit}
        other = Study.open("smoke", root=study.workspace.root, overrides=TINY | changes)
        losses[limit or exponent] = objective(other, system("SSP-R"), "uavid")(Outputs(logits), window)["ce"]
    shares = class_shares(study.clips("uavid", "train"), study.spec("uavid"), study.profile.input_size)
    weights = balanced_weights(list(shares.values()), 1.0)
    torch.testing.assert_close(losses[0.0], cross_entropy(logits[:, 0], window.labels[:, 0]))
    torch.testing.assert_close(losses[1.0], cross_entropy(logits[:, 0], window.labels[:, 0], class_weights=weights))
    assert not torch.isclose(losses[0.0], losses[1.0])
    limited = balanced_weights(list(shares.values()), 1.0, 1.5)
    assert weights.max() > 1.5 == limited.max()
    torch.testing.assert_close(losses[1.5], cross_entropy(logits[:, 0], window.labels[:, 0], class_weights=limited))


def test_a_trained_system_is_a_checkpoint_that_knows_itself(study, results):
    model, config = load_checkpoint(study.train("SSP", "uavid"))
    assert config.system == "SSP" and config.input_size == (96, 160) and config.classes.name == "uavid"
    assert config.provenance["profile"] == "smoke" and "not the real data set" in config.data
    trained = study.model("SSP", "uavid").state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_only_ssp_has_something_to_freeze(study, results, tmp_path):
    frozen = Study.open("smoke", root=study.workspace.root, overrides=TINY | {"training.tcb.freeze_image": True})
    with pytest.raises(ProfileError, match="training.tcb.freeze_image: TCB_ppm is not SSP"):
        frozen.training("TCB_ppm", "uavid", tmp_path)


def written(study: Study) -> dict[str, int]:
    """Every artefact's file and when it was written."""
    base = study.workspace.base
    return {path.relative_to(base).as_posix(): path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()}


def test_second_run_does_nothing(study, results, caplog, monkeypatch):
    first = written(study)
    for name in ("model.safetensors", "config.json", "row.json", "clip.json", "images.mp4", "stream.json"):
        assert [path for path in first if name in path], f"the first run made no {name}"
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="sspcore"):
        again = Study.open("smoke", root=study.workspace.root, overrides=TINY).results(["Base", "SSP"], ["uavid"])
    assert again["rows"] == results["rows"] and written(study) == first
    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if text.endswith("up to date, skipped")]
    assert not [text for text in messages if text.endswith("started")]


def test_force_makes_its_kinds_anew_once_a_run(study, results, monkeypatch):
    def forced(*kinds: str) -> set[str]:
        before = written(study)
        again = Study.open("smoke", root=study.workspace.root, overrides=TINY, force=kinds)
        assert again.evaluate("Base", "uavid") == results["rows"][0]
        changed = {path for path, moment in written(study).items() if moment != before[path]}
        return {path.split("/")[-2 if path.endswith(("row.json", "stream.json")) else 0] for path in changed}

    monkeypatch.delenv(RUN_BEGAN, raising=False)
    assert forced("evaluate") >= {"scores"} and "predictions" not in forced("evaluate")
    assert {"scores", "predictions"} <= forced("predict", "evaluate")
    monkeypatch.setenv(RUN_BEGAN, str(time.time() - 60))  # the chapter before has made them in this very run
    assert forced("predict", "evaluate") == set()
    monkeypatch.setenv(RUN_BEGAN, str(time.time() + 1))
    assert {"scores", "predictions"} <= forced("predict", "evaluate")


def test_a_trained_model_carries_the_config_of_its_checkpoint(study, results):
    config = study.model("SSP", "uavid").config
    assert config == load_checkpoint(study.train("SSP", "uavid"))[1] and config.input_size == study.profile.input_size


def test_a_control_asked_for_by_name_has_one_row(study, results):
    rows = study.results(["Base", "Constant alpha 0.5"], ["uavid"])["rows"]
    assert [row["system"] for row in rows] == ["Base", "Constant alpha 0.5"]


def test_flow_is_estimated_once_for_all_systems(study, results):
    flows = study.flows("uavid")
    for clip in study.clips("uavid", "val"):
        for k in range(len(clip) - 1):
            flows.between(clip, k, k + 1)
    assert flows.computed == 0


def test_exact_flow_carries_the_frame_before_into_the_current_one(study):
    """Rendered truth, prepared clips and conventions agree: the exact warp beats the same warp half a pixel off."""
    clip, size = study.clips("uavid", "val")[0], study.profile.input_size
    frame, before = (to_tensor(clip.frame(k, size))[None] for k in (2, 1))
    flow, hidden = exact_motion(study.truth_root("uavid"), clip, 2, 1, size)

    def error(shift: float) -> float:
        warped, valid = warp_by_flow(before, flow[None] + shift)
        return float((warped - frame).abs().mean(1)[0][valid[0, 0] & ~hidden].mean())

    assert error(0.0) < error(0.5) and error(0.0) < error(-0.5)


def test_held_out_training_sequences_replace_validation(study):
    selection = Study.open("smoke", root=study.workspace.root, overrides=TINY | {"held_out": 1})
    train, scored = ({c.sequence for c in selection.clips("uavid", split)} for split in ("train", "val"))
    assert train | scored == {c.sequence for c in study.clips("uavid", "train")} and not train & scored
    assert selection.train_key("Base", "uavid") != study.train_key("Base", "uavid")
    other = selection.changed({"held_out_fold": 1})
    assert [{c.sequence for c in other.clips("uavid", split)} for split in ("train", "val")] == [scored, train]
    assert other.train_key("Base", "uavid") != selection.train_key("Base", "uavid")
    assert other.data_origin != selection.data_origin and "fold 1" in other.data_origin


def test_distilled_students_learn_from_fused_labels(study):
    key = study.train_key("KD-SSP", "uavid")
    unfused = Study.open("smoke", root=study.workspace.root, overrides=TINY | {"fuse_teacher": False})
    assert unfused.train_key("KD-SSP", "uavid") != key and unfused.train_key("SSP", "uavid") == study.train_key("SSP", "uavid")
    stored = study.fused_labels("uavid")
    clip = study.clips("uavid", "train")[0]
    assert stored.read(clip, [0, 1]).shape == (2, 8, 24, 40)
    assert np.isfinite(study.history("KD-SSP", "uavid")[-1]["kl"])


def test_damaged_real_releases_are_prepared_without_what_is_damaged(uavid_release, tmp_path):
    rules = {"clips.uavid": {"frame_step": 1, "clip_length": 8, "min_clip_length": 4}}
    video = uavid_release / "uavid_train" / "seq1" / "images.mp4"
    video.write_bytes(video.read_bytes()[:-3000])
    study = Study.open("paper", data=uavid_release.parent, root=tmp_path / "artefacts", overrides=rules)
    assert {clip.sequence for clip in study.clips("uavid", "train")} == {"seq2"}
    assert study.checked("uavid").key() and study.data_origin == "real releases"


@pytest.mark.parametrize("make, error, message", [
    (lambda root: Study.open("paper", root=root), ReleaseError, "pass --data DIR"),
    (lambda root: Study.open("smoke", root=root).clips("cityscapes", "val"), ProfileError, "'cityscapes' is unknown"),
    (lambda root: Study.open("smoke", root=root).train_key("SPP", "uavid"), ProfileError, "'SPP' is unknown"),
    (lambda root: Study.open("paper", data=root, root=root).prepare("uavid"), ReleaseError, "no train sequence of UAVid"),
])
def test_errors_are_one_line(tmp_path, make, error, message):
    with pytest.raises(error, match=message) as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)
