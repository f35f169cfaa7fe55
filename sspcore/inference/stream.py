"""Streaming prediction: frames in, label maps out, one explicit state.

`segment_video` drives any system over any source of frames. Motion comes from a callable, so that the same few lines
serve a live camera (motion estimated as frames arrive) and an evaluation (motion read from the clip's cache).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.errors import SspError
from sspcore.core.images import resize_frame, to_tensor
from sspcore.core.types import Motion, Size, VideoSegmenter, VideoState
from sspcore.data.clips import Clip
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import FlowEstimator
from sspcore.motion.registration import Registrator

log = logging.getLogger(__name__)



@dataclass(frozen=True)
class Observed:
    """Motion since the frame before, and whether its registration can be trusted."""

    motion: Motion
    registered: bool = True


MotionSource = Callable[[int, np.ndarray, np.ndarray], Observed]


@dataclass(frozen=True)
class Segmented:
    """One frame's result.

    Attributes:
        labels: (H, W) uint8 class ids.
        logits: (C, H, W) float32, the system's output.
        state: of the stream after this frame (alpha and the like for pictures).
        reset: whether the stream was started anew here (first frame, scene cut).
        registered: False where the registration with the frame before failed and fell back to the identity, at a scene
            cut too; True on the first frame, which has none before it.
    """

    labels: np.ndarray
    logits: Tensor
    state: VideoState
    reset: bool
    registered: bool


@torch.inference_mode()
def segment_video(
    model: VideoSegmenter, frames: Iterable[np.ndarray], motion: MotionSource, size: Size, out_size: Size | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Segmented]:
    """Segment a video frame by frame.

    Args:
        model: any system, in eval mode.
        frames: (H, W, 3) uint8 RGB.
        motion: called as motion(position, previous, current) from the second frame on, with frames of `size`.
        size: (H, W) that the model sees.
        out_size: (H, W) of the label maps; default `size`.
        device: where the model is.
    Raises: SspError if logits are no finite numbers: their classes would be arbitrary, here and in later frames.
    Yields: one `Segmented` per frame. The stream starts anew at a scene cut: registration failed AND the two frames do
        not look alike; a failed registration alone (bare ground, fog) keeps the past, unregistered.
    """
    state, previous = None, None
    for position, image in enumerate(frames):
        current = resize_frame(image, size)
        moved, registered = None, True
        if previous is not None:
            observed = motion(position, previous, current)
            moved, registered = _to(observed.motion, device), observed.registered
            if not registered and looks_like_cut(previous, current):
                log.info("frame %d: scene cut, the stream starts anew", position)
                state, moved = None, None
        reset = state is None
        logits, state = model.step(to_tensor(current)[None].to(device), state, moved)
        require_finite(logits, f"frame {position}")
        shown = logits
        if out_size is not None and tuple(out_size) != tuple(size):
            shown = F.interpolate(logits, out_size, mode="bilinear", align_corners=False)
        labels = shown[0].max(0).indices.to(torch.uint8).cpu().numpy()  # eight times as fast as argmax on a CPU
        yield Segmented(labels, shown[0], state, reset, registered)
        previous = current


def require_finite(logits: Tensor, source: str) -> None:
    """Raise SspError naming `source` unless all logits are finite."""
    # the sum alone: it is not finite if one of them is not, and fifty times as fast on a CPU as asking each
    if not torch.isfinite(logits.sum(dtype=torch.float32)):
        raise SspError(f"{source}: the logits are no finite numbers; check the weights and the input, or train again")


def looks_like_cut(previous: np.ndarray, current: np.ndarray, threshold: float = 0.5) -> bool:
    """Whether two frames are so unlike that the past is of no use: correlation of small grey images below `threshold`."""
    small = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 20), interpolation=cv2.INTER_AREA).astype(np.float32)
        for image in (previous, current)
    ]
    a, b = (image - image.mean() for image in small)
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return norm == 0 or float((a * b).sum()) / norm < threshold


def live_motion(registrator: Registrator | None, flow: FlowEstimator | None) -> MotionSource:
    """Motion estimated from the frames themselves; pass None for what the model does not need."""

    def observe(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
        homography, backward, registered = None, None, True
        if registrator is not None:
            registration = registrator(previous, current)
            homography, registered = torch.from_numpy(registration.H_prev_to_cur)[None], registration.ok
        if flow is not None:
            backward = flow(to_tensor(current)[None], to_tensor(previous)[None])
        return Observed(Motion(homography, backward), registered)

    return observe


def clip_motion(clip: Clip, homographies: HomographyStore | None, flows: FlowStore | None) -> MotionSource:
    """Motion read from a clip's stores; pass None for what the model does not need."""
    registered = None if homographies is None else homographies.clip(clip)

    def observe(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
        homography, backward, good = None, None, True
        if registered is not None:
            homography, good = registered.at(position)[None], bool(registered.ok[position - 1])
        if flows is not None:
            backward = flows.between(clip, position, position - 1)[None]
        return Observed(Motion(homography, backward), good)

    return observe


def _to(motion: Motion, device: torch.device | str) -> Motion:
    return Motion(*(None if value is None else value.to(device) for value in (motion.H_prev_to_cur, motion.flow_to_prev)))
