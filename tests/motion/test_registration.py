"""Registrators on procedural images warped by a known homography."""

from __future__ import annotations

import builtins

import cv2
import numpy as np
import pytest

from helpers.pairs import ground_error, homography, pair
from sspcore.core.errors import ProfileError, SspError
from sspcore.motion import registration
from sspcore.motion.lightglue import is_installed


@pytest.mark.parametrize(
    ("name", "size", "bound"),
    [
        ("lk", (192, 320), 0.05),
        ("lk", (96, 160), 0.1),
        ("sift", (192, 320), 0.2),
        ("akaze", (192, 320), 0.2),
        ("orb", (192, 320), 0.2),
        ("lk", (480, 832), 0.1),
        ("sift", (480, 832), 0.2),
        ("akaze", (480, 832), 0.2),
    ],
)
def test_a_known_homography_is_found(name, size, bound):
    """The last sizes are reduced to 480 px inside: their bound also sees a slip in the way back to full size."""
    H_true = homography(size)
    found = registration.build_registrator(name)(*pair(size, H_true))
    assert found.ok and found.H_prev_to_cur.dtype == np.float64 and found.H_prev_to_cur[2, 2] == 1
    assert ground_error(found.H_prev_to_cur, H_true, size) < bound


def test_points_are_matches_at_full_size():
    size = (480, 832)
    H_true = homography(size)
    found = registration.LucasKanade()(*pair(size, H_true))
    assert found.previous_points.shape == found.current_points.shape == (found.matches, 2)
    assert found.inlier_mask.sum() == found.inliers >= 50
    moved = cv2.perspectiveTransform(found.previous_points[found.inlier_mask][:, None].astype(np.float64), H_true)
    distance = np.linalg.norm(moved[:, 0] - found.current_points[found.inlier_mask], axis=1)
    assert np.median(distance) < 0.2 and found.previous_points.max() > 700


def test_no_reduction_below_max_side_and_reduction_above(monkeypatch):
    seen = []
    track = cv2.calcOpticalFlowPyrLK

    def spy(first, *args, **settings):
        seen.append(first.shape)
        return track(first, *args, **settings)

    monkeypatch.setattr(cv2, "calcOpticalFlowPyrLK", spy)
    frames = pair((96, 160), homography((96, 160)))
    registration.LucasKanade()(*frames)
    registration.LucasKanade(max_side=80)(*frames)
    assert seen == [(96, 160)] * 2 + [(48, 80)] * 2


def test_points_of_a_halved_frame_return_between_pixels():
    """A corner at a reduced frame's pixel x lies at 2 x + 0.5, the middle of the two pixels it was made of."""
    found = registration.LucasKanade(max_side=160)(*pair((192, 320), homography((192, 320))))
    assert found.matches > 50 and (found.previous_points % 1 == 0.5).all()


def test_the_round_trip_and_the_ratio_sort_out_matches():
    frames = pair((192, 320), homography((192, 320)))
    strict, usual = registration.LucasKanade(round_trip_px=1e-4), registration.LucasKanade()
    assert strict(*frames).matches < usual(*frames).matches
    strict, usual = registration.FeatureMatching("sift", ratio=0.3), registration.FeatureMatching("sift")
    assert strict(*frames).matches < usual(*frames).matches


@pytest.mark.parametrize("name", ["lk", "sift", "akaze", "orb"])
def test_the_same_frames_give_the_same_bits(name):
    frames = pair((192, 320), homography((192, 320)))
    registrator = registration.build_registrator(name)
    first = registrator(*frames)
    cv2.setRNGSeed(12345)  # what the rest of a program does to OpenCV's generator must not matter
    registrator(*pair((192, 320), homography((192, 320)), seed=1))
    second = registrator(*frames)
    assert first.H_prev_to_cur.tobytes() == second.H_prev_to_cur.tobytes()
    assert np.array_equal(first.inlier_mask, second.inlier_mask)


def test_a_moving_object_does_not_move_the_ground():
    size = (192, 320)
    H_true = homography(size)
    previous, current = pair(size, H_true)
    patch, _ = pair((60, 80), np.eye(3), seed=3)
    previous[40:100, 60:140] = patch
    current[52:112, 85:165] = patch
    found = registration.LucasKanade()(previous, current)
    assert found.ok and 0 < found.inliers < found.matches
    assert ground_error(found.H_prev_to_cur, H_true, size) < 0.1


@pytest.mark.parametrize("name", ["lk", "sift", "akaze", "orb"])
def test_blank_frames_fail_as_data(name):
    blank = np.full((96, 160, 3), 127, np.uint8)
    textured, _ = pair((96, 160), np.eye(3))
    registrator = registration.build_registrator(name)
    for frames in ((blank, blank), (blank, textured), (textured, blank)):
        found = registrator(*frames)
        assert not found.ok and found.inliers == 0
        assert np.array_equal(found.H_prev_to_cur, np.eye(3))


def test_spread_takes_the_strongest_of_each_part_in_turn():
    crowd = np.float32([[1, 1], [2, 2], [3, 3], [4, 4]])  # one cell of 8 x 8 in a frame of 64 x 80, the strongest first
    others = np.float32([[79, 63], [41, 33], [78, 62]])
    points = np.concatenate((crowd, others))
    assert registration.spread(points, (64, 80), 3).tolist() == [0, 4, 5]
    assert registration.spread(points, (64, 80), 5).tolist() == [0, 1, 4, 5, 6]
    assert registration.spread(points, (64, 80), 9).tolist() == list(range(7))


@pytest.mark.parametrize("name", ["lk", "sift", "orb"])
def test_features_that_crowd_in_one_place_leave_room_for_others(name):
    """A patch of the strongest contrast on faint ground: what is matched covers the frame all the same."""
    size = (192, 320)
    H_true = homography(size)
    previous, current = (127 + 0.7 * (frame.astype(np.float32) - 127) for frame in pair(size, H_true))
    strong = [127 + 1.2 * (frame.astype(np.float32) - 127) for frame in pair(size, H_true)]
    previous[20:90, 20:120], current[20:90, 20:120] = strong[0][20:90, 20:120], strong[1][20:90, 20:120]
    found = registration.build_registrator(name)(*(np.clip(each, 0, 255).astype(np.uint8) for each in (previous, current)))
    outside = ~((found.previous_points < (120, 90)) & (found.previous_points > (20, 20))).all(1)
    assert found.ok and outside[found.inlier_mask].mean() > 0.4
    assert ground_error(found.H_prev_to_cur, H_true, size) < 0.3


@pytest.mark.parametrize(("size", "limit"), [((192, 320), 480), ((480, 832), 1000)])
def test_small_frames_have_fewer_features(monkeypatch, size, limit):
    """One for each 128 pixels; the larger frames, reduced to 277 x 480, have max_features."""
    seen = []
    monkeypatch.setattr(registration, "spread", lambda points, size, limit: seen.append(limit) or slice(0))
    registration.build_registrator("orb")(*pair(size, homography(size)))
    assert seen == [limit, limit]


@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_orb_registers_small_frames(size):
    H_true = homography(size)
    found = registration.build_registrator("orb")(*pair(size, H_true))
    assert found.ok and ground_error(found.H_prev_to_cur, H_true, size) < 0.4


def test_identity_is_a_control_and_always_ok():
    found = registration.Identity()(*pair((96, 160), homography((96, 160))))
    assert found.ok and np.array_equal(found.H_prev_to_cur, np.eye(3)) and found.previous_points.shape == (0, 2)


@pytest.mark.parametrize("name", ["lk", "sift", "identity"])
def test_frames_of_different_sizes_or_kinds_are_refused(name):
    registrator = registration.build_registrator(name)
    frame = np.zeros((96, 160, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(96, 160, 3\).*\(96, 150, 3\)"):
        registrator(frame, frame[:, :150])
    with pytest.raises(ValueError, match=r"float64 \(96, 160, 3\)"):
        registrator(frame.astype(float), frame)


def test_unknown_names_are_refused():
    with pytest.raises(ProfileError, match=r"surf.*sift"):
        registration.build_registrator("surf")
    with pytest.raises(ProfileError, match="surf"):
        registration.FeatureMatching("surf")


def test_lightglue_without_kornia_says_what_to_install(monkeypatch):
    real_import = builtins.__import__

    def without_kornia(name, *args, **kwargs):
        if name.partition(".")[0] == "kornia":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_kornia)
    with pytest.raises(SspError, match="--extra lightglue"):
        registration.build_registrator("lightglue")


needs_lightglue = pytest.mark.skipif(not is_installed(), reason="the extra lightglue is not installed")


@pytest.fixture(scope="module")
def lightglue() -> registration.LightGlueRegistrator:
    return registration.build_registrator("lightglue")


@needs_lightglue
def test_lightglue_has_the_published_settings_and_prints_nothing(lightglue, capsys):
    assert lightglue.max_side is None and lightglue.max_features == 2048 and lightglue.device.type == "cpu"
    registration.LightGlueRegistrator()
    assert capsys.readouterr().out == ""


@needs_lightglue
@pytest.mark.parametrize("size", [(16, 16), (33, 47), (96, 160)])
def test_lightglue_registers_frames_of_any_size(lightglue, size):
    H_true = homography(size)
    found = lightglue(*pair(size, H_true))
    assert len(found.previous_points) == len(found.inlier_mask) == found.matches
    if size == (96, 160):
        assert found.ok and found.inliers > 50 and ground_error(found.H_prev_to_cur, H_true, size) < 0.3
        again = lightglue(*pair(size, H_true))
        assert again.H_prev_to_cur.tobytes() == found.H_prev_to_cur.tobytes()


@needs_lightglue
def test_lightglue_makes_nothing_of_one_colour(lightglue):
    blank = np.full((48, 64, 3), 127, np.uint8)
    assert not lightglue(blank, blank).ok
