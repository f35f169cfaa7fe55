"""What the cells of notebooks have shown in this test session: a plugin that `tests/conftest.py` registers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

_SHOWN: dict[tuple[str, str], list[dict[str, Any]]] = {}


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Keep the outputs of a notebook's cell that nbval has run."""
    outputs = getattr(item, "test_outputs", None)
    if outputs is not None:
        _SHOWN[item.path.stem[:2], item.cell.get("id")] = outputs


def outputs_of(cell: str) -> list[dict[str, Any]]:
    """Outputs of a cell by its id, which begins with the notebook's number. Skips where the notebook was not run."""
    found = _SHOWN.get((cell[:2], cell))
    if found is None:
        pytest.skip(f"notebook {cell[:2]} is not part of this run")
    return found


def text_of(cell: str) -> str:
    """What a cell has printed."""
    return "".join(output["text"] for output in outputs_of(cell) if output.get("name") == "stdout")


def tables_of(cell: str) -> list[dict[str, dict[str, str]]]:
    """The tables that a cell has displayed, each as row -> column -> text."""
    pages = [output["data"]["text/html"] for output in outputs_of(cell) if "text/html" in output.get("data", {})]
    return [_Table.read(page) for page in pages]


def markdown_tables_of(cell: str) -> list[dict[str, dict[str, str]]]:
    """The same of tables that a cell has displayed as Markdown, without their headings between rows and marks of the best."""
    pages = [output["data"]["text/markdown"] for output in outputs_of(cell) if "text/markdown" in output.get("data", {})]
    found: list[dict[str, dict[str, str]]] = []
    for table in re.findall(r"(?:^\|.*\n)+", "\n".join(pages) + "\n", re.MULTILINE):
        plain = re.sub(r"[*]{2}|</?ins>", "", table)
        head, _, *rows = ([text.strip() for text in line.strip("|").split("|")] for line in plain.splitlines())
        found.append({name: dict(zip(head[1:], values, strict=True)) for name, *values in rows if any(values)})
    return found


def number(text: str) -> float:
    """A table's number, with or without a unit."""
    return float(text.split()[0].replace("−", "-").rstrip("%"))


class _Table(HTMLParser):
    """Texts of a table's cells, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    @classmethod
    def read(cls, page: str) -> dict[str, dict[str, str]]:
        table = cls()
        table.feed(page)
        head, *rows = table.rows
        return {name: dict(zip(head[1:], values, strict=True)) for name, *values in rows}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        self._inside = tag in ("th", "td")
        if self._inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data.strip()
