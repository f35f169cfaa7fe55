"""Crops, boxes and views: no picture is squeezed, and everything in a sample moves with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sspcore.core.types import Size
from sspcore.data.geometric import Box, Crop, Perspective, ShiftScaleRotate, perspective, shift_scale_rotate
from sspcore.data.samples import Sample, flip_horizontally

SIDES = st.integers(8, 62).map(lambda cells: 4 * cells)


def coordinates(size: Size, with_teacher: bool = True) -> Sample:
    """Three frames that say where each of their pixels lies.

    Frames hold (x, y, 0), labels x, x, y, flow 1 % of the position, teacher logits the position (x, y) of the cell's centre;
    the homographies shift by one pixel to the right, then down.
    """
    y, x = (torch.from_numpy(each) for each in np.mgrid[: size[0], : size[1]])
    frames = torch.stack((x, y, 0 * x)).to(torch.uint8).expand(3, 3, *size).contiguous()
    shifts = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1
    cells = torch.from_numpy(np.mgrid[: size[0] // 4, : size[1] // 4][::-1].copy()).float() * 4 + 1.5
    return Sample(
        frames, torch.stack((x, x, y)).to(torch.uint8), shifts,
        flow_to_prev=(0.01 * torch.stack((x, y)).float()).repeat(2, 1, 1, 1),
        teacher=cells.repeat(3, 1, 1, 1) if with_teacher else None,
    )


def linear_part(sample: Sample) -> np.ndarray:
    """(2, 2): what became of the shifts by one pixel, x and y; how far a pixel's width and height reach now."""
    return sample.H_prev_to_cur[:, :2, 2].T.numpy()


def assert_consistent(changed: Sample, size: Size) -> None:
    """All parts of a changed `coordinates` tell of the same affine map."""
    linear = linear_part(changed)
    height, width = changed.frames.shape[-2:]
    cell = height // 8, width // 8  # one about the middle: away from borders, which repeat
    here = np.array([4 * cell[1] + 1.5, 4 * cell[0] + 1.5])
    offset = changed.teacher[0, :, cell[0], cell[1]].numpy() - np.linalg.solve(linear, here)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    source = pixels @ np.linalg.inv(linear).T + offset
    inside = ((source > 2) & (source < np.array([size[1] - 3, size[0] - 3]))).all(-1)
    frames, labels = changed.frames[0].movedim(0, -1).numpy(), changed.labels.numpy()
    edge = np.ones_like(inside)
    edge[3:-3, 3:-3] = False  # resizing a cut box repeats the box's border
    inside &= ~edge
    assert inside.sum() > 0.3 * inside.size or min(height, width) < 48
    assert np.abs(frames[..., :2] - source)[inside].max() < 1.01
    assert np.abs(labels[0] - source[..., 0])[inside].max() < 0.6 and np.abs(labels[2] - source[..., 1])[inside].max() < 0.6
    flow = changed.flow_to_prev[0].movedim(0, -1).numpy()
    assert np.abs(flow - 0.01 * source @ linear.T)[inside].max() < 0.03
    teacher = changed.teacher[0].movedim(0, -1).numpy()
    of_cells = (pixels[: height // 4, : width // 4] * 4 + 1.5) @ np.linalg.inv(linear).T + offset
    assert np.abs(teacher - of_cells)[2:-2, 2:-2].max(initial=0) < 0.05


@st.composite
def cases(draw) -> tuple[Size, Size, int]:
    """A frame's size, a crop's, and a seed."""
    size = draw(SIDES), draw(SIDES)
    return size, tuple(draw(st.sampled_from(range(32, side + 1, 4))) for side in size), draw(st.integers(0, 2**31))


@settings(max_examples=150, deadline=None)
@given(case=cases(), low=st.floats(0.4, 2.0), more=st.floats(0, 1), teacher=st.booleans())
def test_no_box_changes_the_aspect_by_more_than_its_rounding(case, low, more, teacher):
    size, crop, seed = case
    torch.manual_seed(seed)
    changed = Box(zoom=(low, low + more))(coordinates(size, teacher), crop)
    assert tuple(changed.frames.shape[-2:]) == crop
    (scale_x, skew_x), (skew_y, scale_y) = linear_part(changed)
    assert max(abs(skew_x), abs(skew_y)) < 1e-9
    # both sides of the box are the crop's over one factor, each rounded by at most 2 px
    assert abs(1 / scale_x - 1 / scale_y) <= 2 / crop[0] + 2 / crop[1] + 1e-9
    box = crop[0] / scale_y, crop[1] / scale_x
    assert all(side < whole + 1e-6 and abs(side / 4 - round(side / 4)) < 1e-6 for side, whole in zip(box, size, strict=True))
    if teacher:
        assert_consistent(changed, size)


@settings(max_examples=150, deadline=None)
@given(case=cases(), factors=st.lists(st.floats(1, 2), max_size=3), teacher=st.booleans(), flipped=st.booleans())
def test_no_published_crop_changes_the_aspect_at_all(case, factors, teacher, flipped):
    size, crop, seed = case
    torch.manual_seed(seed)
    sample = coordinates(size, teacher)
    changed = Crop(zoom=tuple(factors))(flip_horizontally(sample) if flipped else sample, crop)
    assert tuple(changed.frames.shape[-2:]) == crop
    (scale_x, skew_x), (skew_y, scale_y) = linear_part(changed)
    assert max(abs(skew_x), abs(skew_y)) < 1e-9 and abs(scale_x) == pytest.approx(scale_y, rel=1e-9)
    assert min(abs(scale_y - factor) for factor in (1.0, *factors)) < 1e-9
    if teacher:
        assert_consistent(changed, size)


def test_a_teachers_crop_as_high_as_its_frame_is_not_squeezed():
    """Factors below 1 have no room there: both sides are taken at factor 1, where one side alone was clamped."""
    for seed in range(50):
        torch.manual_seed(seed)
        scale_x, scale_y = np.diag(linear_part(Box(zoom=(0.8, 1.0))(coordinates((144, 248), False), (144, 144))))
        assert (scale_x, scale_y) == pytest.approx((1, 1))


def test_the_published_crop_cuts_twice():
    """Enlarged by 1.4 and cut to its size, then to the crop: the place is the sum of two uniform ones."""
    size, crop, places = (36, 60), (36, 36), []
    for seed in range(1500):
        torch.manual_seed(seed)
        changed = Crop(zoom=(1.4,), zoom_probability=1)(coordinates(size, False), crop)
        middle = changed.flow_to_prev[0, 0, 18, 18].item() * 100  # 1.4 times its x in the frame
        places.append(middle + (1.4 - 1) / 2 - 18)  # in the enlarged frame, less its place in the crop
    assert np.abs(np.array(places) - np.round(places)).max() < 0.02  # whole pixels of the enlarged frame
    room = int(60 * 1.4) - 60, 60 - 36
    expected = sum(each / 2 for each in room), sum((each * (each + 2)) / 12 for each in room)
    assert np.mean(places) == pytest.approx(expected[0], abs=0.8)  # four standard errors
    assert np.var(places) == pytest.approx(expected[1], rel=0.12)


def test_factors_are_those_of_the_list_and_come_as_often_as_asked_for():
    scales = []
    for seed in range(800):
        torch.manual_seed(seed)
        changed = Crop(zoom=(1.1, 1.25, 1.4))(coordinates((32, 48), False), (32, 32))
        scales.append(round(float(linear_part(changed)[0, 0]), 6))
    values, counts = np.unique(scales, return_counts=True)
    assert list(values) == [1.0, 1.1, 1.25, 1.4]
    assert np.abs(counts - 200).max() < 45  # 3.6 standard deviations


def test_shift_scale_rotate_by_hand():
    """About the centre (2, 1) of a 3x5 frame: a quarter turn takes the right of it to the top, twice as far; then the shift."""
    matrix = shift_scale_rotate([1, -1], [2.0, 3.0], 90.0, (3, 5)).numpy()
    assert matrix @ [2, 1, 1] == pytest.approx([3, 0, 1])
    assert matrix @ [3, 1, 1] == pytest.approx([3, -2, 1])
    assert matrix @ [2, 2, 1] == pytest.approx([6, 0, 1])


def test_perspective_by_hand():
    """Every corner a tenth inside: enlarged by 1 / 0.8 for the quadrilateral, and once more for the library's second time."""
    matrix = perspective(torch.full((4, 2), 0.1), (100, 200)).numpy()
    for x, y in ((20, 10), (180, 90), (60, 70)):
        seen = matrix @ [x, y, 1]
        assert seen[:2] / seen[2] == pytest.approx([(x - 20) / 0.8 / 0.8, (y - 10) / 0.8 / 0.8], abs=1e-3)
    assert perspective(torch.zeros(4, 2), (100, 200)).numpy() == pytest.approx(np.eye(3), abs=1e-6)


@pytest.mark.parametrize("operation", [Perspective(scale=(0.05, 0.05)), ShiftScaleRotate()])
def test_views_keep_the_size_and_leave_the_frame_recognisable(operation):
    size = (64, 96)
    for seed in range(30):
        torch.manual_seed(seed)
        changed = operation(coordinates(size), size)
        assert changed.frames.shape[-2:] == size and changed.labels.shape[-2:] == size
        seen = (changed.labels[2] != 255).numpy()
        assert seen.mean() > 0.6
        frames, labels = changed.frames[0].numpy(), changed.labels.numpy()
        away = np.abs(frames[0][seen].astype(float) - labels[0][seen])
        assert np.median(away) <= 1  # a ring at the border is half black


def test_shift_scale_rotate_draws_over_its_whole_range():
    angles, scales = [], []
    for seed in range(1000):
        torch.manual_seed(seed)
        linear = linear_part(ShiftScaleRotate()(coordinates((32, 48), False), (32, 48)))
        scales.append(np.linalg.norm(linear, axis=0))
        angles.append(np.degrees(np.arctan2(-linear[1, 0], linear[0, 0])))
    assert np.std(angles) == pytest.approx(30 / np.sqrt(12), rel=0.06) and max(np.abs(angles)) < 15
    assert np.std(scales, axis=0) == pytest.approx([0.2 / np.sqrt(12)] * 2, rel=0.06)
    assert abs(np.corrcoef(np.transpose(scales))[0, 1]) < 0.12  # each side on its own
