"""Video files that browsers play, written frame by frame.

H.264 where this machine has an encoder: the program ffmpeg, or what macOS and Windows bring. Else VP9 (.mp4, .mkv) or VP8
(.webm) by OpenCV's own libvpx, whose speed OpenCV gives no way to set: 1080p takes some tenths of a second a frame.
OpenCV's usual "mp4v" is MPEG-4 part 2, which no browser plays.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from sspcore.core.errors import SspError
from sspcore.core.files import atomic_file

log = logging.getLogger(__name__)

_USUAL_RATE = 25.0
_SLOWEST, _FASTEST = 0.05, 250.0  # frames a second; what lies outside is a time base or a fault of a header
_H264 = {  # encoders of ffmpeg in order of preference, each with its settings
    "libx264": ("-preset", "veryfast", "-crf", "21"), "libopenh264": ("-q:v", "21"), "h264_videotoolbox": ("-q:v", "65"),
    "h264_nvenc": ("-cq", "23"),
}
_VP9 = {"libvpx-vp9": ("-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1", "-crf", "32", "-b:v", "0")}
_BY_FFMPEG = {".mp4": _H264, ".mkv": _H264, ".webm": _VP9, ".avi": {}}
_BY_OPENCV = {  # (back end, four letters) in order of preference
    ".mp4": [("AVFOUNDATION", "avc1"), ("MSMF", "H264"), ("FFMPEG", "vp09")],
    ".mkv": [("FFMPEG", "VP90")], ".webm": [("FFMPEG", "VP80")], ".avi": [("FFMPEG", "MJPG")],
}
_SLOW = ("vp09", "VP90", "VP80")
_LISTING = (".mp4", ".avi")  # containers that say how many frames they hold
SUFFIXES = tuple(_BY_OPENCV)
_STDERR = threading.Lock()


class _Encoder(Protocol):
    def write(self, frame: np.ndarray) -> None:
        """Take the next frame (H, W, 3) uint8 RGB, of even size."""

    def close(self) -> None:
        """Complete the file. Raises: SspError if it could not be written."""


def require_video_name(path: Path) -> None:
    """Raise SspError unless the suffix of `path` names a container that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        advice = "; ffmpeg makes a GIF of a finished mp4" if path.suffix.lower() == ".gif" else ""
        raise SspError(f"{path}: videos are written as {', '.join(SUFFIXES)}; name one of them{advice}")


def writable_rate(fps: float | None) -> float:
    """Frames a second that every container can write: `fps`, or 25 where that is none or no rate of a video."""
    if fps is None or not math.isfinite(fps) or not _SLOWEST <= fps <= _FASTEST:
        return _USUAL_RATE
    return float(fps)


@contextmanager
def video_file(path: Path, fps: float | None) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that takes the next frame (H, W, 3) uint8 RGB; the video is at `path` when the block ends well.

    Frames of another size than the first are fitted into that size, on black. Without a frame there is no file.

    Args:
        fps: of the video, brought to a rate that can be written.
    Raises: SspError for an unknown suffix, or if the video cannot be written. After an error nothing is left, and a former file
        is as it was.
    """
    require_video_name(path)
    encoder, size = None, (0, 0)
    with ExitStack() as stack:

        def add(frame: np.ndarray) -> None:
            nonlocal encoder, size
            if encoder is None:  # no folder is made before there is a frame to write
                size = frame.shape[:2]
                temporary = stack.enter_context(atomic_file(path))
                encoder = _open(temporary, writable_rate(fps), tuple(side + side % 2 for side in size))
            encoder.write(_evened(_fitted(frame, size)))

        try:
            yield add
        except BaseException:
            if encoder is not None:
                _give_up(encoder)
            raise
        if encoder is not None:
            encoder.close()


def _give_up(encoder: _Encoder) -> None:
    try:
        encoder.close()
    except SspError as error:  # what was raised before matters
        log.debug("%s", error)


def _fitted(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if frame.shape[:2] == size:
        return frame
    factor = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    height, width = (max(1, min(round(side * factor), most)) for side, most in zip(frame.shape[:2], size, strict=True))
    whole, (top, left) = np.zeros((*size, 3), np.uint8), ((size[0] - height) // 2, (size[1] - width) // 2)
    whole[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return whole


def _evened(frame: np.ndarray) -> np.ndarray:
    """With an even number of rows and columns, which halved colours need."""
    below, right = frame.shape[0] % 2, frame.shape[1] % 2
    return cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else frame


def _open(path: Path, fps: float, size: tuple[int, int]) -> _Encoder:
    suffix, program = path.suffix.lower(), shutil.which("ffmpeg")
    for name, settings in (_BY_FFMPEG[suffix] if program else {}).items():
        if _works(program, name):
            return _Program(program, path, fps, size, name, settings)
    for backend, letters in _BY_OPENCV[suffix]:
        code = getattr(cv2, f"CAP_{backend}")
        if code not in cv2.videoio_registry.getWriterBackends():
            continue
        with _no_native_messages():
            writer = cv2.VideoWriter(str(path), code, cv2.VideoWriter_fourcc(*letters), fps, (size[1], size[0]))
        if writer.isOpened():
            if letters in _SLOW:
                log.warning("the video is encoded by OpenCV, slowly; install ffmpeg for H.264 at many times the speed")
            return _OpenCV(writer, path)
    raise SspError(f"{path.parent}: no {suffix[1:]} video can be written there; is the folder writable, the disk full?")


class _OpenCV:
    def __init__(self, writer: cv2.VideoWriter, path: Path) -> None:
        self.writer, self.path, self.frames = writer, path, 0

    def write(self, frame: np.ndarray) -> None:
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Complete the file and look into it: the writer reports no error, not even of a full disk."""
        self.writer.release()
        with _no_native_messages():
            capture = cv2.VideoCapture(str(self.path))
            listed = capture.get(cv2.CAP_PROP_FRAME_COUNT) if self.path.suffix.lower() in _LISTING else self.frames
            whole = capture.grab() and listed == self.frames
            capture.release()
        if not whole:
            raise SspError(f"{self.path.parent}: the video could not be written there as a whole; is the disk full?")


class _Program:
    """The program ffmpeg, fed through a pipe."""

    def __init__(
        self, program: str, path: Path, fps: float, size: tuple[int, int], encoder: str, settings: tuple[str, ...]
    ) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        self.path, self.messages = path, tempfile.TemporaryFile()  # noqa: SIM115 - it goes with the process
        fast = ("-movflags", "+faststart") if path.suffix.lower() == ".mp4" else ()
        command = [
            program, "-v", "error", "-y", *_raw(size, f"{rate.numerator}/{rate.denominator}"), "-an", "-c:v", encoder,
            *settings, "-pix_fmt", "yuv420p", *fast, str(path.absolute()),
        ]
        # a session of its own: Ctrl-C in the terminal is for us, and the video is completed afterwards
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.messages, start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )

    def write(self, frame: np.ndarray) -> None:
        try:
            self.process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            raise SspError(self._problem()) from error

    def close(self) -> None:
        try:
            self.process.stdin.close()
        except OSError as error:
            log.debug("%s", error)  # the status says it too
        if self.process.wait():
            raise SspError(self._problem())

    def _problem(self) -> str:
        self.process.wait()
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").strip().splitlines() or ["no message"]
        return f"{self.path.parent}: ffmpeg cannot write the video there ({lines[-1]}); is the disk full?"


def _raw(size: tuple[int, int], rate: str) -> tuple[str, ...]:
    return ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", rate, "-i", "-")


@cache
def _works(program: str, encoder: str) -> bool:
    """Whether a program ffmpeg has an encoder, and it runs on this machine: tried on one frame."""
    command = [program, "-v", "error", *_raw((256, 256), "25"), "-c:v", encoder, "-pix_fmt", "yuv420p", "-f", "null", "-"]
    try:
        done = subprocess.run(command, input=bytes(3 * 256 * 256), capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def _no_native_messages() -> Iterator[None]:
    """Keep what C libraries print on stderr off the terminal, as long as a file is opened.

    It is the stderr of the whole process: one thread at a time, and what others print meanwhile is lost too.
    """
    with _STDERR:
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
