"""The streaming loop: frames in, results out. Prediction, pictures, `segment_video` and the command all use it.

The stream starts again at a scene cut: the registration failed AND the two frames do not look alike. A failed
registration alone (bare ground, fog) keeps the past, taken as unmoved, and is counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from sspcore.core.images import Interpolation
from sspcore.core.types import Size, VideoSegmenter, VideoState
from sspcore.inference.backends import Backend, TorchBackend
from sspcore.inference.motion import MotionSource
from sspcore.inference.shots import Report, overlapped_shots, shots_in_turn


@dataclass(frozen=True)
class Segmented:
    """One frame's result.

    Attributes:
        number: of the frame in its source.
        image: (H, W, 3) uint8 RGB, the frame at the size that the backend wants.
        labels: (H, W) uint8 class ids.
        logits: (C, H, W) float32; None from a bundle.
        state: of the stream after this frame (alpha and the like for pictures); None from a bundle.
        reset: whether the stream started here (first frame, scene cut).
        registered: False where the registration with the frame before failed and fell back to the identity, at a scene
            cut too; True on the first frame, which has none before it.
    """

    number: int
    image: np.ndarray
    labels: np.ndarray
    logits: Tensor | None
    state: VideoState | None
    reset: bool
    registered: bool


def segment_frames(
    model: VideoSegmenter, frames: Iterable[np.ndarray], motion: MotionSource, size: Size, out_size: Size | None = None,
    device: torch.device | str = "cpu", interpolation: Interpolation | None = None,
) -> Iterator[Segmented]:
    """A system over frames (H, W, 3) uint8 RGB, one after the other in this thread; see `TorchBackend` and `stream`."""
    return stream(frames, TorchBackend(model, size, device, out_size, interpolation), motion)


def stream(
    frames: Iterable[np.ndarray | None], backend: Backend, motion: MotionSource, report: Report | None = None,
    max_frames: int | None = None, threads: bool = False, drop: bool = False,
) -> Iterator[Segmented]:
    """Segment a video frame by frame.

    Args:
        frames: (H, W, 3) uint8 RGB; None for a frame that cannot be decoded, which is left out.
        backend: what segments; it keeps the state.
        motion: called as motion(number, previous, current) from the second frame on, with frames of the backend's size.
        report: filled on the way.
        threads: decode and register in threads of their own, see `sspcore.inference.shots`; results are the same.
        drop: with threads: the oldest waiting frame makes room for a new one.
    """
    report = Report() if report is None else report
    make, more = (overlapped_shots, (drop,)) if threads else (shots_in_turn, ())
    how = getattr(backend, "interpolation", "area")
    first = before = None
    with closing(make(frames, backend.size, motion, report, *more, how=how)) as shots:
        for shot in islice(shots, max_frames):
            began = time.perf_counter()
            prediction = backend.step(shot.image, shot.motion)
            done = time.perf_counter()
            observed = shot.observed.result()
            if observed.motion is None:
                report.cuts += not observed.registered
            else:
                report.unregistered += not observed.registered
            report.frames += 1
            report.network.append(done - began)
            report.latency.append(done - shot.came)
            report.waited.append(shot.waited)
            if before is not None:
                report.interval.append(done - before)
            first, before = done if first is None else first, done
            report.seconds = done - first
            yield Segmented(
                shot.number, shot.image, prediction.labels, prediction.logits, prediction.state,
                observed.motion is None, observed.registered,
            )
