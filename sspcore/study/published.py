"""The paper's results table (CVPR 2025, Table 1; figures as printed, on the real data sets), for comparison only."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")


@cache
def published_rows() -> dict[str, dict[str, float | None]]:
    """System -> {"params_m", "gflops", "fps_a100", "fps_orin", "<dataset>_miou", "<dataset>_tc"}; mIoU and TC in 0..1."""
    rows: dict[str, dict[str, float | None]] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            name = record.pop("system")
            record.pop("kind")
            rows[name] = {key: _number(key, text) for key, text in record.items()}
    return rows


def published(system: str, column: str) -> float | None:
    """One published figure, or None where the paper has none (our own systems, controls, empty cells)."""
    return published_rows().get(system, {}).get(column)


def _number(column: str, text: str) -> float | None:
    if not text:
        return None
    percent = column.endswith(("_miou", "_tc"))
    return float(text) / 100 if percent else float(text)
