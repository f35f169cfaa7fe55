"""Photometric operations against a few lines of NumPy, and what they draw against its mean and spread."""

from __future__ import annotations

import colorsys
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers.media import texture
from sspcore.data import photometric
from sspcore.data.photometric import (
    CLAHE,
    BrightnessContrast,
    Compression,
    Gamma,
    GaussianNoise,
    HSVJitter,
    HueSaturationValue,
    ISONoise,
    Sharpen,
)

PICTURE = texture((192, 256), 5)
FRAMES = torch.from_numpy(PICTURE).movedim(-1, 0)[None]
OPERATIONS = [operation() for operation in get_args(photometric.Photometric)]


def grey(level: int, size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    return torch.full((1, 3, *size), level, dtype=torch.uint8)


def means(operation, frames: torch.Tensor, draws: int = 1000) -> np.ndarray:
    """Mean grey level after each of many draws."""
    torch.manual_seed(0)
    return np.array([float(operation(frames).float().mean()) for _ in range(draws)])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.kind)
def test_every_operation_changes_frames_and_nothing_about_them(operation):
    two, before = torch.cat([FRAMES, FRAMES.flip(-1)]), torch.cat([FRAMES, FRAMES.flip(-1)])
    torch.manual_seed(4)
    changed = operation(two)
    assert changed.shape == two.shape and changed.dtype == torch.uint8 and torch.equal(two, before)
    assert not torch.equal(changed, two)
    torch.manual_seed(4)
    assert torch.equal(operation(two), changed)  # torch's seed is all there is
    if not operation.kind.endswith("noise"):  # of noise every frame has its own
        assert (changed[1].flip(-1).float() - changed[0].float()).abs().mean() < 1.5


def test_frames_come_back_from_the_picture_that_holds_them():
    frames = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    picture = photometric.stack_frames(frames)
    assert picture.shape == (8, 5, 3) and picture[4, 1, 2] == frames[1, 2, 0, 1]
    assert torch.equal(photometric.unstack_frames(picture, 2), frames)


def test_brightness_contrast_and_gamma():
    levels, adjust = PICTURE.astype(float), photometric.adjust_brightness_contrast
    assert np.array_equal(adjust(PICTURE, 1.125, -20.25), np.floor(np.clip(levels * 1.125 - 20.25, 0, 255)))
    assert np.array_equal(photometric.adjust_gamma(PICTURE, 0.8), np.floor((levels / 255) ** 0.8 * 255))
    bright = np.full((1, 1, 3), 250, np.uint8)
    assert (adjust(bright, 1.2, 0) == 255).all() and (adjust(bright, 0.5, -200) == 0).all()


def test_hue_saturation_and_value_in_opencvs_units():
    red = np.array([[[200, 40, 40]]], np.uint8)
    assert photometric.shift_hsv(red, 60, 0, 0).tolist() == [[[40, 200, 40]]]  # 60 half degrees from red is green
    assert photometric.shift_hsv(red, -60, 0, 0).tolist() == [[[40, 40, 200]]]  # round the circle to blue
    shifted = photometric.shift_hsv(red, 0, -30, 20)[0, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(*(red[0, 0] / 255))
    expected = np.array(colorsys.hsv_to_rgb(hue, saturation - 30 / 255, value + 20 / 255)) * 255
    assert np.abs(shifted - expected).max() <= 1.5
    assert photometric.shift_hsv(red, 0, 0, 100).max() == 255  # held at white, not round to black


def test_equalisation_of_one_tile():
    """One tile: the histogram of lightness cut at the limit, the rest spread over all levels, and summed up."""
    lightness = np.minimum(np.random.default_rng(0).gamma(3, 20, (64, 64)), 255).astype(np.uint8)
    lab = np.stack([lightness, np.full_like(lightness, 128), np.full_like(lightness, 128)], -1)
    picture = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    seen = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0]
    counts = np.bincount(seen.ravel(), minlength=256)
    limit = int(2.0 * seen.size / 256)
    above = np.maximum(counts - limit, 0).sum()
    expected = (np.cumsum(np.minimum(counts, limit) + above / 256) * 255 / seen.size)[seen]
    result = cv2.cvtColor(photometric.clahe(picture, 2.0, (1, 1)), cv2.COLOR_RGB2LAB)[..., 0]
    assert np.abs(result - expected).max() < 5 and np.abs(seen - expected).mean() > 20


def test_sharpening_is_a_filter_of_nine():
    result, inner = photometric.sharpen(PICTURE, 0.4, 0.7).astype(float), slice(1, -1)
    levels = PICTURE.astype(float)
    around = sum(np.roll(levels, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))
    expected = np.clip(0.6 * levels + 0.4 * (8.7 * levels - around), 0, 255)
    assert np.abs(result - expected)[inner, inner].max() <= 0.51


def test_noise_of_a_sensor_lightens_here_and_there():
    """Specks come by Poisson's law at the strength times the spread of the lightness, each by its strength of what lacks."""
    picture = np.repeat(np.where(np.arange(400 * 400).reshape(400, 400, 1) % 2, 60, 160), 3, -1).astype(np.uint8)
    result = photometric.iso_noise(picture, 0.03, 0.5, np.random.default_rng(0)).astype(float)
    rate, levels = 0.5 * 50 / 255, np.array([160, 60])
    for column, level in enumerate(levels):
        seen = result[:, column::2, 0]
        assert (seen == level).mean() == pytest.approx(np.exp(-rate), abs=0.005)
        assert (np.abs(seen - (level + 0.5 * (255 - level))) <= 1).mean() == pytest.approx(rate * np.exp(-rate), abs=0.005)


def test_jpeg_loses_more_at_lower_quality():
    losses = [loss(photometric.jpeg(PICTURE, quality), PICTURE) for quality in (30, 70, 100)]
    assert losses[0] > 1.2 * losses[1]
    assert losses[1] > 1.2 * losses[2] > 0


def loss(picture: np.ndarray, of: np.ndarray) -> float:
    """Mean absolute difference, in grey levels."""
    return float(np.abs(picture.astype(float) - of).mean())


def test_jpeg_draws_the_qualities_of_its_range_and_no_other():
    """On a texture without colour, where quality alone decides and not the halved resolution of colour."""
    grey_texture = FRAMES[:, :1].expand(-1, 3, -1, -1).contiguous()
    picture, expected = photometric.stack_frames(grey_texture), {}
    for quality in range(97, 101):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        expected[quality] = loss(cv2.imdecode(data, cv2.IMREAD_COLOR), picture)
    torch.manual_seed(0)
    seen = {loss(photometric.stack_frames(Compression()(grey_texture)), picture) for _ in range(40)}
    assert sorted(seen) == [expected[100], expected[99]]


@pytest.mark.parametrize("operation, level, mean, spread", [
    (BrightnessContrast(), 128, 128, np.hypot(0.2 * 128, 0.2 * 255) / np.sqrt(3)),
    (BrightnessContrast(brightness=0), 128, 128, 0.2 * 128 / np.sqrt(3)),
    (BrightnessContrast(contrast=0), 128, 128, 0.2 * 255 / np.sqrt(3)),
    (HueSaturationValue(saturation=0), 128, 128, 20 / np.sqrt(3)),
    (Sharpen(), 128, 128 * (1 - 0.35 * 0.25), 128 * np.sqrt((0.3**2 / 12 + 0.35**2) * (0.25 / 12 + 0.25**2) - 0.0875**2)),
])
def test_draws_have_the_mean_and_spread_of_their_ranges(operation, level, mean, spread):
    seen = means(operation, grey(level, (32, 32)))
    assert seen.mean() == pytest.approx(mean, abs=max(4 * spread / np.sqrt(1000) + 0.6, 1))  # tables round down: half a level
    assert seen.std() == pytest.approx(spread, rel=0.06)


def test_saturation_takes_a_grey_from_its_place_only_upwards():
    """A saturation above 0, in whole levels, lowers two channels of three."""
    saturation = np.maximum(np.trunc(np.random.default_rng(1).uniform(-30, 30, 100_000)), 0)
    expected = (128 + 2 * np.rint(128 * (1 - saturation / 255))) / 3
    seen = means(HueSaturationValue(hue=0, value=0), grey(128))
    assert seen.mean() == pytest.approx(expected.mean(), abs=0.3) and seen.std() == pytest.approx(expected.std(), rel=0.08)


def test_gamma_and_jitter_draw_their_ranges():
    expected = 255 * (128 / 255) ** np.random.default_rng(0).uniform(0.8, 1.2, 100_000)
    for operation in (Gamma(), HSVJitter(contrast=0, hue=0, saturation=0, value=0)):
        seen = means(operation, grey(128))
        assert seen.mean() == pytest.approx(expected.mean(), abs=1.2) and seen.std() == pytest.approx(expected.std(), rel=0.06)
    contrast = means(HSVJitter(hue=0, saturation=0, value=0, gamma=(1, 1)), grey(128))
    assert contrast.std() == pytest.approx(0.2 * 128 / np.sqrt(3), rel=0.06)  # brightness adds a fifth of a grey level


def test_gaussian_noise_is_as_strong_as_it_says():
    torch.manual_seed(0)
    noise = GaussianNoise(deviation=(0.1, 0.1))(grey(128, (200, 200))).float() - 128
    assert float(noise.std()) == pytest.approx(25.5, rel=0.02) and abs(float(noise.mean())) < 0.3


def test_the_deviation_of_noise_is_drawn_from_its_range():
    """On middle greys, of which hardly any is cut off at black or white up to 0.2 of white."""
    torch.manual_seed(0)
    middle = (96 + FRAMES // 4).to(torch.uint8)
    operation = GaussianNoise(deviation=(0.1, 0.2))
    seen = np.array([float((operation(middle).float() - middle).std()) / 255 for _ in range(200)])
    assert 0.097 < seen.min() < 0.105 and 0.193 < seen.max() < 0.203
    assert seen.mean() == pytest.approx(0.15, rel=0.03) and seen.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.1)


def test_the_limit_of_equalisation_and_the_strength_of_noise_are_drawn():
    for operation in (CLAHE(), ISONoise()):
        torch.manual_seed(0)
        strengths = [float((operation(FRAMES).float() - FRAMES).abs().mean()) for _ in range(60)]
        assert max(strengths) > 1.5 * min(strengths)


@pytest.mark.parametrize("settings", [
    {"gamma": (1.2, 0.8)}, {"gamma": (-1, 1)}, {"hue": 91}, {"contrast": 1.5}, {"strength": 1},
])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        HSVJitter(**settings)
