"""The video runtime: a camera, video or folder in, class maps out, with decoding, registration, network and writing
overlapped in threads.

    source -> inbox (bounded; a live source drops the oldest frame) -> registration -> network -> writer

A frame goes to the network before it is registered: torch encodes it meanwhile and asks for the homography only to
propagate; an exported step wants the homography first, and has it, since the next frame is registered while this one is
in the network. Results are those of `sspcore.inference.stream.segment_video`; here they come in time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sspcore.core.images import resize_frame
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.inference.backends import Backend
from sspcore.inference.sources import Source
from sspcore.inference.stream import looks_like_cut
from sspcore.motion.registration import Registrator

log = logging.getLogger(__name__)

_KEPT = 10_000  # latest timings kept for the percentiles: a camera runs for ever
_POLL = 0.1  # seconds between two looks at the stop flag
_INBOX, _OUTBOX = 4, 8



@dataclass
class Report:
    """What a run came to. Times in seconds, of the latest frames; `summary` has percentiles in milliseconds.

    Attributes:
        frames: segmented. broken: not decodable. dropped: left out because the network was busy (live sources).
        cuts: scene cuts, where the video starts anew. unregistered: failed registrations that were taken as no motion.
        latency: from the decoded frame to its class map. network: of the back end, waiting for registration included.
        registration, waited: of the registration, and for it. interval: between two class maps.
        interrupted: stopped by Ctrl-C. seconds: from the first class map to the last.
    """

    frames: int = 0
    broken: int = 0
    dropped: int = 0
    cuts: int = 0
    unregistered: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    network: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    registration: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    waited: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    interval: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def summary(self) -> dict[str, Any]:
        """Counts, frames per second and percentiles, as JSON values."""
        counts = {k: getattr(self, k) for k in ("frames", "broken", "dropped", "cuts", "unregistered", "interrupted")}
        rate = (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else None
        times = ("latency", "network", "registration", "waited", "interval")
        return counts | {"fps": rate} | {f"{name}_ms": percentiles(getattr(self, name)) for name in times}


def percentiles(seconds: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99 in milliseconds; None of nothing."""
    values = np.array(list(seconds)) * 1e3
    if not values.size:
        return None
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}


@dataclass
class Shot:
    """A frame on its way: number in the source, image at the network's size, when it came, and its motion to come."""

    number: int
    image: np.ndarray
    came: float
    H_prev_to_cur: Future[np.ndarray | None] = field(default_factory=Future)


Consumer = Callable[[int, np.ndarray, np.ndarray], None]


class _Stopped(Exception):
    """A worker found the stop flag set."""


class _Pipe:
    """Threads that pass on work through bounded queues, and one flag that ends them all. The first error is kept."""

    def __init__(self) -> None:
        self.stop, self.error, self.threads = threading.Event(), None, []

    def start(self, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except _Stopped:
                return
            except Exception as error:  # handed to the caller's thread, which raises it
                self.error = self.error or error
                self.stop.set()

        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

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


def run(
    source: Source, backend: Backend, registrator: Registrator, consumers: Iterable[Consumer] = (),
    drop: bool | None = None, max_frames: int | None = None, title: str = "segmenting",
) -> Report:
    """Segment a source until it ends, `max_frames` are done, or Ctrl-C.

    Args:
        source: see `open_source`.
        backend: what segments; its state must be fresh.
        registrator: estimates the motion between the frames that the network sees, so dropped ones do no harm.
        consumers: called in a thread of their own with (number in the source, image, class map), in order.
        drop: whether the oldest waiting frame makes room for a new one; default: for live sources.
        max_frames: None runs to the end of the source.
        title: of the progress bar.
    Returns: the report; what was done until an interrupt is complete.
    Raises: whatever the source, the back end or a consumer raised.
    """
    pipe, report, consumers = _Pipe(), Report(), tuple(consumers)
    inbox: queue.Queue = queue.Queue(_INBOX)
    waiting: queue.Queue = queue.Queue(1)
    outbox: queue.Queue = queue.Queue(_OUTBOX)
    pipe.start(lambda: _read(pipe, source, backend.size, inbox, report, source.live if drop is None else drop))
    pipe.start(lambda: _register(pipe, registrator, inbox, waiting, report))
    writer_done = threading.Event()
    writer = threading.Thread(target=_write, args=(pipe, consumers, outbox, writer_done), daemon=True)
    writer.start()
    total = source.n_frames if max_frames is None else max_frames
    try:
        with tqdm(total=total, desc=title, unit="frame") as bar:
            _segment(pipe, backend, waiting, outbox, report, max_frames, bar)
    except KeyboardInterrupt:
        report.interrupted = True
    except _Stopped:
        pass
    finally:
        pipe.stop.set()
        writer_done.set()  # what was segmented is still written
        writer.join()
        for thread in pipe.threads:
            thread.join(timeout=5)
    if pipe.error is not None:
        raise pipe.error
    return report


def _read(pipe: _Pipe, source: Source, size: Size, inbox: queue.Queue, report: Report, drop: bool) -> None:
    for number, image in enumerate(source):
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


def _register(pipe: _Pipe, registrator: Registrator, inbox: queue.Queue, waiting: queue.Queue, report: Report) -> None:
    previous = None
    while (shot := pipe.get(inbox)) is not None:
        pipe.put(waiting, shot)
        try:
            began = time.perf_counter()
            H = None if previous is None else _motion(registrator, previous.image, shot, report)
            report.registration.append(time.perf_counter() - began)
            shot.H_prev_to_cur.set_result(H)
        except Exception as error:  # the network waits for this result
            shot.H_prev_to_cur.set_exception(error)
            raise
        previous = shot
    pipe.put(waiting, None)


def _motion(registrator: Registrator, previous: np.ndarray, shot: Shot, report: Report) -> np.ndarray | None:
    registration = registrator(previous, shot.image)
    if not registration.ok:
        if looks_like_cut(previous, shot.image):
            log.info("frame %d: scene cut, the stream starts anew", shot.number)
            report.cuts += 1
            return None
        report.unregistered += 1
    return registration.H_prev_to_cur


def _segment(
    pipe: _Pipe, backend: Backend, waiting: queue.Queue, outbox: queue.Queue, report: Report, max_frames: int | None, bar: tqdm
) -> None:
    first = before = None
    while max_frames is None or report.frames < max_frames:
        shot = pipe.get(waiting)
        if shot is None:
            return
        waited = [0.0]

        def motion(shot: Shot = shot, waited: list[float] = waited) -> np.ndarray | None:
            asked = time.perf_counter()
            H = shot.H_prev_to_cur.result()
            waited[0] = time.perf_counter() - asked
            return H

        began = time.perf_counter()
        class_map = backend.step(shot.image, motion)
        done = time.perf_counter()
        report.frames += 1
        report.network.append(done - began)
        report.latency.append(done - shot.came)
        report.waited.append(waited[0])
        if before is not None:
            report.interval.append(done - before)
        first, before = done if first is None else first, done
        report.seconds = done - first
        pipe.put(outbox, (shot.number, shot.image, class_map))
        bar.update(1)


def _write(pipe: _Pipe, consumers: tuple[Consumer, ...], outbox: queue.Queue, done: threading.Event) -> None:
    while True:
        try:
            item = outbox.get(timeout=_POLL)
        except queue.Empty:
            if done.is_set():
                return
            continue
        try:
            for consume in consumers:
                consume(*item)
        except Exception as error:  # handed to the caller's thread, which raises it
            pipe.error = pipe.error or error
            pipe.stop.set()
            return
