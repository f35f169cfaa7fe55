"""Each equation of docs/METHOD.md against a few lines of NumPy that share nothing with the library.

Here, at fractional displacements and with all parts together:
    section 2  warp by a homography; sim, alpha and the blend P_k (one whole step)
    section 3  L = CE + lambda / C L_tc with O and the warp by flow
    section 4  M_occ in both readings, the fusion T^c, L = KL + KL + lambda_kd / C L_tc
    section 5  the learning rate
    section 6  DFF's chain of warps, NetWarp's FlowCNN and mixture, the contexts of TCB_ppm and TCB_ocr
Already tested that way elsewhere:
    section 2  H at stride 4 (test_geometry), P_0 = S_0 and the recurrence (test_models_ssp)
    section 3  L_tc and O at whole pixels, section 4: KL with a temperature (test_losses)
    section 7  mIoU (test_metrics), TC, its reference's form and pooled TC (test_metrics_consistency), VC_n and the
               five-frame vote (test_metrics_dense)
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sspcore.core.conventions import Conventions
from sspcore.core.types import Motion, Outputs, Window
from sspcore.models.dff import DFF
from sspcore.models.netwarp import FlowCNN, NetWarp, NetWarpState
from sspcore.models.ssp import SSP, Observation, Route, SSPState
from sspcore.models.tcb import ObjectContext, PyramidContext
from sspcore.motion.geometry import occlusion_mask, occlusion_mask_same_pixel, warp_by_homography
from sspcore.training.fusion import fuse_pair
from sspcore.training.loop import build_schedule
from sspcore.training.losses import distilled, supervised
from sspcore.training.recipe import Recipe

H, W, C = 12, 16, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def torch_of(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()


def close(ours: torch.Tensor, expected: np.ndarray | float, rel: float = 1e-4, absolute: float = 1e-5) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=rel, atol=absolute)


def read_at(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """image (c, h, w) at pixel coordinates, bilinear; beyond the border its values repeat."""
    x, y = np.clip(x, 0, image.shape[2] - 1), np.clip(y, 0, image.shape[1] - 1)
    x0, y0 = np.minimum(x.astype(int), image.shape[2] - 2), np.minimum(y.astype(int), image.shape[1] - 2)
    a, b = x - x0, y - y0
    return (
        image[:, y0, x0] * (1 - a) * (1 - b) + image[:, y0, x0 + 1] * a * (1 - b)
        + image[:, y0 + 1, x0] * (1 - a) * b + image[:, y0 + 1, x0 + 1] * a * b
    )


def along(image: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image (c, h, w) along flow (2, h, w), and where the source lies in the frame."""
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width] + flow[::-1]
    return read_at(image, x, y), (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    raised = np.exp(values - values.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def conv(values: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """(c, h, w) through a square convolution that keeps the size."""
    weight = layer.weight.detach().numpy()
    kernel = weight.shape[-1]
    padded = np.pad(values, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()[:, None, None]
    return np.einsum("chwij,dcij->dhw", patches, weight) + bias


def norm_relu(values: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    mean, var, scale, shift = (
        part.detach().numpy()[:, None, None] for part in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return np.maximum((values - mean) / np.sqrt(var + norm.eps) * scale + shift, 0)


def stack(values: np.ndarray, layers: nn.Module) -> np.ndarray:
    """(c, h, w) through convolutions, batch norms in eval mode and ReLUs."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            values = conv(values, layer)
        elif isinstance(layer, nn.BatchNorm2d):
            values = norm_relu(values, layer)
    return values


def ready(module: nn.Module) -> nn.Module:
    """In eval mode, with statistics that are not those of a fresh batch norm."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.weight, 1.0, 0.2)
            nn.init.normal_(layer.bias, std=0.2)
    return module.eval()


# --- section 2 --------------------------------------------------------------------------------------------------------


def project(H_cur_to_prev: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where each pixel is read from, (2, h, w)."""
    y, x = np.mgrid[:height, :width]
    ends = np.einsum("ij,jhw->ihw", H_cur_to_prev, np.stack((x, y, np.ones_like(x))).astype(float))
    return ends[:2] / ends[2]


TURN = np.array([[1.02, -0.05, 1.3], [0.04, 0.98, -0.7], [1e-3, -5e-4, 1.0]])
STRONG_TURN = np.array([[0.9, -0.35, 4.0], [0.3, 0.95, -2.0], [4e-3, -3e-3, 1.0]])  # half a pixel more or less is seen


def test_section_2_warp_by_a_homography(rng: np.random.Generator) -> None:
    previous = rng.standard_normal((C, H, W))
    ours, valid = warp_by_homography(torch_of(previous)[None], torch.from_numpy(TURN)[None])
    x, y = project(np.linalg.inv(TURN), H, W)
    close(ours[0], read_at(previous, x, y), rel=1e-3)
    inside = (x >= -0.5) & (x <= W - 0.5) & (y >= -0.5) & (y <= H - 0.5)
    assert not inside.all() and np.array_equal(valid[0, 0].numpy(), inside)


@pytest.mark.parametrize("masked", [True, False])
def test_section_2_one_whole_step(rng: np.random.Generator, masked: bool) -> None:
    """alpha = sigmoid(sim([warp F_{k-1}, F_k])), P_k = alpha warp P_{k-1} + (1 - alpha) S_k; no past outside the view."""
    channels = 16
    image = SimpleNamespace(n_classes=C, feature_channels=channels, logits_and_features=lambda frames: None)
    torch.manual_seed(3)
    model = ready(SSP(image))
    model.options = model.options.model_copy(update={"mask_alpha": masked})
    past, present = rng.standard_normal((2, C, H, W))
    past_features, features = rng.standard_normal((2, channels, H // 4, W // 4))
    H_cur_to_prev = np.linalg.inv(STRONG_TURN)
    H_cur_to_prev /= H_cur_to_prev[2, 2]
    state = model.propagate(
        Observation(torch_of(present)[None], None, torch_of(features)[None], None),
        SSPState(torch_of(past)[None], torch_of(past_features)[None], torch.zeros(1, 1, H, W)),
        Route(torch.from_numpy(H_cur_to_prev)[None]),
    ).state
    small = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375], [0, 0, 1]])  # x_s = (x + 0.5) / 4 - 0.5
    x, y = project(small @ H_cur_to_prev @ np.linalg.inv(small), H // 4, W // 4)
    seen = (x >= -0.5) & (x <= W // 4 - 0.5) & (y >= -0.5) & (y <= H // 4 - 0.5)
    similarity = stack(np.concatenate((read_at(past_features, x, y) * seen, features)), model.similarity.head)
    yy, xx = np.mgrid[:H, :W]
    alpha = read_at(1 / (1 + np.exp(-similarity)), (xx + 0.5) / 4 - 0.5, (yy + 0.5) / 4 - 0.5)
    x, y = project(H_cur_to_prev, H, W)
    seen = (x >= -0.5) & (x <= W - 0.5) & (y >= -0.5) & (y <= H - 0.5)
    warped = read_at(past, x, y)
    alpha, warped = (alpha * seen, warped) if masked else (alpha, warped * seen)
    assert alpha[alpha > 0].std() > 0.01  # a head whose ReLUs are all dead would show nothing
    close(state.alpha[0], alpha, absolute=1e-4)
    close(state.logits[0], alpha * warped + (1 - alpha) * present, absolute=1e-4)


# --- sections 3 and 4 -------------------------------------------------------------------------------------------------


def consistency(logits: np.ndarray, frames: np.ndarray, flow: np.ndarray) -> float:
    """1/(HW) sum O ||P_k - Phat_{k-1}||^2 with O = exp(-||I_k - Ihat_{k-1}||_1); logits and frames are (2, c, h, w)."""
    warped, inside = along(logits[0], flow)
    weight = np.exp(-np.abs(frames[1] - along(frames[0], flow)[0]).sum(0)) * inside
    return float((weight * np.square(logits[1] - warped).sum(0)).sum() / weight.size)


@pytest.fixture
def pair(rng: np.random.Generator) -> SimpleNamespace:
    """Two frames with logits, and a flow of fractions that leaves the view in places."""
    return SimpleNamespace(
        logits=rng.standard_normal((2, C, H, W)), frames=0.4 * rng.standard_normal((2, 3, H, W)),
        flow=rng.uniform(-2, 2, (2, H, W)),
    )


def window_of(pair: SimpleNamespace, **fields: torch.Tensor) -> tuple[Outputs, Window]:
    window = Window(torch_of(pair.frames)[None], flow_to_prev=torch_of(pair.flow)[None, None], **fields)
    return Outputs(torch_of(pair.logits)[None]), window


def test_section_3_loss(rng: np.random.Generator, pair: SimpleNamespace) -> None:
    labels = np.full((2, H, W), 255)
    labels[1] = rng.choice([0, 1, 2, 255], (H, W))
    losses = supervised(0.5, 0.4)(*window_of(pair, labels=torch.from_numpy(labels)[None]))
    kept = labels[1] != 255
    chosen = np.take_along_axis(softmax(pair.logits[1], 0), np.where(kept, labels[1], 0)[None], 0)[0]
    entropy = -np.log(chosen[kept]).mean()
    assert float(losses["total"]) == pytest.approx(
        entropy + 0.5 / C * consistency(pair.logits, pair.frames, pair.flow), rel=1e-4
    )


def test_section_4_loss(rng: np.random.Generator, pair: SimpleNamespace) -> None:
    teacher, temperature = rng.standard_normal((2, C, H, W)), 2.0
    losses = distilled(0.25, temperature)(*window_of(pair, teacher=torch_of(teacher)[None]))
    q, p = softmax(teacher / temperature, 1), softmax(pair.logits / temperature, 1)
    kl = (q * np.log(q / p)).sum(1).mean((1, 2)) * temperature**2
    expected = kl[0] + kl[1] + 0.25 / C * consistency(pair.logits, pair.frames, pair.flow)
    assert float(losses["total"]) == pytest.approx(expected, rel=1e-4)


def disagree(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    return np.square(there + back).sum(0) > 0.01 * (np.square(there).sum(0) + np.square(back).sum(0)) + 0.5


def near_opposite_flows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flows of a smooth motion and of its way back that agree in about half of the pixels."""
    y, x = np.mgrid[:H, :W]
    there = np.stack((6 + np.sin(x / 3), np.cos(y / 2)))
    return there, -there + rng.uniform(-0.9, 0.9, there.shape)


def test_section_4_occlusion_mask_in_both_readings(rng: np.random.Generator) -> None:
    there, back = near_opposite_flows(rng)
    followed, inside = along(back, there)
    expected = disagree(there, followed) | ~inside
    assert expected.any() and not expected.all() and not np.array_equal(expected, disagree(there, back))
    flows = torch_of(there)[None], torch_of(back)[None]
    assert np.array_equal(occlusion_mask(*flows)[0, 0].numpy(), expected)
    assert np.array_equal(occlusion_mask_same_pixel(*flows)[0, 0].numpy(), disagree(there, back))


def test_section_4_fusion(rng: np.random.Generator) -> None:
    """T^c_{k-1} = (T_{k-1} + (1 - M) warp(T_k)) / (2 - M), at stride 4, M the share of occluded pixels in a cell."""
    there, back = near_opposite_flows(rng)
    logits = rng.standard_normal((2, C, H // 4, W // 4))
    ours = fuse_pair(*(torch_of(one)[None] for one in (*logits, there, back)), Conventions(occlusion="same-pixel"))
    y, x = 4 * np.mgrid[: H // 4, : W // 4] + 1.5  # a cell's centre
    share = disagree(there, back).reshape(H // 4, 4, W // 4, 4).mean((1, 3))
    for k, (own, other, flow) in enumerate(((logits[0], logits[1], there), (logits[1], logits[0], back))):
        warped, inside = along(other, read_at(flow, x, y) / 4)
        hidden = np.where(inside, share, 1.0)
        assert 0 < hidden.mean() < 1
        close(ours[k][0], (own + (1 - hidden) * warped) / (2 - hidden))


# --- section 5 --------------------------------------------------------------------------------------------------------


def test_section_5_learning_rate() -> None:
    """Linear from 1e-4 of the rate over 2 epochs, then half a cosine down to 1e-4 of it at the schedule's end."""
    recipe = Recipe(epochs=20, schedule_epochs=25, warmup_epochs=2, batch_size=4, lr=5e-5, crop=(32, 32))
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule, rates = build_schedule(optimiser, recipe, steps_per_epoch=10), []
    for _ in range(250):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    steps = np.arange(250)
    share = np.where(steps < 20, steps / 20, 0.5 + 0.5 * np.cos(np.pi * (steps - 20) / 230))
    np.testing.assert_allclose(rates, 5e-5 * (1e-4 + (1 - 1e-4) * share), rtol=1e-9)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(5e-9)


# --- section 6 --------------------------------------------------------------------------------------------------------


class Decoder(nn.Module):
    """In the place of an image model: the frame is its own pyramid, and what is decoded is kept."""

    n_classes, feature_channels, pyramid_channels = C, 2, (2, 3, 4, 5)

    def __init__(self, pyramids: list[list[torch.Tensor]] | None = None) -> None:
        super().__init__()
        self.pyramids, self.decoded = pyramids, None

    def encode(self, frame: torch.Tensor) -> list[torch.Tensor]:
        return [frame] if self.pyramids is None else self.pyramids.pop(0)

    def logits_and_features(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def decode_features(self, pyramid: list[torch.Tensor]) -> torch.Tensor:
        self.decoded = pyramid
        return pyramid[0]

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_section_6_dff_warps_the_features_of_the_frame_before_until_the_next_key_frame(rng: np.random.Generator) -> None:
    model, state, kept = DFF(Decoder(), key_interval=3), None, None
    for k in range(5):
        frame, flow = rng.standard_normal((3, H, W)), rng.uniform(-1.5, 1.5, (2, H, W))
        logits, state = model.step(torch_of(frame)[None], state, Motion(flow_to_prev=torch_of(flow)[None]))
        kept = frame if k % 3 == 0 else along(kept, flow)[0]
        close(logits[0], kept, rel=1e-3)


def test_section_6_netwarp_refines_the_flow(rng: np.random.Generator) -> None:
    """Convolutions 11 -> 16 -> 32 -> 2 on flow, both frames and their difference, then 4 -> 2 with the flow."""
    network = FlowCNN().eval()
    with torch.no_grad():
        network.merge.weight.normal_()
    flow, previous, current = rng.standard_normal((2, H, W)), *rng.standard_normal((2, 3, H, W))
    first, _, second, _, third = network.correction
    values = np.concatenate((flow, previous, current, previous - current))
    values = np.maximum(conv(np.maximum(conv(values, first), 0), second), 0)
    expected = conv(np.concatenate((conv(values, third), flow)), network.merge)
    close(network(*(torch_of(one)[None] for one in (flow, previous, current)))[0], expected, rel=1e-3)


def test_section_6_netwarp_adds_the_warped_past_on_every_level(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z~ = c Z_k + p warp(Z_{k-1}, W) with a weight a channel, at strides 4 to 32 of a 64 x 96 frame."""
    sizes = [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    past, present = ([rng.standard_normal((c, *size)) for c, size in zip(Decoder.pyramid_channels, sizes, strict=True)]
                     for _ in range(2))
    image = Decoder([[torch_of(level)[None] for level in present]])
    model, refined = NetWarp(image), torch.zeros(1, 2, 64, 96)
    refined[:, 0], refined[:, 1] = 10.0, -6.0
    monkeypatch.setattr(model.flow_cnn, "forward", lambda flow, previous, current: refined)
    weights = [[rng.standard_normal(c) for c in Decoder.pyramid_channels] for _ in range(2)]
    with torch.no_grad():
        for parameters, values in zip((model.past_weights, model.present_weights), weights, strict=True):
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(torch_of(value)[None, :, None, None])
    frame = torch.zeros(1, 3, 64, 96)
    state = NetWarpState(frame, tuple(torch_of(level)[None] for level in past))
    _, state = model.step(frame, state, Motion(flow_to_prev=torch.zeros(1, 2, 64, 96)))
    for level, stride in enumerate((4, 8, 16, 32)):
        flow = np.stack((np.full(sizes[level], 10.0), np.full(sizes[level], -6.0))) / stride
        p, c = (weight[level][:, None, None] for weight in weights)
        close(image.decoded[level][0], c * present[level] + p * along(past[level], flow)[0], rel=1e-3)
        close(state.pyramid[level][0], present[level])  # the frame's own pyramid is carried on, not the mixture


def test_section_6_tcb_ppm(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averages in 1, 2, 3 and 6 bins, summed over the clip with softmax weights of the frames, beside the newest frame."""
    monkeypatch.setattr("sspcore.models.tcb.PPM_CHANNELS", 5)
    block, clip = ready(PyramidContext(4)), rng.standard_normal((4, 4, 6, 12))
    score = np.array([conv(frame, block.frame_score).mean() for frame in clip])
    weight = softmax(score, 0)[:, None, None, None]
    y, x = np.mgrid[:6, :12]
    levels = [clip[-1]]
    for bins, layers in zip((1, 2, 3, 6), block.bins, strict=True):
        means = clip.reshape(4, 4, bins, 6 // bins, bins, 12 // bins).mean((3, 5))
        pooled = stack((weight * means).sum(0), layers)
        padded = np.pad(pooled, ((0, 0), (0, 1), (0, 1)), mode="edge")  # a single bin has no neighbour to read between
        sample_x, sample_y = (x + 0.5) * bins / 12 - 0.5, (y + 0.5) * bins / 6 - 0.5
        levels.append(read_at(padded, np.minimum(sample_x, bins - 1), np.minimum(sample_y, bins - 1)))
    close(block(torch_of(clip)[None])[0], stack(np.concatenate(levels), block.fuse), rel=1e-3)


def test_section_6_tcb_ocr(rng: np.random.Generator) -> None:
    """Class contexts: means of pixel features under soft regions, averaged over the clip; newest pixels attend to them."""
    block, clip = ready(ObjectContext(16, C)), 2 * rng.standard_normal((4, 16, 3, 5))
    # else all classes have the same context, all scores are alike, and whom a pixel attends to does not matter
    block.regions[-1].weight.data.mul_(8)
    for layer in (*block.query.modules(), *block.key.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.mul_(3)
    pixels = [stack(frame, block.pixels) for frame in clip]
    regions = [softmax(stack(frame, block.regions).reshape(C, -1), 1) for frame in clip]
    contexts = np.mean([region @ pixel.reshape(16, -1).T for region, pixel in zip(regions, pixels, strict=True)], axis=0)
    as_image = contexts.T[:, :, None]
    query = stack(pixels[-1], block.query).reshape(8, -1)
    key, value = (stack(as_image, layers)[:, :, 0] for layers in (block.key, block.value))
    attended = value @ softmax(query.T @ key / np.sqrt(8), 1).T
    expected = stack(np.concatenate((stack(attended.reshape(8, 3, 5), block.up), pixels[-1])), block.out)
    close(block(torch_of(clip)[None])[0], expected, rel=1e-3)
