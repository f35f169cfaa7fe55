"""Scores of a run as notebooks show them: percent under plain headings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sspcore.report.spread import STD
from sspcore.report.tables import SHIPPED

SCORES = {  # in results -> what every table and picture calls it
    "miou": "mIoU", "tc": "TC", "tc_exact_flow": "TC, exact flow", "tc_reference": "TC, reference's warp",
    "miou_moving": "mIoU moving",
}
COMPARED = {name: SCORES[name] for name in ("miou", "tc", "tc_exact_flow", "miou_moving")}  # without the reference's own
PERCENT = SCORES | {"registration_fallback_rate": "registration failed"}
PLAIN = {"training_steps": "training steps", "encoder_start": "encoder starts from", "stand_in": "ours for the paper's encoder"}


def score_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], by: Sequence[str] = ("system",)
) -> dict[str, dict[str, Any]]:
    """System -> heading -> value, scores in percent; with "<score>_std" beside a score where rows are of several seeds.

    Args:
        rows: of results. columns: keys of their values. by: keys of the values that name a row.
    """
    shown = {}
    for row in rows:
        shown[", ".join(SHIPPED.get(row[key], row[key]) for key in by)] = values = {}
        for column in columns:
            for key, ending in ((column, ""), (column + STD, " ±")):
                if key in row:
                    values[_heading(column) + ending] = _percent(row[key]) if column in PERCENT else row[key]
    return shown


def in_percent(score: str) -> str:
    """What a column or an axis of a score in percent is called; a metric without a title has its own name."""
    return f"{PERCENT.get(score, score)} (%)"


def _heading(column: str) -> str:
    return in_percent(column) if column in PERCENT else PLAIN[column]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
