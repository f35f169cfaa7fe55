"""Filters: the output of an image model steadied by a fixed rule along the homography, with nothing to learn.

They are what SSP has to beat: a majority vote over label maps, and the one-euro filter on logits. (Averaging, along the
homography or along flow, is SSP itself with a constant alpha.) Where the past has no source in the frame, and on the first
frame, the image model speaks alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window, required
from sspcore.models.interface import upsample
from sspcore.models.spec import OneEuroOptions, VoteOptions
from sspcore.models.wrap import as_image_model
from sspcore.motion import geometry


class Filter(VideoSegmenter):
    """An image model and a rule. `forward` outputs every frame of the window, as SSP does."""

    needs = frozenset({"homography"})

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image, self.window = as_image_model(image), 2
        self.n_classes = self.image.n_classes

    def forward(self, window: Window) -> Outputs:
        frames = self._alone(window.frames.flatten(0, 1)).unflatten(0, window.frames.shape[:2]).unbind(1)
        state, outputs = None, []
        for k, alone in enumerate(frames):
            logits, state = self.steady(alone, state, window.motion(k))
            outputs.append(logits)
        return Outputs(torch.stack(outputs, dim=1))

    def step(self, frame: Tensor, state: VideoState | None, motion: Motion | None = None) -> tuple[Tensor, VideoState]:
        return self.steady(self._alone(frame), state, motion)

    @abstractmethod
    def steady(self, alone: Tensor, state: VideoState | None, motion: Motion | None) -> tuple[Tensor, VideoState]:
        """One frame of a stream: the image model's logits (B, C, H, W) in, steadied ones and the new state out."""

    def _alone(self, frames: Tensor) -> Tensor:
        """What the image model says of frames (B, 3, H, W): logits at full size."""
        return upsample(self.image.logits_and_features(frames)[0], tuple(frames.shape[-2:]))

    def _H_cur_to_prev(self, motion: Motion | None) -> Tensor:
        return geometry.sampling_homography(required((motion or Motion()).H_prev_to_cur, "motion.H_prev_to_cur", self))


@dataclass(frozen=True)
class VoteState(VideoState):
    """The label maps that vote next.

    Attributes:
        labels: (B, N, H, W) uint8, newest first, each as it was predicted: nothing is sampled twice.
        H_to_own: (B, N, 3, 3) float64, pixels of the latest frame to those of each map's own.
    """

    labels: Tensor
    H_to_own: Tensor


class MajorityVote(Filter):
    """The class that most of the last `frames` label maps name, the present one included.

    The logits are the votes, 0 to `frames`, plus half the present's probabilities, which so decide between classes of equal
    votes and never outweigh a vote.
    """

    def __init__(self, image: nn.Module, options: VoteOptions) -> None:
        super().__init__(image)
        self.options = options

    def steady(self, alone: Tensor, state: VoteState | None, motion: Motion | None) -> tuple[Tensor, VoteState]:
        present = alone.argmax(1, keepdim=True)
        votes = (0.5 * alone.softmax(1)).scatter_add(1, present, torch.ones_like(alone[:, :1]))
        labels, H_to_own = present.to(torch.uint8), torch.eye(3, device=alone.device, dtype=torch.float64)
        H_to_own = H_to_own.expand(len(alone), 1, 3, 3)
        if state is None:
            return votes, VoteState(labels, H_to_own)
        reach = state.H_to_own @ self._H_cur_to_prev(motion).to(state.H_to_own.device)[:, None]
        reach = reach / reach[..., 2:, 2:].abs()
        for n in range(state.labels.shape[1]):
            named, valid = geometry.warp_by_sampling_homography(state.labels[:, n:n + 1], reach[:, n], "nearest")
            votes = votes.scatter_add(1, named.long(), valid.to(votes.dtype))
        kept = self.options.frames - 2  # of the older ones: with the present and the next frame they make `frames`
        return votes, VoteState(
            torch.cat([labels, state.labels[:, :kept]], dim=1), torch.cat([H_to_own, reach[:, :kept]], dim=1)
        )


@dataclass(frozen=True)
class OneEuroState(VideoState):
    """The filtered logits and how fast they change, both (B, C, H, W), in the latest frame; speed in logits a frame."""

    logits: Tensor
    speed: Tensor


class OneEuro(Filter):
    """The one-euro filter (Casiez, Roussel and Vogel, CHI 2012), for each pixel and class, on logits.

        speed  = e(S_k - P_{k-1}, the speed before; speed_cutoff)
        P_k    = e(S_k, P_{k-1}; cutoff + beta |speed|),     e(new, old; f) = old + (new - old) / (1 + 1 / (2 pi f))

    A low-pass filter whose cutoff rises with the speed: slow where the logits tremble, quick where they go somewhere. Times
    are in frames, so cutoffs are in cycles a frame; P_{k-1} and the speed come along the homography.
    """

    def __init__(self, image: nn.Module, options: OneEuroOptions) -> None:
        super().__init__(image)
        self.options = options

    def steady(self, alone: Tensor, state: OneEuroState | None, motion: Motion | None) -> tuple[Tensor, OneEuroState]:
        if state is None:
            return alone, OneEuroState(alone, torch.zeros_like(alone))
        options, H_cur_to_prev = self.options, self._H_cur_to_prev(motion)
        past, valid = geometry.warp_by_sampling_homography(torch.cat([state.logits, state.speed], dim=1), H_cur_to_prev)
        logits, speed = past.chunk(2, dim=1)
        change = alone - logits
        speed = (speed + (change - speed) * _weight_of_new(options.speed_cutoff)) * valid
        weight = _weight_of_new(options.cutoff + options.beta * speed.abs())
        logits = torch.where(valid, logits + change * weight, alone)
        return logits, OneEuroState(logits, speed)


def _weight_of_new(cutoff: Tensor | float) -> Tensor | float:
    """What a low-pass filter of a cutoff, in cycles a frame, gives the new value."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff))
