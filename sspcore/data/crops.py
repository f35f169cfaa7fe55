"""Registration of training windows as the model sees them: on the augmented crops, again in every epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sspcore.core.images import to_uint8
from sspcore.core.types import Window
from sspcore.data.samples import Sample, filled_up
from sspcore.motion.registration import Registrator, on_gpu


@dataclass(frozen=True)
class CropRegistration:
    """Estimates the homographies of windows from their own frames, after crop and colours.

    A registrator on the CPU works on samples, in the processes that load them. One on a GPU, which those cannot share, works
    on batches in the training process. A registrator's networks give the same on both up to rounding, not to the bit.

    Attributes:
        registrator: estimates.
        correspondences: whether the matches are handed on too.

    Source: the reference registers every training pair so; whole frames are registered in prediction alone.
    """

    registrator: Registrator
    correspondences: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether the registrator's networks are on a GPU."""
        return on_gpu(self.registrator)

    def of_sample(self, sample: Sample) -> Sample:
        """The sample with homographies of its frames (T, 3, H, W), and which of them were found."""
        homographies, registered, matches = self._register(sample.frames.movedim(1, -1).numpy())
        correspondences = matches if self.correspondences else None
        return replace(sample, H_prev_to_cur=homographies, registered=registered, correspondences=correspondences)

    def of_batch(self, window: Window) -> Window:
        """The same for a batch (B, T, 3, H, W) of normalised frames, on their device."""
        *found, matches = zip(*(self._register(frames) for frames in to_uint8(window.frames)), strict=True)
        homographies, registered = (torch.stack(parts).to(window.frames.device) for parts in found)
        correspondences = filled_up(matches).to(window.frames.device) if self.correspondences else None
        return replace(window, H_prev_to_cur=homographies, registered=registered, correspondences=correspondences)

    def _register(self, frames: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (T, H, W, 3) uint8 -> (T-1, 3, 3) float64, (T-1,) bool, and correspondences (T-1, N, 3).

        Where a clip begins within the window its first frame is repeated: nothing moved, and nothing is estimated.
        """
        homographies, registered = np.tile(np.eye(3), (len(frames) - 1, 1, 1)), np.ones(len(frames) - 1, bool)
        matches = [np.empty((0, 3), np.float32)] * (len(frames) - 1)
        for k, (previous, current) in enumerate(pairwise(frames)):
            if not np.array_equal(previous, current):
                found = self.registrator(np.ascontiguousarray(previous), np.ascontiguousarray(current))
                homographies[k], registered[k], matches[k] = found.H_prev_to_cur, found.ok, found.correspondences
        return torch.from_numpy(homographies), torch.from_numpy(registered), filled_up(list(map(torch.from_numpy, matches)))
