"""Rows as an aligned text table: what commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def text_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]] | None = None) -> str:
    """Words on the left, numbers on the right, "-" where a row has nothing.

    Args:
        columns: entry of a row -> title and format. None: all entries in the order of their first row, as they are.
    """
    if columns is None:
        columns = {name: (name, "") for row in rows for name in row}
    shown = []
    for name, (title, form) in columns.items():
        values = [row.get(name) for row in rows]
        cells = [title, *("-" if value is None else format(value, form) for value in values)]
        width, words = max(map(len, cells)), any(isinstance(value, str) for value in values)
        shown.append([cell.ljust(width) if words else cell.rjust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*shown, strict=True))
