"""Tables of docs/claims.md on what steadies without learning, and on long streams, from the files of their benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from blocks_of_benchmarks import ROOT, read

from sspcore.report.long_stream import condition_table, is_labelled, system_table
from sspcore.report.rivals import comparison, rows_of
from sspcore.report.scores import in_percent
from sspcore.report.tables import NONE
from sspcore.study.notebook import as_table

CURVE, LAG = "above the curve (points)", "lag (frames)"


def written_of(file: str, command: str, table: Callable[[dict[str, Any]], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
    """A table of a file of figures/, or a line that says which command makes it."""
    def block() -> pd.DataFrame:
        if not (ROOT / "figures" / file).is_file():
            return pd.DataFrame({"": [f"none measured yet: `{command}`"]})
        return table(read(file))

    return block


def rivals(report: Mapping[str, Any]) -> pd.DataFrame:
    """Every system on Base's checkpoint, a row a data set and system."""
    frames = []
    for dataset, title in report["titles"].items():
        frame = texts(comparison(rows_of(report, dataset)), "System", signed=(CURVE,)).drop(columns=in_percent("tc_exact_flow"))
        ends = frame.pop("curve")
        frame[CURVE] += ends.where(ends == "", " (" + ends + " it)")
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


def texts(rows: Mapping[str, Mapping[str, Any]], first: str, signed: tuple[str, ...] = ()) -> pd.DataFrame:
    """Rows as cells, their names in a column of their own; `signed`: columns that are differences."""
    frame = as_table({
        name: {
            title: format(value, "+.2f").replace("-", "−") if title in signed and value is not None else value
            for title, value in row.items()
        }
        for name, row in rows.items()
    })
    return frame.rename_axis(first).reset_index()


BLOCKS = {
    "rivals": written_of("rivals.json", "python benchmarks/rivals.py", rivals),
    "long-streams": written_of("long_stream.json", "python benchmarks/long_stream.py", streams),
    "long-conditions": written_of("long_stream.json", "python benchmarks/long_stream.py", conditions),
}
