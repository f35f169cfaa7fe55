"""Frames on their way to the network, with their motion: one after the other, or overlapped in threads; what is counted.

    frames -> inbox (bounded; a live source drops the oldest frame) -> registration -> network

In threads, a frame goes to the network before it is registered: torch encodes it meanwhile and asks for the homography
only to propagate; an exported step wants the homography first, and has it, since the next frame is registered while this
one is in the network. Results are the same.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sspcore.core.images import Interpolation
from sspcore.core.types import Motion, Size
from sspcore.export.device.threads import in_thread
from sspcore.inference.fit import Fit
from sspcore.inference.motion import MotionSource, Observed
from sspcore.motion.cuts import looks_like_cut

log = logging.getLogger(__name__)

_INBOX = 4
_AHEAD = 2  # one that waits for the network, and the next, whose motion is worked out meanwhile
_latest = partial(deque, maxlen=10_000)  # timings kept for the percentiles: a camera never ends


MEANING = {  # of what a summary holds, for those who read it as JSON
    "fps": "results a second, from the first to the last",
    "latency_ms": "from a frame's arrival to its class map; frames of a file wait for their turn, which is part of it",
    "network_ms": "of that, in the network, waiting for the registration included",
    "registration_ms": "estimating the motion since the frame before, beside the network",
    "waited_ms": "of the network's time, waiting for the registration",
    "interval_ms": "between two results",
    "runtime": "what computed the network",
}


@dataclass
class Report:
    """Counts and times of a stream. Times in seconds, of the latest frames; `summary` has percentiles in milliseconds.

    Attributes:
        frames: segmented. broken: not decodable. dropped: left out because the network was busy (live sources).
        cuts: scene cuts, where the stream starts again. unregistered: failed registrations that were taken as no motion.
        resized, reconnected: changes of the frames' size or aspect, connections found again: the stream starts again there too.
        interrupted: stopped by Ctrl-C. seconds: from the first result to the last.
        latency: from the decoded frame to its class map. network: of the backend, waiting for registration included.
        registration, waited: of the motion's estimation, and for it. interval: between two results.
    """

    frames: int = 0
    broken: int = 0
    dropped: int = 0
    cuts: int = 0
    unregistered: int = 0
    resized: int = 0
    reconnected: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    latency: deque[float] = field(default_factory=_latest)
    network: deque[float] = field(default_factory=_latest)
    registration: deque[float] = field(default_factory=_latest)
    waited: deque[float] = field(default_factory=_latest)
    interval: deque[float] = field(default_factory=_latest)

    def summary(self) -> dict[str, Any]:
        """Counts, frames per second and percentiles, as JSON values."""
        names = ("frames", "broken", "dropped", "cuts", "unregistered", "resized", "reconnected", "interrupted")
        counts = {name: getattr(self, name) for name in names}
        rate = (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else None
        times = ("latency", "network", "registration", "waited", "interval")
        return counts | {"fps": rate} | {f"{name}_ms": percentiles(getattr(self, name)) for name in times}


def as_text(report: Report, outputs: Mapping[str, str]) -> str:
    """A report in a few lines, for people. outputs: what was written -> where."""
    found = report.summary()
    rate = "" if found["fps"] is None else f", {found['fps']:.1f} a second"
    lines = [f"{report.frames} frames{rate}{', interrupted' if report.interrupted else ''}"]
    if found["latency_ms"]:
        network, moved, whole = (f"{found[key]['p50']:.0f} ms" for key in ("network_ms", "registration_ms", "latency_ms"))
        lines.append(f"a frame: {network} in the network, {moved} for its motion, {whole} from its arrival to its class map")
    words_of = {
        "broken": "could not be decoded", "dropped": "dropped, the network was busy", "cuts": "scene cuts",
        "unregistered": "not registered, taken as unmoved", "resized": "changes of size",
        "reconnected": "times connected again",
    }
    counts = [f"{count} {words}" for name, words in words_of.items() if (count := getattr(report, name))]
    return "\n".join([*lines, *filter(None, ["; ".join(counts)]), *(f"{what}: {path}" for what, path in outputs.items())])


def percentiles(seconds: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99 in milliseconds; None where there are none."""
    values = np.array(list(seconds)) * 1e3
    if not values.size:
        return None
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}


@dataclass
class Shot:
    """A frame on its way to the backend: its number, when it came, its motion to come.

    Attributes:
        image: (H, W, 3) uint8 as it came. content: (h, w, 3), as registration and flow see it.
        frame: as the network sees it, with a margin where the aspects differ. fit: how it lies there.
        connection: how often the source's connection had been lost and found again.
    """

    number: int
    image: np.ndarray
    content: np.ndarray
    frame: np.ndarray
    fit: Fit
    connection: int
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
        if previous is not None:
            resized, reconnected = not previous.fit.same_place(self.fit), previous.connection != self.connection
            report.resized += resized and not reconnected
            report.reconnected += reconnected
            if resized or reconnected:
                log.info("frame %d: %s, the stream starts again", self.number, "connected again" if reconnected else "resized")
                previous = None
        try:
            observed = Observed(None) if previous is None else motion(self.number, previous.content, self.content)
            if _may_be_cut(observed) and looks_like_cut(previous.content, self.content):
                log.info("frame %d: scene cut, the stream starts again", self.number)
                observed = Observed(None, registered=False)
            if observed.motion is not None:
                observed = Observed(self.fit.motion(observed.motion), observed.registered)
        except Exception as error:
            self.observed.set_exception(error)
            raise
        report.registration.append(time.perf_counter() - began)
        self.observed.set_result(observed)


def _may_be_cut(observed: Observed) -> bool:
    """Whether nothing says that two frames show one scene: the registration failed, or flow came alone, which never fails."""
    motion = observed.motion
    return not observed.registered or (motion is not None and motion.H_prev_to_cur is None and motion.flow_to_prev is not None)


def shots_in_turn(
    frames: Iterable[np.ndarray | None], fit: Callable[[Size], Fit], motion: MotionSource, report: Report,
    how: Interpolation = "area",
) -> Iterator[Shot]:
    """Frames with their motion, one after the other.

    Args:
        fit: how frames of a size (H, W) lie in the network's frame.
        how: they are scaled, see `resize_frame`.
    """
    previous = None
    for shot in _shots(frames, fit, report, how):
        shot.observe(motion, previous, report)
        yield shot
        previous = shot


def overlapped_shots(
    frames: Iterable[np.ndarray | None], fit: Callable[[Size], Fit], motion: MotionSource, report: Report, drop: bool,
    how: Interpolation = "area",
) -> Iterator[Shot]:
    """Frames as they come, their motion still being worked out; the threads end when the iterator is closed."""

    def dropped() -> None:
        report.dropped += 1

    def registered() -> Iterator[Shot]:
        previous = None
        with closing(in_thread(_shots(frames, fit, report, how), _INBOX, dropped if drop else None)) as shots:
            for shot in shots:
                yield shot  # the network takes it from here
                shot.observe(motion, previous, report)
                previous = shot

    return in_thread(registered(), _AHEAD)


def _shots(
    frames: Iterable[np.ndarray | None], fit: Callable[[Size], Fit], report: Report, how: Interpolation
) -> Iterator[Shot]:
    for number, image in enumerate(frames):
        if image is None:
            report.broken += 1
        else:
            fitted = fit(image.shape[:2])
            content = fitted.content_of(image, how)
            connection = getattr(frames, "reconnects", 0)
            yield Shot(number, image, content, fitted.filled(content), fitted, connection, time.perf_counter())
