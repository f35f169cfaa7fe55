"""Metrics of video segmentation: streaming, torchmetrics-compatible, usable without the rest of the library.

    suite = MetricSuite(n_classes=8, names=("miou", "tc"))
    for clip in clips:
        suite.start_clip()
        for prediction, target, flow in clip:
            suite.update(FrameRecord(prediction, target=target, flow_to_next=flow))
    suite.compute()  # {"miou": 0.61, "tc": 0.73}

Each metric's docstring says what it rewards and how it is fooled.
"""

from sspcore.metrics.base import FrameMetric, WindowMetric
from sspcore.metrics.confusion import BoundaryIoU, MeanIoU, MovingMeanIoU, confusion, iou_per_class, pair_counts
from sspcore.metrics.consistency import (
    FiveFrameVote,
    Flicker,
    MaskedTemporalConsistency,
    PooledTemporalConsistency,
    ReferenceTemporalConsistency,
    TemporalConsistency,
)
from sspcore.metrics.dense import Lag, ScriptVideoConsistency, VideoConsistency
from sspcore.metrics.records import FrameRecord, warp_labels
from sspcore.metrics.suite import METRICS, MetricSuite, build_metric, metrics_for

__all__ = [
    "METRICS", "BoundaryIoU", "FiveFrameVote", "Flicker", "FrameMetric", "FrameRecord", "Lag", "MaskedTemporalConsistency",
    "MeanIoU", "MetricSuite", "MovingMeanIoU", "PooledTemporalConsistency", "ReferenceTemporalConsistency",
    "ScriptVideoConsistency", "TemporalConsistency", "VideoConsistency", "WindowMetric", "build_metric", "confusion",
    "iou_per_class", "metrics_for", "pair_counts", "warp_labels",
]
