"""What a video method asks of an image model, as protocols that any class can follow.

SSP needs `ImageModel`. DFF, NetWarp and TCB work between the stages of a network and need `StagedImageModel`.
`sspcore.check_image_model` tests a class of your own; `sspcore.wrap` makes an image model of any network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.errors import ProfileError

FEATURE_STRIDE = 4


@runtime_checkable
class ImageModel(Protocol):
    """An `nn.Module` that segments single frames and shows fine features.

    Attributes:
        n_classes: number of classes C.
        feature_channels: channels F of the features.
    """

    n_classes: int
    feature_channels: int

    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the model says of each frame on its own.

        Args:
            frames: (B, 3, H, W), RGB, ImageNet-normalised; H and W are multiples of 4 at least.
        Returns: logits (B, C, h, w) at any stride, before any softmax, and features (B, F, H/4, W/4).
        Raises: ProfileError if the size does not suit the network.
        """


@runtime_checkable
class StagedImageModel(ImageModel, Protocol):
    """An image model whose stages can be called one by one.

    Attributes:
        pyramid_channels: channels of the last four levels of its pyramid, finest first.
    """

    pyramid_channels: Sequence[int]

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Pyramid of (B, C_l, H/s, W/s), finest first."""

    def decode_features(self, pyramid: list[Tensor]) -> Tensor:
        """The decoder's features in front of the classifier, (B, D, h, w)."""

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, C, h, w) of the decoder's features, at any stride."""


def upsample(logits: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Logits of any stride at full size (H, W), float32: "bicubic" or "bilinear", half-pixel centres."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.float()
    if mode == "bicubic" and logits.requires_grad and logits.device.type == "cpu":
        # The same weights as two matrix products: with the way back a tenth of the time of torch's kernel on a CPU.
        rows, columns = (bicubic_weights(*sides) for sides in zip(logits.shape[-2:], size, strict=True))
        return rows @ (logits.float() @ columns.T)
    return F.interpolate(logits.float(), size=size, mode=mode, align_corners=False)


@lru_cache(maxsize=64)
def bicubic_weights(small: int, large: int) -> Tensor:
    """(large, small): what each of `small` samples in a line adds to each of the `large` that torch resizes them to."""
    lines = torch.eye(small)[:, None, :, None]
    return F.interpolate(lines, size=(large, 1), mode="bicubic", align_corners=False)[:, 0, :, 0].T.contiguous()


def at_feature_stride(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits of any stride at the size (H/4, W/4) of the features, float32: finer ones averaged, coarser ones bilinear."""
    logits, size = logits.float(), tuple(size)
    if tuple(logits.shape[-2:]) == size:
        return logits
    if logits.shape[-2] > size[0]:
        factor = logits.shape[-2] // size[0]
        return F.avg_pool2d(logits, factor) if logits.shape[-2] == factor * size[0] else F.adaptive_avg_pool2d(logits, size)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def require_multiples(frames: Tensor, stride: int) -> None:
    """Raise ProfileError, naming the size to pad to, unless height and width are multiples of `stride`."""
    height, width = frames.shape[-2:]
    if height % stride or width % stride:
        raise ProfileError(
            f"input size {height}x{width}: height and width must be multiples of {stride}; resize or pad the frames to "
            f"{-(-height // stride) * stride}x{-(-width // stride) * stride}"
        )


def require_agreement(model: ImageModel, frames: Tensor, logits: Tensor, features: Tensor) -> None:
    """Raise ProfileError, in one line, unless what an image model returned is what its attributes and the protocol say."""
    require_multiples(frames, FEATURE_STRIDE)
    name, (height, width) = type(model).__name__, frames.shape[-2:]
    if logits.ndim != 4 or logits.shape[1] != model.n_classes:
        raise ProfileError(
            f"{name}: logits are {tuple(logits.shape)}, expected (B, {model.n_classes}, h, w); set n_classes to what they have"
        )
    expected = (frames.shape[0], model.feature_channels, height // FEATURE_STRIDE, width // FEATURE_STRIDE)
    if tuple(features.shape) != expected:
        raise ProfileError(
            f"{name}: features are {tuple(features.shape)}, expected {expected}, at stride {FEATURE_STRIDE} of the frames; "
            "take another level of the network, or sspcore.wrap with interpolate=True"
        )
