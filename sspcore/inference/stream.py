"""The streaming loop: frames in, results out. Prediction, pictures, `segment_video` and the command all use it.

The stream starts again at a scene cut: the registration failed AND the two frames do not look alike. A failed
registration alone (bare ground, fog) keeps the past, taken as unmoved, and is counted. Where a system has flow and no
registration, the frames' looks alone decide.
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
from sspcore.inference.fit import Fit
from sspcore.inference.motion import MotionSource
from sspcore.inference.shots import Report, overlapped_shots, shots_in_turn


@dataclass(frozen=True)
class Segmented:
    """One frame's result.

    Attributes:
        number: of the frame in its source. name: what the source calls it, such as the stem of an image's file.
        image: (H, W, 3) uint8 RGB, the frame as it came.
        labels: (H, W) uint8 class ids, at the image's size unless another was asked for.
        logits: (C, h, w) float32, at the size that the network saw the image; None from TensorRT.
        state: of the stream after this frame (alpha and the like for pictures); None from a bundle.
        reset: whether the stream started here (first frame, scene cut).
        registered: False where the registration with the frame before failed and fell back to the identity, at a scene
            cut too; True on the first frame, which has none before it.
        fit: how the image lay in the network's frame, whose size the state has.
        alone: (C, h, w), logits of SSP's image model by itself; None from other systems and from a bundle.
    """

    number: int
    name: str
    image: np.ndarray
    labels: np.ndarray
    logits: Tensor | None
    state: VideoState | None
    reset: bool
    registered: bool
    fit: Fit
    alone: Tensor | None = None


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
        frames: (H, W, 3) uint8 RGB of any size, see `Fit`; None for a frame that cannot be decoded, which is left out. Where
            the size changes, the stream starts again. Their method `name`, if there is one, names them.
        backend: what segments; it keeps the state.
        motion: called as motion(number, previous, current) from the second frame on, with both as the network sees them,
            without a margin.
        report: filled on the way.
        threads: decode and register in threads of their own, see `sspcore.inference.shots`; results are the same.
        drop: with threads: the oldest waiting frame makes room for a new one.
    """
    report = Report() if report is None else report
    make, more = (overlapped_shots, (drop,)) if threads else (shots_in_turn, ())
    how, name = getattr(backend, "interpolation", "area"), getattr(frames, "name", "{:06d}".format)
    fit = getattr(backend, "fit", lambda source: Fit.of(source, backend.size))
    first = before = None
    with closing(make(frames, fit, motion, report, *more, how=how)) as shots:
        for shot in islice(shots, max_frames):
            began = time.perf_counter()
            prediction = backend.step(shot.frame, shot.motion)
            network = time.perf_counter()
            labels, logits = shot.fit.restored(prediction.labels, prediction.logits)
            done = time.perf_counter()
            observed = shot.observed.result()
            if observed.motion is None:
                report.cuts += not observed.registered
            else:
                report.unregistered += not observed.registered
            report.frames += 1
            report.network.append(network - began)
            report.latency.append(done - shot.came)
            report.waited.append(shot.waited)
            if before is not None:
                report.interval.append(done - before)
            first, before = done if first is None else first, done
            report.seconds = done - first
            alone = None if prediction.alone is None else shot.fit.cropped(prediction.alone)
            yield Segmented(
                shot.number, name(shot.number), shot.image, labels, logits, prediction.state,
                observed.motion is None, observed.registered, shot.fit, alone,
            )
