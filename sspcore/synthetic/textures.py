"""Periodic noise and mip-mapped textures that repeat over the plane."""

from __future__ import annotations

import cv2
import numpy as np


def noise_tile(rng: np.random.Generator, size: int, exponent: float, low: float, high: float) -> np.ndarray:
    """Periodic noise with an amplitude spectrum f^-exponent between `low` and `high` cycles per tile.

    Returns: (size, size) float32, mean 0, standard deviation 1, clipped to +-3.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    fy = np.fft.fftfreq(size)[:, None] * size
    fx = np.fft.rfftfreq(size)[None] * size
    frequency = np.hypot(fx, fy)
    gain = np.where((frequency >= low) & (frequency <= high), np.maximum(frequency, 1e-3) ** -exponent, 0)
    tile = np.fft.irfft2(spectrum * gain, (size, size)).astype(np.float32)
    return np.clip(tile / tile.std(), -3, 3)


class RepeatingTexture:
    """A texture repeated over the plane, sampled bilinearly with a level of detail that fits the pixel's footprint.

    Args:
        image: (N, N) or (N, N, C) uint8 or float32; texel (i, j) is centred at (x, y) = (j, i) * texel.
        texel: size of a texel in metres.
        levels: number of levels, each four times coarser than the one before.
    """

    def __init__(self, image: np.ndarray, texel: float, levels: int) -> None:
        self.texel = texel
        self.levels = [image]
        for _ in range(levels - 1):
            previous = self.levels[-1]
            half = (previous.shape[1] // 4, previous.shape[0] // 4)
            self.levels.append(cv2.resize(previous, half, interpolation=cv2.INTER_AREA))

    def sample(self, x: np.ndarray, y: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Values at world (x, y), (H, W) or (n,) float32 each; footprint: metres a pixel, picks and blends the levels."""
        level = np.clip(np.log2(np.maximum(footprint / self.texel, 1e-6)) / 2, 0, len(self.levels) - 1)
        result: np.ndarray | None = None
        for index, image in enumerate(self.levels):
            weight = np.maximum(1 - np.abs(level - index), 0).astype(np.float32)
            if not weight.any():
                continue
            # a coarse texel covers four fine ones: its centre lies 1.5 fine texels further on
            scale = np.float32(1 / (self.texel * 4**index))
            shift = np.float32((1 - 4**-index) / 2)
            at = (x * scale - shift, y * scale - shift)
            if x.ndim == 1:
                values = remap_list(image, *at)
            else:
                values = cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            weighted = values * (weight[..., None] if values.ndim == 3 else weight)
            result = weighted if result is None else result + weighted
        return result


def remap_list(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Periodic bilinear samples of a grey image at n points; folded into rows, since OpenCV takes no longer ones."""
    width = 1024
    padding = -len(x) % width
    x, y = (np.pad(v.astype(np.float32), (0, padding)).reshape(-1, width) for v in (x, y))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).ravel()[: x.size - padding]
