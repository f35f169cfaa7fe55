"""A world filmed: frames with the geometry behind them, one after the other, and the video file that they go to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.synthetic.camera import Sensor, ground_homography, random_sensor
from sspcore.synthetic.render import View, render_view, wrap_centre
from sspcore.synthetic.world import World


def film(
    world: World, sensor_seed: np.random.SeedSequence, size: tuple[int, int], frames: int, fps: int
) -> Iterator[tuple[View, np.ndarray]]:
    """Every frame of a flight through the world: what is seen, and the camera's picture of it (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(sensor_seed)
    sensor = random_sensor(rng, size)
    wrap_x = wrap_centre(world, (frames - 1) / fps)
    for number in range(frames):
        yield shot(world, sensor, rng, number / fps, fps, size, wrap_x)


def shot(
    world: World, sensor: Sensor, rng: np.random.Generator, time: float, fps: int, size: tuple[int, int], wrap_x: float
) -> tuple[View, np.ndarray]:
    """One frame, `time` seconds into the flight: what is seen, and the sensor's picture of it; `wrap_x`: see `render_view`."""
    focal = 0.92 * size[1]
    view = render_view(world, time, focal, size, wrap_x)
    return view, sensor.expose(view.image, time, _image_motion(world, time, fps, focal, size), rng)


def _image_motion(world: World, time: float, fps: int, focal: float, size: tuple[int, int]) -> tuple[float, float]:
    """Motion in pixels over a frame time of the ground point in the middle of the view."""
    before, after = (world.flight.camera(time + offset / fps, focal, size) for offset in (-0.5, 0.5))
    middle = np.array([(size[1] - 1) / 2, size[0] * 0.65, 1.0])
    moved = ground_homography(before, after) @ middle
    x, y = moved[:2] / moved[2] - middle[:2]
    return float(x), float(y)


class VideoFile:
    """An mp4 that is written frame by frame. Raises: ReleaseError if OpenCV cannot write one, `close` if it is not whole."""

    def __init__(self, path: Path, fps: int, size: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._frames = path, 0
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size[::-1])
        if not self._writer.isOpened():
            raise ReleaseError(f"{path}: this OpenCV cannot write mp4 video; install opencv-python-headless from the lock file")

    def write(self, image: np.ndarray) -> None:
        """The next frame, (H, W, 3) uint8 RGB."""
        self._writer.write(np.ascontiguousarray(image[..., ::-1]))
        self._frames += 1

    def close(self) -> None:
        """Finish the file, and count what can be read of it: the writer reports no error, not even of a full disk."""
        self._writer.release()
        if count_frames(self._path) != self._frames:
            raise ReleaseError(f"{self._path}: was not written as a whole; check the free space and run again")


def count_frames(video: Path) -> int:
    """Frames of a video that can be read."""
    capture, frames = cv2.VideoCapture(str(video)), 0
    while capture.grab():
        frames += 1
    capture.release()
    return frames


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) RGB or (H, W), without loss. Raises: ReleaseError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image[..., ::-1] if image.ndim == 3 else image
    if not cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 2]):
        raise ReleaseError(f"{path}: cannot be written; check the folder and the free space")
