"""Global registration of two frames: the homography that maps the previous frame's pixels into the current one.

Every registrator takes uint8 RGB frames [H, W, 3] of one size and answers with a `Registration`. A failure is data, not
an exception: the identity with ok=False, to be counted and reported. All of them end in one rule, which says which model
of motion is taken and whether it is ok: `fit_motion`, or the reference's, `fit_homography`.

Source: paper, the registration step; the reference takes DISK + LightGlue, or AKAZE / SIFT / ORB with ratio test 0.8,
then RANSAC with 2.5 px, and the identity where fewer than four matches are found. Corners with pyramidal Lucas-Kanade
are our default: consecutive frames differ by little, so tracking is both faster and closer than matching.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch

from sspcore.core.errors import ProfileError
from sspcore.core.images import normalise
from sspcore.core.types import Size
from sspcore.motion.fitting import Points, Registration, cells_of, fit_motion
from sspcore.motion.lightglue import detect_and_match, load_networks
from sspcore.motion.names import IDENTITY, IMAGENET, LIGHTGLUE, RANSAC, REGISTRATOR_NAMES, uses_lightglue
from sspcore.motion.ransac import fit_homography

MAX_SIDE = 480
SPARE = 4  # so many times the wanted features are looked for, and thinned out over the frame
FEATURE_AREA = 128  # pixels of the reduced frame for each feature: more of them lie side by side and only cost time
CELLS = 8  # a side of the grid that features are spread over

Rule = Literal["checked", "ransac"]  # `fit_motion`, `fit_homography`


class Registrator(Protocol):
    """Registers two frames; `name` tells registrators apart in settings and results."""

    name: str

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        """The motion from previous to current, both uint8 RGB [H, W, 3] of one size."""
        ...


class Identity:
    """No motion assumed: the control that shows what registration is worth. Always ok."""

    name = IDENTITY

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        return Registration(np.eye(3), ok=True)


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
        self.name, self.rule = _named("lk", rule), rule
        self.max_side, self.max_corners, self.round_trip_px = max_side, max_corners, round_trip_px

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        before, after = _reduced_grey(previous, self.max_side), _reduced_grey(current, self.max_side)
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
        return _fit_reduced(self.rule, corners[kept, 0], tracked[kept, 0], before, after, previous.shape[:2])


# ORB as it comes finds nothing within 31 px of the border, at every level of its pyramid: on small frames nothing at all. Its
# coarse levels place points by several pixels, and its threshold, like AKAZE's, leaves out plain ground.
_orb = partial(cv2.ORB_create, edgeThreshold=8, nlevels=4, fastThreshold=10)
_akaze = partial(cv2.AKAZE_create, threshold=3e-4)

# kind -> (what makes its detector, name of the limit of features, norm of its descriptors)
_FEATURES = {
    "sift": (cv2.SIFT_create, "nfeatures", cv2.NORM_L2),
    "akaze": (_akaze, "max_points", cv2.NORM_HAMMING),
    "orb": (_orb, "nfeatures", cv2.NORM_HAMMING),
}


class FeatureMatching:
    """Keypoints with descriptors, nearest neighbours with Lowe's ratio test, then RANSAC.

    Args:
        kind: "sift", "akaze" or "orb".
        max_side: as in LucasKanade.
        ratio: a match is kept when its distance is below this share of the second best one's.
        max_features: at most so many keypoints of a frame, the strongest of each part of it; of small frames fewer.
        rule: as in LucasKanade.
    Raises: ProfileError for another kind.
    """

    def __init__(
        self, kind: str, max_side: int = MAX_SIDE, ratio: float = 0.8, max_features: int = 1000, rule: Rule = "checked"
    ) -> None:
        if kind not in _FEATURES:
            raise ProfileError(f"feature kind {kind!r} is unknown: take one of {', '.join(_FEATURES)}")
        self.name, self.kind, self.rule = _named(kind, rule), kind, rule
        self.max_side, self.ratio, self.max_features = max_side, ratio, max_features

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        before, after = _reduced_grey(previous, self.max_side), _reduced_grey(current, self.max_side)
        (points_before, descriptors_before), (points_after, descriptors_after) = self._features(before), self._features(after)
        if len(points_before) == 0 or len(points_after) < 2:
            return Registration(np.eye(3), ok=False)
        norm = _FEATURES[self.kind][2]
        dtype = cv2.CV_32F if norm == cv2.NORM_L2 else cv2.CV_32S
        distances, nearest = cv2.batchDistance(descriptors_before, descriptors_after, dtype, normType=norm, K=2)
        good = distances[:, 0] < self.ratio * distances[:, 1]
        matches = points_before[good], points_after[nearest[good, 0]]
        return _fit_reduced(self.rule, *matches, before, after, previous.shape[:2])

    def _features(self, grey: np.ndarray) -> tuple[Points, np.ndarray]:
        """Points (N, 2) and descriptors (N, D), spread over the frame."""
        create, limit, _ = _FEATURES[self.kind]
        wanted = min(self.max_features, grey.size // FEATURE_AREA)
        keypoints, descriptors = create(**{limit: SPARE * wanted}).detectAndCompute(grey, None)
        if not keypoints:
            return np.empty((0, 2), np.float32), np.empty((0, 0))
        order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")
        points = cv2.KeyPoint_convert(keypoints)[order]
        kept = spread(points, grey.shape, wanted)
        return points[kept], descriptors[order[kept]]


class LightGlueRegistrator:
    """DISK keypoints matched by LightGlue, both of kornia, then RANSAC: the paper's registration, its published settings.

    Args:
        max_side: frames are reduced until their longer side is at most this; None: full size, as the paper does.
        max_features: keypoints of a frame.
        device: where the networks run.
        imagenet: feed DISK the ImageNet-normalised frames, the reference's slip; else they are in 0..1.
        rule: as in LucasKanade.
    Raises: SspError where kornia is not installed; WeightsError where the weights cannot be had.
    """

    def __init__(
        self, max_side: int | None = None, max_features: int = 2048, device: torch.device | str = "cpu",
        imagenet: bool = False, rule: Rule = "checked",
    ) -> None:
        self.name = _named(LIGHTGLUE + IMAGENET if imagenet else LIGHTGLUE, rule)
        self.imagenet, self.rule = imagenet, rule
        self.max_side, self.max_features, self.device = max_side, max_features, torch.device(device)
        self._networks = load_networks(self.device)

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        _require_frames(previous, current)
        reduced = [frame if self.max_side is None else _reduce(frame, self.max_side) for frame in (previous, current)]
        frames = torch.from_numpy(np.stack(reduced)).permute(0, 3, 1, 2).to(self.device)
        frames = normalise(frames.float()) if self.imagenet else frames.float() / 255
        points = detect_and_match(*self._networks, frames, self.max_features)
        points_at_full_size = [_at_full_size(each, reduced[0].shape[:2], previous.shape[:2]) for each in points]
        if self.rule == "ransac":
            return fit_homography(*points_at_full_size)
        greys = (_reduced_grey(frame, MAX_SIDE) for frame in (previous, current))
        return fit_motion(*points_at_full_size, *greys, previous.shape[:2])


def build_registrator(name: str, max_side: int | None = None, device: torch.device | str = "cpu") -> Registrator:
    """The registrator of that name, one of REGISTRATOR_NAMES.

    Args:
        max_side: replaces its default.
        device: where DISK and LightGlue run; all others run on the CPU.
    Raises: ProfileError for an unknown name; SspError where "lightglue" is asked for and cannot be had.
    """
    if name not in REGISTRATOR_NAMES:
        raise ProfileError(f"registrator {name!r} is unknown: take one of {', '.join(REGISTRATOR_NAMES)}")
    if name == IDENTITY:
        return Identity()
    settings: dict[str, Any] = {} if max_side is None else {"max_side": max_side}
    settings["rule"] = "ransac" if name.endswith(RANSAC) else "checked"
    matcher = name.removesuffix(RANSAC)
    if uses_lightglue(matcher):
        return LightGlueRegistrator(device=device, imagenet=matcher.endswith(IMAGENET), **settings)
    return LucasKanade(**settings) if matcher == "lk" else FeatureMatching(matcher, **settings)


def on_gpu(registrator: Registrator) -> bool:
    """Whether a registrator's networks are on a GPU, which processes that load data cannot share."""
    return getattr(registrator, "device", torch.device("cpu")).type != "cpu"


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


def _named(matcher: str, rule: Rule) -> str:
    return matcher + RANSAC if rule == "ransac" else matcher


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


def _fit_reduced(
    rule: Rule, previous: Points, current: Points, before: np.ndarray, after: np.ndarray, size: Size
) -> Registration:
    """Fit to points of the reduced frames `before` and `after`, brought to full size first: H needs no rescaling."""
    matches = [_at_full_size(points, before.shape, size) for points in (previous, current)]
    return fit_homography(*matches) if rule == "ransac" else fit_motion(*matches, before, after, size)


def _at_full_size(points: Points, small: Size, size: Size) -> Points:
    """Points of a frame reduced to `small`, at `size`: x = (x_s + 0.5) / s - 0.5."""
    if small == size:
        return points.astype(np.float32, copy=False)
    scale = np.array([size[1] / small[1], size[0] / small[0]])
    return ((points + 0.5) * scale - 0.5).astype(np.float32)
