"""Global registration of two frames: the homography that maps the previous frame's pixels into the current one.

Every registrator takes uint8 RGB frames [H, W, 3] of one size and answers with a `Registration`. A failure is data, not
an exception: the identity with ok=False, to be counted and reported.

Source: paper, the registration step; the reference takes DISK + LightGlue, or AKAZE / SIFT / ORB with ratio test 0.8,
then RANSAC with 2.5 px, and the identity where fewer than four matches are found. Corners with pyramidal Lucas-Kanade
are our default: consecutive frames differ by little, so tracking is both faster and closer than matching.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sspcore.core.errors import ProfileError, SspError
from sspcore.motion.weights import offer_lightglue

REGISTRATOR_NAMES = ("lk", "sift", "akaze", "orb", "identity", "lightglue")
RANSAC_PX = 2.5
MAX_SIDE = 480

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Registration:
    """How the previous frame lies in the current one.

    H_prev_to_cur: (3, 3) float64 at the frames' full size, [2, 2] = 1; the identity where not ok.
    ok: whether a plausible homography was found.
    inliers, matches: counts; inliers is 0 where not ok.
    previous_points, current_points: the matches, (N, 2) (x, y) at full size; inlier_mask: (N,) bool.
    """

    H_prev_to_cur: NDArray[np.float64]
    ok: bool
    inliers: int = 0
    matches: int = 0
    previous_points: Points = field(default_factory=lambda: np.empty((0, 2), np.float32), repr=False)
    current_points: Points = field(default_factory=lambda: np.empty((0, 2), np.float32), repr=False)
    inlier_mask: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool), repr=False)

    @property
    def correspondences(self) -> NDArray[np.float32]:
        """(N, 3): (x, y) of each match in the current frame, and 1 for an inlier, 0 for an outlier (see `Motion`)."""
        return np.column_stack([self.current_points, self.inlier_mask]).astype(np.float32)


class Registrator(Protocol):
    """Registers two frames; `name` tells registrators apart in settings and results."""

    name: str

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        """The motion from previous to current, both uint8 RGB [H, W, 3] of one size."""
        ...


class Identity:
    """No motion assumed: the control that shows what registration is worth. Always ok."""

    name = "identity"

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        return Registration(np.eye(3), ok=True)


class LucasKanade:
    """Shi-Tomasi corners followed by pyramidal Lucas-Kanade, checked forward and backward, then RANSAC.

    Args:
        max_side: frames are reduced until their longer side is at most this, in pixels.
        max_corners: corners looked for in the previous frame.
        round_trip_px: a track is dropped when, followed back, it misses its start by more, in pixels of the reduced frame.
    """

    name = "lk"

    def __init__(self, max_side: int = MAX_SIDE, max_corners: int = 200, round_trip_px: float = 0.5) -> None:
        self.max_side, self.max_corners, self.round_trip_px = max_side, max_corners, round_trip_px

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        before, after = _reduced_grey(previous, self.max_side), _reduced_grey(current, self.max_side)
        corners = cv2.goodFeaturesToTrack(before, self.max_corners, qualityLevel=0.01, minDistance=7, blockSize=5)
        if corners is None:
            return Registration(np.eye(3), ok=False)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
        settings = {"winSize": (11, 11), "maxLevel": 3, "criteria": criteria}
        tracked, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **settings)
        returned, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, tracked, None, **settings)
        miss = np.linalg.norm((returned - corners)[:, 0], axis=1)
        kept = (found[:, 0] == 1) & (found_back[:, 0] == 1) & (miss <= self.round_trip_px)
        return _fit_reduced(corners[kept, 0], tracked[kept, 0], before.shape, previous.shape[:2])


# kind -> (what makes its detector, name of the limit of features, norm of its descriptors)
_FEATURES = {
    "sift": (cv2.SIFT_create, "nfeatures", cv2.NORM_L2),
    "akaze": (cv2.AKAZE_create, "max_points", cv2.NORM_HAMMING),
    "orb": (cv2.ORB_create, "nfeatures", cv2.NORM_HAMMING),
}


class FeatureMatching:
    """Keypoints with descriptors, nearest neighbours with Lowe's ratio test, then RANSAC.

    Args:
        kind: "sift", "akaze" or "orb". ORB finds nothing within 31 px of the border, so it fails on small frames.
        max_side: as in LucasKanade.
        ratio: a match is kept when its distance is below this share of the second best one's.
        max_features: the strongest so many keypoints of a frame.
    Raises: ProfileError for another kind.
    """

    def __init__(self, kind: str, max_side: int = MAX_SIDE, ratio: float = 0.8, max_features: int = 1000) -> None:
        if kind not in _FEATURES:
            raise ProfileError(f"feature kind {kind!r} is unknown: take one of {', '.join(_FEATURES)}")
        self.name, self.max_side, self.ratio, self.max_features = kind, max_side, ratio, max_features

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        before, after = _reduced_grey(previous, self.max_side), _reduced_grey(current, self.max_side)
        create, limit, norm = _FEATURES[self.name]
        detector = create(**{limit: self.max_features})
        keypoints_before, descriptors_before = detector.detectAndCompute(before, None)
        keypoints_after, descriptors_after = detector.detectAndCompute(after, None)
        if len(keypoints_before) == 0 or len(keypoints_after) < 2:
            return Registration(np.eye(3), ok=False)
        pairs = cv2.BFMatcher(norm).knnMatch(descriptors_before, descriptors_after, k=2)
        good = [best for best, second in pairs if best.distance < self.ratio * second.distance]
        points_before = np.float32([keypoints_before[match.queryIdx].pt for match in good]).reshape(-1, 2)
        points_after = np.float32([keypoints_after[match.trainIdx].pt for match in good]).reshape(-1, 2)
        return _fit_reduced(points_before, points_after, before.shape, previous.shape[:2])


class LightGlueRegistrator:
    """DISK keypoints matched by LightGlue through kornia, then RANSAC: the paper's registration. Weights from a hub.

    Args:
        max_side: as in LucasKanade; the paper registers at the full size.
        max_features: keypoints of a frame.
        device: where the networks run.
    Raises: SspError where kornia is not installed or its weights cannot be fetched.
    """

    name = "lightglue"

    def __init__(self, max_side: int = 1280, max_features: int = 1024, device: torch.device | str = "cpu") -> None:
        try:
            from kornia import feature
        except ImportError as error:
            raise SspError("registrator 'lightglue' needs kornia: pip install kornia, or take 'lk'") from error
        offer_lightglue()
        self.max_side, self.max_features, self.device = max_side, max_features, torch.device(device)
        self._centres_to_frames = feature.laf_from_center_scale_ori
        try:
            self._disk = feature.DISK.from_pretrained("depth").to(self.device).eval()
            self._matcher = feature.LightGlueMatcher("disk").to(self.device).eval()
        except OSError as error:
            raise SspError(f"registrator 'lightglue' cannot fetch its weights ({error}): take 'lk' offline") from error

    @torch.no_grad()
    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        reduced = [_reduce(frame, self.max_side) for frame in (previous, current)]
        frames = torch.from_numpy(np.stack(reduced)).permute(0, 3, 1, 2).to(self.device).float() / 255
        before, after = self._disk(frames, self.max_features, pad_if_not_divisible=True)
        local_frames = [
            self._centres_to_frames(points[None], points.new_ones(1, len(points), 1, 1))
            for points in (before.keypoints, after.keypoints)
        ]
        extent = torch.tensor(frames.shape[-2:], device=self.device)
        _, matches = self._matcher(before.descriptors, after.descriptors, *local_frames, hw1=extent, hw2=extent)
        points_before = before.keypoints[matches[:, 0]].cpu().numpy()
        points_after = after.keypoints[matches[:, 1]].cpu().numpy()
        return _fit_reduced(points_before, points_after, tuple(frames.shape[-2:]), previous.shape[:2])


def build_registrator(name: str, max_side: int | None = None) -> Registrator:
    """The registrator of that name, one of REGISTRATOR_NAMES; `max_side` replaces its default.

    Raises: ProfileError for an unknown name; SspError where "lightglue" is asked for and cannot be had.
    """
    if name not in REGISTRATOR_NAMES:
        raise ProfileError(f"registrator {name!r} is unknown: take one of {', '.join(REGISTRATOR_NAMES)}")
    settings = {} if max_side is None else {"max_side": max_side}
    if name == "identity":
        return Identity()
    if name in _FEATURES:
        return FeatureMatching(name, **settings)
    return (LucasKanade if name == "lk" else LightGlueRegistrator)(**settings)


def fit_homography(previous_points: Points, current_points: Points, size: tuple[int, int]) -> Registration:
    """RANSAC (2.5 px), then a least-squares fit to the inliers.

    Args:
        previous_points, current_points: matches (N, 2), (x, y) at full size.
        size: (height, width) of the frames; a homography that sends one of their corners behind the horizon or mirrors
            the view is implausible.
    Returns: not ok with fewer than four matches, without a model, or with an implausible one. The same points give the
        same homography to the last bit: OpenCV's RANSAC starts from a fixed seed of its own.
    """
    points, matches = (previous_points, current_points), len(previous_points)
    H, mask = cv2.findHomography(*points, cv2.RANSAC, RANSAC_PX) if matches >= 4 else (None, None)
    if H is None or not _is_plausible(H, size):
        return Registration(np.eye(3), False, 0, matches, *points, np.zeros(matches, bool))
    inlier_mask = mask[:, 0].astype(bool)
    return Registration(H / H[2, 2], True, int(inlier_mask.sum()), matches, *points, inlier_mask)


def _is_plausible(H: np.ndarray, size: tuple[int, int]) -> bool:
    if not np.isfinite(H).all() or H[2, 2] <= 0 or np.linalg.det(H) <= 0:
        return False
    height, width = size
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]])
    return bool((corners @ H[2] > 0).all())


def _require_frames(previous: np.ndarray, current: np.ndarray) -> None:
    for frame in (previous, current):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}: give uint8 RGB (H, W, 3)")
    if previous.shape != current.shape:
        raise ValueError(f"previous {previous.shape} and current {current.shape} differ in size: resize one first")


def _reduce(frame: np.ndarray, max_side: int) -> np.ndarray:
    """The frame itself, or one shrunk by area until its longer side is `max_side`."""
    height, width = frame.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return frame
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def _reduced_grey(frame: np.ndarray, max_side: int) -> np.ndarray:
    return cv2.cvtColor(_reduce(frame, max_side), cv2.COLOR_RGB2GRAY)


def _fit_reduced(previous: Points, current: Points, small: tuple[int, int], size: tuple[int, int]) -> Registration:
    """Fit to points of reduced frames, brought to full size first, x = (x_s + 0.5) / s - 0.5: H needs no rescaling."""
    scale = np.array([size[1] / small[1], size[0] / small[0]])
    return fit_homography(*(((points + 0.5) * scale - 0.5).astype(np.float32) for points in (previous, current)), size)
