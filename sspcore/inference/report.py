"""Counts and latencies of a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

_latest = partial(deque, maxlen=10_000)  # timings kept for the percentiles: a camera runs for ever


@dataclass
class Report:
    """Counts and times of a stream. Times in seconds, of the latest frames; `summary` has percentiles in milliseconds.

    Attributes:
        frames: segmented. broken: not decodable. dropped: left out because the network was busy (live sources).
        cuts: scene cuts, where the stream starts again. unregistered: failed registrations that were taken as no motion.
        interrupted: stopped by Ctrl-C. seconds: from the first result to the last.
        latency: from the decoded frame to its class map. network: of the backend, waiting for registration included.
        registration, waited: of the motion's estimation, and for it. interval: between two results.
    """

    frames: int = 0
    broken: int = 0
    dropped: int = 0
    cuts: int = 0
    unregistered: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    latency: deque[float] = field(default_factory=_latest)
    network: deque[float] = field(default_factory=_latest)
    registration: deque[float] = field(default_factory=_latest)
    waited: deque[float] = field(default_factory=_latest)
    interval: deque[float] = field(default_factory=_latest)

    def summary(self) -> dict[str, Any]:
        """Counts, frames per second and percentiles, as JSON values."""
        counts = {k: getattr(self, k) for k in ("frames", "broken", "dropped", "cuts", "unregistered", "interrupted")}
        rate = (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else None
        times = ("latency", "network", "registration", "waited", "interval")
        return counts | {"fps": rate} | {f"{name}_ms": percentiles(getattr(self, name)) for name in times}


def percentiles(seconds: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99 in milliseconds; None where there are none."""
    values = np.array(list(seconds)) * 1e3
    if not values.size:
        return None
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}
