"""Registration by corners that are followed from frame to frame, and what it shares with the other registrators.

Needs NumPy and OpenCV alone: an exported bundle brings this module along and registers with it.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from sspcore.motion.fitting import Points, Registration, Size, cells_of, fit_motion
from sspcore.motion.ransac import fit_homography

MAX_SIDE = 480
SPARE = 4  # so many times the wanted features are looked for, and thinned out over the frame
CELLS = 8  # a side of the grid that features are spread over

Rule = Literal["checked", "ransac"]  # `fit_motion`, `fit_homography`


class LucasKanade:
    """Shi-Tomasi corners followed by pyramidal Lucas-Kanade, checked forward and backward, then RANSAC.

    Args:
        max_side: frames are reduced until their longer side is at most this, in pixels.
        max_corners: corners followed, the strongest of each part of the previous frame.
        round_trip_px: a track is dropped when, followed back, it misses its start by more, in pixels of the reduced frame.
        rule: from matches to a registration.
    """

    def __init__(
        self, max_side: int = MAX_SIDE, max_corners: int = 200, round_trip_px: float = 0.5, rule: Rule = "checked"
    ) -> None:
        self.name, self.rule = named("lk", rule), rule
        self.max_side, self.max_corners, self.round_trip_px = max_side, max_corners, round_trip_px

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        require_frames(previous, current)
        before, after = reduced_grey(previous, self.max_side), reduced_grey(current, self.max_side)
        corners = cv2.goodFeaturesToTrack(before, SPARE * self.max_corners, qualityLevel=0.01, minDistance=7, blockSize=5)
        if corners is None:
            return Registration(np.eye(3), ok=False)
        corners = corners[spread(corners[:, 0], before.shape, self.max_corners)]
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
        settings = {"winSize": (11, 11), "maxLevel": 3, "criteria": criteria}
        tracked, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **settings)
        returned, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, tracked, None, **settings)
        miss = np.abs((returned - corners).view(np.complex64)[:, 0, 0])
        kept = (found[:, 0] & found_back[:, 0]).astype(bool) & (miss <= self.round_trip_px)
        return fit_reduced(self.rule, corners[kept, 0], tracked[kept, 0], before, after, previous.shape[:2])


def spread(points: Points, size: Size, limit: int) -> np.ndarray:
    """Which features to keep so that they cover the frame: of each cell of a grid its strongest, then its second, and so on.

    Args:
        points: (N, 2) (x, y) in a frame of `size` (h, w), the strongest first.
        limit: at most so many are kept.
    Returns: their indices, ascending.
    """
    if len(points) <= limit:
        return np.arange(len(points))
    cells = cells_of(points, size, CELLS)
    by_cell, counts = np.argsort(cells.astype(np.int16), kind="stable"), np.bincount(cells)
    rank = np.empty(len(points), np.int16)  # small integers are sorted several times faster
    rank[by_cell] = np.arange(len(points)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(np.argsort(rank, kind="stable")[:limit])


def named(matcher: str, rule: Rule) -> str:
    """Name of a registrator, see `motion.names`."""
    return matcher if rule == "checked" else f"{matcher}-{rule}"


def require_frames(previous: np.ndarray, current: np.ndarray) -> None:
    """Raise ValueError unless both are uint8 RGB (H, W, 3) of one size."""
    for frame in (previous, current):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}: give uint8 RGB (H, W, 3)")
    if previous.shape != current.shape:
        raise ValueError(f"previous {previous.shape} and current {current.shape} differ in size: resize one first")


def reduced(frame: np.ndarray, max_side: int) -> np.ndarray:
    """The frame itself, or one shrunk by area until its longer side is `max_side`."""
    height, width = frame.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return frame
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def reduced_grey(frame: np.ndarray, max_side: int) -> np.ndarray:
    """The same in grey, (h, w)."""
    return cv2.cvtColor(reduced(frame, max_side), cv2.COLOR_RGB2GRAY)


def fit_reduced(
    rule: Rule, previous: Points, current: Points, before: np.ndarray, after: np.ndarray, size: Size
) -> Registration:
    """Fit to points of the reduced frames `before` and `after`, brought to full size first: H needs no rescaling."""
    matches = [at_full_size(points, before.shape, size) for points in (previous, current)]
    return fit_homography(*matches) if rule == "ransac" else fit_motion(*matches, before, after, size)


def at_full_size(points: Points, small: Size, size: Size) -> Points:
    """Points of a frame reduced to `small`, at `size`: x = (x_s + 0.5) / s - 0.5."""
    if small == size:
        return points.astype(np.float32, copy=False)
    scale = np.array([size[1] / small[1], size[0] / small[0]])
    return ((points + 0.5) * scale - 0.5).astype(np.float32)
