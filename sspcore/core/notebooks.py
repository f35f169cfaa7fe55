"""Notebooks as JSON values: what of a notebook is its source, and how its file is written.

Outputs, execution counts and what a publication has noted are no part of the source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

COMPARED = "nbval-check-output"  # the tag of cells whose outputs `pytest --nbval-lax` compares
PUBLISHED = "published"  # in metadata.sspcore: the run that the outputs are from


def tags(cell: Mapping[str, Any]) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def source_of(notebook: Mapping[str, Any]) -> list[Any]:
    """What makes a notebook what it is: its cells' ids, types, texts and tags, and what its metadata say to a run."""
    settings = notebook["metadata"].get("sspcore", {})
    cells = [[cell.get("id"), cell["cell_type"], "".join(cell["source"]), tags(cell)] for cell in notebook["cells"]]
    return [cells, {name: value for name, value in settings.items() if name != PUBLISHED}]


def notebook_text(notebook: Mapping[str, Any]) -> str:
    """The text of a notebook's file, as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
