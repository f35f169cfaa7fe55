"""What the recurrence does: drift of a stream, the best constant gain, alpha by motion, the price by class (notebook 12).

Drift: a system that mixes its own past in could pile errors up. It is scored apart for every position in the clips, over
all validation clips together, and its accuracy is set against the image model's on the very same frames, since frames
differ. A stream that starts half-way through the clip shows what the past brings to frames that another stream sees late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.data.truth import true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.metrics.records import warp_labels
from sspcore.study.stages import Study

SETTLED = 4  # frames after which the past is averaged over several
RECURRENT = ("SSP", "SSP-R", "KD-SSP")  # the first that a run has stands for the recurrent systems
IMAGE = "Base"
ENOUGH = 0.5  # share of the clips that a position needs labels of
Labels = np.ndarray | None  # (H, W) uint8, None where unknown
Scores = dict[str, np.ndarray]


def drift(study: Study, dataset: str, systems: Sequence[str]) -> dict[str, Scores]:
    """Name -> scores by position: the image model first, then the recurrent system, controls, and a late start.

    Returns: nothing where the run has no recurrent system, or not the image model that it is compared with, or only stills.
    """
    name = next((name for name in RECURRENT if name in systems), None)
    if name is None or IMAGE not in systems:
        return {}
    clips = [clip for clip in study.clips(dataset, "val") if len(clip) > 1]
    if not clips:
        return {}
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
                changed_share(labels[k], labels[k - 1], flow) for labels, flow in zip(stream, flows, strict=True)
                if flow is not None and labels[k - 1] is not None
            ]
            scores[name]["changed"].append(float(np.mean(changed)) if changed else np.nan)
    return {name: {key: np.array(values) for key, values in found.items()} for name, found in scores.items()}


def changed_share(labels: np.ndarray, previous: np.ndarray, flow_to_prev: np.ndarray) -> float:
    """Share of the pixels (H, W) whose label differs from that of the same point in the frame before."""
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


def gains(n_frames: int) -> dict[str, list[float]]:
    """The best weight of a past averaged over 1, 2, ... frames on what stays the same, and the variance that is left.

    The gain of a Kalman filter without process noise: alpha_k = 1 / (1 + v_{k-1}), v_k = alpha_k^2 v_{k-1} +
    (1 - alpha_k)^2, v_0 = 1 (see `models.ssp.carried_variance`).
    """
    variance, found = 1.0, {"best alpha": [], "variance left": []}
    for _ in range(n_frames):
        alpha = 1 / (1 + variance)
        variance = alpha**2 * variance + (1 - alpha) ** 2
        found["best alpha"].append(alpha)
        found["variance left"].append(variance)
    return found


def alpha_by_motion(study: Study, name: str, dataset: str) -> dict[str, float | None]:
    """Mean alpha over labelled validation frames from the `SETTLED`-th on, for pixels of moving classes and for the others.

    Pixels whose past lies outside the view (alpha is 0 there) are left out; None where no pixel is left.
    """
    sums = {"moving": [0.0, 0], "other": [0.0, 0]}
    for clip in study.clips(dataset, "val"):
        wanted = [k for k in clip.labelled if k >= SETTLED]
        if not wanted:
            continue
        steps = study.segment(name, dataset, clip)
        for k in wanted:
            labels = clip.label(k, study.profile.input_size)
            alpha = steps[k].state.alpha[0, 0].cpu().numpy()
            counted, moving = (labels != IGNORE) & (alpha > 0), np.isin(labels, study.spec(dataset).moving_ids)
            for key, mask in (("moving", moving & counted), ("other", ~moving & counted)):
                sums[key][0] += float(alpha[mask].sum())
                sums[key][1] += int(mask.sum())
    return {key: total / count if count else None for key, (total, count) in sums.items()}


def losses_per_class(
    rows: Iterable[Mapping[str, Any]], dataset: str, spec: ClassSpec, name: str, image: str = "Base"
) -> dict[str, dict[str, float]]:
    """Rows of a table: IoU of a system and of its image model, the classes on which it falls furthest behind first."""
    by_name = {row["system"]: row["per_class_iou"] for row in rows if row["dataset"] == dataset}
    found = {
        label: {f"{image} (%)": 100 * before, f"{name} (%)": 100 * after, "difference (points)": 100 * (after - before)}
        for label in spec.classes
        if None not in (before := by_name[image][label], after := by_name[name][label])
    }
    return dict(sorted(found.items(), key=lambda item: item[1]["difference (points)"]))
