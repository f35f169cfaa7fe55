"""Resizing: what shrinks is averaged, what grows is interpolated, whichever side it is."""

from __future__ import annotations

import numpy as np
import pytest

from sspcore.core.images import resize_frame


def stripes(height: int, width: int, axis: int) -> np.ndarray:
    """Black and white by turns along an axis; averaged they are grey."""
    levels = np.indices((height, width))[axis] % 2 * 255
    return np.repeat(levels[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("axis, size", [
    (1, (24, 10)), (1, (12, 10)), (1, (48, 10)), (0, (6, 40)), (0, (6, 20)), (0, (6, 80)),
])
def test_a_side_that_shrinks_is_averaged_whatever_the_other_does(axis, size):
    """A quarter of the side: without averages every stripe that is hit would stay black or white."""
    small = resize_frame(stripes(24, 40, axis), size)
    assert small.shape == (*size, 3) and np.abs(small.astype(int) - 127.5).max() <= 1


def test_a_side_that_grows_is_interpolated():
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 3, -1).repeat(16, 0)
    expected = np.clip((np.arange(48) + 0.5) / 2 - 0.5, 0, 23) * 10
    for height in (16, 4, 32):
        assert np.abs(resize_frame(ramp, (height, 48))[..., 0] - expected).max() <= 1


def test_a_frame_of_the_size_is_itself():
    frame = stripes(8, 8, 0)
    assert resize_frame(frame, (8, 8)) is frame
