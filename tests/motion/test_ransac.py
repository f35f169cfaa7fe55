"""RANSAC's homography unchecked, the reference's rule: where it answers, and where the checked rule answers otherwise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from helpers.pairs import ground_error, homography, pair
from sspcore.core.conventions import REFERENCE
from sspcore.motion.fitting import fit_motion
from sspcore.motion.names import REGISTRATOR_NAMES, uses_lightglue, uses_raft
from sspcore.motion.ransac import fit_homography
from sspcore.motion.readings import registrator_under
from sspcore.motion.registration import build_registrator

SIZE = (192, 320)


def matches(count: int, H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(1).uniform((10, 10), (310, 180), (count, 2)).astype(np.float32)
    return points, cv2.perspectiveTransform(points[:, None].astype(np.float64), H)[:, 0].astype(np.float32)


def test_four_matches_are_enough_where_the_checked_rule_wants_more():
    H_true = homography(SIZE)
    found, checked = fit_homography(*matches(4, H_true)), fit_motion(*matches(4, H_true), *np.zeros((2, *SIZE), np.uint8), SIZE)
    assert found.ok and found.model == "homography" and (found.inliers, found.matches) == (4, 4) and found.inlier_mask.all()
    assert found.H_prev_to_cur[2, 2] == 1 and ground_error(found.H_prev_to_cur, H_true, SIZE) < 0.01
    assert not checked.ok


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_matches_are_the_identity(count):
    previous, current = matches(4, homography(SIZE))
    found = fit_homography(previous[:count], current[:count])
    assert not found.ok and found.inliers == 0 and found.matches == len(found.inlier_mask) == count
    np.testing.assert_array_equal(found.H_prev_to_cur, np.eye(3))


def test_outliers_are_those_beyond_the_threshold_at_full_size():
    previous, current = matches(40, homography(SIZE))
    current[:10] += np.linspace(8, 60, 10, dtype=np.float32)[:, None]
    found = fit_homography(previous, current)
    assert found.inliers == 30 and not found.inlier_mask[:10].any()


@pytest.mark.parametrize("H", [None, np.full((3, 3), np.nan), np.diag([1.0, 1, 0]), np.ones((3, 3)) + np.diag([4.0, 0, 0])])
def test_what_is_no_invertible_map_is_not_ok(monkeypatch, H):
    monkeypatch.setattr(cv2, "findHomography", lambda *arguments: (H, np.ones((12, 1), np.uint8)))
    found = fit_homography(*matches(12, np.eye(3)))
    assert not found.ok and found.inliers == 0 and np.array_equal(found.H_prev_to_cur, np.eye(3))


@pytest.mark.parametrize("name", ["lk", "sift", "akaze", "orb"])
def test_every_registrator_follows_the_rule_and_has_a_name_of_its_own(name):
    checked, plain = build_registrator(name), build_registrator(registrator_under(name, REFERENCE))
    assert plain.name == f"{name}-ransac" != checked.name
    H_true, frames = homography((480, 832)), pair((480, 832), homography((480, 832)))
    assert ground_error(plain(*frames).H_prev_to_cur, H_true, (480, 832)) < 0.5
    still = plain(frames[0], frames[0])
    assert (checked(frames[0], frames[0]).model, still.model, still.ok) == ("identity", "homography", True)


def test_frames_without_a_common_view_are_registered_all_the_same():
    first, other = (pair(SIZE, np.eye(3), seed)[0] for seed in (1, 2))
    assert build_registrator("orb-ransac")(first, other).ok and not build_registrator("orb")(first, other).ok


def test_what_names_tell():
    assert {name for name in REGISTRATOR_NAMES if uses_lightglue(name)} == {
        "lightglue", "lightglue-imagenet", "lightglue-ransac", "lightglue-imagenet-ransac",
    }
    assert uses_raft("raft-15-imagenet") and not uses_raft("dis-fast")
