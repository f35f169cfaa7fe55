"""Class maps as PNG in a folder, named after their frames.

Beside them lies `masks.csv`, which lists them as they are written: so a later run knows which files it may replace, and a
reader which frame of the source each belongs to.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.files import atomic_file
from sspcore.core.images import write_image
from sspcore.data.layouts import MASK_LIST, MASK_LIST_HEAD
from sspcore.inference.stream import Segmented


def require_masks(folder: Path) -> None:
    """Raise SspError, before any work, if the folder holds PNG files that no earlier run of this kind lists there.

    They would mix with the new ones, and may be the user's own.
    """
    listed = {path.name for path in _listed(folder)}
    others = [path.name for path in sorted(folder.glob("*.png")) if path.name not in listed and not path.name.startswith(".")]
    if others:
        raise SspError(
            f"{folder}: holds {others[0]}{' and more' if len(others) > 1 else ''}, which no {MASK_LIST} there lists as a mask "
            "of an earlier run; move such files away, or name another folder"
        )


def mask_folder(folder: Path, palette: ClassSpec | None = None) -> Callable[[Segmented], None]:
    """A consumer that writes class maps as PNG whose values are the ids, named after their frames.

    With the first, the masks that an earlier run listed in the folder are removed; other files stay as they are.

    Args:
        palette: classes whose colours viewers show; the values stay the ids. None: grey.
    """
    names: set[str] = set()
    colours = None if palette is None else _palette(palette)

    def consume(result: Segmented) -> None:
        path = folder / f"{result.name}.png"
        if not names:
            folder.mkdir(parents=True, exist_ok=True)
            require_masks(folder)
            for former in [*_listed(folder), folder / MASK_LIST]:
                former.unlink(missing_ok=True)
            _add(folder, *MASK_LIST_HEAD)
        if result.name in names:
            raise SspError(f"{path}: two frames of the source are called {result.name}; give their files different names")
        names.add(result.name)
        _add(folder, path.name, result.number)
        with atomic_file(path) as temporary:  # what a link leads to stays as it is
            _write(temporary, result.labels, colours)

    return consume


def _write(path: Path, labels: np.ndarray, colours: list[int] | None) -> None:
    if colours is None:
        write_image(path, labels)
        return
    image = Image.fromarray(labels)
    image.putpalette(colours)
    image.save(path, compress_level=1)


def _palette(classes: ClassSpec) -> list[int]:
    table = np.zeros((256, 3), np.uint8)
    table[: classes.n_classes] = classes.palette
    return table.ravel().tolist()


def _listed(folder: Path) -> Iterator[Path]:
    """The masks that earlier runs list in the folder, as far as they are there."""
    if not (folder / MASK_LIST).is_file():
        return
    with (folder / MASK_LIST).open(encoding="utf-8", newline="", errors="replace") as file:
        for row in csv.reader(file):
            name = row[0] if row else ""
            path = folder / name
            # a list changed by hand cannot name files elsewhere
            if name.endswith(".png") and Path(name).name == name and path.is_file():
                yield path


def _add(folder: Path, *row: object) -> None:
    with (folder / MASK_LIST).open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(row)
