"""Measure the measures: label maps that no model makes, and how metrics order what they score.

A control is a useless prediction that some metric may rate highly. A row is a system's or control's figures:
a mapping with "system", "kind" ("image", "video", "control", "truth") and a value for every metric, None where unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sspcore.core.classes import IGNORE
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.evaluation.clips import read_prediction
from sspcore.metrics import METRICS, build_metric
from sspcore.metrics.records import warp_labels
from sspcore.models.systems import TEACHER
from sspcore.motion.cache import FlowSource

Row = Mapping[str, Any]

CONSTANT, HELD, CARRIED = "Constant label", "First frame held", "First frame carried"
LOWER_IS_BETTER = frozenset(name for name in METRICS if not build_metric(name, 1, (0,)).higher_is_better)
FAMILIES: dict[str, tuple[str, ...]] = {
    "accuracy": ("miou", "miou_moving", "boundary_iou"),
    "consistency": ("tc", "tc_reference", "tc_pooled", "tc_masked", "vote5", "flicker"),
    "both": ("vc8", "vc16", "lag"),
}


def constant_label(clip: Clip, shares: Iterable[float], size: Size) -> Iterator[np.ndarray]:
    """The class with the largest of the shares, everywhere."""
    labels = np.full(size, int(np.argmax(list(shares))), np.uint8)
    return (labels for _ in range(len(clip)))


def held(predictions: Path, clip: Clip) -> Iterator[np.ndarray]:
    """The first frame's predicted label map on every frame."""
    return (read_prediction(predictions, clip, 0) for _ in range(len(clip)))


def carried(predictions: Path, clip: Clip, flows: FlowSource) -> Iterator[np.ndarray]:
    """The first frame's label map moved along the flow through the whole clip; what comes into view is filled as predicted.

    With exact flow it is a memory that never forgets and never learns: all but perfectly consistent by construction.
    """
    labels = read_prediction(predictions, clip, 0)
    yield labels
    for k in range(1, len(clip)):
        warped = warp_labels(labels, flows.between(clip, k, k - 1).numpy())
        labels = np.where(warped == IGNORE, read_prediction(predictions, clip, k), warped)
        yield labels


def oriented(metric: str, value: float | None) -> float:
    """A value such that more is better; NaN for None."""
    if value is None:
        return math.nan
    return -value if metric in LOWER_IS_BETTER else value


def advantage(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Control -> metric -> by how much it scores better than the best trained student (negative: worse); NaN unknown.

    The teacher is no student: it sees a larger image. A metric is fooled where this is not negative: by that metric alone
    one would choose the control.
    """
    best = _oriented([row for row in rows if row["kind"] in ("image", "video") and row["system"] != TEACHER]).max()
    controls = [row for row in rows if row["kind"] == "control"]
    return dict(zip((row["system"] for row in controls), (_oriented(controls) - best).to_dict("records"), strict=True))


def rank_correlation(rows: list[Row], metrics: Iterable[str] = tuple(METRICS)) -> np.ndarray:
    """Spearman's rank correlation of metrics over rows, (M, M), oriented so that 1 means: the same order of merit.

    Ties get their mean rank; each pair of metrics uses the rows that have both; NaN below three rows or without spread.
    """
    return _oriented(rows)[list(metrics)].corr("spearman", min_periods=3).to_numpy()


def flow_sensitivity(rows_by_estimator: Mapping[str, list[Row]]) -> dict[str, float]:
    """Metric -> largest difference that the choice of flow makes for one system or control (truth left out); NaN unknown."""
    rows = [row for rows in rows_by_estimator.values() for row in rows if row["kind"] != "truth"]
    systems = _oriented(rows).groupby([row["system"] for row in rows])
    return (systems.max() - systems.min()).where(systems.count() > 1).max().to_dict()


def _oriented(rows: list[Row]) -> pd.DataFrame:
    """Metrics in columns, such that more is better; NaN where unknown."""
    values = [[oriented(metric, row[metric]) for metric in METRICS] for row in rows]
    return pd.DataFrame(values, columns=list(METRICS), dtype=float)
