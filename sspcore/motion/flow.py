"""Optical flow between two frames: RAFT (torchvision), DIS (OpenCV) and the zero flow as a control.

Every estimator takes normalised frames [B, 3, H, W] and returns flow_source_to_target [B, 2, H, W] in pixels, so that
`warp_by_flow(target, flow)` brings the target into the source. No gradient passes through a flow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from sspcore.core.errors import ProfileError
from sspcore.core.images import to_uint8
from sspcore.core.machine import in_gpu_memory
from sspcore.motion.names import FLOW_NAMES, IMAGENET, raft_name, uses_raft
from sspcore.motion.raft import RAFT
from sspcore.motion.weights import RAFT_WEIGHTS

_DIS_PRESETS = {name: getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{name.upper()}") for name in ("medium", "fast", "ultrafast")}
# On a frame of a few pixels OpenCV's DIS crashes the process (4.14: at 8 px, not at 12); this leaves a margin.
_DIS_MIN_SIDE = 32


class FlowEstimator(Protocol):
    """Estimates flow; `name` tells estimators apart in settings, caches and results."""

    name: str

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Flow from source to target, [B, 2, H, W] float32 in pixels, for normalised frames [B, 3, H, W]."""
        ...


class ZeroFlow:
    """No motion: what temporal consistency is worth without motion compensation."""

    name = "zero"

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        _require_frames(source, target)
        return source.new_zeros((source.shape[0], 2, *source.shape[-2:]), dtype=torch.float32)


class DISFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016) on the grey frames, by OpenCV, on the CPU.

    Args:
        preset: "medium", "fast" or "ultrafast".
    Raises: ProfileError for another preset.
    """

    def __init__(self, preset: str = "medium") -> None:
        if preset not in _DIS_PRESETS:
            raise ProfileError(f"DIS preset {preset!r} is unknown: take one of {', '.join(_DIS_PRESETS)}")
        self.name, self.preset = f"dis-{preset}", preset

    @torch.no_grad()
    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        _require_frames(source, target)
        # Made for each call: OpenCV's object keeps buffers and can be neither pickled nor shared by threads.
        estimator = cv2.DISOpticalFlow_create(_DIS_PRESETS[self.preset])
        height, width = source.shape[-2:]
        pairs = zip(_grey(source), _grey(target), strict=True)
        flows = [estimator.calc(a, b, None)[:height, :width] for a, b in pairs]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(source.device)


class RAFTFlow:
    """RAFT-large (see `sspcore.motion.raft`) as it was trained, without gradients; the paper takes 20 updates.

    Its name holds that of the weights' file, so that flow of other weights is never taken for its own.

    Args:
        updates: refinement steps, 1 or more.
        weights: file with the torchvision weights; fetched to that place where it is missing and there is a network.
            None: see `untrained`.
        device: where the network runs; flows return to the device of the frames.
        imagenet: feed the ImageNet-normalised frames as they are: the reference's slip.
    Raises: WeightsError where the weights cannot be had or do not fit.
    """

    def __init__(
        self, updates: int = 20, weights: str | Path | None = RAFT_WEIGHTS, device: torch.device | str = "cpu",
        imagenet: bool = False,
    ) -> None:
        self.device, self.raft = torch.device(device), RAFT(updates, imagenet)
        if weights is not None:
            self.raft.load(Path(weights))
        self.raft.to(self.device).eval().requires_grad_(False)
        ending = "untrained" if weights is None else Path(weights).stem.removeprefix("raft_large_")
        self.name = f"{raft_name(updates, imagenet)}-{ending}"

    @classmethod
    def untrained(cls, updates: int = 20, device: torch.device | str = "cpu") -> RAFTFlow:
        """Random weights: for checks of shapes and for benchmarks of speed; its flow means nothing."""
        return cls(updates, None, device)

    @torch.no_grad()
    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        _require_frames(source, target)
        height, width = source.shape[-2:]
        remedy = "lower input_size; frames of the teacher's size are spared by score_teacher_at: input_size"
        with in_gpu_memory(f"RAFT on {height} x {width} pixels", remedy):
            return self.raft(source.to(self.device), target.to(self.device)).to(source.device)


def build_flow(name: str, device: torch.device | str = "cpu", raft_weights: str | Path = RAFT_WEIGHTS) -> FlowEstimator:
    """The estimator of that name, one of FLOW_NAMES; `device` and `raft_weights` concern RAFT only.

    Raises: ProfileError for an unknown name, WeightsError where RAFT's weights cannot be had.
    """
    if name not in FLOW_NAMES:
        raise ProfileError(f"flow {name!r} is unknown: take one of {', '.join(FLOW_NAMES)}")
    kind, _, setting = name.removesuffix(IMAGENET).partition("-")
    if kind == "dis":
        return DISFlow(setting)
    if uses_raft(name):
        return RAFTFlow(int(setting), raft_weights, device, name.endswith(IMAGENET))
    return ZeroFlow()


def _require_frames(source: Tensor, target: Tensor) -> None:
    if source.shape != target.shape or source.ndim != 4 or source.shape[1] != 3:
        shapes = f"source {tuple(source.shape)} and target {tuple(target.shape)}"
        raise ValueError(f"{shapes} must be frames of one shape (B, 3, H, W)")


def _grey(frames: Tensor) -> list[np.ndarray]:
    """Normalised frames as grey uint8 images, edges repeated up to the smallest side that DIS takes."""
    below, right = (max(0, _DIS_MIN_SIDE - side) for side in frames.shape[-2:])
    images = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in to_uint8(frames)]
    return [cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) for image in images]
