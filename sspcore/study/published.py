"""The paper's results table (CVPR 2025, Table 1; figures as printed, on the real data sets), for comparison only."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")


@cache
def published_rows() -> dict[str, dict[str, float | None]]:
    """System -> {"params_m", "gflops", "fps_a100", "fps_orin", "<dataset>_miou", "<dataset>_tc"}; mIoU and TC in 0..1."""
    rows = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row.pop("system")
            values = {key: float(text) if text else None for key, text in row.items() if key != "kind"}
            rows[name] = {
                key: value / 100 if value is not None and key.endswith(("_miou", "_tc")) else value
                for key, value in values.items()
            }
    return rows


def published(system: str, column: str) -> float | None:
    """One published figure, or None where the paper has none (our own systems, controls, empty cells)."""
    return published_rows().get(system, {}).get(column)
