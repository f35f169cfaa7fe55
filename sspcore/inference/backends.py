"""What segments a frame: any system run by torch, or an exported bundle (`sspcore.inference.bundles`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.errors import SspError
from sspcore.core.images import Interpolation, to_tensor
from sspcore.core.types import Motion, Size, VideoSegmenter, VideoState
from sspcore.inference.fit import Fit


@dataclass(frozen=True)
class Prediction:
    """A backend's answer to a frame.

    Attributes:
        labels: (H, W) uint8.
        logits: (C, H, W) float32; None where the backend has none.
        state: of the stream after the frame, from torch.
        alone: (C, H, W), logits of SSP's image model by itself, from torch.
    """

    labels: np.ndarray
    logits: Tensor | None = None
    state: VideoState | None = None
    alone: Tensor | None = None


class Backend(Protocol):
    """One video through one implementation of a system, whose state it keeps.

    Attributes:
        size: (H, W) that it wants its frames to be.
        interpolation: how frames of another size are scaled (see `resize_frame`); by area where a backend has none.
        needs: motion that it uses, a subset of {"homography", "flow"}.
    """

    size: Size
    interpolation: Interpolation
    needs: frozenset[str]

    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        """Segment the next frame (H, W, 3) uint8 RGB.

        `motion()` waits for the motion since the frame before; None starts the video again.
        Raises: SspError if logits are no finite numbers: their classes would be arbitrary, here and in later frames.
        """
        ...


class TorchBackend:
    """A system run by torch, in eval mode. SSP's encoder runs before it asks for the motion.

    Args:
        out_size: (H, W) of labels and logits; default `size`.
        interpolation: how frames are brought to `size`; default: as the config says that the model carries, else by area.
        room: (H, W), the part of `size` that frames may take; default all of it.
        turns: whether upright frames are seen at `size` turned upright.
    Raises: SspError if the device cannot be used here.
    """

    def __init__(
        self, model: VideoSegmenter, size: Size, device: torch.device | str = "cpu", out_size: Size | None = None,
        interpolation: Interpolation | None = None, room: Size | None = None, turns: bool = False,
    ) -> None:
        try:
            self.model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise SspError(f"device {device}: cannot be used here ({reason}); take cpu") from error
        self.size, self.out_size, self.device = tuple(size), tuple(out_size or size), device
        self.interpolation = interpolation or getattr(getattr(model, "config", None), "interpolation", "area")
        self.needs, self.room, self.turns = model.needs, room, turns
        self._state: VideoState | None = None

    def fit(self, source: Size) -> Fit:
        """How frames of the size `source` (H, W) lie in the network's."""
        upright = self.turns and (source[0] > source[1]) != (self.size[0] > self.size[1])
        return Fit.of(source, self.size[::-1] if upright else self.size, self.room)

    @torch.inference_mode()
    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        image = to_tensor(frame, self.device)[None]
        # SSP and its variants have the two halves of `step`: the first needs no motion, which is estimated meanwhile
        observation = self.model.observe(image) if hasattr(self.model, "propagate") else None
        moved = motion()
        previous = None if moved is None else self._state
        if observation is None:
            logits, self._state = self.model.step(image, previous, None if moved is None else moved.to(self.device))
        elif previous is None:
            self._state = self.model.start(observation)
            logits = self._state.logits
        else:
            # inverted on the CPU, where registrations come from: a GPU would be waited for to know that it can be
            self._state = self.model.propagate(observation, previous, self.model.route(image, moved)).state
            logits = self._state.logits
        # the sum alone: it is not finite if one of them is not, and fifty times as fast on a CPU as asking each
        if not torch.isfinite(logits.sum(dtype=torch.float32)):
            raise SspError("the network: its logits are no finite numbers; check the weights and the input, or train again")
        if self.out_size != self.size:  # asked for, and then frames are not turned
            logits = F.interpolate(logits, self.out_size, mode="bilinear", align_corners=False)
        labels = logits[0].max(0).indices.to(torch.uint8).cpu().numpy()  # eight times as fast as argmax on a CPU
        return Prediction(labels, logits[0], self._state, None if observation is None else observation.logits[0])
