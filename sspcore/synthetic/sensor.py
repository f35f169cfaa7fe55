"""The camera's electronics: motion blur, lens blur, exposure and white balance drift, vignetting, noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


def line_kernel(motion: tuple[float, float], size: int = 7) -> np.ndarray:
    """Kernel of a blur along `motion` (dx, dy) pixels, point-symmetric about its centre, so that nothing is shifted."""
    kernel = np.zeros((size, size), np.float32)
    middle, reach = size // 2, size // 2 - 1
    steps = np.linspace(-0.5, 0.5, 15)
    for s in steps:
        x, y = (float(np.clip(s * m, -reach, reach)) for m in motion)
        i, j = int(np.floor(y)), int(np.floor(x))
        fy, fx = y - i, x - j
        for di, wy in ((0, 1 - fy), (1, fy)):
            for dj, wx in ((0, 1 - fx), (1, fx)):
                kernel[middle + i + di, middle + j + dj] += wy * wx
    kernel += kernel[::-1, ::-1]
    return kernel / kernel.sum()


@dataclass(frozen=True)
class Sensor:
    """A camera's imperfections, constant over a sequence.

    Attributes:
        exposure: gain; drift, balance: amplitudes of its drift and of the white balance's.
        frequencies, phases: (4,) of the drift of exposure and of the three channels, in Hz and radians.
        noise: standard deviation at mid grey, 0..255; shutter: share of the frame time that is exposed.
        vignette: (H, W) brightness towards the corners.
    """

    exposure: float
    drift: float
    balance: float
    frequencies: np.ndarray
    phases: np.ndarray
    noise: float
    shutter: float
    vignette: np.ndarray

    def expose(self, radiance: np.ndarray, time: float, motion: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) float32 radiance -> (H, W, 3) uint8 RGB; `motion`: image motion over a frame time in pixels."""
        kernel = line_kernel((motion[0] * self.shutter, motion[1] * self.shutter))
        image = cv2.filter2D(radiance, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        image = cv2.GaussianBlur(image, (3, 3), 0.55)
        wave = np.sin(2 * np.pi * self.frequencies * time + self.phases)
        gain = self.exposure * (1 + self.drift * wave[0] + rng.normal(0, 0.008))
        colour = gain * (1 + self.balance * wave[1:])
        image *= (self.vignette[..., None] * colour).astype(np.float32)
        grain = rng.standard_normal(image.shape, np.float32)
        grain += 0.5 * rng.standard_normal((*image.shape[:2], 1), np.float32)
        image += grain * (self.noise * np.sqrt(0.35 + image * np.float32(0.65 / 128)))
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def random_sensor(rng: np.random.Generator, size: tuple[int, int]) -> Sensor:
    """A random camera."""
    y, x = (np.linspace(-1, 1, n) for n in size)
    radius = y[:, None] ** 2 + x[None] ** 2
    return Sensor(
        exposure=rng.uniform(0.84, 1.14),
        drift=rng.uniform(0.02, 0.06),
        balance=rng.uniform(0.01, 0.03),
        frequencies=rng.uniform(0.2, 1.2, 4),
        phases=rng.uniform(0, 2 * np.pi, 4),
        noise=rng.uniform(5, 9),
        shutter=rng.uniform(0.08, 0.3),
        vignette=(1 - rng.uniform(0.04, 0.12) * radius).astype(np.float32),
    )
