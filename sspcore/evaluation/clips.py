"""Evaluation: label maps on disk against labels and flow (METHOD section 7). Knows no model.

Predictions are PNG label maps, `<folder>/<clip>/<source frame>.png`; they are read once, frame by frame, and scored by
all metrics in one pass. Flow comes from a store, so that a second system costs no flow at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.core.errors import ArtefactError
from sspcore.core.images import read_grey
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.data.datasets import DatasetSpec
from sspcore.data.truth import exact_motion, true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.motion.cache import FlowSource, FlowStore

TABLE_METRICS = ("miou", "miou_moving", "tc", "tc_reference")
EXACT_METRICS = ("tc",)



def read_prediction(folder: Path, clip: Clip, position: int) -> np.ndarray:
    """(H, W) uint8 label map of one frame. Raises ArtefactError if it is missing."""
    path = folder / clip.name / f"{clip.numbers[position]:06d}.png"
    if not path.is_file():
        raise ArtefactError(f"{path}: prediction is missing; run the prediction of this system again (--force)")
    return read_grey(path)


def clip_records(clip: Clip, labels: Iterable[np.ndarray], flows: FlowSource, size: Size) -> Iterator[FrameRecord]:
    """A clip's label maps as the records that metrics take: truth where labelled, flow to the next frame."""
    for position, prediction in enumerate(labels):
        yield FrameRecord(
            prediction=prediction,
            target=true_labels(clip, position, size),
            flow_to_next=flows.between(clip, position, position + 1) if position + 1 < len(clip) else None,
        )


def score(
    clips: list[Clip], predictions: Path, spec: DatasetSpec, flows: FlowSource, size: Size, names: tuple[str, ...]
) -> MetricSuite:
    """Feed the predictions of all clips to the named metrics."""
    suite = MetricSuite(spec.n_classes, names, spec.moving_ids)
    for clip in clips:
        suite.start_clip()
        labels = (read_prediction(predictions, clip, position) for position in range(len(clip)))
        for record in clip_records(clip, labels, flows, size):
            suite.update(record)
    return suite


def evaluate_system(
    clips: list[Clip], predictions: Path, spec: DatasetSpec, flows: FlowSource, exact: FlowSource | None, size: Size
) -> dict[str, Any]:
    """The table's figures of one system on one data set, fractions in 0..1; None where nothing could be scored.

    Args:
        exact: exact flow of a rendered release; None on real data.
    """
    suite = score(clips, predictions, spec, flows, size, TABLE_METRICS)
    figures = {name: _number(value) for name, value in suite.compute().items()}
    details = suite.details()
    figures["tc_exact_flow"] = None
    if exact is not None:
        figures["tc_exact_flow"] = _number(score(clips, predictions, spec, exact, size, EXACT_METRICS).compute()["tc"])
    for column, metric in (("per_class_iou", "miou"), ("per_class_tc", "tc")):
        per_class = zip(spec.classes, details[metric]["per_class"], strict=True)
        figures[column] = {name: _number(value) for name, value in per_class}
    return figures


def flow_error(clips: list[Clip], flows: FlowStore, truth_root: Path, size: Size) -> float:
    """Mean end-point error in pixels of estimated against exact flow, over visible pixels of all consecutive pairs."""
    total, pixels = 0.0, 0
    for clip in clips:
        for position in range(len(clip) - 1):
            exact, hidden = exact_motion(truth_root, clip, position, position + 1, size)
            error = (flows.between(clip, position, position + 1) - exact).norm(dim=0)[~hidden]
            total += float(error.double().sum())
            pixels += error.numel()
    return total / max(pixels, 1)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
