"""Two frames of a procedural texture, related by a known homography."""

from __future__ import annotations

import cv2
import numpy as np

MARGIN = 40


def homography(size: tuple[int, int], dx: float = 4.3, dy: float = -3.6) -> np.ndarray:
    """A drone's small step, about the same share of the view at every size: turn, climb, shift, tilt."""
    unit = size[1] / 320
    c, s = 1.01 * np.cos(0.015), 1.01 * np.sin(0.015)
    return np.array([[c, -s, dx * unit], [s, c, dy * unit], [3e-5 / unit, -2e-5 / unit, 1]])


def pair(size: tuple[int, int], H: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A texture with edges at all scales, and the same moved by H: two uint8 RGB frames without blank borders."""
    height, width = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for cell in (3, 6, 12, 24, 48):
        coarse = generator.random((-(-height // cell) + 1, -(-width // cell) + 1, 3)).astype(np.float32)
        canvas += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * cell**0.5
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    to_canvas = np.array([[1.0, 0, MARGIN], [0, 1, MARGIN], [0, 0, 1]])
    moved = cv2.warpPerspective(
        canvas, to_canvas @ H @ np.linalg.inv(to_canvas), (width, height), flags=cv2.INTER_CUBIC
    )
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.ascontiguousarray(canvas[inner]), np.ascontiguousarray(moved[inner])


def ground_error(H: np.ndarray, H_true: np.ndarray, size: tuple[int, int]) -> float:
    """Mean distance over all pixels between where H and H_true send them, in pixels."""
    points = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1).reshape(-1, 1, 2).astype(np.float64)
    moved, moved_true = (cv2.perspectiveTransform(points, matrix) for matrix in (H, H_true))
    return float(np.linalg.norm(moved - moved_true, axis=-1).mean())
