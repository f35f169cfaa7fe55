"""Small frames, videos and label images made by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE = (64, 96)


def texture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 smooth random texture with plenty of corners."""
    rng = np.random.default_rng(seed)
    noise = rng.random((size[0] // 4 + 2, size[1] // 4 + 2, 3), dtype=np.float32)
    return (cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Write RGB frames as mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Write an RGB or grey image as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def panning_frames(n: int, seed: int) -> list[np.ndarray]:
    """n frames of a camera that pans by 2 px a frame to the right over a texture."""
    wide = texture((SIZE[0], SIZE[1] + 2 * n), seed)
    return [wide[:, 2 * k: 2 * k + SIZE[1]] for k in range(n)]


def half_and_half(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    """A label image of two colours."""
    label = np.empty((*SIZE, 3), np.uint8)
    label[:, : SIZE[1] // 2], label[:, SIZE[1] // 2:] = left, right
    return label
