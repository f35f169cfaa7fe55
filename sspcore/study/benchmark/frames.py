"""Frames that can be registered: those of the packaged clip, enlarged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import cv2
import numpy as np
import torch
from torch import Tensor

from sspcore.core.errors import SspError
from sspcore.core.images import normalise, read_rgb
from sspcore.core.paths import SAMPLE
from sspcore.core.types import Size


def sample_images(size: Size, count: int | None = None) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB of the packaged clip at a size; the first `count`. Raises: SspError if it is missing."""
    files = sorted(SAMPLE.glob("clips/val/*/frames/*"))[:count]
    if not files:
        raise SspError(f"{SAMPLE}: the packaged clip is missing; restore it from the repository")
    return [cv2.resize(read_rgb(path), (size[1], size[0]), interpolation=cv2.INTER_CUBIC) for path in files]


def ping_pong(images: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """So many frames, played forward and backward in turn: each is near the one before."""
    return islice(cycle([*images, *images[-2:0:-1]]), count)


def sample_frames(size: Size, count: int, device: torch.device) -> list[Tensor]:
    """Normalised frames (1, 3, H, W) of the packaged clip on a device."""
    images = ping_pong(sample_images(size), count)
    return [normalise(torch.from_numpy(image).movedim(-1, -3)[None]).to(device) for image in images]
