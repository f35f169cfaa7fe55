"""The reference's readings in the models, against NumPy that writes the slips out; their effect on a known example."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.core.images import to_tensor
from sspcore.core.types import Motion, Window
from sspcore.export.step import TorchRunner
from sspcore.models import ImageModelSpec, ImageSegmenter
from sspcore.models.checkpoint import create_model, load_checkpoint
from sspcore.models.dff import DFF
from sspcore.models.netwarp import NetWarp
from sspcore.models.spec import SSPOptions
from sspcore.models.ssp import SSP, Observation, Route, SSPState
from sspcore.models.systems import build, control
from sspcore.models.tcb import TCB, PyramidContext
from sspcore.study.profiles import load_profile

C, CHANNELS, H, W = 3, 16, 16, 24
TURN = np.array([[0.9, -0.35, 4.0], [0.3, 0.95, -2.0], [4e-3, -3e-3, 1.0]])  # half a pixel more or less is seen
LITE = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")
SIZE = (64, 96)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()[None]


# ------------------------------------------------------------------------------------------------------------------ SSP


def places(H_cur_to_prev: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel is read from, (x, y)."""
    y, x = np.mgrid[:height, :width]
    ends = np.einsum("ij,jhw->ihw", H_cur_to_prev, np.stack((x, y, np.ones_like(x))).astype(float))
    return ends[0] / ends[2], ends[1] / ends[2]


def read(image: np.ndarray, x: np.ndarray, y: np.ndarray, zeros: bool) -> np.ndarray:
    """image (c, h, w), bilinear: with a frame of zeros around it, or with its border repeated."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="constant" if zeros else "edge")
    x, y = np.clip(x + 1, 0, padded.shape[2] - 1), np.clip(y + 1, 0, padded.shape[1] - 1)
    left, upper = np.minimum(x.astype(int), padded.shape[2] - 2), np.minimum(y.astype(int), padded.shape[1] - 2)
    a, b = x - left, y - upper
    above = padded[:, upper, left] * (1 - a) + padded[:, upper, left + 1] * a
    return above * (1 - b) + (padded[:, upper + 1, left] * (1 - a) + padded[:, upper + 1, left + 1] * a) * b


class Step:
    """The known example: one step of SSP with random logits, features and weights, under a turn."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.past, self.present = rng.standard_normal((2, C, H, W))
        self.past_features, self.features = rng.standard_normal((2, CHANNELS, H // 4, W // 4))
        inverse = np.linalg.inv(TURN)
        self.H_cur_to_prev = inverse / inverse[2, 2]
        image = SimpleNamespace(n_classes=C, feature_channels=CHANNELS, logits_and_features=lambda frames: None)
        torch.manual_seed(3)
        self.model = SSP(image).eval()

    @torch.no_grad()
    def output(self, options: SSPOptions) -> np.ndarray:
        self.model.options = options
        step = self.model.propagate(
            Observation(tensor(self.present), None, tensor(self.features), None),
            SSPState(tensor(self.past), tensor(self.past_features), torch.zeros(1, 1, H, W)),
            Route(torch.from_numpy(self.H_cur_to_prev)[None]),
        )
        return step.state.logits[0].numpy()

    def by_hand(self, half_pixel: bool, masked: bool, zeros: bool) -> np.ndarray:
        shift = -0.375 if half_pixel else 0.0
        small = np.array([[0.25, 0, shift], [0, 0.25, shift], [0, 0, 1]])
        x, y = places(small @ self.H_cur_to_prev @ np.linalg.inv(small), H // 4, W // 4)
        seen = (abs(x + 0.5 - W / 8) <= W / 8) & (abs(y + 0.5 - H / 8) <= H / 8)
        past_features = read(self.past_features, x, y, zeros) * (1 if zeros else seen)
        with torch.no_grad():  # the head has tests of its own
            alpha = self.model.similarity(tensor(past_features), tensor(self.features), None)
            alpha = F.interpolate(alpha, size=(H, W), mode="bilinear", align_corners=False)[0].numpy()
        x, y = places(self.H_cur_to_prev, H, W)
        seen = (abs(x + 0.5 - W / 2) <= W / 2) & (abs(y + 0.5 - H / 2) <= H / 2)
        past = read(self.past, x, y, zeros)
        if masked:
            alpha = alpha * seen
        elif not zeros:
            past = past * seen
        return alpha * past + (1 - alpha) * self.present


@pytest.fixture(scope="module")
def step() -> Step:
    return Step()


@pytest.mark.parametrize("half_pixel, masked, zeros", product((True, False), repeat=3))
def test_ssp_step_under_every_reading(step, half_pixel, masked, zeros):
    options = SSPOptions(half_pixel=half_pixel, mask_alpha=masked, border="zeros" if zeros else "repeat")
    np.testing.assert_allclose(step.output(options), step.by_hand(half_pixel, masked, zeros), atol=2e-5)


@pytest.mark.parametrize("readings, effect, largest", [  # root mean square and largest change of the logits, of size 1
    ({"half_pixel": "dropped"}, 0.0022, 0.017),
    ({"past_outside": "zeros"}, 0.2640, 2.186),
    ({"past_border": "zero-padded"}, 0.0303, 0.402),
    (dict(REFERENCE), 0.2687, 2.190),
])
def test_the_size_of_each_slip_in_a_step_of_ssp(step, readings, effect, largest):
    change = step.output(SSPOptions().under(Conventions(**readings))) - step.output(SSPOptions())
    assert np.sqrt(np.square(change).mean()) == pytest.approx(effect, abs=5e-4)
    assert abs(change).max() == pytest.approx(largest, abs=5e-3)


def test_options_follow_the_conventions_and_keep_what_an_ablation_set():
    assert SSPOptions().under(CORRECTED) == SSPOptions()
    assert SSPOptions().under(REFERENCE) == SSPOptions(mask_alpha=False, half_pixel=False, border="zeros")
    unmasked = SSPOptions(mask_alpha=False, similarity="cosine")
    assert unmasked.under(CORRECTED) == unmasked and unmasked.under(REFERENCE).similarity == "cosine"
    assert {"half_pixel", "border"}.isdisjoint(SSPOptions().key())
    assert SSPOptions().under(REFERENCE).key().items() >= {"half_pixel": False, "border": "zeros"}.items()


def test_built_systems_follow_the_profile():
    profile = load_profile("smoke", {"conventions": "reference"})
    for name in ("SSP", "SSP-R", control(0.5).name):
        options = build(name, C, profile, load_weights=False).options
        assert not options.mask_alpha and not options.half_pixel and options.border == "zeros"
    for name in ("DFF", "NetWarp", "TCB_ppm", "TCB_ocr"):
        assert build(name, C, profile, load_weights=False).conventions == REFERENCE


def test_an_exported_step_is_the_step_under_the_reference():
    torch.manual_seed(0)
    model = SSP(ImageSegmenter(LITE, C), SSPOptions().under(REFERENCE)).eval()
    runner = TorchRunner(model, SIZE)
    frames = np.random.default_rng(0).integers(0, 255, (2, 1, *SIZE, 3), np.uint8)
    H_cur_to_prev = torch.from_numpy(np.linalg.inv(TURN))[None].float()
    example = runner.module.example | {"frame": torch.from_numpy(frames[0]), "H_cur_to_prev": H_cur_to_prev}
    with torch.inference_mode():
        start = dict(zip(runner.module.output_names, runner.module(*example.values()), strict=True))
        past = {name: start[output] for output, name in runner.module.state.items()}
        second = example | past | {"frame": torch.from_numpy(frames[1]), "past_valid": torch.ones(1)}
        logits = runner.module(*second.values())[0]
        before, now = (model.observe(to_tensor(frame[0])[None]) for frame in frames)
        steps = {}
        for options in (SSPOptions().under(REFERENCE), SSPOptions()):
            model.options = options
            steps[options.mask_alpha] = model.propagate(now, model.start(before), Route(H_cur_to_prev)).state.logits
    torch.testing.assert_close(logits, steps[False], rtol=0, atol=1e-4)
    assert (logits - steps[True]).abs().max() > 0.01  # the corrected step


# ------------------------------------------------------------------------------------------------------ DFF and NetWarp


@pytest.fixture(scope="module")
def image() -> ImageSegmenter:
    torch.manual_seed(4)
    return ImageSegmenter(LITE, C).eval()


@pytest.fixture(scope="module")
def window() -> Window:
    """Four frames of waves and a flow of fractions that leaves the view."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = np.stack([[np.sin((x + 3 * k) / (5 + c)) + np.cos(y / (6 + c)) for c in range(3)] for k in range(4)])
    flow = np.stack([[5.3 + np.sin(y / 9), np.cos(x / 7) - 2.2]] * 3)
    return Window(tensor(frames), flow_to_prev=tensor(flow))


def slipped(features: Tensor, flow: Tensor) -> Tensor:
    """Bilinear, x scaled by W - 1 and read as if by W, zeros outside; flow in pixels of these features."""
    height, width = features.shape[-2:]
    y, x = np.mgrid[:height, :width] + flow[0].numpy()[::-1]
    x, y = ((2 * at / (side - 1) * side - 1) / 2 for at, side in ((x, width), (y, height)))
    return tensor(read(features[0].numpy(), x, y, zeros=True))


@torch.no_grad()
def test_dff_reads_features_with_the_slip(image, window):
    model = DFF(image, conventions=Conventions(feature_warp="reference")).eval()
    features = model._key_features(window.frames[:, 0])
    flow = F.interpolate(window.flow_to_prev[:, 0], features.shape[-2:], mode="bilinear", align_corners=False) / 4
    carried = model._carry(features, window.flow_to_prev[:, 0])
    assert torch.allclose(carried, slipped(features, flow), atol=1e-4 * float(features.abs().max()))
    change = (carried - DFF(image).eval()._carry(features, window.flow_to_prev[:, 0])).square().mean().sqrt() / features.std()
    assert float(change) == pytest.approx(0.38, abs=0.02)  # in standard deviations of the features


@torch.no_grad()
def test_netwarp_mixes_in_what_it_reads_with_the_slip_and_may_carry_the_mixture(image, window):
    torch.manual_seed(5)
    plain, models = NetWarp(image).eval(), {}
    for weights in plain.past_weights:
        nn.init.constant_(weights, 0.5)
    for name, readings in (("warp", {"feature_warp": "reference"}), ("state", {"netwarp_state": "mixture"})):
        models[name] = NetWarp(image, Conventions(**readings)).eval()
        models[name].load_state_dict(plain.state_dict())
    state = plain.step(window.frames[:, 0], None)[1]
    pyramid = image.encode(window.frames[:, 1])
    mixed = models["warp"]._mix(window.frames[:, 1], pyramid, state, window.flow_to_prev[:, 0])
    refined = plain.flow_cnn(window.flow_to_prev[:, 0], window.frames[:, 0], window.frames[:, 1])
    for level, past in enumerate(state.pyramid):
        present = pyramid[-4 + level]
        stride = SIZE[0] // present.shape[-2]
        flow = F.interpolate(refined, present.shape[-2:], mode="bilinear", align_corners=False) / stride
        expected = present + 0.5 * slipped(past, flow)
        assert torch.allclose(mixed[-4 + level], expected, atol=1e-4 * float(expected.abs().max()))
    # the second frame is the same, what is carried on is not, and the third one sees it
    for k, same in ((1, True), (2, False)):
        outputs = [model.rollout(window)[:, k] for model in (plain, models["state"])]
        assert torch.allclose(*outputs, atol=1e-6) == same
    carried = models["state"].step(window.frames[:, 1], state, window.motion(1))[1].pyramid
    expected = plain._mix(window.frames[:, 1], pyramid, state, window.flow_to_prev[:, 0])[-4:]
    assert all(torch.equal(ours, each) for ours, each in zip(carried, expected, strict=True))
    assert torch.equal(plain.forward(window).logits, models["state"].forward(window).logits)  # training knows no difference


# ------------------------------------------------------------------------------------------------------------------ TCB


@torch.no_grad()
def test_tcb_ppm_weighs_other_frames_and_averages_once_more():
    torch.manual_seed(6)
    block = PyramidContext(8, Conventions(tcb_weights="shifted")).eval()
    clip = torch.randn(1, 4, 8, 6, 6)
    pooled: list[Tensor] = []
    handle = block.bins[0].register_forward_pre_hook(lambda module, inputs: pooled.append(inputs[0]))
    block(clip)
    handle.remove()
    frames = clip[0].numpy()
    kernel = block.frame_score.weight[0, :, 0, 0].numpy()
    scores = np.array([np.einsum("chw,c->hw", frame, kernel).mean() for frame in frames])
    weights = np.exp(scores) / np.exp(scores).sum()
    oldest, third, second, newest = frames.mean((2, 3))  # pooled into a single cell
    expected = (newest * weights[2] + second * weights[1] + third * weights[0] + oldest * weights[3]) / 4
    np.testing.assert_allclose(pooled[0][0, :, 0, 0].numpy(), expected, atol=1e-6)
    assert not np.allclose(4 * expected, (weights[:, None] * frames.mean((2, 3))).sum(0), atol=1e-2)


@torch.no_grad()
def test_the_first_three_frames_of_tcb(image, window):
    filled, alone = (TCB(image, "ocr", each).eval() for each in (CORRECTED, Conventions(tcb_start="image-model")))
    alone.load_state_dict(filled.state_dict())
    ours, plain = alone.rollout(window), image.rollout(window)
    assert torch.allclose(ours[:, :3], plain[:, :3], atol=1e-5) and not torch.allclose(ours[:, 3], plain[:, 3], atol=1e-3)
    assert torch.allclose(ours[:, 3], filled.rollout(window)[:, 3], atol=1e-5)
    assert torch.allclose(ours[:, 3], alone.forward(window).logits[:, 0], atol=1e-4)
    assert not torch.allclose(ours[:, 0], filled.rollout(window)[:, 0], atol=1e-3)


# ---------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("name", ["SSP", "DFF", "NetWarp", "TCB_ppm"])
def test_checkpoints_carry_the_conventions(tmp_path, name):
    model = create_model(name, 3, weights="none", decoder_channels=16, input_size=SIZE, conventions=REFERENCE)
    loaded, config = load_checkpoint(model.save_pretrained(tmp_path / name))
    assert config.conventions == REFERENCE
    if name == "SSP":
        assert loaded.options == config.options == SSPOptions().under(REFERENCE)
    else:
        assert loaded.conventions == REFERENCE
    assert type(model).from_pretrained(tmp_path / name).config.conventions == REFERENCE


def test_a_model_made_by_hand_says_its_conventions(tmp_path, image, window):
    model = DFF(image, conventions=Conventions(feature_warp="reference")).eval()
    loaded = DFF.from_pretrained(model.save_pretrained(tmp_path / "dff", input_size=SIZE))
    motion = Motion(flow_to_prev=window.flow_to_prev[:, 0])
    outputs = []
    for each in (model, loaded):
        _, state = each.step(window.frames[:, 0], None)
        outputs.append(each.step(window.frames[:, 1], state, motion)[0])
    assert loaded.conventions == model.conventions and torch.allclose(*outputs, atol=1e-5)
