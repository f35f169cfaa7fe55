"""The one protocol: every system, image or video, answers `forward` (training) and `step` (streaming).

    forward(window)             -> Outputs            logits of a batch of short windows, for the objective
    step(frame, state, motion)  -> (logits, state)    one frame of a stream; state None starts a video

So training, prediction, evaluation, benchmark and export are each written once. The state of a stream is an explicit
value (a frozen dataclass of tensors), never a hidden attribute: one model serves many videos, in any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

Size = tuple[int, int]  # (height, width) in pixels


class Tensors:
    """Base of dataclasses whose fields are tensors, tuples of them, ints or None."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with `function` applied to each tensor."""

        def apply(value: object) -> object:
            if isinstance(value, Tensor):
                return function(value)
            return tuple(apply(item) for item in value) if isinstance(value, tuple) else value

        return replace(self, **{f.name: apply(getattr(self, f.name)) for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        return self.map(lambda tensor: tensor.to(device))


@dataclass
class Window(Tensors):
    """A batch of windows of T consecutive frames.

    Attributes:
        frames: (B, T, 3, H, W) float, RGB, ImageNet-normalised.
        H_prev_to_cur: (B, T-1, 3, 3), entry t maps pixel coordinates of frame t into frame t+1; None if unused.
        flow_to_prev: (B, T-1, 2, H, W) pixels, entry t leads from frame t+1 to frame t; None if unused.
        correspondences: (B, T-1, N, 3), see `Motion`; None if unused.
        labels: (B, T, H, W) int64, 255 where there is none; None if the objective takes none.
        teacher: (B, T, C, h, w) teacher logits at stride 4; None if the objective takes none.
        registered: (B, T-1) bool, whether a homography was found; only where windows are registered as they are read.
        labelled: (T,) labelled pixels of each frame position that losses are divided by, where the window is one of several
            parts of a batch: the whole batch's number by the number of parts; None: the window's own.
    """

    frames: Tensor
    H_prev_to_cur: Tensor | None = None
    flow_to_prev: Tensor | None = None
    correspondences: Tensor | None = None
    labels: Tensor | None = None
    teacher: Tensor | None = None
    registered: Tensor | None = None
    labelled: Tensor | None = None

    def motion(self, frame: int) -> Motion | None:
        """How frame number `frame` of the window moved since the one before; None for the first frame."""
        if frame == 0:
            return None
        known = (getattr(self, each.name) for each in fields(Motion))
        return Motion(*(None if each is None else each[:, frame - 1] for each in known))


@dataclass(frozen=True)
class Motion(Tensors):
    """What happened between the frame before and the current one.

    Attributes:
        H_prev_to_cur: (B, 3, 3), maps pixel coordinates of the frame before into the current one, at full size.
        flow_to_prev: (B, 2, H, W), pixels, from the current frame to the one before.
        correspondences: (B, N, 3), the matches that the homography was fitted to: (x, y) in the current frame, in pixels at
            full size, and 1 for an inlier, 0 for an outlier. Rows of NaN fill up where frames have different numbers.
    """

    H_prev_to_cur: Tensor | None = None
    flow_to_prev: Tensor | None = None
    correspondences: Tensor | None = None


@dataclass(frozen=True)
class Outputs:
    """What `forward` returns, for every system alike.

    Attributes:
        logits: (B, T_out, C, H, W) float32 at full size, of the last T_out = T - model.context frames of the window.
        auxiliary: same shape, of an auxiliary head that only trains; None where the system has none, and in eval mode.
    """

    logits: Tensor
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class VideoState(Tensors):
    """Base of the states; a system without memory uses it as it is."""


class VideoSegmenter(nn.Module, ABC):
    """A system that segments video.

    Attributes:
        n_classes: number of classes C.
        window: frames in a training window.
        context: leading frames of a window that carry no output (they only serve the later ones).
        needs: motion that `step` and `forward` use, a subset of {"homography", "flow", "correspondences"}.

    In eval mode `forward` over a window equals `step` over its frames, on the frames that `forward` outputs.
    """

    context: ClassVar[int] = 0
    needs: ClassVar[frozenset[str]] = frozenset()
    n_classes: int
    window: int

    @abstractmethod
    def forward(self, window: Window) -> Outputs:
        """Logits of the last T - context frames of each window, at full size."""

    @abstractmethod
    def step(self, frame: Tensor, state: VideoState | None, motion: Motion | None = None) -> tuple[Tensor, VideoState]:
        """Segment the next frame of a stream.

        Args:
            frame: (B, 3, H, W), normalised.
            state: what the step before returned; None starts a video.
            motion: since the frame before; unused (may be None) on the first frame and where `needs` is empty.
        Returns: logits (B, C, H, W), float32 at full size, and the new state.
        """

    def rollout(self, window: Window) -> Tensor:
        """`step` over all T frames of a window from a fresh state: logits (B, T, C, H, W)."""
        state, logits = None, []
        for k in range(window.frames.shape[1]):
            frame_logits, state = self.step(window.frames[:, k], state, window.motion(k))
            logits.append(frame_logits)
        return torch.stack(logits, dim=1)


def required(value: Tensor | None, what: str, model: nn.Module) -> Tensor:
    """The tensor, or a clear error naming the motion that the caller forgot."""
    if value is None:
        raise ValueError(f"{type(model).__name__} needs {what} from the second frame on (see its `needs`); got None")
    return value
