"""The reference's readings in L_tc and in the fusion of labels, against NumPy that writes the slips out; their effect here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.core.types import Outputs, Window
from sspcore.motion.geometry import warp_by_flow, warp_by_flow_reference
from sspcore.training.fusion import fuse_pair
from sspcore.training.losses import build_objective, temporal_consistency
from sspcore.training.recipe import Recipe

C, H, W = 4, 24, 32


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def smooth(rng: np.random.Generator, channels: int) -> np.ndarray:
    """A few waves: (channels, H, W), about -1..1."""
    y, x = np.mgrid[:H, :W]
    waves = [np.sin(rng.uniform(0.2, 0.7) * x + rng.uniform(0.2, 0.7) * y + rng.uniform(0, 6)) for _ in range(3 * channels)]
    return np.stack(waves).reshape(channels, 3, H, W).mean(1) * 1.5


class Pair:
    """The known example: two frames with logits, and flows of 1 to 4 px that leave the view at the right and lower side."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        y, x = np.mgrid[:H, :W]
        self.flow = np.stack((2.5 + 1.5 * np.sin(y / 4), 1.0 + np.cos(x / 5)))
        self.back = -self.flow + rng.uniform(-0.6, 0.6, self.flow.shape)
        self.logits, self.frames = np.stack((smooth(rng, C), smooth(rng, C))), np.stack((smooth(rng, 3), smooth(rng, 3)))

    def loss(self, **readings: str) -> float:
        arrays = (self.logits[1], self.logits[0], self.frames[1], self.frames[0], self.flow)
        return float(temporal_consistency(*(tensor(one)[None] for one in arrays), Conventions(**readings)))

    def fused(self, conventions: Conventions, stride: int = 1) -> list[np.ndarray]:
        logits = self.logits if stride == 1 else self.logits[:, :, ::stride, ::stride]
        arrays = (logits[0], logits[1], self.flow, self.back)
        return [one[0].numpy() for one in fuse_pair(*(tensor(one)[None] for one in arrays), conventions)]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


def aligned(image: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image (c, h, w) along flow, bilinear, its border repeated; and where it is read inside the frame."""
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width] + flow[::-1]
    inside = (abs(x - (width - 1) / 2) <= width / 2) & (abs(y - (height - 1) / 2) <= height / 2)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, upper = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = x - left, y - upper
    above = image[:, upper, left] * (1 - a) + image[:, upper, left + 1] * a
    return above * (1 - b) + (image[:, upper + 1, left] * (1 - a) + image[:, upper + 1, left + 1] * a) * b, inside


def slipped(image: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image (c, h, w) along flow: x scaled by W - 1, read as if by W, at the nearest pixel, zeros outside; and where inside."""
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width] + flow[::-1]
    row, column = (
        np.rint(((2 * at / (side - 1) - 1 + 1) * side - 1) / 2).astype(int) for at, side in ((y, height), (x, width))
    )
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return image[:, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] * inside, inside


@pytest.mark.parametrize("warp", ["aligned", "reference"])
@pytest.mark.parametrize("norm", ["l1", "sum"])
@pytest.mark.parametrize("outside", ["left-out", "counted"])
def test_l_tc_under_every_reading(pair, warp, norm, outside):
    along = slipped if warp == "reference" else aligned
    past, inside = along(pair.logits[0], pair.flow)
    difference = pair.frames[1] - along(pair.frames[0], pair.flow)[0]
    weight = np.exp(-(abs(difference).sum(0) if norm == "l1" else abs(difference.sum(0))))
    if outside == "left-out":
        weight = weight * inside
    expected = (weight * np.square(pair.logits[1] - past).sum(0)).mean()
    assert pair.loss(flow_warp=warp, soft_occlusion=norm, outside_view=outside) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("readings, effect", [  # relative change of L_tc on the known example
    ({"flow_warp": "reference"}, -0.0698),
    ({"soft_occlusion": "sum"}, 0.5127),
    ({"outside_view": "counted"}, 0.1068),
    (dict(REFERENCE), 0.6013),
])
def test_the_size_of_each_slip_in_l_tc(pair, readings, effect):
    assert pair.loss(**readings) / pair.loss() - 1 == pytest.approx(effect, abs=5e-4)


def test_the_objective_takes_the_readings(pair):
    window = Window(tensor(pair.frames)[None], flow_to_prev=tensor(pair.flow)[None, None],
                    labels=torch.full((1, 2, H, W), 255))
    recipe = Recipe(epochs=1, schedule_epochs=1, warmup_epochs=0.5, batch_size=1, lr=1e-3, crop=(32, 32), lambda_tc=0.5)
    for conventions in (CORRECTED, REFERENCE):
        losses = build_objective(recipe, False, conventions=conventions)(Outputs(tensor(pair.logits)[None]), window)
        assert float(losses["tc"]) == pytest.approx(pair.loss(**dict(conventions)))
        teacher = Window(**vars(window) | {"teacher": tensor(pair.logits)[None]})
        losses = build_objective(recipe, True, conventions=conventions)(Outputs(tensor(pair.logits)[None]), teacher)
        assert float(losses["tc"]) == pytest.approx(pair.loss(**dict(conventions)))


@pytest.mark.parametrize("warp", ["aligned", "reference"])
@pytest.mark.parametrize("mask", ["followed", "same-pixel"])
@pytest.mark.parametrize("outside", ["left-out", "counted"])
def test_fused_labels_under_every_reading(pair, warp, mask, outside):
    both = ((pair.logits[0], pair.logits[1], pair.flow, pair.back), (pair.logits[1], pair.logits[0], pair.back, pair.flow))
    ours = pair.fused(Conventions(flow_warp=warp, occlusion=mask, outside_view=outside))
    for fused, (own, other, there, back) in zip(ours, both, strict=True):
        returned, in_view = aligned(back, there) if mask == "followed" else (back, np.ones((H, W), bool))
        gap, length = np.square(there + returned).sum(0), np.square(there).sum(0) + np.square(returned).sum(0)
        hidden = (gap > 0.01 * length + 0.5) | ~in_view
        past, inside = slipped(other, there) if warp == "reference" else aligned(other, there)
        if outside == "left-out":
            hidden = hidden | ~inside
        assert 0.01 < hidden.mean() < 0.9
        np.testing.assert_allclose(fused, (own + past * ~hidden) / np.where(hidden, 1, 2), atol=1e-6)


def test_fused_labels_at_stride_4_read_the_nearest_pixel_of_the_full_size(pair):
    """On the coarse grid the nearest place would be up to 2 px off; here the full-size samples of a cell are averaged."""
    logits = torch.zeros(1, 1, H // 4, W // 4, dtype=torch.float64)
    ramp = (torch.arange(W // 4, dtype=torch.float64) * 4 + 1.5).expand_as(logits)  # a cell's centre, in full-size pixels
    flow = torch.zeros(1, 2, H, W, dtype=torch.float64)
    flow[:, 0] = 1.0
    readings = Conventions(flow_warp="reference", occlusion="same-pixel")
    _, fused = fuse_pair(ramp, logits, -flow, flow, readings)
    moved = (2 * fused - logits - ramp)[0, 0, 1:-1, 2:-2]
    assert torch.allclose(moved, torch.ones_like(moved))  # the nearest cell of the coarse grid would be the same one


@pytest.mark.parametrize("readings, effect", [  # root mean square change of the logits, which are about 0.5 in size
    ({"flow_warp": "reference"}, 0.0983),
    ({"occlusion": "same-pixel"}, 0.1697),
    ({"outside_view": "counted"}, 0.0),  # M_occ followed along the flow leaves these pixels out itself
    ({"outside_view": "counted", "occlusion": "same-pixel"}, 0.2277),
    (dict(REFERENCE), 0.2178),
])
def test_the_size_of_each_slip_in_fused_labels(pair, readings, effect):
    ours, corrected = (np.stack(pair.fused(one)) for one in (Conventions(**readings), CORRECTED))
    assert np.sqrt(np.square(ours - corrected).mean()) == pytest.approx(effect, abs=5e-4)


def test_the_slipped_warp_moves_still_pictures_by_up_to_half_a_pixel():
    ramp = torch.arange(W, dtype=torch.float64).expand(1, 1, H, W)
    values, valid = warp_by_flow_reference(ramp, torch.zeros(1, 2, H, W, dtype=torch.float64), mode="bilinear")
    row = (values - ramp)[0, 0, H // 2]
    assert row[1] == pytest.approx(1 / (W - 1) - 0.5) and row[W // 2] == pytest.approx(W / 2 / (W - 1) - 0.5)
    _, valid = warp_by_flow_reference(ramp, torch.zeros(1, 2, H, W, dtype=torch.float64))
    assert not valid[..., -1].any() and not valid[..., -1, :].any() and valid[..., :-1, :-1].all()
    assert torch.equal(warp_by_flow(ramp, torch.zeros(1, 2, H, W, dtype=torch.float64))[0], ramp)


def test_the_slipped_warp_lets_gradients_through_and_refuses_other_grids():
    source = torch.randn(1, 2, 4, 6, requires_grad=True)
    warp_by_flow_reference(source, torch.zeros(1, 2, 4, 6))[0].sum().backward()
    assert source.grad.sum() > 0
    with pytest.raises(ValueError, match="resize_flow"):
        warp_by_flow_reference(source, torch.zeros(1, 2, 4, 8))
