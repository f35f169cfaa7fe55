"""CVAT's "Segmentation mask": colour images, and labelmap.txt with the names of the colours."""

from __future__ import annotations

from pathlib import Path

from sspcore.core.classes import Colour
from sspcore.core.errors import ReleaseError

LABELMAP = "labelmap.txt"


def read_labelmap(path: Path) -> dict[str, Colour]:
    """Colour of each name in a labelmap.txt, whose lines are `name:r,g,b:parts:actions`.

    Raises: ReleaseError naming the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path}: not a readable text ({error}); export the labels again") from error
    colours: dict[str, Colour] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = line.rsplit(":", 3)
        try:
            r, g, b = (int(value) for value in rest[0].split(","))
        except (IndexError, ValueError):
            r = g = b = -1
        if not name.strip() or not all(0 <= value <= 255 for value in (r, g, b)) or name.strip() in colours:
            raise ReleaseError(f"{path}: line {number}: not a new `name:red,green,blue:parts:actions`; export the labels again")
        colours[name.strip()] = (r, g, b)
    if not colours:
        raise ReleaseError(f"{path}: names no label; export the labels again")
    return colours
