"""Where frames come from: a camera, a video, a folder of images. A frame that cannot be decoded is a None, not an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError, SspError
from sspcore.core.images import read_rgb
from sspcore.data.releases import natural_order

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_BROKEN_IN_A_ROW = 100  # of a video: then its end has been reached, whatever its header says


@dataclass
class Source:
    """Frames one after the other; iterating yields RGB uint8, or None for a frame that cannot be decoded.

    Attributes:
        frames: the iterator. live: whether frames come by themselves. fps: of the source. n_frames: None if unknown.
    """

    frames: Iterator[np.ndarray | None]
    live: bool
    fps: float
    n_frames: int | None = None

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.frames


@contextmanager
def open_source(source: Path | str | int | Iterable[np.ndarray], rate: float | None = None) -> Iterator[Source]:
    """A camera, a folder of images, a video file or frames, closed at the end.

    Args:
        source: number of a camera (0 or "0"), a path, or RGB frames (H, W, 3) uint8.
        rate: plays a file as if it were live, at so many frames a second.
    Raises: SspError if it cannot be opened or holds no frame.
    """
    if not isinstance(source, (str, Path, int)):
        yield _paced(Source(iter(source), False, 25.0, len(source) if isinstance(source, Sized) else None), rate)
        return
    name, path = str(source), Path(str(source))
    if path.is_dir():
        files = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=lambda p: natural_order(p.name))
        if not files:
            raise SspError(f"{path}: no image in this folder; give one with {', '.join(IMAGE_SUFFIXES)} files")
        yield _paced(Source(map(_read_or_none, files), False, 12.0, len(files)), rate)
        return
    camera = name.isascii() and name.isdigit()
    if not camera and not path.is_file():
        raise SspError(f"{name}: no such video, folder of images or camera number")
    capture = cv2.VideoCapture(int(name) if camera else str(path))
    try:
        if not capture.isOpened():
            raise SspError(f"{name}: cannot be opened as {'a camera' if camera else 'a video'}; is it complete and readable?")
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        total = None if camera else int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) or None
        yield _paced(Source(_captured(capture, total), camera, fps, total), rate)
    finally:
        capture.release()


def _captured(capture: cv2.VideoCapture, total: int | None) -> Iterator[np.ndarray | None]:
    position = broken = 0
    while broken < _BROKEN_IN_A_ROW and (total is None or position < total):
        position += 1
        good, image = capture.read()
        broken = 0 if good else broken + 1
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if good else None


def _read_or_none(path: Path) -> np.ndarray | None:
    try:
        return read_rgb(path)
    except ReleaseError as error:
        log.warning("%s", error)
        return None


def _paced(source: Source, rate: float | None) -> Source:
    if rate is None:
        return source

    def frames() -> Iterator[np.ndarray | None]:
        due = time.perf_counter()
        for image in source.frames:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            yield image

    return Source(frames(), True, rate, source.n_frames)
