"""Image models of other people's networks: every architecture of smp, torchvision's, and what is refused in one line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large, lraspp_mobilenet_v3_large

from sspcore.core.errors import ProfileError
from sspcore.core.types import Motion, Window
from sspcore.models import DFF, SSP, TCB, NetWarp, SSPOptions, check_image_model, wrap
from sspcore.models.interface import at_feature_stride

CLASSES, SIZE = 5, (64, 96)
ARCHITECTURES = (
    smp.Unet, smp.UnetPlusPlus, smp.FPN, smp.PSPNet, smp.DeepLabV3, smp.DeepLabV3Plus, smp.Linknet, smp.MAnet, smp.PAN,
    smp.UPerNet, smp.Segformer,
)


def network(kind=smp.Unet, **options):
    torch.manual_seed(0)
    return kind("resnet18", encoder_weights=None, classes=CLASSES, **options)


class Tiny(nn.Module):
    """A network with logits at a stride of the test's choice, in a form of its choice."""

    def __init__(self, stride: int = 8, form=lambda logits: logits) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.deep = nn.Sequential(nn.Conv2d(6, 7, 2, stride=2), nn.ReLU())
        self.head = nn.Conv2d(7, CLASSES, 1)
        self.stride, self.form = stride, form

    def forward(self, frames):
        logits = self.head(self.deep(self.stem(frames)))
        return self.form(nn.functional.interpolate(logits, scale_factor=8 / self.stride, mode="nearest"))


def stream(model, frames=2) -> torch.Tensor:
    """Logits of the last of a few frames that move by two pixels."""
    generator, state = torch.Generator().manual_seed(1), None
    H = torch.eye(3)[None].clone()
    H[0, 0, 2] = 2.0
    with torch.inference_mode():
        for frame in torch.randn(frames, 1, 3, *SIZE, generator=generator):
            logits, state = model.step(frame, state, Motion(H, torch.full((1, 2, *SIZE), -2.0)))
    return logits


@pytest.mark.parametrize("kind", ARCHITECTURES, ids=lambda kind: kind.__name__)
def test_every_architecture_of_smp_is_an_image_model_as_it_is(kind):
    bare = network(kind).eval()
    model = SSP(bare, SSPOptions(evidence=True, classes=True)).eval()
    frames = torch.randn(2, 3, 128, 160)
    with torch.no_grad():
        logits, features = model.image.logits_and_features(frames)
        assert torch.equal(logits, bare(frames)) and features.shape == (2, 64, 32, 40)
        motion = torch.eye(3).expand(1, 1, 3, 3)
        trained = model(Window(frames[None], H_prev_to_cur=motion)).logits
    assert trained.shape == (1, 2, CLASSES, 128, 160) and torch.isfinite(trained).all()


def test_a_network_passes_the_public_check_and_keeps_its_modes():
    image = network(aux_params={"classes": 3}).train()
    image.encoder.layer1.eval()
    check_image_model(image)
    assert image.training and image.decoder.training and not image.encoder.layer1.training
    assert all(parameter.grad is None for parameter in image.parameters())


@pytest.mark.parametrize("make", [deeplabv3_mobilenet_v3_large, lraspp_mobilenet_v3_large])
def test_networks_of_torchvision(make):
    torch.manual_seed(0)
    bare = make(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    model = wrap(bare, "backbone.3", CLASSES)
    check_image_model(model)
    frames = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        logits, features = model.logits_and_features(frames)
        assert torch.equal(logits, bare(frames)["out"]) and features.shape == (1, 24, 16, 24)
    assert stream(SSP(model).eval()).shape == (1, CLASSES, *SIZE)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"aux": 0, "out": x}, lambda x: SimpleNamespace(logits=x)])
def test_logits_of_any_stride_and_form(stride, form):
    model = wrap(Tiny(stride, form), "stem", CLASSES)
    check_image_model(model)
    assert stream(SSP(model, SSPOptions(evidence=True, classes=True)).eval()).shape == (1, CLASSES, *SIZE)
    assert stream(model.eval()).shape == (1, CLASSES, *SIZE)  # an image model is a system, too


def test_logits_at_the_stride_of_the_features():
    fine = torch.arange(64.0).view(1, 1, 8, 8)
    assert at_feature_stride(fine, (2, 2)).flatten().tolist() == [13.5, 17.5, 45.5, 49.5]
    assert torch.equal(at_feature_stride(fine, (8, 8)), fine)
    assert at_feature_stride(fine, (16, 16)).shape == (1, 1, 16, 16)


def test_features_of_another_stride_are_interpolated_when_asked():
    model = wrap(Tiny(), "deep.1", CLASSES, interpolate=True)
    check_image_model(model)
    assert model.logits_and_features(torch.randn(1, 3, *SIZE))[1].shape == (1, 7, 16, 24)


@pytest.mark.parametrize("method", [DFF, NetWarp, lambda image: TCB(image, "ppm"), lambda image: TCB(image, "ocr")])
def test_the_other_methods_work_on_networks_of_smp(method):
    assert stream(method(network()).eval()).shape == (1, CLASSES, *SIZE)


REFUSED = {
    "no part of that name": (lambda: wrap(Tiny(), "stam", CLASSES), "features='stam': no such part of Tiny; did you mean stem"),
    "ambiguous": (lambda: wrap(nn.Sequential(Tiny(), Tiny()), "stem", CLASSES), "more than one part .* 0.stem, 1.stem"),
    "wrong stride": (lambda: wrap(Tiny(), "deep", CLASSES), "deep has features at stride 8, SSP needs stride 4; .* are stem"),
    "classes": (lambda: wrap(Tiny(), "stem", 9), "n_classes=9: the logits of Tiny have 5 channels"),
    "no logits": (lambda: wrap(Tiny(form=lambda x: {"masks": x}), "stem", 5), "network returns dict; logits are a tensor"),
    "no frames": (lambda: wrap(nn.Linear(3, 5), "x", 5), "no such part"),
    "cannot run": (lambda: wrap(nn.Sequential(nn.Linear(3, 5)), "0", 5), "cannot segment a frame of 128x160 .*probe_size"),
    "no image model": (lambda: SSP(nn.Conv2d(3, 5, 1)), "Conv2d is no image model: give a network of segmentation_models"),
    "stages": (lambda: DFF(wrap(Tiny(), "stem", CLASSES)), "DFF: WrappedModel has no stages"),
    "vision transformer": (
        lambda: SSP(smp.DPT("tu-vit_tiny_patch16_224", encoder_weights=None)), "DPT: its encoder has features at stride 16"
    ),
    "shallow encoder": (lambda: SSP(network(encoder_depth=1, decoder_channels=(8,))), "encoder has features at stride 1, 2"),
    "channels": (lambda: SSP(network(in_channels=4)), "Unet: takes 4 channels; frames are RGB"),
    "activation": (lambda: SSP(network(activation="softmax2d")), "activation='softmax2d' gives no logits"),
    "size": (lambda: SSP(network()).eval().step(torch.zeros(1, 3, 60, 96), None), "multiples of 32; .* 64x96"),
    "size of a wrapped one": (lambda: wrap(Tiny(), "stem", 5).step(torch.zeros(1, 3, 66, 96)), "multiples of 4; .* 68x96"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case):
    attempt, problem = REFUSED[case]
    with pytest.raises(ProfileError, match=problem) as caught:
        attempt()
    assert len(str(caught.value)) < 400


class Own(nn.Module):
    """An image model of a user's own; the test spoils one property."""

    n_classes, feature_channels = CLASSES, 6

    def __init__(self, spoil=lambda logits, features: (logits, features)) -> None:
        super().__init__()
        self.net, self.spoil = Tiny(), spoil

    def logits_and_features(self, frames):
        return self.spoil(self.net(frames), self.net.stem(frames))


def test_a_class_of_your_own_needs_no_base_class():
    check_image_model(Own())
    assert stream(SSP(Own()).eval()).shape == (1, CLASSES, *SIZE)


@pytest.mark.parametrize(("spoil", "problem"), [
    (lambda x, f: (x[:, :3], f), r"Own: logits are \(2, 3, 8, 12\), expected \(B, 5, h, w\)"),
    (lambda x, f: (x, f[..., ::2]), r"Own: features are \(2, 6, 16, 12\), expected \(2, 6, 16, 24\)"),
    (lambda x, f: (x - x.mean(0, keepdim=True), f), "logits of a frame change with the other frames"),
    (lambda x, f: (x + torch.rand_like(x), f), "logits of a frame change|two runs on one frame differ"),
    (lambda x, f: (x, f.detach()), "no gradient reaches the model"),
    (lambda x, f: (x / 0, f), "logits hold values that are no finite numbers"),
])
def test_the_public_check_finds_what_is_wrong(spoil, problem):
    with pytest.raises((AssertionError, ProfileError), match=problem):
        check_image_model(Own(spoil))
