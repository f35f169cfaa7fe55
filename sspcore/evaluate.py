"""Evaluation: label maps on disk against labels and flow (METHOD section 7). Knows no model.

Predictions are PNG label maps, `<folder>/<clip>/<source frame>.png`; they are read once, frame by frame, and scored by
all metrics in one pass. Flow comes from a store, so that a second system costs no flow at all.

`python -m sspcore.evaluate --predictions DIR --frames DIR [--labels DIR] --classes N` scores label maps of any origin.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from sspcore.data.clips import Clip
from sspcore.data.images import read_grey
from sspcore.data.motion import FlowStore, exact_motion
from sspcore.data.specs import SPECS, DatasetSpec
from sspcore.errors import ArtefactError, SspError
from sspcore.flow import FLOW_NAMES, build_flow
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.runs import REPOSITORY, git_commit, write_json
from sspcore.score_folders import FlowCache, find_clips, score_folders, table

Size = tuple[int, int]
TABLE_METRICS = ("miou", "miou_moving", "tc", "tc_reference")
EXACT_METRICS = ("tc",)
FLOW_CACHE = REPOSITORY / "data" / "flow-cache"


class FlowSource(Protocol):
    """Flow between neighbouring frames of a clip (FlowStore, TruthFlow)."""

    def between(self, clip: Clip, source: int, target: int) -> Tensor: ...


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
            target=clip.label(position, size) if position in clip.labelled else None,
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


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line of `python -m sspcore.evaluate`."""
    parser = argparse.ArgumentParser("sspcore.evaluate", description="Score label maps (PNG folders) with all metrics.")
    parser.add_argument("--predictions", type=Path, required=True, help="label maps: one subfolder a clip, or flat = one clip")
    parser.add_argument("--frames", type=Path, required=True, help="the images, PNG or JPEG, under the same names")
    parser.add_argument("--labels", type=Path, help="true label maps under the same names, on some or all frames")
    classes = parser.add_mutually_exclusive_group(required=True)
    classes.add_argument("--classes", type=int, help="number of classes: label values are 0..N-1, and 255 for ignored pixels")
    classes.add_argument("--dataset", choices=tuple(SPECS), help="take classes and moving classes of this data set")
    parser.add_argument("--moving", help="ids of the classes that move by themselves, such as 3,4 (for miou_moving and lag)")
    parser.add_argument("--flow", choices=FLOW_NAMES, default="dis-medium", help="flow estimator (default: dis-medium)")
    parser.add_argument("--flow-cache", type=Path, default=FLOW_CACHE, help="where flow is kept (default: data/flow-cache)")
    parser.add_argument("--json", type=Path, help="write all figures to this file, per class and per clip too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Score folders of label maps; returns the exit status: 0 done, 2 something is wrong with the input."""
    options = parse_arguments(arguments)
    try:
        n_classes = SPECS[options.dataset].n_classes if options.dataset else options.classes
        if not 1 <= n_classes <= 254:
            raise SspError(f"--classes {n_classes}: take 1..254 (255 marks ignored pixels)")
        moving = _moving_ids(options, n_classes)
        clips = find_clips(options.predictions, options.frames, options.labels)
        scores = score_folders(clips, n_classes, FlowCache(options.flow_cache, build_flow(options.flow)), moving)
        if options.json is not None:
            folders = {name: getattr(options, name) for name in ("predictions", "frames", "labels")}
            origin = {name: None if path is None else str(path) for name, path in folders.items()}
            names = SPECS[options.dataset].classes if options.dataset else None
            settings = {"n_classes": n_classes, "classes": names, "moving": moving, "commit": git_commit()}
            write_json(options.json, origin | settings | scores)
    except (SspError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table(scores))
    return 0


def _moving_ids(options: argparse.Namespace, n_classes: int) -> list[int]:
    if options.moving is None:
        return list(SPECS[options.dataset].moving_ids) if options.dataset else []
    try:
        ids = sorted({int(part) for part in options.moving.split(",")})
    except ValueError:
        ids = [-1]
    if ids[0] < 0 or ids[-1] >= n_classes:
        raise SspError(f"--moving {options.moving}: expected class ids within 0..{n_classes - 1}, separated by commas")
    return ids


if __name__ == "__main__":
    sys.exit(main())
