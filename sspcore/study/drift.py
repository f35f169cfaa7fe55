"""Does the recurrence drift? Accuracy and consistency of a stream by frames since its start.

A system that mixes its own past in could pile errors up. It is scored apart for every position in the clips, over all
validation clips together, and its accuracy is set against the image model's on the very same frames, since frames differ.
A stream that starts half-way through the clip shows what the past brings to frames that another stream sees late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.data.truth import true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.metrics.records import warp_labels
from sspcore.study.stages import Study

RECURRENT = ("SSP", "SSP-R", "KD-SSP")  # the first that a run has stands for the recurrent systems
IMAGE = "Base"
ENOUGH = 0.5  # share of the clips that a position needs labels of
Labels = np.ndarray | None  # (H, W) uint8, None where unknown
Scores = dict[str, np.ndarray]


def drift(study: Study, dataset: str, systems: Sequence[str]) -> dict[str, Scores]:
    """Name -> scores by position: the image model first, then the recurrent system, controls, and a late start.

    Returns: nothing where the run has no recurrent system, or not the image model that it is compared with.
    """
    name = next((name for name in RECURRENT if name in systems), None)
    if name is None or IMAGE not in systems:
        return {}
    clips = study.clips(dataset, "val")
    half = min(map(len, clips)) // 2
    shown = (IMAGE, name, *_constants(study.profile.constant_alphas))
    streams: dict[str, list[list[Labels]]] = {
        system: [study.label_maps(system, dataset, clip) for clip in clips] for system in shown
    }
    if half:
        model = study.model(name, dataset)
        streams[f"{name}, started again at frame {half}"] = [
            [None] * half + [result.labels for result in study.stream(model, name, dataset, clip, half)] for clip in clips
        ]
    flows = study.flows(dataset, study.profile.metric_flow)
    moments = (
        ([true_labels(clip, k, study.profile.input_size, study.truth_root(dataset)) for clip in clips],
         [flows.between(clip, k, k - 1).numpy() if k else None for clip in clips])
        for k in range(min(map(len, clips)))
    )
    return scores_by_position(moments, streams, study.spec(dataset).n_classes)


def scores_by_position(
    moments: Iterable[tuple[Sequence[Labels], Sequence[np.ndarray | None]]],
    streams: Mapping[str, Sequence[Sequence[Labels]]], n_classes: int,
) -> dict[str, Scores]:
    """Score the label maps of several streams position by position.

    Args:
        moments: for each position the true labels of all clips, and the flows (2, H, W) to the frame before (None at 0).
        streams: name -> for each clip the label map of each frame, None before the stream's start.
    Returns: name -> "miou" (T,) in 0..1 over the frames at that position of all clips, and "changed" (T,), the share of
        pixels whose label changed along the flow since the frame before; NaN where nothing is known.
    """
    scores: dict[str, dict[str, list[float]]] = {name: {"miou": [], "changed": []} for name in streams}
    for k, (truths, flows) in enumerate(moments):
        for name, stream in streams.items():
            scores[name]["miou"].append(_miou(truths, [labels[k] for labels in stream], n_classes))
            changed = [
                _changed(labels[k], labels[k - 1], flow) for labels, flow in zip(stream, flows, strict=True)
                if flow is not None and labels[k - 1] is not None
            ]
            scores[name]["changed"].append(float(np.mean(changed)) if changed else np.nan)
    return {name: {key: np.array(values) for key, values in found.items()} for name, found in scores.items()}


def _changed(labels: np.ndarray, previous: np.ndarray, flow_to_prev: np.ndarray) -> float:
    warped = warp_labels(previous, flow_to_prev)
    return float(((warped != labels) & (warped != IGNORE)).mean())


def _miou(truths: Sequence[Labels], labels: Sequence[Labels], n_classes: int) -> float:
    """mIoU over frames of which both are known; NaN where too few are."""
    known = [pair for pair in zip(truths, labels, strict=True) if pair[0] is not None and pair[1] is not None]
    if len(known) < max(1, ENOUGH * len(labels)):
        return float("nan")
    suite = MetricSuite(n_classes, ("miou",))
    for truth, prediction in known:
        suite.start_clip()
        suite.update(FrameRecord(prediction=prediction, target=truth))
    return suite.compute()["miou"]


def _constants(alphas: Sequence[float]) -> list[str]:
    """The controls with the middle and the largest of the constants, whatever their order."""
    ordered = sorted(alphas)
    return [f"Constant alpha {alpha:g}" for alpha in dict.fromkeys((*ordered[(len(ordered) - 1) // 2:][:1], *ordered[-1:]))]
