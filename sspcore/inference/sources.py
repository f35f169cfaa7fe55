"""Where frames come from: a video, a folder of images, an animation, a camera, an address. A frame that cannot be decoded is a
None, not an error; what a header says wrong about their number or rate is put right here.
"""

from __future__ import annotations

import logging
import re
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import cv2
import numpy as np
from PIL import Image

from sspcore.core.errors import ReleaseError, SspError
from sspcore.core.images import read_rgb
from sspcore.data.layouts import IMAGE_SUFFIXES
from sspcore.data.releases import natural_order
from sspcore.data.video import missing_frames, open_video
from sspcore.inference.network import Connection, is_address, is_pipeline, locations

log = logging.getLogger(__name__)

ANIMATIONS = (".gif", ".webp", ".png", ".apng")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow raises for damaged files
_USUAL_RATE, _FOLDER_RATE = 25.0, 12.0  # where nothing says how fast frames follow
_RATES = 0.1, 480.0  # what containers can write and cameras record; a header may hold its clock instead (1000, 90000)
_DOUBTFUL_RATE = 61.0  # above it a header may mean fields, or ticks of a rate that varies: the first frames are asked
_SAMPLED = 25
_BROKEN_IN_A_ROW = 100  # of a camera: then it is gone


@dataclass
class Source:
    """Frames one after the other; iterating yields RGB uint8, or None for a frame that cannot be decoded.

    Attributes:
        frames: the iterator. live: whether frames come by themselves. fps: of the source, as a container can write it.
        n_frames: None if unknown; what a header announces until the end is reached, then the true number.
        names: of the frames, where they have any.
        reconnects: how often a lost connection was opened again. The stream starts again there: what came before the gap
            says nothing of what comes now.
    """

    frames: Iterator[np.ndarray | None]
    live: bool
    fps: float
    n_frames: int | None = None
    names: Sequence[str] | None = None
    reconnects: int = 0

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.frames

    def name(self, k: int) -> str:
        """Name of frame k, for files that are made of it: an image's own without its suffix, else its number."""
        return f"{k:06d}" if self.names is None else self.names[k]


@contextmanager
def open_source(
    source: Path | str | int | Iterable[np.ndarray], rate: float | None = None, reconnect: float = 30.0, timeout: float = 10.0
) -> Iterator[Source]:
    """Frames of a source that is closed at the end.

    Args:
        source: a video or an animation; a folder of images; number or device of a camera (0, "0", "/dev/video0"); an address
            (rtsp, http, udp, srt, ...); a GStreamer pipeline ("gst:..." or what holds " ! "), where OpenCV has
            GStreamer; or RGB frames (H, W, 3) uint8.
        rate: plays a file as if it were live, at so many frames a second.
        reconnect: seconds for which a lost connection is tried again; 0: it is the end.
        timeout: seconds that the other end may take to answer, or to send the next frame.
    Raises: SspError if it cannot be opened or holds no frame. An address is shown without its password.
    """
    opened = _open(source, reconnect, timeout) if isinstance(source, (str, Path, int)) else _given(source)
    try:
        yield _paced(opened, rate)
    finally:
        with suppress(ValueError):  # it waits for a frame in another thread, and ends by its time limit
            getattr(opened.frames, "close", lambda: None)()


def local_path(source: Path | str | int) -> Path | None:
    """The file, folder or device that a source names, file:... too; None of addresses and pipelines."""
    name = str(source)
    if is_pipeline(name) or (is_address(name) and not name.lower().startswith("file:")):
        return None
    return Path(url2pathname(urlsplit(name).path) if name.lower().startswith("file:") else name)


def local_files(source: Path | str | int) -> list[Path]:
    """What a source reads on this machine, so that no output is written there: its path, or the files of a pipeline."""
    names = locations(source) if isinstance(source, str) and is_pipeline(source) else [source]
    return [path for name in names if (path := local_path(name)) is not None]


def _given(frames: Iterable[np.ndarray]) -> Source:
    return Source((frame for frame in frames), False, _USUAL_RATE, len(frames) if isinstance(frames, Sized) else None)


def _open(source: Path | str | int, reconnect: float, timeout: float) -> Source:
    name, path = str(source), local_path(source)
    if path is None:
        return _received(Connection(name, timeout), reconnect)
    if path.is_dir() and not isinstance(source, int):
        return _folder(path)
    if (name.isascii() and name.isdigit()) or name.startswith("/dev/video"):
        return _camera(name)
    if not path.is_file():
        raise SspError(f"{name}: no such video, folder of images, camera or address")
    if path.suffix.lower() in (*IMAGE_SUFFIXES, *ANIMATIONS):
        return _picture(path)
    return _video(path)


def _folder(folder: Path) -> Source:
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    if not files:
        other = next((path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")), "")
        held = f" ({other} is none of them: give its own path, if it holds the frames)" if other else ""
        raise SspError(f"{folder}: no image in this folder; give one with {', '.join(IMAGE_SUFFIXES)} files{held}")
    files.sort(key=lambda path: natural_order(path.name))
    stems = Counter(path.stem for path in files)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in files]
    return Source(_read_each(files), False, _FOLDER_RATE, len(files), names)


def _picture(path: Path) -> Source:
    """A single image, or the pictures of an animation."""
    frames, fps = 1, _FOLDER_RATE
    if path.suffix.lower() in ANIMATIONS:
        with suppress(*_UNREADABLE), Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            image.load()  # how long it is shown is read with it
            fps = _sane(1000 / (image.info.get("duration") or np.inf)) or _FOLDER_RATE
    if frames > 1:
        return Source(_animated(path, frames), False, fps, frames)
    return Source(_read_each([path]), False, fps, 1, [path.stem])


def _read_each(files: Iterable[Path]) -> Iterator[np.ndarray | None]:
    for path in files:
        try:
            yield read_rgb(path)
        except ReleaseError as error:
            log.warning("%s", error)
            yield None


def _animated(path: Path, frames: int) -> Iterator[np.ndarray | None]:
    with Image.open(path) as image:
        for k in range(frames):
            try:
                image.seek(k)
                yield np.array(image.convert("RGB"))
            except _UNREADABLE as error:
                log.warning("%s: frame %d is not readable (%s)", path, k, error)
                yield None


def _video(path: Path) -> Source:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise SspError(f"{path}: cannot be opened as a video; is it complete and readable?")
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    source = Source(iter(()), False, _frame_rate(capture, path), announced if 0 < announced <= path.stat().st_size else None)
    source.frames = _decoded(source, capture, path)
    return source


def _decoded(source: Source, capture: cv2.VideoCapture, path: Path) -> Iterator[np.ndarray | None]:
    """Up to where no frame comes any more, whatever was announced; then what should have come, if the file is damaged."""
    try:
        number = 0
        while (image := _read(capture)) is not None:
            number += 1
            yield image
    finally:
        capture.release()
    missing = missing_frames(path, number)
    source.n_frames = number + missing
    if missing:
        log.warning("%s: ends at frame %d of %d; the file is cut off or damaged", path, number, source.n_frames)
    for _ in range(missing):
        yield None


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    good, image = capture.read()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if good else None


def _frame_rate(capture: cv2.VideoCapture, path: Path) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    if 1 <= fps <= _DOUBTFUL_RATE:
        return fps
    with open_video(path) as beside:  # the frames' own times
        times = [beside.get(cv2.CAP_PROP_POS_MSEC) for _ in range(_SAMPLED) if beside.grab()]
    seconds = (times[-1] - times[0]) / 1000 if times else 0
    return _sane((len(times) - 1) / seconds if seconds > 0 else fps) or _USUAL_RATE


def _sane(fps: float) -> float | None:
    return round(fps, 3) if _RATES[0] <= fps <= _RATES[1] else None  # NaN is not


def _camera(name: str) -> Source:
    device = re.sub(r"\D", "", name) if re.fullmatch(r"\d+|/dev/video\d+", name) else ""
    capture = cv2.VideoCapture(int(device) if device else name)
    if not capture.isOpened():
        raise SspError(f"{name}: cannot be opened as a camera; is it connected, free, and may you read it?")
    return Source(_filmed(capture), True, _sane(capture.get(cv2.CAP_PROP_FPS)) or _USUAL_RATE)


def _filmed(capture: cv2.VideoCapture) -> Iterator[np.ndarray | None]:
    broken = 0
    try:
        while broken < _BROKEN_IN_A_ROW:
            image = _read(capture)
            broken = 0 if image is not None else broken + 1
            yield image
    finally:
        capture.release()


def _received(connection: Connection, reconnect: float) -> Source:
    fps = _sane(connection.capture.get(cv2.CAP_PROP_FPS)) or _USUAL_RATE
    source = Source(iter(()), not connection.is_file, fps, connection.announced)

    def frames() -> Iterator[np.ndarray]:
        for image in connection.frames(reconnect):
            source.reconnects = connection.reconnects
            yield image

    source.frames = frames()
    return source


def _paced(source: Source, rate: float | None) -> Source:
    if rate is None:
        return source
    unpaced = source.frames

    def frames() -> Iterator[np.ndarray | None]:
        due = time.perf_counter()
        for image in unpaced:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            yield image

    source.frames, source.live, source.fps = frames(), True, rate
    return source
