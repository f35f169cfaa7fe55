"""Which pixels a polygon covers, against shapes counted by hand and against the plain rule pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sspcore.core.errors import ReleaseError
from sspcore.data.annotations.shapes import paint, require_aspect


def covered(points, size=(6, 8)):
    labels = np.zeros(size, np.uint8)
    paint(labels, np.array(points, float), 1)
    return labels


@pytest.mark.parametrize("points, rows", [
    # corners of pixels are whole numbers: a square of 4 has 16 pixels, COCO's area
    ([(0, 0), (4, 0), (4, 4), (0, 4)], ["####....", "####....", "####....", "####....", "........", "........"]),
    # the centre of pixel (row 1, column 1) is (1.5, 1.5)
    ([(1.4, 1.4), (2.6, 1.4), (2.6, 2.6), (1.4, 2.6)], ["........", ".##.....", ".##....."] + ["........"] * 3),
    ([(1.6, 1.6), (2.4, 1.6), (2.4, 2.4), (1.6, 2.4)], ["........"] * 6),
    ([(1, 1), (7, 1), (1, 5)], ["........", ".#####..", ".####...", ".##.....", ".#......", "........"]),
    # outside of the frame; turned the other way round; a bow tie
    ([(-5, -5), (-5, 2), (3, 2), (3, -5)], ["###.....", "###.....", "........", "........", "........", "........"]),
    ([(0, 0), (6, 6), (6, 0), (0, 6)], [".....#..", "#...##..", "##.###..", "##.###..", "#...##..", ".....#.."]),
    ([(-1e6, 3), (1e6, 3), (0, 1e6)], ["........"] * 3 + ["########"] * 3), ([(3, 3), (3, 3), (3, 3)], ["........"] * 6),
])
def test_a_pixel_is_covered_if_its_centre_lies_inside(points, rows):
    assert ["".join(".#"[value] for value in row) for row in covered(points)] == rows


def test_polygons_that_share_an_edge_neither_overlap_nor_leave_a_gap():
    left, right = [(0, 0), (4.5, 0), (2.5, 6), (0, 6)], [(8, 0), (4.5, 0), (2.5, 6), (8, 6)]
    assert (covered(left) + covered(right) == 1).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-4, 12), st.floats(-4, 10)), min_size=3, max_size=8))
def test_as_the_plain_rule_has_it(points):
    expected = np.zeros((6, 8), np.uint8)
    for row in range(6):
        for column in range(8):
            y, x = row + 0.5, column + 0.5
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                    expected[row, column] ^= 1
    assert np.array_equal(covered(points), expected)


@pytest.mark.parametrize("own, size", [((6, 8), (6, 8)), ((720, 1280), (1080, 1920)), ((67, 100), (1000, 1500))])
def test_labels_of_a_scaled_copy_fit(own, size):
    require_aspect(own, size, "a.json")


@pytest.mark.parametrize("own", [(8, 6), (720, 960), (1080, 1900)])
def test_labels_of_another_image_do_not_fit(own):
    message = rf"a\.json: the labels are of an image of {own[1]}x{own[0]}, but the frame is 1920x1080"
    with pytest.raises(ReleaseError, match=message):
        require_aspect(own, (1080, 1920), "a.json")
