"""Filters against a few independent lines of NumPy, and their names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.systems import lite_image
from sspcore.core.errors import ProfileError
from sspcore.core.types import Window
from sspcore.models import ImageSegmenter
from sspcore.models.controls import RIVALS
from sspcore.models.filter import Filter, MajorityVote, OneEuro
from sspcore.models.spec import OneEuroOptions, VoteOptions
from sspcore.models.ssp import SSP, SSPOptions
from sspcore.models.systems import assemble, system

CLASSES, HEIGHT, WIDTH, FRAMES = 4, 64, 96, 9
SHIFT_X, SHIFT_Y = 8, -4  # the camera's motion: what was at (x, y) is now at (x + 8, y - 4)


@pytest.fixture(scope="module")
def image() -> ImageSegmenter:
    return lite_image(CLASSES)


@pytest.fixture(scope="module")
def window() -> Window:
    H = torch.eye(3).repeat(1, FRAMES - 1, 1, 1)
    H[..., 0, 2], H[..., 1, 2] = SHIFT_X, SHIFT_Y
    frames = torch.randn(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    return Window(frames, H_prev_to_cur=H)


@pytest.fixture(scope="module")
def alone(image: ImageSegmenter, window: Window) -> np.ndarray:
    """The image model's logits (T, C, H, W)."""
    with torch.no_grad():
        return image(window).logits[0].double().numpy()


def shifted(values: np.ndarray, steps: int) -> np.ndarray:
    """Values (..., H, W) so many frames later; NaN where nothing comes from."""
    x, y = steps * SHIFT_X, -steps * SHIFT_Y
    padded = np.pad(values.astype(float), [(0, 0)] * (values.ndim - 2) + [(0, y), (x, 0)], constant_values=np.nan)
    return padded[..., y:, : values.shape[-1]]


@torch.no_grad()
def streamed(model: Filter, window: Window) -> Tensor:
    return model.eval().rollout(window)[0]


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_the_majority_of_the_last_label_maps_where_the_ground_has_them(image, window, alone, frames: int) -> None:
    labels = alone.argmax(1)
    found = streamed(MajorityVote(image, VoteOptions(frames=frames)), window).numpy()
    probs = np.exp(alone) / np.exp(alone).sum(1, keepdims=True)
    for k in range(FRAMES):
        maps = [shifted(labels[k - age], age) for age in range(min(frames, k + 1))]
        votes = np.stack([sum((each == c).astype(int) for each in maps) for c in range(CLASSES)])
        np.testing.assert_allclose(found[k], votes + probs[k] / 2, atol=1e-4)
    overruled = (found.argmax(1) != labels).mean()
    assert overruled == 0 if frames == 2 else overruled > 0.01  # of two the present one wins


def test_an_outlier_of_one_frame_is_voted_down_and_a_change_is_late_by_half_the_maps(image) -> None:
    model, states = MajorityVote(image, VoteOptions(frames=5)), None
    still = Window(torch.zeros(1, 2, 3, 4, 4), H_prev_to_cur=torch.eye(3)[None, None]).motion(1)
    seen = []
    for label in (0, 0, 1, 0, 0, 0, 0, 2, 2, 2):
        logits = torch.zeros(1, CLASSES, 4, 4)
        logits[:, label] = 3.0
        votes, states = model.steady(logits, states, still)
        seen.append(int(votes.argmax(1).unique()))
    assert seen == [0] * 9 + [2]


def one_euro(values: np.ndarray, at_rest: float, beta: float, speed_cutoff: float) -> np.ndarray:
    """The published filter by its pseudocode on (T, ...) values that move by the shift, a frame a time unit."""

    def alpha(cutoff: np.ndarray | float) -> np.ndarray | float:
        tau = 1.0 / (2 * math.pi * cutoff)
        return 1.0 / (1.0 + tau / 1.0)

    min_cutoff = (1 / at_rest - 1) / (2 * math.pi)
    assert alpha(min_cutoff) == pytest.approx(1 - at_rest)
    hatx, hatdx, out = values[0], np.zeros_like(values[0]), [values[0]]
    for x in values[1:]:
        past, slope = shifted(hatx, 1), shifted(hatdx, 1)
        new = np.isnan(past)
        a = alpha(speed_cutoff)
        hatdx = a * (x - past) + (1 - a) * slope
        a = alpha(min_cutoff + beta * np.abs(hatdx))
        hatx = np.where(new, x, a * x + (1 - a) * past)
        hatdx = np.where(new, 0.0, hatdx)
        out.append(hatx)
    return np.stack(out)


@pytest.mark.parametrize("options", [{}, {"at_rest": 0.6, "beta": 0.02, "speed_cutoff": 0.3}])
def test_the_one_euro_filter_is_the_published_one(image, window, alone, options: dict[str, float]) -> None:
    settings = OneEuroOptions(**options)
    expected = one_euro(alone, settings.at_rest, settings.beta, settings.speed_cutoff)
    found = streamed(OneEuro(image, settings), window).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(expected - alone)[1:, :, :-8, 8:].mean() > 0.01


def test_the_one_euro_filter_takes_a_leap_quickly_and_a_tremble_slowly(image) -> None:
    """What OneEuroOptions says of its defaults."""
    still = Window(torch.zeros(1, 2, 3, 4, 4), H_prev_to_cur=torch.eye(3)[None, None]).motion(1)
    model = OneEuro(image, OneEuroOptions())
    for leap, share in ((10.0, 0.7), (1.0, 0.25)):
        _, state = model.steady(torch.zeros(1, CLASSES, 4, 4), None, None)
        taken, _ = model.steady(torch.full((1, CLASSES, 4, 4), leap), state, still)
        assert float(taken.mean()) / leap == pytest.approx(share, abs=0.03)


def test_without_a_slope_it_is_a_constant_alpha(image, window) -> None:
    found = streamed(OneEuro(image, OneEuroOptions(at_rest=0.7, beta=0.0)), window)
    constant = streamed(SSP(image, SSPOptions(similarity="constant", alpha=0.7)), window)
    torch.testing.assert_close(found, constant, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["Majority vote 5", "One-euro filter 0.9", "Flow average 0.5"])
def test_where_there_is_no_past_the_image_model_speaks_alone(image, window, alone, name: str) -> None:
    spec = system(name)
    flow = torch.tensor([-SHIFT_X, -SHIFT_Y]).float().view(1, 1, 2, 1, 1).expand(1, FRAMES - 1, 2, HEIGHT, WIDTH)
    moved = Window(window.frames, window.H_prev_to_cur, flow)
    found = streamed(assemble(spec.method, image, spec.options, 2), moved).numpy()
    entered = np.isnan(shifted(alone[0], 1))
    assert (found.argmax(1)[:, entered[0]] == alone.argmax(1)[:, entered[0]]).all() and entered.any()


class TestNames:
    def test_each_rival_is_a_control_on_its_image_system(self) -> None:
        for name in (*RIVALS, "Majority vote 3 (KD Base)"):
            spec = system(name)
            assert spec.name == name and spec.kind == "control" and spec.recipe is None
            assert spec.starts_from == ("KD Base" if "KD" in name else "Base")
        assert system("Majority vote 3").options == VoteOptions(frames=3)
        assert system("One-euro filter 0.7").options == OneEuroOptions(at_rest=0.7)
        assert system("Flow average 0.7").options == SSPOptions(similarity="constant", alpha=0.7, registration="flow")
        assert len({str(system(name).key()) for name in RIVALS}) == len(RIVALS)

    @pytest.mark.parametrize(
        "name", ["Majority vote 1", "Majority vote 2.5", "One-euro filter 1", "Flow average 1.5", "Majority vote 5 (SSP)"]
    )
    def test_an_impossible_one_is_unknown(self, name: str) -> None:
        with pytest.raises(ProfileError, match="is unknown"):
            system(name)
