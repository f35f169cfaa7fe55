"""Where the motion between two frames comes from: estimated from the frames, or read from a clip's stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sspcore.core.images import to_tensor
from sspcore.core.types import Motion, VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.inference.backends import Backend
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import FlowEstimator
from sspcore.motion.registration import Registrator


@dataclass(frozen=True)
class Observed:
    """What is known of a frame's motion.

    Attributes:
        motion: since the frame before; None: there is nothing to go on from, the video starts here.
        registered: False where the registration failed and fell back to the identity.
    """

    motion: Motion | None
    registered: bool = True


# motion(position, previous, current): of the frame at `position`; both frames (H, W, 3) uint8 RGB, as the model sees them
MotionSource = Callable[[int, np.ndarray, np.ndarray], Observed]


def motion_for(
    model: VideoSegmenter | Backend, registration: Callable[[], Registrator | HomographyStore],
    flow: Callable[[], FlowEstimator | FlowStore], clip: Clip | None = None, start: int = 0,
) -> MotionSource:
    """The motion that a model uses, and no other: what it does not need is not even built.

    Args:
        registration: makes the registrator, or with a clip the store of its homographies.
        flow: makes the flow estimator, or with a clip the store of its flow.
        clip: whose frames are streamed; None where they only become known as they arrive.
        start: position in the clip of the first frame of the stream.
    """
    homographies = registration() if "homography" in model.needs else None
    flows = flow() if "flow" in model.needs else None
    if clip is None:
        return live_motion(homographies, flows, "correspondences" in model.needs)
    registered = None if homographies is None else homographies.clip(clip)
    matches = homographies.correspondences(clip) if "correspondences" in model.needs else None

    def observe(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
        k, homography, backward, good = position + start, None, None, True
        if registered is not None:
            homography, good = registered.at(k)[None], bool(registered.ok[k - 1])
        if flows is not None:
            backward = flows.between(clip, k, k - 1)[None]
        return Observed(Motion(homography, backward, None if matches is None else matches.at(k)[None]), good)

    return observe


def live_motion(
    registrator: Registrator | None, flow: FlowEstimator | None = None, correspondences: bool = False
) -> MotionSource:
    """Motion estimated from the frames themselves; `correspondences`: whether the registrator's matches are handed on."""

    def observe(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
        homography, backward, matches, registered = None, None, None, True
        if registrator is not None:
            registration = registrator(previous, current)
            homography, registered = torch.from_numpy(registration.H_prev_to_cur)[None], registration.ok
            if correspondences:
                matches = torch.from_numpy(registration.correspondences)[None]
        if flow is not None:
            backward = flow(to_tensor(current)[None], to_tensor(previous)[None])
        return Observed(Motion(homography, backward, matches), registered)

    return observe
