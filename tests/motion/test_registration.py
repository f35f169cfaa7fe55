"""Registrators on procedural images warped by a known homography."""

from __future__ import annotations

import builtins

import cv2
import numpy as np
import pytest

from sspcore.core.errors import ProfileError, SspError
from sspcore.motion import registration

MARGIN = 40


def homography(size: tuple[int, int], dx: float = 4.3, dy: float = -3.6) -> np.ndarray:
    """A drone's small step, about the same share of the view at every size: turn, climb, shift, tilt."""
    unit = size[1] / 320
    c, s = 1.01 * np.cos(0.015), 1.01 * np.sin(0.015)
    return np.array([[c, -s, dx * unit], [s, c, dy * unit], [3e-5 / unit, -2e-5 / unit, 1]])


def pair(size: tuple[int, int], H: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A texture with edges at all scales, and the same moved by H: two uint8 RGB frames without blank borders."""
    height, width = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for cell in (3, 6, 12, 24, 48):
        coarse = generator.random((-(-height // cell) + 1, -(-width // cell) + 1, 3)).astype(np.float32)
        canvas += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * cell**0.5
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    to_canvas = np.array([[1.0, 0, MARGIN], [0, 1, MARGIN], [0, 0, 1]])
    moved = cv2.warpPerspective(
        canvas, to_canvas @ H @ np.linalg.inv(to_canvas), (width, height), flags=cv2.INTER_CUBIC
    )
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.ascontiguousarray(canvas[inner]), np.ascontiguousarray(moved[inner])


def ground_error(H: np.ndarray, H_true: np.ndarray, size: tuple[int, int]) -> float:
    """Mean distance over all pixels between where H and H_true send them, in pixels."""
    points = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1).reshape(-1, 1, 2).astype(np.float64)
    moved, moved_true = (cv2.perspectiveTransform(points, matrix) for matrix in (H, H_true))
    return float(np.linalg.norm(moved - moved_true, axis=-1).mean())


@pytest.mark.parametrize(
    ("name", "size", "bound"),
    [
        ("lk", (192, 320), 0.05),
        ("lk", (96, 160), 0.1),
        ("sift", (192, 320), 0.2),
        ("akaze", (192, 320), 0.4),
        ("orb", (192, 320), 1.5),
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


def test_too_few_or_implausible_matches_fall_back_to_the_identity():
    square = np.float32([[0, 0], [300, 0], [300, 180], [0, 180], [150, 90], [75, 45]])
    mirrored = square * np.float32([-1, 1]) + np.float32([300, 0])
    in_line = np.float32([[i * 10, i * 10] for i in range(6)])
    for before, after in ((square[:3], square[:3]), (square, mirrored), (in_line, in_line)):
        found = registration.fit_homography(before, after, (192, 320))
        assert not found.ok and found.inliers == 0 and found.matches == len(before) == len(found.inlier_mask)
        assert np.array_equal(found.H_prev_to_cur, np.eye(3))
    assert registration.fit_homography(square, square + 1, (192, 320)).ok


def test_a_corner_behind_the_horizon_is_implausible():
    H = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 200, 0, 1]])
    points = np.float32([[0, 0], [100, 0], [100, 180], [0, 180], [50, 90], [20, 45]])
    moved = cv2.perspectiveTransform(points[:, None], H)[:, 0]
    assert registration.fit_homography(points, moved, (192, 150)).ok
    assert not registration.fit_homography(points, moved, (192, 320)).ok


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
    with pytest.raises(SspError, match="pip install kornia"):
        registration.build_registrator("lightglue")
