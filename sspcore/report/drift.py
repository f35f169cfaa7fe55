"""Does the recurrence drift? Accuracy and consistency of a stream by frames since its start.

A system that mixes its own past in could pile errors up. It is scored apart for every position in the clips, over all
validation clips together, and its accuracy is set against the image model's on the very same frames, since frames differ.
A stream that starts anew half-way tells what the past brings to frames that another stream sees late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sspcore.core.types import VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.data.truth import true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.report.figures import flicker_mask
from sspcore.report.frontier import averaging
from sspcore.report.style import BLACK, BLUE, GREEN, ORANGE, VERMILION, figure
from sspcore.study import Study

SHOWN = ("SSP", "SSP-R", "KD-SSP")  # the first that a run has stands for the recurrent systems
IMAGE = "Base"
ENOUGH = 0.5  # share of the clips that a position needs labels of
Streams = list[list[np.ndarray | None]]


@dataclass(frozen=True)
class Course:
    """A stream by position in its clips, NaN where nothing is known.

    Attributes:
        miou: (T,) in 0..1, over the frames at that position of all clips.
        changed: (T,) share of pixels whose label changed along the flow since the frame before; NaN at the start.
    """

    miou: np.ndarray
    changed: np.ndarray


def courses_of(study: Study, dataset: str, clips: Sequence[Clip], streams: Mapping[str, Streams]) -> dict[str, Course]:
    """Score the label maps of several streams by position; truth and flow are read once for all.

    Args:
        streams: name -> for every clip the label map (H, W) of each frame, None before the stream's start.
    """
    length, n_classes = min(map(len, clips)), study.spec(dataset).n_classes
    flows = study.flows(dataset, study.profile.metric_flow)
    truth, size = study.truth_root(dataset), study.profile.input_size
    miou = {name: np.full(length, np.nan) for name in streams}
    changed = {name: np.full(length, np.nan) for name in streams}
    for position in range(length):
        truths = [true_labels(clip, position, size, truth) for clip in clips]
        to_prev = [flows.between(clip, position, position - 1).numpy() for clip in clips] if position else [None] * len(clips)
        for name, stream in streams.items():
            miou[name][position] = _miou(truths, [labels[position] for labels in stream], n_classes)
            shares = [
                flicker_mask(labels[position], labels[position - 1], flow).mean()
                for labels, flow in zip(stream, to_prev, strict=True) if flow is not None and labels[position - 1] is not None
            ]
            if shares:
                changed[name][position] = np.mean(shares)
    return {name: Course(miou[name], changed[name]) for name in streams}


def _miou(truths: Sequence[np.ndarray | None], labels: Sequence[np.ndarray | None], n_classes: int) -> float:
    """mIoU over frames of which both are known; NaN where too few are."""
    known = [pair for pair in zip(truths, labels, strict=True) if pair[0] is not None and pair[1] is not None]
    if len(known) < max(1, ENOUGH * len(labels)):
        return float("nan")
    suite = MetricSuite(n_classes, ("miou",))
    for truth, prediction in known:
        suite.start_clip()
        suite.update(FrameRecord(prediction=prediction, target=truth))
    return suite.compute()["miou"]


def restarted(
    model: VideoSegmenter, study: Study, name: str, dataset: str, clip: Clip, start: int
) -> list[np.ndarray | None]:
    """Label maps of a clip whose stream begins at frame `start`; None before."""
    return [None] * start + [result.labels for result in study.stream(model, name, dataset, clip, start)]


def drift_courses(study: Study, dataset: str, systems: Sequence[str]) -> dict[str, Course]:
    """Name -> course: the image model first, then the recurrent system, the same started anew half-way, and controls.

    Returns: nothing where the run has no recurrent system, or not the image model that it is compared with.
    """
    name = next((name for name in SHOWN if name in systems), None)
    if name is None or IMAGE not in systems:
        return {}
    clips = study.clips(dataset, "val")
    half = min(map(len, clips)) // 2
    shown = (IMAGE, name, *_constants(study.profile.constant_alphas))
    streams: dict[str, Streams] = {shown: [study.label_maps(shown, dataset, clip) for clip in clips] for shown in shown}
    if half:
        model = study.model(name, dataset)
        again = [restarted(model, study, name, dataset, clip, half) for clip in clips]
        streams[f"{name}, started anew at frame {half}"] = again
    return courses_of(study, dataset, clips, streams)


def _constants(alphas: Sequence[float]) -> list[str]:
    """The controls with the middle and the largest of the constants, whatever their order."""
    ordered = sorted(alphas)
    return [f"Constant alpha {alpha:g}" for alpha in dict.fromkeys((*ordered[(len(ordered) - 1) // 2:][:1], *ordered[-1:]))]


def drift_plot(courses: Mapping[str, Course], title: str) -> Figure:
    """mIoU against the first course's, and share of labels changed, over frames since the start."""
    reference, base = next(iter(courses.items()))
    picture, (above, below) = figure(8.4, 6.6, 2, 1, sharex=True)
    for (name, stream), look in zip(courses.items(), _looks(courses), strict=True):
        _line(above, 100 * (stream.miou - base.miou), label=name, **look)
        _line(below, 100 * stream.changed, label=name, **look)
    above.set(ylabel=f"mIoU over {reference}'s\non the same frames (points)")
    below.set(ylabel="labels changed along the flow\nsince the frame before (%)", xlabel="frames since the start of the clip")
    below.set(ylim=(0, None))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    picture.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    picture.suptitle(title)
    return picture


def _looks(courses: Mapping[str, Course]) -> list[dict[str, Any]]:
    """Image model and recurrent system as everywhere; controls and the stream started anew tell apart without colour."""
    looks = []
    others = iter(zip((BLUE, ORANGE), (":", "-."), strict=True))
    for k, name in enumerate(courses):
        if k < 2:
            looks.append({"color": (BLACK, VERMILION)[k], "linestyle": "-", "zorder": 2})
        elif averaging(name):
            colour, dash = next(others)
            looks.append({"color": colour, "linestyle": dash, "zorder": 2})
        else:
            looks.append({"color": GREEN, "linestyle": "--", "zorder": 3})
    return looks


def _line(axes: Axes, values: np.ndarray, **look: Any) -> None:
    known = np.flatnonzero(~np.isnan(values))
    axes.plot(known, values[known], marker="o", markersize=3, linewidth=1.6, **look)


def drift_story(study: Study, dataset: str, systems: Sequence[str]) -> Figure | None:
    """The drift picture of a run; None where it has nothing to compare."""
    courses = drift_courses(study, dataset, systems)
    if not courses:
        return None
    clips = len(study.clips(dataset, "val"))
    return drift_plot(courses, f"{study.spec(dataset).title}: streams by frames since their start ({clips} validation clips)")
