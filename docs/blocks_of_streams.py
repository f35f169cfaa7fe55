"""Tables of docs/claims.md on what steadies without learning, and on long streams, from the files of their benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from blocks_of_benchmarks import written_of

from sspcore.report.long_stream import condition_table, is_labelled, system_table
from sspcore.report.rivals import comparison, rows_of
from sspcore.report.scores import in_percent
from sspcore.report.tables import NONE, points
from sspcore.study.notebook import as_table

CURVE = "above the curve (points)"


def rivals(report: Mapping[str, Any]) -> pd.DataFrame:
    """Every system on Base's checkpoint, a row a data set and system."""
    frames = []
    for dataset, title in report["titles"].items():
        rows = rows_of(report, dataset)
        frame = texts(comparison(rows), "System").drop(columns=[in_percent("tc_exact_flow"), "curve"])
        frame[CURVE] = [
            points(None if row["above_curve"] is None else row["above_curve"] / 100)
            + (f" ({row['above_curve_end']} it)" if row["above_curve_end"] else "") for row in rows
        ]
        frame.insert(0, "Data set", title)
        frames.append(frame)
    return pd.concat(frames)


def streams(report: Mapping[str, Any]) -> pd.DataFrame:
    """Every system over each whole stream, undisturbed."""
    return _of_each(report, lambda stream: texts(system_table(stream), "System"))


def conditions(report: Mapping[str, Any]) -> pd.DataFrame:
    """What happens to the streams with labels, and what each system gains over Base then."""
    labelled = {title: stream for title, stream in report["streams"].items() if is_labelled(stream)}
    return _of_each({"streams": labelled}, lambda stream: texts(condition_table(stream), "Condition"))


def _of_each(report: Mapping[str, Any], table: Callable[[Mapping[str, Any]], pd.DataFrame]) -> pd.DataFrame:
    frames = []
    for title, stream in report["streams"].items():
        frame = table(stream)
        frame.insert(0, "Footage", f"{title}, {stream['frames']} frames")
        frames.append(frame)
    return pd.concat(frames).fillna(NONE)


def texts(rows: Mapping[str, Mapping[str, Any]], first: str) -> pd.DataFrame:
    """Rows as cells, their names in a column of their own."""
    return as_table(rows).rename_axis(first).reset_index()


BLOCKS = {
    "rivals": written_of("rivals.json", "python benchmarks/rivals.py", rivals),
    "long-streams": written_of("long_stream.json", "python benchmarks/long_stream.py", streams),
    "long-conditions": written_of("long_stream.json", "python benchmarks/long_stream.py", conditions),
}
