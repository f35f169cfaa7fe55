"""The paper's results table (CVPR 2025, Table 1; figures as printed, on the real data sets), for comparison only."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("published.csv")


@cache
def published_rows() -> dict[str, dict[str, float | None]]:
    """System -> {"params_m", "gflops", "fps_a100", "fps_orin", "<dataset>_miou", "<dataset>_tc"}; mIoU and TC in 0..1."""
    table = pd.read_csv(TABLE, index_col="system").drop(columns="kind")
    table.loc[:, [name for name in table if name.endswith(("_miou", "_tc"))]] /= 100
    return {
        name: {key: None if pd.isna(value) else float(value) for key, value in row.items()} for name, row in table.iterrows()
    }


def published(system: str, column: str) -> float | None:
    """One published figure, or None where the paper has none (our own systems, controls, empty cells)."""
    return published_rows().get(system, {}).get(column)
