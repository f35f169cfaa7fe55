"""RAFT as a network with gradients: of `RAFTFlow`, and trained along by DFF and NetWarp (METHOD section 6)."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from sspcore.core.errors import ProfileError, WeightsError
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.types import Motion, Size, Window, required
from sspcore.motion.weights import RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights

TRAINED_UPDATES = 8  # where RAFT is trained along
# RAFT encodes at stride 8, and its correlation pyramid halves that three times: 16 cells a side.
_STRIDE, _MIN_SIDE, _FLOAT32 = 8, 128, 4


class RAFT(nn.Module):
    """RAFT-large (Teed and Deng, ECCV 2020) of torchvision, its weights as initialised. Always in float32.

    Frames are padded at the right and lower edge to multiples of 8 and at least 128 px, and the flow is cut back. In training
    mode the BatchNorm of its context encoder learns too, as in the reference, which freezes nothing of it.

    Args:
        updates: refinement steps, 1 or more.
        imagenet: feed the ImageNet-normalised frames as they are, the reference's slip; else they are brought to -1..1, what
            RAFT was trained on.
    Raises: ProfileError for no update.
    """

    def __init__(self, updates: int = TRAINED_UPDATES, imagenet: bool = False) -> None:
        super().__init__()
        if updates < 1:
            raise ProfileError(f"RAFT updates is {updates}: take 1 or more")
        self.updates, self.imagenet = updates, imagenet
        self.network = raft_large(weights=None)
        self.network.register_forward_hook(_forget_correlations, always_call=True)

    def load(self, path: Path = RAFT_WEIGHTS) -> RAFT:
        """Take pretrained weights in torchvision's layout, fetched to `path` if missing. Raises: WeightsError."""
        try:
            self.network.load_state_dict(torch.load(fetch_raft_weights(path), map_location="cpu", weights_only=True))
        except (RuntimeError, EOFError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{path} does not hold the weights of RAFT-large: replace it by {RAFT_URL}") from error
        return self

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Flow from source to target (B, 2, H, W), pixels; both are normalised frames (B, 3, H, W)."""
        height, width = source.shape[-2:]
        # Half precision costs RAFT accuracy. Counting runs on "meta", which autocast does not know.
        with torch.autocast("cuda" if source.is_cuda else "cpu", enabled=False):
            flow = self.network(self._seen(source), self._seen(target), num_flow_updates=self.updates)[-1]
        return flow[..., :height, :width]

    def _seen(self, frames: Tensor) -> Tensor:
        frames = frames.float()
        if not self.imagenet:
            mean, std = (frames.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
            frames = (frames * std + mean) * 2 - 1
        pad_y, pad_x = (max(_MIN_SIDE, -(-side // _STRIDE) * _STRIDE) - side for side in frames.shape[-2:])
        return F.pad(frames, (0, pad_x, 0, pad_y), mode="replicate")


def peak_bytes(size: Size) -> int:
    """Bytes that RAFT's correlations take at most, for one pair of frames (H, W) without gradients.

    All pairs of cells at stride 8 in float32, twice: torchvision scales them into a copy. Features add little to it: a tenth at
    576 x 768 (counted on a CPU), less at larger sizes.
    """
    height, width = (max(_MIN_SIDE, -(-side // _STRIDE) * _STRIDE) // _STRIDE for side in size)
    return 2 * (height * width) ** 2 * _FLOAT32


def _forget_correlations(network: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
    """torchvision keeps the pyramid of the last pair on the module: 17.6 GB at 1440 x 2560, beside which the next one's is
    made, and a tensor with a gradient that no copy of the module may hold. What autograd needs of it, its graph holds.
    """
    network.corr_block.corr_pyramid = []


def flow_to_prev(raft: RAFT | None, frame: Tensor, previous: Tensor | None, motion: Motion | None, model: nn.Module) -> Tensor:
    """Flow (B, 2, H, W) from the current frame of a stream to the one before.

    Args:
        raft: the system's own; None: the flow of `motion` is taken.
        frame, previous: (B, 3, H, W), normalised; without a `raft` they are not looked at.
        model: for the error.
    Raises: ValueError if the motion is missing.
    """
    if raft is not None:
        return raft(frame, previous)
    return required(None if motion is None else motion.flow_to_prev, "motion.flow_to_prev", model)


def window_flow_to_prev(raft: RAFT | None, window: Window, model: nn.Module) -> Tensor:
    """The same for all frames of a window but the first: (B, T-1, 2, H, W), by `raft` in one call."""
    if raft is None:
        return required(window.flow_to_prev, "window.flow_to_prev", model)
    current, previous = window.frames[:, 1:], window.frames[:, :-1]
    return raft(current.flatten(0, 1), previous.flatten(0, 1)).unflatten(0, tuple(current.shape[:2]))
