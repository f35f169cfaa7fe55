"""Videos as files: opened, counted, and read as a stream, with one line for each kind of damage."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.data.containers import has_sample_table, is_cut_off, is_edited

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_OPENING = threading.RLock()  # options of FFmpeg are in the environment, which all threads share
_REORDERED = 64  # no codec stores a frame farther from its place


@contextmanager
def open_video(video: Path) -> Iterator[cv2.VideoCapture]:
    """A video at its first frame, closed at the end of the block. Raises ReleaseError if it is missing or no video."""
    if not video.is_file():
        raise ReleaseError(f"{video}: file is missing; restore it")
    # as many decoder threads as OpenCV has here: one in a worker process, which has neighbours
    with _OPENING:
        capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, max(1, cv2.getNumThreads())])
    try:
        if not capture.isOpened():
            raise ReleaseError(f"{video}: not a readable video ({video.stat().st_size} bytes); copy or fetch it again")
        yield capture
    finally:
        capture.release()


def count_frames(video: Path) -> int:
    """Number of frames that `read_video` can give of a whole file: what the table of an MP4 says where all of it is shown, else
    all are decoded, since other headers hold no number or a guess by the duration.

    Raises: ReleaseError if it cannot be opened or that number is absurd.
    """
    with open_video(video) as capture:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    size = video.stat().st_size
    if not has_sample_table(video):
        return _decoded(video, size, video.stat().st_mtime_ns)
    if not 0 <= frames <= size:  # a damaged header; no codec has frames of less than a byte
        raise ReleaseError(f"{video}: announces {frames} frames in {size} bytes; the file is damaged, copy or fetch it again")
    return _decoded(video, size, video.stat().st_mtime_ns) if is_edited(video, frames) else frames


@lru_cache(maxsize=1024)
def _decoded(video: Path, size: int, changed: int) -> int:
    """Number of frames up to the end; size and time of change tell one file from another of its name."""
    with open_video(video) as capture:
        return sum(1 for _ in iter(capture.grab, False))


def read_video(video: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, RGB uint8 frame) for the wanted frames, in order, decoding as a stream.

    Raises: ReleaseError if the video ends before the last wanted frame.
    """
    needed = max(wanted, default=-1) + 1
    with open_video(video) as capture:
        for number in range(needed):
            if not capture.grab():
                raise ReleaseError(
                    f"{video}: ends at frame {number} though {needed} are announced; the file is truncated, copy or fetch it "
                    "again"
                )
            if number in wanted:
                done, image = capture.retrieve()
                if not done:
                    raise ReleaseError(f"{video}: frame {number} cannot be decoded; copy or fetch the file again")
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_through(video: Path) -> tuple[int, tuple[int, int]]:
    """Number of frames that can be decoded, and (H, W). Raises ReleaseError if these are fewer than the file should hold."""
    with open_video(video) as capture:
        decoded, image = capture.read()
        frames = int(decoded)
        while decoded and capture.grab():
            frames += 1
    missing = max(missing_frames(video, frames), int(not frames))
    if missing:
        raise ReleaseError(f"{video}: ends at frame {frames} though {frames + missing} are announced; copy or fetch it again")
    return frames, image.shape[:2]


def missing_frames(video: Path, decoded: int) -> int:
    """How many more frames a file should hold that ended after `decoded`; 0 where this is its end, whatever its header says.

    It is not where the file is cut off or where its table of frames lists more than can be decoded without its edit list.
    Elsewhere the header's number is a guess: of the longest stream's duration, of a frame rate that varies, of nothing.
    """
    with open_video(video) as capture:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    plausible = 0 < announced <= video.stat().st_size
    if plausible and announced <= decoded:
        return 0
    if is_cut_off(video):
        return announced - decoded if plausible else 1
    if not plausible or not has_sample_table(video):
        return 0
    return max(0, announced - _leading(video) - _decoded_unedited(video))


def _decoded_unedited(video: Path) -> int:
    """Number of frames in the file, those that an edit list hides too."""
    with ExitStack() as stack:
        with _ffmpeg_options("ignore_editlist;1"):
            capture = stack.enter_context(open_video(video))
        return sum(1 for _ in iter(capture.grab, False))


def _leading(video: Path) -> int:
    """Frames in front of the first key frame: where a video was cut without coding it again, what they refer to is missing."""
    raw = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        times = [raw.get(cv2.CAP_PROP_PTS) for _ in range(_REORDERED) if raw.grab()]
        return sum(time < times[0] for time in times)
    finally:
        raw.release()


@contextmanager
def _ffmpeg_options(options: str) -> Iterator[None]:
    """Options for what FFmpeg opens in the block, in the variable in which OpenCV takes them; a user's own stay in force.

    Meanwhile no other thread opens a video by `open_video`.
    """
    with _OPENING:
        if _OPTIONS in os.environ:
            yield
            return
        os.environ[_OPTIONS] = options
        try:
            yield
        finally:
            os.environ.pop(_OPTIONS, None)
