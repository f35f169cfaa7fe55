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

import math
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Model = Literal["identity", "similarity", "homography"]
Points = NDArray[np.float32]
Size = tuple[int, int]  # (height, width) in pixels

RANSAC_PX = 2.5  # at full size, METHOD section 2
MIN_INLIERS = 7  # a homography fits any 4 matches; noise brings 5 or 6 of few in line by chance
MIN_SHARE = 0.25  # of the matches
GRID = 4  # cells a side, to see how inliers are spread
MIN_CELLS = 5  # of GRID x GRID: more than a quarter of the frame or one row of cells
CELL_SHARE = 0.02  # of the inliers must lie in a cell for it to count: strays do not spread a crowd
MAX_SHIFT = 0.3  # of a corner, in diagonals of the frame: beyond, less than half of the view is shared
GAIN = 0.04  # a richer model's residual must be lower by this share: resampling lowers that of noise alone, too
STILL_PX, STILL_GAIN = 0.5, 0.1  # moves of no corner beyond this must gain more: below it the blur of the warp outweighs them
STILL_LEFT = 0.8  # of the structure the identity may leave: of two frames of noise 1.4 is left, of still real ones 0.02
SUMMED, BLUR, LIGHT = 3, 5, 31  # sides of the filters of `structure`, pixels of the reduced frames
UNIT = SUMMED**2  # sums of the first filter are not divided: int16 keeps them whole
STILL = np.eye(3)
TINY = np.finfo(np.float64).tiny
COMPARED_SIDE = 160  # pixels of the longer side that are compared: after the filters, those between them say little more


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
    shift: float  # of a corner of the frame, the largest, see `_largest_shift`


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
    cells = cells_of(previous_points, size, GRID)
    supported = [one for one in _candidates(*matches, size) if _is_supported(one, cells, size)]
    if not supported:
        return _failed(*matches)
    (still, *left), contrast = residuals([STILL, *(one.H for one in supported)], before, after, size)
    explaining = [
        (one, residual) for one, residual in zip(supported, left, strict=True) if _explains(one, residual, still, contrast)
    ]
    if not explaining:
        return _failed(*matches)
    best = min(residual for _, residual in explaining)
    taken, residual = next(each for each in explaining if each[1] <= best * (1 + GAIN))
    inliers = int(np.count_nonzero(taken.inlier_mask))
    return Registration(taken.H, True, inliers, len(previous_points), *matches, taken.inlier_mask, taken.model, residual)


def residuals(
    homographies: list[np.ndarray], before: np.ndarray, after: np.ndarray, size: Size
) -> tuple[list[float], float]:
    """How far two frames differ after each warp: mean absolute difference of their structure, see `structure`.

    Args:
        homographies: (3, 3) float64 each, previous to current, at the full size; none sends a corner behind the horizon.
        before, after: grey uint8 (h, w). Of frames above COMPARED_SIDE every second, third, ... pixel is compared.
        size: (H, W) of the full frames.
    Returns: in grey levels, on the pixels that all warps have a source for: the differences, one for each warp, and what the
        structure itself comes to in `after`. Infinite where no pixel is left.
    """
    source, there = structure(before), structure(after)
    # Exposure is no motion.
    source = cv2.addWeighted(source, cv2.norm(there, cv2.NORM_L1) / max(cv2.norm(source, cv2.NORM_L1), 1), source, 0, 0)
    step = -(-max(before.shape) // COMPARED_SIDE)
    still, there = (np.ascontiguousarray(frame[::step, ::step]) for frame in (source, there))
    to_compared = _resizing(size, before.shape)
    to_compared[:2] /= step
    from_reduced, (height, width) = _resizing(before.shape, size), before.shape
    inside = np.array([[[1, 1], [width - 2, 1], [width - 2, height - 2], [1, height - 2]]], np.float64)
    valid, warped = np.full(there.shape, 255, np.uint8), []
    for H in homographies:
        if (H == STILL).all():
            warped.append(still)
            continue
        moves = to_compared @ H @ from_reduced
        warped.append(cv2.warpPerspective(source, moves, there.shape[::-1]))
        covered = np.rint(cv2.perspectiveTransform(inside, moves)).astype(np.int32)
        valid &= cv2.fillConvexPoly(np.zeros_like(valid), covered, 255)
    pixels = UNIT * cv2.countNonZero(valid)
    if not pixels:
        return [float("inf")] * len(homographies), 0.0
    left = [cv2.norm(each, there, cv2.NORM_L1, valid) / pixels for each in warped]
    return left, cv2.norm(there, cv2.NORM_L1, valid) / pixels


def structure(grey: np.ndarray) -> np.ndarray:
    """A frame (h, w) uint8 between two scales, int16, in 1 / UNIT of a grey level: without its noise, which would reward
    resampling, and without its light, which may change while nothing moves.
    """
    sums = cv2.boxFilter(grey, cv2.CV_16S, (SUMMED, SUMMED), normalize=False)
    return cv2.subtract(cv2.GaussianBlur(sums, (BLUR, BLUR), 0), cv2.blur(sums, (LIGHT, LIGHT)))


def cells_of(points: Points, size: Size, side: int) -> NDArray[np.int_]:
    """The cell that each point (N, 2) (x, y) lies in, row by row, of side x side that a frame of `size` is cut into."""
    return np.minimum((points * side / np.array(size[::-1], np.float32)).astype(int), side - 1) @ (1, side)


def _failed(previous_points: Points, current_points: Points) -> Registration:
    n = len(previous_points)
    return Registration(np.eye(3), False, 0, n, previous_points, current_points, np.zeros(n, bool))


def _candidates(previous_points: Points, current_points: Points, size: Size) -> list[_Candidate]:
    """The models of motion, the simplest first, each with the matches that agree with it."""
    matches = (previous_points, current_points)
    candidates = [_Candidate("identity", np.eye(3), _agreeing(np.eye(3), *matches), 0.0)]
    H, mask = cv2.findHomography(*matches, cv2.RANSAC, RANSAC_PX) if len(previous_points) >= 4 else (None, None)
    if H is None or not np.isfinite(H).all() or H[2, 2] <= 0:
        return candidates
    inliers = mask[:, 0].astype(bool)
    similarity = _similarity(*(points[inliers] for points in matches))
    return [
        *candidates, _Candidate("similarity", similarity, _agreeing(similarity, *matches), _largest_shift(similarity, size)),
        _Candidate("homography", H / H[2, 2], inliers, _largest_shift(H, size)),
    ]


def _similarity(previous_points: Points, current_points: Points) -> NDArray[np.float64]:
    """Least squares of turn, scale and shift: with z = x + iy, current = a previous + b."""
    before, after = (points.view(np.complex64)[:, 0].astype(np.complex128) for points in (previous_points, current_points))
    middle_before, middle_after = (each.sum() / len(each) for each in (before, after))
    before -= middle_before
    a = np.vdot(before, after - middle_after) / max(np.vdot(before, before).real, TINY)
    b = middle_after - a * middle_before
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def _agreeing(H: np.ndarray, previous_points: Points, current_points: Points) -> NDArray[np.bool_]:
    if not len(previous_points):
        return np.zeros(0, bool)
    miss = cv2.perspectiveTransform(previous_points[:, None], H)[:, 0] - current_points
    return np.einsum("ij,ij->i", miss, miss) <= RANSAC_PX**2


def _explains(candidate: _Candidate, residual: float, still: float, contrast: float) -> bool:
    """Whether the grey levels agree with a candidate: it leaves less than there is, and clearly less than no motion does."""
    if candidate.model == "identity":
        return residual <= STILL_LEFT * contrast
    gain = STILL_GAIN if candidate.shift < STILL_PX else GAIN
    return residual <= contrast and residual * (1 + gain) <= still


def _is_supported(candidate: _Candidate, cells: NDArray[np.int_], size: Size) -> bool:
    """Whether its inliers are enough and spread, and it moves no corner too far; `cells`: of each match, of GRID x GRID."""
    inliers = cells[candidate.inlier_mask]
    if len(inliers) < max(MIN_INLIERS, MIN_SHARE * len(cells)) or candidate.shift > MAX_SHIFT * math.hypot(*size):
        return False
    return np.count_nonzero(np.bincount(inliers) > CELL_SHARE * len(inliers)) >= MIN_CELLS


def _largest_shift(H: np.ndarray, size: Size) -> float:
    """How far H moves a corner of the frame, in pixels; infinite where it mirrors the view or sends one behind the horizon."""
    x, y = size[1] - 1, size[0] - 1
    if cv2.determinant(H) <= 0 or H[2, 2] + min(0, H[2, 0] * x) + min(0, H[2, 1] * y) <= 0:
        return math.inf
    corners = np.array([[[0, 0], [x, 0], [0, y], [x, y]]], np.float64)
    return float(np.abs((cv2.perspectiveTransform(corners, H) - corners).view(np.complex128)).max())


def _resizing(size: Size, small: Size) -> NDArray[np.float64]:
    """Where a frame's pixels lie once it is resized from `size` to `small`, (3, 3); see `rescale_homography`."""
    y, x = small[0] / size[0], small[1] / size[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
