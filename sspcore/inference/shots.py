"""Frames on their way to the network, with their motion: one after the other, or overlapped in threads.

    frames -> inbox (bounded; a live source drops the oldest frame) -> registration -> network

In threads, a frame goes to the network before it is registered: torch encodes it meanwhile and asks for the homography
only to propagate; an exported step wants the homography first, and has it, since the next frame is registered while this
one is in the network. Results are the same.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from sspcore.core.images import resize_frame
from sspcore.core.types import Motion, Size
from sspcore.inference.motion import MotionSource, Observed
from sspcore.inference.report import Report

log = logging.getLogger(__name__)

_POLL = 0.1  # seconds between two looks at the stop flag
_INBOX = 4


@dataclass
class Shot:
    """A frame on its way to the backend: its number, its image at the backend's size, when it came, its motion to come."""

    number: int
    image: np.ndarray
    came: float
    observed: Future[Observed] = field(default_factory=Future)
    waited: float = 0.0

    def motion(self) -> Motion | None:
        """Wait for the motion since the frame before; None where the stream starts."""
        asked = time.perf_counter()
        motion = self.observed.result().motion
        self.waited = time.perf_counter() - asked
        return motion

    def observe(self, motion: MotionSource, previous: Shot | None, report: Report) -> None:
        """Work the motion out. Raises what `motion` raises, here and where it is waited for."""
        began = time.perf_counter()
        try:
            observed = Observed(None) if previous is None else motion(self.number, previous.image, self.image)
            if not observed.registered and looks_like_cut(previous.image, self.image):
                log.info("frame %d: scene cut, the stream starts again", self.number)
                observed = Observed(None, registered=False)
        except Exception as error:
            self.observed.set_exception(error)
            raise
        report.registration.append(time.perf_counter() - began)
        self.observed.set_result(observed)


def shots_in_turn(frames: Iterable[np.ndarray | None], size: Size, motion: MotionSource, report: Report) -> Iterator[Shot]:
    """Frames with their motion, one after the other."""
    previous = None
    for number, image in enumerate(frames):
        if image is None:
            report.broken += 1
            continue
        shot = Shot(number, resize_frame(image, size), time.perf_counter())
        shot.observe(motion, previous, report)
        yield shot
        previous = shot


def overlapped_shots(
    frames: Iterable[np.ndarray | None], size: Size, motion: MotionSource, report: Report, drop: bool
) -> Iterator[Shot]:
    """Frames as they come, their motion still being worked out; the threads end when the iterator is closed."""
    pipe, inbox, waiting = _Pipe(), queue.Queue(_INBOX), queue.Queue(1)

    def read() -> None:
        for number, image in enumerate(frames):
            if image is None:
                report.broken += 1
                continue
            shot = Shot(number, resize_frame(image, size), time.perf_counter())
            if drop and inbox.full():
                try:
                    inbox.get_nowait()
                    report.dropped += 1
                except queue.Empty:
                    pass  # the network was faster
            pipe.put(inbox, shot)
        pipe.put(inbox, None)

    def register() -> None:
        previous = None
        while (shot := pipe.get(inbox)) is not None:
            pipe.put(waiting, shot)
            shot.observe(motion, previous, report)
            previous = shot
        pipe.put(waiting, None)

    pipe.start(read)
    pipe.start(register)
    try:
        while (shot := pipe.get(waiting)) is not None:
            yield shot
    except _Stopped:
        pass
    finally:
        pipe.stop.set()
        for thread in pipe.threads:
            thread.join(timeout=5)
    if pipe.error is not None:
        raise pipe.error


class _Stopped(Exception):
    """A worker found the stop flag set."""


class _Pipe:
    """Threads that pass on work through bounded queues, and one flag that ends them all. The first error is kept."""

    def __init__(self) -> None:
        self.stop, self.error, self.threads = threading.Event(), None, []

    def start(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except _Stopped:
                return
            except Exception as error:  # handed to the caller's thread, which raises it
                self.error = self.error or error
                self.stop.set()

        self.threads.append(threading.Thread(target=guarded, daemon=True))
        self.threads[-1].start()

    def put(self, box: queue.Queue, item: Any) -> None:
        while not self.stop.is_set():
            try:
                return box.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise _Stopped

    def get(self, box: queue.Queue) -> Any:
        while not self.stop.is_set():
            try:
                return box.get(timeout=_POLL)
            except queue.Empty:
                continue
        raise _Stopped


def looks_like_cut(previous: np.ndarray, current: np.ndarray, threshold: float = 0.5) -> bool:
    """Whether two frames are so unlike that the past is of no use: correlation of small grey images below `threshold`."""
    small = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 20), interpolation=cv2.INTER_AREA).astype(np.float32)
        for image in (previous, current)
    ]
    a, b = (image - image.mean() for image in small)
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return norm == 0 or float((a * b).sum()) / norm < threshold
