"""Evaluation: label maps on disk against labels and flow (METHOD section 7). Knows no model.

Predictions are PNG label maps, `<folder>/<clip>/<source frame>.png`; they are read once, frame by frame, and scored by
all metrics in one pass. Flow comes from a store, so that a second system costs no flow at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.core.classes import ClassSpec
from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.errors import ArtefactError
from sspcore.core.images import read_grey
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_motion, true_labels
from sspcore.metrics import FrameRecord, MetricSuite, metrics_for
from sspcore.motion.cache import FlowSource, FlowStore

_TABLE = ("miou", "miou_moving", "tc", "tc_reference")  # metrics of the results table
LabelMaps = Callable[[Clip], Iterator[np.ndarray]]  # a clip's label maps (H, W) in order


def read_prediction(folder: Path, clip: Clip, position: int) -> np.ndarray:
    """(H, W) uint8 label map of one frame. Raises ArtefactError if it is missing."""
    path = folder / clip.name / f"{clip.numbers[position]:06d}.png"
    if not path.is_file():
        raise ArtefactError(f"{path}: prediction is missing; run the prediction of this system again (--force)")
    return read_grey(path)


def clip_records(clip: Clip, labels: Iterable[np.ndarray], flows: FlowSource, size: Size) -> Iterator[FrameRecord]:
    """A clip's label maps as the records that metrics take: truth where labelled, flow to the next frame."""
    for position, prediction in enumerate(labels):
        flow_to_next = flows.between(clip, position, position + 1) if position + 1 < len(clip) else None
        yield FrameRecord(prediction, true_labels(clip, position, size), flow_to_next)


def knowledge(clip: Clip, size: Size, flows: FlowSource | None, truth: Path | None) -> Iterator[dict[str, np.ndarray | None]]:
    """All that FrameRecords of a clip can hold beside the prediction.

    Args:
        flows: None: the exact flow and occlusion of `truth`.
        truth: of rendered data: labels are dense and exact.
    """
    for k in range(len(clip)):
        known: dict[str, np.ndarray | None] = {"target": true_labels(clip, k, size, truth)}
        for name, other in (("flow_to_next", k + 1), ("flow_to_previous", k - 1)):
            if not 0 <= other < len(clip):
                continue
            exact = exact_motion(truth, clip, k, other, size) if flows is None else None
            flow, hidden = exact or (flows.between(clip, k, other), None)
            known[name] = flow.numpy()
            if hidden is not None and other > k:
                known["occluded_next"] = hidden.numpy()
        yield known


def score_all(
    clips: list[Clip], sources: Mapping[str, LabelMaps], spec: ClassSpec, flows: FlowSource | None, truth: Path | None,
    size: Size, title: str, conventions: Conventions = CORRECTED,
) -> dict[str, dict[str, float | None]]:
    """All metrics that can be had of several predictions in one pass: motion and truth are read once for all of them.

    `sources`: name -> where its label maps come from; `flows`, `truth`: see `knowledge`; `title`: of the progress bar;
    `conventions`: of TC and VC.
    """
    inputs = {"target", "flow_to_next", "flow_to_previous"} | ({"dense_target"} if truth is not None else set())
    metrics = metrics_for(inputs, spec.n_classes, spec.moving_ids)
    suites = {name: MetricSuite(spec.n_classes, metrics, spec.moving_ids, conventions) for name in sources}
    with tqdm(total=sum(map(len, clips)), desc=title, unit="frame") as bar:
        for clip in clips:
            for suite in suites.values():
                suite.start_clip()
            streams = {name: source(clip) for name, source in sources.items()}
            for known in knowledge(clip, size, flows, truth):
                for name, suite in suites.items():
                    suite.update(FrameRecord(prediction=next(streams[name]), **known))
                bar.update(1)
    return {name: as_json(suite.compute()) for name, suite in suites.items()}


def _label_maps(folder: Path, clip: Clip) -> Iterator[np.ndarray]:
    return (read_prediction(folder, clip, position) for position in range(len(clip)))


def _feed(suite: MetricSuite, records: Iterable[FrameRecord]) -> None:
    """Give a clip's records to the metrics."""
    suite.start_clip()
    for record in records:
        suite.update(record)


def score(
    clips: list[Clip], predictions: Path, spec: ClassSpec, flows: FlowSource, size: Size, names: tuple[str, ...]
) -> MetricSuite:
    """Feed the predictions of all clips to the named metrics."""
    suite = MetricSuite(spec.n_classes, names, spec.moving_ids)
    for clip in clips:
        _feed(suite, clip_records(clip, _label_maps(predictions, clip), flows, size))
    return suite


def evaluate_system(
    clips: list[Clip], predictions: Path, spec: ClassSpec, flows: FlowSource, exact: FlowSource | None, size: Size,
    conventions: Conventions = CORRECTED,
) -> dict[str, Any]:
    """The table's figures of one system on one data set, fractions in 0..1; None where nothing could be scored.

    Args:
        exact: exact flow of a rendered release; None on real data.
        conventions: which TC "tc" is; under exact flow it is always the corrected one.
    Returns: the figures, and under "clips" what they rest on clip by clip: "clip", "counts" (of mIoU, [truth, prediction]; the
        last column: no class), "tc", "tc_exact_flow".
    """
    def suites() -> tuple[MetricSuite, MetricSuite]:
        return MetricSuite(spec.n_classes, _TABLE, spec.moving_ids, conventions), MetricSuite(spec.n_classes, ("tc",))

    (suite, on_exact), of_clips = suites(), []
    for clip in clips:
        own, own_exact = suites()
        labels = list(_label_maps(predictions, clip))
        _feed(own, clip_records(clip, labels, flows, size))
        if exact is not None:
            _feed(own_exact, (
                FrameRecord(each, flow_to_next=exact.between(clip, k, k + 1) if k + 1 < len(clip) else None)
                for k, each in enumerate(labels)
            ))
            on_exact.merge(own_exact)
        suite.merge(own)
        of_clips.append({
            "clip": clip.name, "counts": own.metrics["miou"].counts.tolist(), "tc": as_json(own.compute()["tc"]),
            "tc_exact_flow": None if exact is None else as_json(own_exact.compute()["tc"]),
        })
    figures, details = as_json(suite.compute()), suite.details()
    figures["tc_exact_flow"] = None if exact is None else as_json(on_exact.compute()["tc"])
    for column, metric in (("per_class_iou", "miou"), ("per_class_tc", "tc")):
        figures[column] = as_json(dict(zip(spec.classes, details[metric]["per_class"], strict=True)))
    return figures | {"clips": of_clips}


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


def as_json(value: Any) -> Any:
    """Scores as JSON values: NaN, where nothing could be scored, becomes None."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
