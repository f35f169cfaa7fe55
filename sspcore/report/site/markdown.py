"""Links of Markdown and of notebooks, as they lead on the site."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
REMOTE_PICTURE = re.compile(r"\[!\[[^\]]*\]\(https?://[^)]*\)\]\([^)]*\)[ \t]*\n?|!\[[^\]]*\]\(https?://[^)]*\)[ \t]*\n?")


def linked(text: str, source: Path, root: Path, site: Path) -> str:
    """Markdown of the repository, as a page of the site has it.

    A link to a folder leads to its page, or is left out where it has none. A file that is no page is copied beside the pages,
    to be downloaded. Pictures of other hosts, such as badges, are left out: no page loads anything from elsewhere.

    Args:
        source: the file that the text is from.
        root: the repository.
        site: folder of the pages, which lie in it as in the repository; they are there already.
    """
    def replaced(found: re.Match[str]) -> str:
        picture, label, target = found.groups()
        name, mark, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:") or not name:
            return found[0]
        path = (source.parent / name).resolve()
        if not path.is_relative_to(root):
            return label
        place = site / path.relative_to(root)
        if path.is_dir():
            page = next((page for page in ("index.md", "README.md") if (place / page).is_file()), None)
            return label if page is None else f"[{label}]({name.rstrip('/')}/{page})"
        if not place.exists() and path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        is_page = place.suffix in (".md", ".ipynb")
        return f"{picture}[{label}]({name}{mark + anchor if is_page else ''})"

    return LINK.sub(replaced, REMOTE_PICTURE.sub("", text))


def linked_notebook(notebook: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The notebook with the text of its Markdown cells changed, and without the tables of its widgets."""
    cells = [
        cell | {"source": change("".join(cell["source"]))} if cell["cell_type"] == "markdown" else cell
        for cell in notebook["cells"]
    ]
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "widgets"}
    return notebook | {"cells": cells, "metadata": metadata}
