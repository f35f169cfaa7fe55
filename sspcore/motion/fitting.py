"""From matches to a registration: which model of motion explains two frames, and whether it can be trusted.

One rule for every estimator. A model of motion (identity, similarity, homography) is *supported* where enough matches agree
with it, in number and as a share of all, spread over the frame, and where it moves no corner too far. Of the supported models
the simplest is taken that explains the frames as well as the best does, judged by the grey levels: a still camera is left
alone, and what does not bring the frames closer together than no motion is not taken. Frames that no supported model explains
have failed to register: the identity, not ok.

Source: METHOD section 2 for RANSAC and its threshold; the rule is ours. Its constants were set on real and rendered
clips and on frames without texture (`benchmarks/registration.py`, `tests/motion/test_fitting.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sspcore.core.types import Size
from sspcore.motion.geometry import rescale_homography

Model = Literal["identity", "similarity", "homography"]
Points = NDArray[np.float32]

RANSAC_PX = 2.5  # at full size, METHOD section 2
MIN_INLIERS = 7  # a homography fits any 4 matches; noise brings 5 or 6 of few in line by chance
MIN_SHARE = 0.25  # of the matches; the poorest good pair of the real clips has 0.35
GRID = 4  # cells a side, to see how inliers are spread
MIN_CELLS = 5  # of GRID x GRID: more than a quarter of the frame or one row of cells
CELL_SHARE = 0.02  # of the inliers must lie in a cell for it to count: strays do not spread a crowd
MAX_SHIFT = 0.3  # of a corner, in diagonals of the frame: beyond, less than half of the view is shared
GAIN = 0.04  # a richer model's residual must be lower by this share: resampling noise alone lowers it by up to 0.03
STILL_PX, STILL_GAIN = 0.5, 0.1  # moves of no corner beyond this must gain more: below it the blur of the warp outweighs them
STILL_LEFT = 0.8  # of the structure the identity may leave: of two frames of noise 1.4 is left, of still real ones 0.02
BLUR, LIGHT = 1.5, 31  # sigma and side of a box, pixels of the reduced frames: see `structure`


@dataclass(frozen=True)
class Registration:
    """How the previous frame lies in the current one.

    H_prev_to_cur: (3, 3) float64 at the frames' full size, [2, 2] = 1; the identity where not ok.
    ok: whether the motion can be trusted; a camera that stands still is ok, with the identity as its model.
    inliers, matches: counts; inliers is 0 where not ok.
    previous_points, current_points: the matches, (N, 2) (x, y) at full size; inlier_mask: (N,) bool, those that agree with
        H_prev_to_cur, whichever model it is; none where not ok.
    model: of the motion; "identity" where not ok.
    residual: what is left of the frames' difference, in grey levels (`residuals`); NaN where it was not looked at.
    """

    H_prev_to_cur: NDArray[np.float64]
    ok: bool
    inliers: int = 0
    matches: int = 0
    previous_points: Points = field(default_factory=lambda: np.empty((0, 2), np.float32), repr=False)
    current_points: Points = field(default_factory=lambda: np.empty((0, 2), np.float32), repr=False)
    inlier_mask: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool), repr=False)
    model: Model = "identity"
    residual: float = float("nan")

    @property
    def correspondences(self) -> NDArray[np.float32]:
        """(N, 3): (x, y) of each match in the current frame, and 1 for an inlier, 0 for an outlier (see `Motion`)."""
        return np.column_stack([self.current_points, self.inlier_mask]).astype(np.float32)


@dataclass(frozen=True)
class _Candidate:
    model: Model
    H: NDArray[np.float64]
    inlier_mask: NDArray[np.bool_]


def fit_motion(
    previous_points: Points, current_points: Points, before: np.ndarray, after: np.ndarray, size: Size
) -> Registration:
    """The simplest trusted motion that explains the matches and the frames.

    Args:
        previous_points, current_points: matches (N, 2), (x, y) in pixels at full size.
        before, after: the two frames, grey uint8 (h, w), at full size or reduced.
        size: (H, W) of the full frames.
    Returns: the same input gives the same output to the last bit: OpenCV's RANSAC starts from a fixed seed of its own.
    """
    matches = (previous_points, current_points)
    failed = Registration(np.eye(3), False, 0, len(previous_points), *matches, np.zeros(len(previous_points), bool))
    supported = [one for one in _candidates(*matches) if _is_supported(one, previous_points, size)]
    if not supported:
        return failed
    (still, *left), contrast = residuals([np.eye(3), *(one.H for one in supported)], before, after, size)
    explaining = [
        (one, residual) for one, residual in zip(supported, left, strict=True)
        if _explains(one, residual, still, contrast, size)
    ]
    if not explaining:
        return failed
    best = min(residual for _, residual in explaining)
    taken, residual = next(each for each in explaining if each[1] <= best * (1 + GAIN))
    inliers = int(taken.inlier_mask.sum())
    return Registration(taken.H, True, inliers, len(previous_points), *matches, taken.inlier_mask, taken.model, residual)


def residuals(
    homographies: list[np.ndarray], before: np.ndarray, after: np.ndarray, size: Size
) -> tuple[list[float], float]:
    """How far two frames differ after each warp: mean absolute difference of their structure, see `structure`.

    Args:
        homographies: (3, 3) float64 each, previous to current, at the full size.
        before, after: grey uint8 (h, w).
        size: (H, W) of the full frames.
    Returns: in grey levels, on the pixels that all warps have a source for: the differences, one for each warp, and what the
        structure itself comes to in `after`. Infinite where no pixel is left.
    """
    small, target = before.shape, before.shape[::-1]
    reduced = [rescale_homography(torch.from_numpy(H)[None], size, small)[0].numpy() for H in homographies]
    source, there = structure(before), structure(after)
    # Exposure is no motion.
    source *= cv2.norm(there, cv2.NORM_L1) / max(cv2.norm(source, cv2.NORM_L1), np.finfo(np.float32).tiny)
    valid, warped = np.full(small, 255, np.uint8), []
    for H in reduced:
        moves = not np.array_equal(H, np.eye(3))
        warped.append(cv2.warpPerspective(source, H, target) if moves else source)
        if moves:
            valid &= cv2.compare(cv2.warpPerspective(np.full(small, 255, np.uint8), H, target), 255, cv2.CMP_EQ)
    pixels = cv2.countNonZero(valid)
    if not pixels:
        return [float("inf")] * len(reduced), 0.0
    left = [cv2.norm(each, there, cv2.NORM_L1, valid) / pixels for each in warped]
    return left, cv2.norm(there, cv2.NORM_L1, valid) / pixels


def structure(grey: np.ndarray) -> np.ndarray:
    """A frame (h, w) between two scales, float32: without its noise, which would reward resampling, and without its light,
    which may change while nothing moves.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), BLUR)
    return smooth - cv2.blur(smooth, (LIGHT, LIGHT))


def _candidates(previous_points: Points, current_points: Points) -> list[_Candidate]:
    """The models of motion, the simplest first, each with the matches that agree with it."""
    matches = (previous_points, current_points)
    candidates = [_Candidate("identity", np.eye(3), _agreeing(np.eye(3), *matches))]
    H, mask = cv2.findHomography(*matches, cv2.RANSAC, RANSAC_PX) if len(previous_points) >= 4 else (None, None)
    if H is None or not np.isfinite(H).all() or H[2, 2] <= 0:
        return candidates
    inliers = mask[:, 0].astype(bool)
    similarity = _similarity(*(points[inliers] for points in matches))
    return [
        *candidates, _Candidate("similarity", similarity, _agreeing(similarity, *matches)),
        _Candidate("homography", H / H[2, 2], inliers),
    ]


def _similarity(previous_points: Points, current_points: Points) -> NDArray[np.float64]:
    """Least squares of turn, scale and shift: with z = x + iy, current = a previous + b."""
    before, after = (points.astype(np.float64) @ np.array([1, 1j]) for points in (previous_points, current_points))
    centred = before - before.mean()
    a = np.vdot(centred, after - after.mean()) / max(np.vdot(centred, centred).real, np.finfo(float).tiny)
    b = after.mean() - a * before.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def _agreeing(H: np.ndarray, previous_points: Points, current_points: Points) -> NDArray[np.bool_]:
    if not len(previous_points):
        return np.zeros(0, bool)
    moved = cv2.perspectiveTransform(previous_points[:, None].astype(np.float64), H)[:, 0]
    return np.linalg.norm(moved - current_points, axis=1) <= RANSAC_PX


def _explains(candidate: _Candidate, residual: float, still: float, contrast: float, size: Size) -> bool:
    """Whether the grey levels agree with a candidate: it leaves less than there is, and clearly less than no motion does."""
    if candidate.model == "identity":
        return residual <= STILL_LEFT * contrast
    gain = STILL_GAIN if _largest_shift(candidate.H, size) < STILL_PX else GAIN
    return residual <= contrast and residual * (1 + gain) <= still


def _is_supported(candidate: _Candidate, previous_points: Points, size: Size) -> bool:
    inliers = previous_points[candidate.inlier_mask]
    if len(inliers) < max(MIN_INLIERS, MIN_SHARE * len(previous_points)):
        return False
    cells = np.minimum(inliers * GRID // np.array([size[1], size[0]]), GRID - 1).astype(int) @ np.array([1, GRID])
    if (np.bincount(cells, minlength=GRID**2) > CELL_SHARE * len(inliers)).sum() < MIN_CELLS:
        return False
    return _largest_shift(candidate.H, size) <= MAX_SHIFT * float(np.hypot(*size))


def _largest_shift(H: np.ndarray, size: Size) -> float:
    """How far H moves a corner of the frame, in pixels; infinite where it mirrors the view or sends one behind the horizon."""
    height, width = size
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]], np.float64)
    moved = corners @ H.T
    if np.linalg.det(H) <= 0 or not (moved[:, 2] > 0).all():
        return float("inf")
    return float(np.linalg.norm(moved[:, :2] / moved[:, 2:] - corners[:, :2], axis=1).max())
