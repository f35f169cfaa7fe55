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
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from sspcore.core.errors import ProfileError
from sspcore.core.images import normalise
from sspcore.motion.fitting import Points, Registration, fit_motion
from sspcore.motion.lightglue import detect_and_match, load_networks
from sspcore.motion.lucas_kanade import (
    MAX_SIDE,
    SPARE,
    LucasKanade,
    Rule,
    at_full_size,
    fit_reduced,
    named,
    reduced,
    reduced_grey,
    require_frames,
    spread,
)
from sspcore.motion.names import IDENTITY, IMAGENET, LIGHTGLUE, RANSAC, REGISTRATOR_NAMES, uses_lightglue
from sspcore.motion.ransac import fit_homography

FEATURE_AREA = 128  # pixels of the reduced frame for each feature: more of them lie side by side and only cost time


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
        require_frames(previous, current)
        return Registration(np.eye(3), ok=True)


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
        self.name, self.kind, self.rule = named(kind, rule), kind, rule
        self.max_side, self.ratio, self.max_features = max_side, ratio, max_features

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        require_frames(previous, current)
        before, after = reduced_grey(previous, self.max_side), reduced_grey(current, self.max_side)
        (points_before, descriptors_before), (points_after, descriptors_after) = self._features(before), self._features(after)
        if len(points_before) == 0 or len(points_after) < 2:
            return Registration(np.eye(3), ok=False)
        norm = _FEATURES[self.kind][2]
        dtype = cv2.CV_32F if norm == cv2.NORM_L2 else cv2.CV_32S
        distances, nearest = cv2.batchDistance(descriptors_before, descriptors_after, dtype, normType=norm, K=2)
        good = distances[:, 0] < self.ratio * distances[:, 1]
        matches = points_before[good], points_after[nearest[good, 0]]
        return fit_reduced(self.rule, *matches, before, after, previous.shape[:2])

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
        self.name = named(LIGHTGLUE + IMAGENET if imagenet else LIGHTGLUE, rule)
        self.imagenet, self.rule = imagenet, rule
        self.max_side, self.max_features, self.device = max_side, max_features, torch.device(device)
        self._networks = load_networks(self.device)

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        require_frames(previous, current)
        small = [frame if self.max_side is None else reduced(frame, self.max_side) for frame in (previous, current)]
        frames = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(self.device)
        frames = normalise(frames.float()) if self.imagenet else frames.float() / 255
        points = detect_and_match(*self._networks, frames, self.max_features)
        points_at_full_size = [at_full_size(each, small[0].shape[:2], previous.shape[:2]) for each in points]
        if self.rule == "ransac":
            return fit_homography(*points_at_full_size)
        greys = (reduced_grey(frame, MAX_SIDE) for frame in (previous, current))
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
