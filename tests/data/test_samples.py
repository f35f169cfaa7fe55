"""Samples: flow, homography, matches and logits change with the frames, so that warps stay right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.media import texture
from sspcore.core.classes import IGNORE
from sspcore.data.augmentation import Augmentation, Augmenter, Step, published_images, published_windows
from sspcore.data.geometric import Geometric
from sspcore.data.photometric import HSVJitter
from sspcore.data.samples import Sample, crop_and_resize, flip_horizontally, transform
from sspcore.motion.geometry import warp_by_flow, warp_by_homography
from sspcore.study.profiles import load_profile

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


AUGMENTATIONS = {"published": Augmentation(), "demo": load_profile("demo").augmentation}


def geometry(steps: dict[str, Step]) -> dict[str, Step]:
    """The steps that leave the colours alone."""
    return {name: step for name, step in steps.items() if isinstance(step.one_of[0], Geometric)}


@pytest.mark.parametrize("steps", [each.windows for each in AUGMENTATIONS.values()], ids=AUGMENTATIONS)
def test_random_windows_keep_warps_right_and_have_the_crop_size(steps):
    for seed in range(12):
        torch.manual_seed(seed)
        changed = Augmenter(geometry(steps), (48, 64))(panning_pair())
        assert changed.frames.shape == (2, 3, 48, 64)
        assert max(warp_errors(changed)) < 0.5 * slip_error(changed)


@pytest.mark.parametrize("degrees", [0.0, 7.0])
def test_a_transformed_window_warps_as_before(degrees):
    """An affine map and a homography: flow and homography lead to the same pixels as in the sample they came from."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = torch.tensor([[1.2 * cosine, 1.2 * sine, -9.3], [-1.2 * sine, 1.2 * cosine, -4.6], [0, 0, 1]], dtype=torch.float64)
    bent = matrix.clone()
    bent[2, :2] = torch.tensor([5e-4, -3e-4])
    for each in (matrix, bent):
        changed = transform(panning_pair(), each, (48, 80), repeat_border=True)
        assert max(warp_errors(changed)) < 0.5 * slip_error(changed)


def test_transform_moves_a_pixel_to_where_the_matrix_says():
    """One marked pixel, moved by whole pixels: frames, labels, flow and teacher logits by hand."""
    sample = panning_pair()
    matrix = torch.tensor([[1, 0, -8], [0, 1, -12], [0, 0, 1]], dtype=torch.float64)
    moved = transform(sample, matrix, (40, 60))
    assert torch.equal(moved.frames, sample.frames[..., 12:52, 8:68])
    assert torch.equal(moved.labels, sample.labels[..., 12:52, 8:68])
    assert torch.allclose(moved.flow_to_prev, sample.flow_to_prev[..., 12:52, 8:68], atol=1e-3)
    assert torch.allclose(moved.teacher, sample.teacher[..., 3:13, 2:17], atol=1e-5)


def test_what_a_transform_draws_in_is_black_ignored_and_unknown_to_the_teacher():
    sample = panning_pair()
    matrix = torch.tensor([[1, 0, 16], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    moved = transform(sample, matrix, SIZE)
    assert not moved.frames[..., :16].any() and (moved.labels[..., :16] == IGNORE).all()
    assert moved.teacher[..., :4].abs().max() < 1e-5
    assert torch.equal(moved.frames[..., 16:], sample.frames[..., :-16])
    assert torch.equal(moved.labels[..., 16:], sample.labels[..., :-16])


def test_colours_change_alike_in_both_frames():
    sample = panning_pair(0)
    torch.manual_seed(1)
    changed = Augmenter({"jitter": Step(one_of=(HSVJitter(),))}, SIZE)(sample)
    assert torch.equal(changed.frames[0], changed.frames[1])
    assert not torch.equal(changed.frames, sample.frames)


def painted(teacher: bool) -> Sample:
    """An image whose blocks are its labels and, if asked for, its teacher logits."""
    blocks = torch.zeros(SIZE, dtype=torch.uint8)
    blocks[16:48, 24:72] = 1
    logits = torch.nn.functional.one_hot(blocks[2::4, 2::4].long(), 2).movedim(-1, 0).float()[None]
    return Sample(
        blocks.expand(1, 3, *SIZE).contiguous() * 200, blocks[None], torch.empty(0, 3, 3, dtype=torch.float64),
        teacher=logits if teacher else None,
    )


@pytest.mark.parametrize("steps", [each.images for each in AUGMENTATIONS.values()], ids=AUGMENTATIONS)
def test_image_augmentation_moves_labels_with_the_image(steps):
    """A label painted into the image must still match it after any geometric change."""
    agreement = []
    for seed in range(40):
        torch.manual_seed(seed)
        changed = Augmenter(geometry(steps), (48, 64))(painted(teacher=False))
        seen = changed.labels != IGNORE
        agreement.append(float(((changed.frames[:, 0] > 100) == (changed.labels == 1))[seen].float().mean()))
    assert min(agreement) > 0.93


@pytest.mark.parametrize("steps", [each.images for each in AUGMENTATIONS.values()], ids=AUGMENTATIONS)
def test_teacher_logits_move_with_the_image_in_every_augmentation_of_single_frames(steps):
    """Teacher logits that repeat the labels must still match them: 1 in 5 samples would be turned away otherwise."""
    for seed in range(40):
        torch.manual_seed(seed)
        changed = Augmenter(geometry(steps), (48, 64))(painted(teacher=True))
        from_teacher = torch.nn.functional.interpolate(changed.teacher, (48, 64), mode="bilinear").argmax(1)
        seen = changed.labels != IGNORE
        assert float((from_teacher == changed.labels)[seen].float().mean()) > 0.94, f"seed {seed}"


def test_a_step_is_done_with_its_probability_and_its_operations_alike():
    step = Step(probability=0.8, one_of=tuple({"kind": "jpeg", "quality": (q, q)} for q in (5, 30, 90)))
    sample, seen = painted(teacher=False), []
    textured = replace(sample, frames=torch.from_numpy(texture(SIZE, 3)).movedim(-1, 0)[None])
    torch.manual_seed(0)
    for _ in range(1000):
        seen.append(float((step(textured, SIZE).frames.float() - textured.frames.float()).abs().mean()))
    counts = np.unique(np.round(seen, 4), return_counts=True)[1]
    assert len(counts) == 4  # left alone, and three qualities
    assert np.abs(counts - np.array([200, 800 / 3, 800 / 3, 800 / 3])).max() < 50  # 3.5 standard deviations


def test_steps_for_labels_alone_are_left_out_where_a_teacher_speaks():
    step = Step(one_of=({"kind": "affine", "degrees": 10},), without_teacher=True)
    torch.manual_seed(0)
    with_teacher, without = painted(teacher=True), painted(teacher=False)
    assert step(with_teacher, SIZE) is with_teacher
    assert not torch.equal(step(without, SIZE).frames, without.frames)
    with pytest.raises(ValueError, match="single frames without teacher logits"):
        Step(one_of=({"kind": "affine"},))(with_teacher, SIZE)


def test_a_crop_is_cut_even_if_no_step_asks_for_one():
    torch.manual_seed(0)
    assert Augmenter({}, (32, 64))(panning_pair()).frames.shape == (2, 3, 32, 64)


def test_the_published_steps():
    """METHOD section 5, word for word."""
    windows, images = published_windows(), published_images()
    assert list(windows) == ["flip", "crop", "jitter"]
    assert [windows[name].probability for name in windows] == [0.5, 1.0, 0.3]
    assert windows["crop"].one_of[0].zoom == (1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4)
    assert windows["crop"].one_of[0].zoom_probability == 0.75
    assert [images[name].probability for name in images] == [0.5, 0.2, 0.8, 0.6, 1.0]
    assert [operation.kind for operation in images["tone"].one_of] == [
        "brightness_contrast", "hue_saturation_value", "gamma", "clahe",
    ]
    assert load_profile("paper").augmentation == Augmentation()
