"""Flight path, pinhole projection, and the electronics: motion and lens blur, drift of exposure and white balance, noise.

World: metres, z up, ground at z = 0. Camera: x right, y down, z forward. Pixel centres at integer coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Camera:
    """One pinhole view.

    Attributes:
        position: (3,) world position.
        rotation: (3, 3), world to camera.
        focal: focal length in pixels.
        size: (H, W).
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float
    size: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (x, y) in pixels."""
        return (self.size[1] - 1) / 2, (self.size[0] - 1) / 2

    def rays(self) -> np.ndarray:
        """(H, W, 3) float32 world directions with depth 1 along the optical axis, so that X = position + depth * ray."""
        height, width = self.size
        cx, cy = self.centre
        x, y = np.meshgrid((np.arange(width) - cx) / self.focal, (np.arange(height) - cy) / self.focal)
        return (np.stack([x, y, np.ones_like(x)], -1) @ self.rotation).astype(np.float32)

    def project(self, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixel x, y and depth of points given relative to the camera position, (..., 3), in world axes."""
        local = offset @ self.rotation.T.astype(offset.dtype)
        depth = local[..., 2]
        return *self.pixels(local, np.where(np.abs(depth) < 1e-6, 1e-6, depth)), depth

    def pixels(self, local: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel x, y of points in camera axes (..., 3), with `depth` in place of their z."""
        cx, cy = self.centre
        return self.focal * local[..., 0] / depth + cx, self.focal * local[..., 1] / depth + cy

    def ground_matrix(self) -> np.ndarray:
        """(3, 3) homography from ground coordinates (x, y, 1) to pixels."""
        cx, cy = self.centre
        intrinsics = np.array([[self.focal, 0, cx], [0, self.focal, cy], [0, 0, 1.0]])
        extrinsics = np.stack([self.rotation[:, 0], self.rotation[:, 1], -self.rotation @ self.position], 1)
        return intrinsics @ extrinsics


def ground_homography(previous: Camera, current: Camera) -> np.ndarray:
    """H_prev_to_cur of the plane z = 0, (3, 3) with [2, 2] = 1."""
    matrix = current.ground_matrix() @ np.linalg.inv(previous.ground_matrix())
    return matrix / matrix[2, 2]


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """World to camera for a heading `yaw` from +x to +y, `pitch` down from the horizon and `roll`, in radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, -s * right + c * down, forward])


@dataclass(frozen=True)
class FlightPath:
    """Forward flight with slow yaw and climb plus vibration; continuous in time.

    Attributes:
        start: (3,) position at time 0.
        velocity: (3,) metres a second.
        angles: (3,) yaw, pitch, roll at time 0, radians.
        rates: (3,) radians a second.
        vibration: (n, 8): amplitudes of yaw, pitch, roll (rad), x, y, z (m), frequency (Hz), phase.
    """

    start: np.ndarray
    velocity: np.ndarray
    angles: np.ndarray
    rates: np.ndarray
    vibration: np.ndarray

    def camera(self, time: float, focal: float, size: tuple[int, int]) -> Camera:
        """The view at `time` seconds."""
        frequency, phase = self.vibration[:, 6], self.vibration[:, 7]
        # each axis swings with its own phase
        swing = np.sin(2 * np.pi * frequency[:, None] * time + phase[:, None] + np.arange(6) * 1.7)
        shake = (self.vibration[:, :6] * swing).sum(0)
        # the heading sways instead of turning on and on, so that the street stays in view
        turn = np.sin(self.rates * 4 * time) / 4
        yaw, pitch, roll = self.angles + turn + shake[:3]
        return Camera(self.start + self.velocity * time + shake[3:], _rotation(yaw, pitch, roll), focal, size)


def random_flight(rng: np.random.Generator, rural: bool, horizon: bool, lane: float) -> FlightPath:
    """A flight along +x; `horizon`: shallow enough to see the sky; `lane`: y of the middle of the path."""
    if rural:
        altitude = rng.uniform(9, 14)
        pitch = np.deg2rad(rng.uniform(10, 15.5) if horizon else rng.uniform(20, 34))
        side = rng.choice([-1, 1]) * rng.uniform(2, 5)
    else:
        altitude = rng.uniform(13, 18.5)
        pitch = np.deg2rad(rng.uniform(38, 54))
        side = rng.choice([-1, 1]) * rng.uniform(0, 5)
    yaw = -np.sign(side) * np.deg2rad(rng.uniform(0, 24))
    start = np.array([rng.uniform(20, 60), lane + side, altitude])
    velocity = np.array([rng.uniform(2.5, 5.5), -np.sign(side) * rng.uniform(0, 0.4), rng.uniform(-0.25, 0.35)])
    rates = np.deg2rad([rng.uniform(-7, 7), rng.uniform(-1.5, 1.5), rng.uniform(-2, 2)])
    vibration = np.zeros((5, 8))
    vibration[:, :3] = np.deg2rad(rng.uniform(0.02, 0.16, (5, 3)))
    vibration[:, 3:6] = rng.uniform(0, 0.02, (5, 3))
    vibration[:, 6] = rng.uniform(0.6, 5, 5)
    vibration[:, 7] = rng.uniform(0, 2 * np.pi, 5)
    return FlightPath(start, velocity, np.array([yaw, pitch, np.deg2rad(rng.uniform(-2, 2))]), rates, vibration)


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
