"""Videos as files: opened, counted, and read as a stream, with one line for each kind of damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError


@contextmanager
def open_video(video: Path) -> Iterator[cv2.VideoCapture]:
    """A video at its first frame, closed at the end of the block. Raises ReleaseError if it is missing or no video."""
    if not video.is_file():
        raise ReleaseError(f"{video}: file is missing; restore it from the release")
    # as many decoder threads as OpenCV has here: one in a worker process, which has neighbours
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, max(1, cv2.getNumThreads())])
    try:
        if not capture.isOpened():
            raise ReleaseError(f"{video}: not a readable video ({video.stat().st_size} bytes); fetch it again")
        yield capture
    finally:
        capture.release()


def count_frames(video: Path) -> int:
    """Number of frames that the container announces. Raises ReleaseError if it cannot be opened or that number is absurd."""
    with open_video(video) as capture:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    size = video.stat().st_size
    if not 0 <= frames <= size:  # a damaged header; no codec has frames of less than a byte
        raise ReleaseError(f"{video}: announces {frames} frames in {size} bytes; the file is damaged, fetch it again")
    return frames


def read_video(video: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, RGB uint8 frame) for the wanted frames, in order, decoding as a stream.

    Raises: ReleaseError if the video ends before the last wanted frame.
    """
    needed = max(wanted, default=-1) + 1
    with open_video(video) as capture:
        for number in range(needed):
            if not capture.grab():
                raise ReleaseError(
                    f"{video}: ends at frame {number} though {needed} are announced; the file is truncated, fetch it again"
                )
            if number in wanted:
                done, image = capture.retrieve()
                if not done:
                    raise ReleaseError(f"{video}: frame {number} cannot be decoded; fetch the file again")
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_through(video: Path) -> tuple[int, tuple[int, int]]:
    """Number of frames that can be decoded, and (H, W). Raises ReleaseError if these are fewer than are announced."""
    with open_video(video) as capture:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        decoded, image = capture.read()
        frames = int(decoded)
        while frames < announced and capture.grab():
            frames += 1
    if frames < max(1, announced):
        raise ReleaseError(f"{video}: ends at frame {frames} though {announced} are announced; fetch it again")
    return frames, image.shape[:2]
