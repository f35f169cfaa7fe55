"""Frames of any size and aspect in a network of one size, and its answers at the frames' own size again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.images import Interpolation, resize_frame
from sspcore.core.settings import STRIDE
from sspcore.core.types import Motion, Size

_RANGE = 16.0  # logits below the largest by this much or more count as equally far below
_TOP = 255


def padded_size(size: Size) -> Size:
    """(H, W) filled up to multiples of 32, which most networks want."""
    height, width = (-(-side // STRIDE) * STRIDE for side in size)
    return height, width


@dataclass(frozen=True)
class Fit:
    """How frames of one size lie in a network's frame: scaled by one factor into the upper left corner, mirrored beyond it.

    In the corner, pixels have the same coordinates with and without the margin: homographies and matches of the content hold
    for the whole frame. Mirrored, since the margin then looks like what the network was trained on (measured on the packaged
    clip, cut to four aspects: mIoU 69.8 on average; repeated border 69.1, mean colour 68.4, mirrored around the middle 69.2).

    Attributes:
        source: (H, W) of the frames as they come.
        content: (h, w) that they have within the network's frame.
        frame: (H, W) of the network's frame.
    """

    source: Size
    content: Size
    frame: Size

    @classmethod
    def of(cls, source: Size, frame: Size, room: Size | None = None) -> Fit:
        """The largest content of the source's aspect, to the pixel, in `room` (H, W), by default the whole frame."""
        room = frame if room is None else room
        factor = min(room[0] / source[0], room[1] / source[1])
        height, width = (max(1, round(side * factor)) for side in source)
        return cls(tuple(source), (height, width), tuple(frame))

    def same_place(self, other: Fit) -> bool:
        """Whether frames of both lie at the same pixels of the network's frame."""
        return (self.content, self.frame) == (other.content, other.frame)

    def content_of(self, image: np.ndarray, how: Interpolation = "area") -> np.ndarray:
        """A frame (H, W, 3) uint8 at the content's size."""
        return resize_frame(image, self.content, how)

    def filled(self, content: np.ndarray) -> np.ndarray:
        """The content (h, w, 3) as the network's frame."""
        below, right = self._margin()
        if not below and not right:
            return content
        return cv2.copyMakeBorder(content, 0, below, 0, right, cv2.BORDER_REFLECT_101)

    def motion(self, motion: Motion) -> Motion:
        """Motion of the content as motion of the network's frame: flow (B, 2, h, w) goes on into the margin."""
        below, right = self._margin()
        if motion.flow_to_prev is None or not (below or right):
            return motion
        return replace(motion, flow_to_prev=F.pad(motion.flow_to_prev, (0, right, 0, below), mode="replicate"))

    def cropped(self, values: Tensor) -> Tensor:
        """The content's part of values (..., H', W') of the network's frame at any stride."""
        height, width = (
            -(-inner * side // outer)
            for inner, side, outer in zip(self.content, values.shape[-2:], self.frame, strict=True)
        )
        return values[..., :height, :width]

    def restored(self, labels: np.ndarray, logits: Tensor | None) -> tuple[np.ndarray, Tensor | None]:
        """A network's answer without the margin: labels (H, W) at the source's size, logits (C, h, w) of the content.

        Answers that come at another size than the network's frame were asked for at that size; they keep it.
        """
        given = tuple(labels.shape)
        target = self.source if given == self.frame else given
        if self.content == self.frame and given == target:
            return labels, logits
        if logits is None:
            height, width = (-(-c * g // f) for c, g, f in zip(self.content, given, self.frame, strict=True))
            return _largest(_named(labels[:height, :width]), target), None
        logits = self.cropped(logits)
        return upsampled_labels(logits, target), logits

    def _margin(self) -> tuple[int, int]:
        return self.frame[0] - self.content[0], self.frame[1] - self.content[1]


def upsampled_labels(logits: Tensor, size: Size) -> np.ndarray:
    """Class (H, W) uint8 of the largest logit, of logits (C, h, w) brought to `size` by bilinear interpolation.

    Class by class in bytes, so that no (C, H, W) of floats is made: 3 % of that memory and a tenth of the time, and 1 of 10,000
    pixels differs (those that are halfway between two classes).
    """
    below = (logits - logits.max(0).values).clamp(-_RANGE, 0)
    return _largest(((below / _RANGE + 1) * _TOP).round().byte().cpu().numpy(), size)


def _named(labels: np.ndarray) -> np.ndarray:
    """(C, h, w) uint8: _TOP where a class is."""
    return np.stack([np.where(labels == k, np.uint8(_TOP), np.uint8(0)) for k in range(int(labels.max()) + 1)])


def _largest(scores: np.ndarray, size: Size) -> np.ndarray:
    """Index (H, W) of the largest of scores (C, h, w) uint8 at another size."""
    height, width = size
    labels, best = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for k, score in enumerate(scores):
        if not score.any():
            continue
        score = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        labels[cv2.compare(score, best, cv2.CMP_GT).view(bool)] = k
        cv2.max(score, best, best)
    return labels
