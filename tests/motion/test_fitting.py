"""Which model of motion is taken, and when a registration is ok: scenes of every kind, and the rule by hand-made matches."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pairs import ground_error, homography, pair
from sspcore.motion import fitting
from sspcore.motion.registration import build_registrator

SIZE = (192, 320)
MATCHERS = ("lk", "sift", "akaze", "orb")


def largest_shift(H: np.ndarray, size: tuple[int, int] = SIZE) -> float:
    """How far a corner of the frame is moved, in pixels, worked out independently."""
    height, width = size
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]], float)
    moved = (H @ corners.T).T
    return float(np.abs(moved[:, :2] / moved[:, 2:] - corners[:, :2]).max())


def difference(frames: tuple[np.ndarray, np.ndarray], H: np.ndarray) -> tuple[float, float]:
    """Mean grey-level difference after the warp and without one, on the pixels that the warp has: no code of the library."""
    before, after = (cv2.GaussianBlur(frame.mean(2).astype(np.float32), (0, 0), 1.0) for frame in frames)
    ys, xs = np.mgrid[: after.shape[0], : after.shape[1]]
    back = np.linalg.inv(H) @ np.stack((xs.ravel(), ys.ravel(), np.ones(xs.size)))
    x, y = (back[:2] / back[2]).reshape(2, *after.shape).astype(np.float32)
    valid = (x >= 0) & (y >= 0) & (x <= after.shape[1] - 1) & (y <= after.shape[0] - 1)
    warped = cv2.remap(before, x, y, cv2.INTER_LINEAR)
    return float(np.abs(warped - after)[valid].mean()), float(np.abs(before - after)[valid].mean())


def noise(seed: int, sigma: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (*SIZE, 3))


def ripples(seed: int, scale: float) -> np.ndarray:
    field = cv2.GaussianBlur(noise(seed, 1)[..., :1].astype(np.float32), (0, 0), scale)[..., None]
    return field / field.std()


def as_frame(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


WATER = np.array((60.0, 110, 150))
UNSEEN = {  # frames without anything to hold on to, by their number
    "one colour, noise of 2": lambda k: as_frame(WATER + noise(k, 2)),
    "one colour, noise of 4": lambda k: as_frame(WATER + noise(k, 4)),
    "one colour, noise of 10": lambda k: as_frame(WATER + noise(k, 10)),
    "ripples": lambda k: as_frame(WATER + 6 * ripples(k, 3) + noise(k, 1.5)),
    "waves": lambda k: as_frame(WATER + 20 * ripples(k, 8) + noise(k, 1.5)),
    "fog": lambda k: as_frame(190 + 8 * ripples(0, 40) + noise(k, 2)),
    "overexposed": lambda k: as_frame(WATER + 140 + 6 * ripples(k, 3)),
}


@pytest.mark.parametrize("name", MATCHERS)
@pytest.mark.parametrize("scene", UNSEEN)
def test_water_fog_and_overexposure_are_never_ok(name, scene):
    registrator = build_registrator(name)
    for k in range(3):
        found = registrator(UNSEEN[scene](k), UNSEEN[scene](k + 1))
        assert not found.ok and found.inliers == 0 and not found.inlier_mask.any()
        assert np.array_equal(found.H_prev_to_cur, np.eye(3)) and len(found.inlier_mask) == found.matches


@pytest.mark.parametrize("name", MATCHERS)
def test_a_still_camera_is_left_alone_and_is_ok(name):
    """Noise, and things that move: the identity, with its inliers."""
    still, _ = pair(SIZE, np.eye(3))
    patch, _ = pair((50, 70), np.eye(3), seed=3)
    frames = []
    for k in range(2):
        frame = still.astype(float)
        frame[40:90, 60 + 9 * k : 130 + 9 * k] = patch
        frame[120:170, 200 - 7 * k : 270 - 7 * k] = patch
        frames.append(as_frame(frame + noise(k, 3)))
    found = build_registrator(name)(*frames)
    assert found.ok and found.model == "identity" and np.array_equal(found.H_prev_to_cur, np.eye(3))
    apart = np.linalg.norm(found.previous_points - found.current_points, axis=1)
    assert found.inliers == found.inlier_mask.sum() >= 15 and (apart[found.inlier_mask] <= 2.5).all()


@pytest.mark.parametrize("name", MATCHERS)
def test_a_shift_is_no_more_than_a_similarity(name):
    H_true = np.array([[1, 0, 6.0], [0, 1, -4.0], [0, 0, 1]])
    found = build_registrator(name)(*pair(SIZE, H_true))
    assert found.ok and found.model == "similarity" and ground_error(found.H_prev_to_cur, H_true, SIZE) < 0.1
    linear = found.H_prev_to_cur[:2, :2]
    assert np.allclose(linear @ linear.T, linear[0] @ linear[0] * np.eye(2)) and (found.H_prev_to_cur[2] == (0, 0, 1)).all()
    assert found.inliers == found.inlier_mask.sum() > 30


@pytest.mark.parametrize("name", MATCHERS)
def test_a_strong_homography_is_one(name):
    H_true = homography(SIZE, 14.0, -9.0)
    H_true[2, :2] *= 8
    found = build_registrator(name)(*pair(SIZE, H_true))
    assert found.ok and found.model == "homography" and ground_error(found.H_prev_to_cur, H_true, SIZE) < 0.6


def test_a_change_of_exposure_is_no_motion():
    frames = pair(SIZE, np.eye(3))
    brighter = as_frame(frames[0] * 0.8 + 40)
    assert build_registrator("lk")(frames[0], brighter).model == "identity"
    H_true = homography(SIZE)
    previous, current = pair(SIZE, H_true)
    found = build_registrator("lk")(previous, as_frame(current * 0.85 + 30))
    assert found.ok and ground_error(found.H_prev_to_cur, H_true, SIZE) < 0.5


@pytest.mark.parametrize("name", MATCHERS)
def test_a_moving_thing_alone_is_not_the_camera(name):
    """Plain ground, noise, and one textured thing that moves: its motion is not that of the frame."""
    patch, _ = pair((40, 60), np.eye(3), seed=3)
    frames = []
    for k in range(2):
        frame = np.full((*SIZE, 3), 120.0)
        frame[52:92, 85 + 8 * k : 145 + 8 * k] = patch
        frames.append(as_frame(frame + noise(k, 2)))
    assert not build_registrator(name)(*frames).ok


MOVES = np.array([[-12, 12], [-12, 12], [-0.04, 0.04], [0.94, 1.06], [-1.5e-4, 1.5e-4]])  # dx, dy, turn, zoom, tilt: from, to
GRAINS = (0, 2, 8)


def ok_and_no_worse(move, seed: int, grain: int, name: str) -> bool:
    """Whether a made-up pair is registered; what is ok must not leave more than no motion would."""
    dx, dy, turn, zoom, tilt = move
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    frames = pair((96, 160), np.array([[c, -s, dx], [s, c, dy], [tilt, 0, 1]]), seed)
    generator = np.random.default_rng(seed)
    frames = tuple(as_frame(frame + generator.normal(0, grain, frame.shape)) for frame in frames)
    found = build_registrator(name)(*frames)
    if found.ok:
        after, before = difference(frames, found.H_prev_to_cur)
        assert after <= before and largest_shift(found.H_prev_to_cur, (96, 160)) <= 0.3 * np.hypot(96, 160)
    return found.ok


@given(
    move=st.tuples(*(st.floats(*ends) for ends in MOVES.tolist())), seed=st.integers(0, 5), grain=st.sampled_from(GRAINS),
    name=st.sampled_from(MATCHERS),
)
@settings(max_examples=40, deadline=None)
def test_what_is_ok_never_leaves_more_than_no_motion_would(move, seed, grain, name):
    ok_and_no_worse(move, seed, grain, name)


def test_most_made_up_pairs_are_registered():
    """Of draws that are the same in every run: those of a property lean to the ends, and their share is chance."""
    draws = np.random.default_rng(0)
    pairs = [(draws.uniform(*MOVES.T), k % 6, GRAINS[k % 3], MATCHERS[k % 4]) for k in range(40)]
    assert sum(ok_and_no_worse(*each) for each in pairs) > len(pairs) / 2


def matches(H: np.ndarray, area: tuple[int, int, int, int] = (0, 0, 320, 192), n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A grid of n x n points of an area (x, y, width, height), and where H sends them."""
    x, y, width, height = area
    grid = np.stack(np.meshgrid(np.linspace(x + 2, x + width - 2, n), np.linspace(y + 2, y + height - 2, n)), -1)
    points = grid.reshape(-1, 2).astype(np.float32)
    return points, cv2.perspectiveTransform(points[:, None].astype(np.float64), H)[:, 0].astype(np.float32)


def fitted(H_points: np.ndarray, H_frames: np.ndarray, **options) -> fitting.Registration:
    """Fit matches of one motion to frames of another."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair(SIZE, H_frames)]
    return fitting.fit_motion(*matches(H_points, **options), *greys, SIZE)


def test_the_grey_levels_have_the_last_word():
    H = homography(SIZE)
    assert fitted(H, H).model == "homography" and fitted(H, H).residual < 1
    assert not fitted(H, np.linalg.inv(H)).ok  # matches agree with each other and not with the frames
    assert fitted(np.eye(3), np.eye(3)).model == "identity"


@pytest.mark.parametrize("few", [
    {"area": (0, 0, 320, 192), "n": 2}, {"area": (10, 10, 70, 40)}, {"area": (0, 100, 320, 8)},
], ids=["too few", "one place", "one row"])
def test_matches_that_are_few_or_in_one_place_are_not_enough(few):
    H = homography(SIZE)
    assert fitted(H, H).ok and not fitted(H, H, **few).ok


def test_inliers_have_to_be_a_share_of_the_matches():
    H = homography(SIZE)
    before, after = matches(H)
    generator = np.random.default_rng(0)
    stray = generator.uniform((0, 0), (320, 192), (2, 400, 2)).astype(np.float32)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair(SIZE, H)]
    for n, ok in ((60, True), (400, False)):
        points = [np.concatenate((own, others[:n])) for own, others in zip((before, after), stray, strict=True)]
        found = fitting.fit_motion(*points, *greys, SIZE)
        assert found.ok == ok and found.matches == 64 + n


def test_a_wild_or_mirrored_view_is_not_taken():
    far = np.array([[1, 0, 130.0], [0, 1, 0], [0, 0, 1]])
    mirrored = np.array([[-1, 0, 319.0], [0, 1, 0], [0, 0, 1]])
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 300, 0, 1]])
    for H in (far, mirrored, horizon):
        found = fitted(H, H)
        assert not found.ok and np.array_equal(found.H_prev_to_cur, np.eye(3)) and len(found.previous_points) == 64


@pytest.mark.parametrize("n", [0, 1, 3])
def test_hardly_any_matches_are_data(n):
    H, greys = homography(SIZE), [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair(SIZE, np.eye(3))]
    found = fitting.fit_motion(*(points[:n] for points in matches(H)), *greys, SIZE)
    assert not found.ok and found.matches == n


def test_residuals_are_those_of_the_full_size_s_motion_on_reduced_frames():
    """Reducing the frames changes what is compared, not the motion: the true one leaves little, less than a pixel beside it."""
    H = homography((384, 640), 9.0, -7.0)
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair((384, 640), H)]
    half = [cv2.resize(frame, (320, 192), interpolation=cv2.INTER_AREA) for frame in frames]
    beside = H.copy()
    beside[0, 2] += 1
    (true, shifted, still), contrast = fitting.residuals([H, beside, np.eye(3)], *half, (384, 640))
    assert true < 0.15 * contrast and true < shifted < still


def test_residuals_keep_the_half_pixel_of_reduced_frames():
    """Under a turn and a zoom a quarter of the size shows it: x_s = (x + 0.5) / 4 - 0.5, and not x / 4."""
    size, small = (384, 640), (96, 160)
    to_centre = np.array([[1, 0, -320.0], [0, 1, -192], [0, 0, 1]])
    c, s = 1.1 * np.cos(0.5), 1.1 * np.sin(0.5)
    H = np.linalg.inv(to_centre) @ np.array([[c, -s, 5.0], [s, c, -3], [0, 0, 1]]) @ to_centre
    kept, dropped = (np.array([[0.25, 0, shift], [0, 0.25, shift], [0, 0, 1]]) for shift in (-0.375, 0))
    slip = np.linalg.inv(kept) @ dropped  # at the full size
    slipped, against = slip @ H @ np.linalg.inv(slip), np.linalg.inv(slip) @ H @ slip  # the second is best where it is dropped
    y, x = np.mgrid[: size[0], : size[1]]
    before = (np.linalg.inv(H) @ np.stack((x.ravel(), y.ravel(), np.ones(x.size))))[:2].reshape(2, *size)
    generator = np.random.default_rng(0)
    ways, starts = generator.uniform(0, 2 * np.pi, (2, 30))
    waves = [(0.1 * np.cos(way), 0.1 * np.sin(way), start) for way, start in zip(ways, starts, strict=True)]  # of 63 px
    quarter = []
    for columns, rows in ((x, y), before):
        levels = 128 + 12 * sum(np.sin(a * columns + b * rows + start) for a, b, start in waves)
        quarter.append(cv2.resize(as_frame(levels), small[::-1], interpolation=cv2.INTER_AREA))
    (true, *off), contrast = fitting.residuals([H, slipped, against], *quarter, size)
    assert 1.1 * true < min(off) and max(off) < contrast
