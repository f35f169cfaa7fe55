"""Augmentation: flow and homography change with the frames, so that warps stay right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.media import texture
from sspcore.data.augment import ImageAugmentation, Sample, WindowAugmentation, crop_and_resize, flip_horizontally
from sspcore.motion.geometry import warp_by_flow, warp_by_homography

SIZE = (64, 96)


def panning_pair(shift: int = 4) -> Sample:
    """Two frames of a camera that pans by `shift` px, with exact flow and homography."""
    wide = torch.from_numpy(texture((SIZE[0], SIZE[1] + shift), 1)).movedim(-1, 0)
    frames = torch.stack([wide[..., : SIZE[1]], wide[..., shift:]])
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, 0] = shift
    homography = torch.eye(3, dtype=torch.float64)[None].clone()
    homography[0, 0, 2] = -shift
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (2, *SIZE)).astype(np.uint8))
    return Sample(frames, labels, homography, flow, teacher=torch.randn(2, 3, SIZE[0] // 4, SIZE[1] // 4))


def warp_errors(sample: Sample) -> tuple[float, float]:
    """Mean absolute error (grey levels) of frame 0 warped into frame 1 by flow and by homography, where valid."""
    before, now = sample.frames[:1].float(), sample.frames[1:].float()
    errors = []
    for values, valid in (
        warp_by_flow(before, sample.flow_to_prev), warp_by_homography(before, sample.H_prev_to_cur),
    ):
        inside = valid.expand_as(values).clone()
        inside[..., :3], inside[..., -3:], inside[..., :3, :], inside[..., -3:, :] = False, False, False, False
        errors.append(float((values - now).abs()[inside].mean()))
    return errors[0], errors[1]


def slip_error(sample: Sample) -> float:
    """Error of the same warp with half a pixel of slip, the mistake that these tests are after."""
    return warp_errors(replace(sample, flow_to_prev=sample.flow_to_prev + 0.5))[0]


def test_the_fixture_warps_exactly():
    assert max(warp_errors(panning_pair())) < 0.01


@pytest.mark.parametrize("top, left, box, size", [
    (0, 0, (64, 96), (64, 96)), (8, 12, (48, 64), (48, 64)), (8, 12, (32, 48), (64, 96)), (4, 8, (40, 60), (32, 48)),
])
def test_crop_and_resize_keeps_flow_and_homography_right(top, left, box, size):
    changed = crop_and_resize(panning_pair(), top, left, box, size)
    assert changed.frames.shape[-2:] == size and changed.labels.shape[-2:] == size
    assert changed.teacher.shape[-2:] == (size[0] // 4, size[1] // 4)
    assert max(warp_errors(changed)) < 0.5 * slip_error(changed)  # what is left is interpolation


@pytest.mark.parametrize("box, size", [((32, 48), (44, 68)), ((60, 92), (40, 60))])
def test_labels_are_resized_about_the_same_pixel_centres_as_frames(box, size):
    ramp = torch.arange(SIZE[1], dtype=torch.uint8).mul(2).expand(1, *SIZE).contiguous()
    sample = Sample(ramp[:, None].expand(1, 3, *SIZE).contiguous(), ramp, torch.empty(0, 3, 3, dtype=torch.float64))
    changed = crop_and_resize(sample, 4, 4, box, size)
    bias = (changed.labels.float() - changed.frames[:, 0].float())[..., 4:-4].mean()
    assert abs(float(bias)) < 0.2  # in steps of 2 a pixel; rounding down would give 0.7 and more


def test_flip_is_exact_and_its_own_inverse():
    sample = panning_pair()
    flipped = flip_horizontally(sample)
    assert max(warp_errors(flipped)) < 0.01
    back = flip_horizontally(flipped)
    for name in ("frames", "labels", "flow_to_prev", "teacher"):
        assert torch.equal(getattr(back, name), getattr(sample, name))
    assert torch.allclose(back.H_prev_to_cur, sample.H_prev_to_cur)


def test_random_windows_keep_warps_right_and_have_the_crop_size():
    augment = WindowAugmentation((48, 64))
    augment.colours = lambda sample: sample  # photometric noise aside
    for seed in range(12):
        torch.manual_seed(seed)
        changed = augment(panning_pair())
        assert changed.frames.shape == (2, 3, 48, 64)
        assert max(warp_errors(changed)) < 0.5 * slip_error(changed)


def test_colours_change_alike_in_both_frames():
    sample = panning_pair(0)
    torch.manual_seed(1)
    changed = WindowAugmentation(SIZE).colours(sample)
    assert torch.equal(changed.frames[0], changed.frames[1])
    assert not torch.equal(changed.frames, sample.frames)


def test_image_augmentation_moves_labels_with_the_image():
    """A label painted into the image must still match it after any geometric change."""
    label = torch.zeros(1, *SIZE, dtype=torch.uint8)
    label[:, 20:44, 30:66] = 1
    frames = (label * 255)[:, None].expand(1, 3, *SIZE).contiguous()
    augment = ImageAugmentation((48, 64))
    augment.colours = lambda sample: sample
    agreement = []
    for seed in range(20):
        torch.manual_seed(seed)
        changed = augment(Sample(frames, label, torch.empty(0, 3, 3, dtype=torch.float64)))
        seen = changed.labels != 255
        agreement.append(float(((changed.frames[:, 0] > 127) == (changed.labels == 1))[seen].float().mean()))
    assert min(agreement) > 0.93


def test_teacher_logits_move_with_the_image_in_every_augmentation_of_single_frames():
    """Teacher logits that repeat the labels must still match them: 1 in 5 samples would be turned away otherwise."""
    blocks = torch.zeros(SIZE, dtype=torch.uint8)
    blocks[16:48, 24:72] = 1
    logits = torch.nn.functional.one_hot(blocks[2::4, 2::4].long(), 2).movedim(-1, 0).float()[None]
    sample = Sample(blocks.expand(1, 3, *SIZE) * 200, blocks[None], torch.empty(0, 3, 3, dtype=torch.float64), teacher=logits)
    augment = ImageAugmentation((48, 64))
    for seed in range(30):
        torch.manual_seed(seed)
        changed = augment(sample)
        from_teacher = torch.nn.functional.interpolate(changed.teacher, (48, 64), mode="bilinear").argmax(1)
        assert float((from_teacher == changed.labels).float().mean()) > 0.95, f"seed {seed}"
