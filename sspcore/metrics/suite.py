"""All metrics by name, and the suite that feeds one stream of frames to several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.metrics.base import FrameMetric
from sspcore.metrics.confusion import BoundaryIoU, MeanIoU, MovingMeanIoU
from sspcore.metrics.consistency import (
    FiveFrameVote,
    Flicker,
    MaskedTemporalConsistency,
    PooledTemporalConsistency,
    ReferenceTemporalConsistency,
    TemporalConsistency,
)
from sspcore.metrics.dense import Lag, ScriptVideoConsistency, VideoConsistency
from sspcore.metrics.records import FrameRecord

NEED_MOVING = frozenset({"miou_moving", "lag"})

# name -> (number of classes, ids of the moving classes) -> metric
METRICS: dict[str, Callable[[int, Sequence[int]], FrameMetric]] = {
    "miou": lambda n, moving: MeanIoU(n),
    "miou_moving": MovingMeanIoU,
    "tc": lambda n, moving: TemporalConsistency(n),
    "tc_reference": lambda n, moving: ReferenceTemporalConsistency(n),
    "tc_pooled": lambda n, moving: PooledTemporalConsistency(n),
    "tc_masked": lambda n, moving: MaskedTemporalConsistency(n),
    "vc8": lambda n, moving: VideoConsistency(n, n=8),
    "vc16": lambda n, moving: VideoConsistency(n, n=16),
    "vote5": lambda n, moving: FiveFrameVote(n),
    "flicker": lambda n, moving: Flicker(n),
    "boundary_iou": lambda n, moving: BoundaryIoU(n),
    "lag": Lag,
}
# Where the conventions take another reading of a metric: (field, reading) -> name -> metric.
READINGS: dict[tuple[str, str], dict[str, Callable[[int, Sequence[int]], FrameMetric]]] = {
    ("tc", "reference"): {"tc": METRICS["tc_reference"]},
    ("vc", "script"): {
        "vc8": lambda n, moving: ScriptVideoConsistency(n, n=8), "vc16": lambda n, moving: ScriptVideoConsistency(n, n=16),
    },
}


def build_metric(
    name: str, n_classes: int, moving: Sequence[int] = (), conventions: Conventions = CORRECTED
) -> FrameMetric:
    """The metric of that name.

    Args:
        moving: class ids of things that move (for "miou_moving" and "lag").
        conventions: its tc and vc are read.
    """
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}: choose from {', '.join(METRICS)}")
    made = METRICS[name]
    for (part, reading), others in READINGS.items():
        if getattr(conventions, part) == reading:
            made = others.get(name, made)
    return made(n_classes, moving)


def _names(moving: Sequence[int]) -> list[str]:
    return [name for name in METRICS if moving or name not in NEED_MOVING]


def metrics_for(inputs: Iterable[str], n_classes: int, moving: Sequence[int] = ()) -> tuple[str, ...]:
    """Names of the metrics to be had from `inputs` (FrameRecord fields; "dense_target": truth on every frame)."""
    given = set(inputs)
    if "dense_target" in given:
        given.add("target")
    return tuple(name for name in _names(moving) if build_metric(name, n_classes, moving).needs <= given)


class MetricSuite:
    """Several metrics over one stream of frames; work that they share (warps, counts) is done once, on the record.

    Args:
        n_classes: number of classes.
        names: metrics to compute, keys of METRICS; all by default (without the moving ones if `moving` is empty).
        moving: class ids of things that move.
        conventions: which readings "tc", "vc8" and "vc16" have.
    """

    def __init__(
        self, n_classes: int, names: Sequence[str] | None = None, moving: Sequence[int] = (),
        conventions: Conventions = CORRECTED,
    ) -> None:
        names = _names(moving) if names is None else names
        self.metrics = {name: build_metric(name, n_classes, moving, conventions) for name in names}

    def start_clip(self) -> None:
        """A new video begins."""
        for metric in self.metrics.values():
            metric.start_clip()

    def update(self, record: FrameRecord) -> None:
        """Take the next frame of the clip."""
        for metric in self.metrics.values():
            metric.update(record)

    def compute(self) -> dict[str, float]:
        """One figure a metric; NaN where there was nothing to score."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}

    def details(self) -> dict[str, dict[str, Any]]:
        """Further figures of each metric (per class, per clip, counts)."""
        return {name: metric.details() for name, metric in self.metrics.items()}

    def merge(self, other: MetricSuite) -> None:
        """Add what another suite (other clips) has counted."""
        for name, metric in self.metrics.items():
            metric.merge_state(other.metrics[name])

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.metrics.values():
            metric.reset()
