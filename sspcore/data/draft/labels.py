"""What occurs in labels: their colours, numbers or names, how often, and what they may be called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sspcore.core.classes import IGNORE, Colour
from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco, labelme
from sspcore.data.annotations.cvat import read_labelmap
from sspcore.data.annotations.images import pack, packed_colours, read_drawn, unpack
from sspcore.data.datasets import SPECS
from sspcore.data.draft.files import MOST_CODES, Found, spread

MOST_READ = 200  # label images
STRAY = 1e-3  # share of all pixels below which a colour without a name is probably no class
BACKGROUND = "background"
_NO_CLASS = re.compile(r"_*(background|unlabell?ed|void|ignored?|unknown|none|other|clutter|bg)_*")
_LISTS = ("classes.txt", "labels.txt", "class_names.txt")  # a name a line, the first is number 0
_MOVING = {
    "car", "cars", "vehicle", "vehicles", "truck", "trucks", "lorry", "bus", "buses", "van", "vans", "bicycle", "bike",
    "cyclist", "rider", "motorcycle", "motorbike", "moto", "scooter", "person", "persons", "people", "pedestrian",
    "pedestrians", "human", "humans", "man", "woman", "child", "boat", "boats", "ship", "ships", "train", "tram", "animal",
    "animals", "dog", "dogs", "cow", "cows", "horse", "horses", "sheep", "bird", "birds", "drone", "excavator", "tractor",
}
_STILL = {"static", "parked", "still", "road", "lane", "lot"}


@dataclass(frozen=True)
class Contents:
    """What labels hold.

    Attributes:
        labels: colour or number of each name; None where shapes have names only.
        counts: pixels, or shapes, of each name in what was read.
        unit: "pixels" or "shapes".
        ignored: names that are probably no class.
        unlabelled: a class for pixels that no shape covers, added because there would be one class only.
        source: where the names come from.
        read: how many of how many files were read.
    """

    labels: dict[str, Colour | int | None]
    counts: dict[str, int]
    unit: str
    ignored: tuple[str, ...]
    unlabelled: str | None
    source: str
    read: str

    @property
    def classes(self) -> list[str]:
        """Names that are probably classes."""
        added = [self.unlabelled] if self.unlabelled else []
        return added + [name for name in self.labels if name not in self.ignored]

    @property
    def moving(self) -> list[str]:
        """Classes whose names say that they move by themselves."""
        return [name for name in self.classes if is_moving(name)]


def is_moving(name: str) -> bool:
    """Whether a class's name is that of something that moves by itself: "Moving car", not "parking_lot" or "static car"."""
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    return bool(words & _MOVING) and not words & _STILL


def contents(images: list[Path], shapes: Iterable[Path], collections: Iterable[Path], found: Found) -> Contents:
    """What the labels of a data set hold: label images, else LabelMe and COCO files.

    Raises: ReleaseError if they hold fewer than two classes, or cannot be read.
    """
    read = _of_images(images, found) if images else _of_shapes([*shapes], [*collections], found)
    if len(read.classes) < 2:
        raise ReleaseError(
            f"{found.root}: the labels hold {', '.join(read.classes) or 'no class'} only, but two or more classes are "
            "needed; label more"
        )
    return read


def _of_shapes(shapes: list[Path], collections: list[Path], found: Found) -> Contents:
    counts = Counter(shape.label for path in shapes for shape in labelme.load(path).shapes)
    names = dict.fromkeys(sorted(counts))
    boxes = 0
    for path in collections:
        content = coco.load(path)
        names |= dict.fromkeys(content.categories.values())
        objects = [each for of_picture in content.annotations.values() for each in of_picture]
        counts.update(content.categories.get(each.category_id, "") for each in objects)
        boxes += sum(not each.segmentation for each in objects)
    if boxes and boxes == counts.total():
        raise ReleaseError(f"{collections[0]}: holds boxes only, but every pixel needs its class; draw polygons or masks")
    if boxes:
        found.notes.append(f"{boxes} of {counts.total()} objects are boxes; pictures with them cannot be used: draw polygons")
    ignored = _ignored(names, counts, whole=True)
    single = len(names) - len(ignored) == 1
    added = BACKGROUND if single and BACKGROUND not in names else None
    return Contents(
        names, {name: counts[name] for name in names}, "shapes", () if single and not added else ignored, added, "the labels",
        f"all {len(shapes) + len(collections)} files",
    )


def _ignored(names: Iterable[str], counts: Mapping[str, int], whole: bool) -> tuple[str, ...]:
    """Names that are probably no class: such as "void", or that nothing has, if all files were read."""
    return tuple(name for name in names if _NO_CLASS.fullmatch(name.lower()) or (whole and not counts[name]))


def _of_images(images: list[Path], found: Found) -> Contents:
    sample = [path for path in spread(images, MOST_READ) if _is_readable(path, found)]
    labelmap, source = _labelmap(found)
    by_number = bool(sample) and all(map(_is_grey, spread(sample, 20)))
    if by_number and labelmap:  # numbers in the order of the labelmap, unless they are its colours
        by_number = not {unpack(code) for code in _codes(sample[0], False)} <= {*labelmap.values()}
    counts: Counter[int] = Counter()
    for path in sample:
        counts.update(_codes(path, by_number))
    names: dict[str, Colour | int | None]
    ignored: set[str] = set()
    if by_number:
        listed, source = (dict(enumerate(labelmap)), source) if labelmap else _listed(images[0].parent, found)
        names = {listed.get(code, f"class_{code}"): code for code in sorted({*listed, *counts} - ({IGNORE} - {*listed}))}
    else:
        known, source = (labelmap, source) if labelmap else _published(counts)
        names = dict(known)
        for code, pixels in counts.most_common():
            if (colour := unpack(code)) not in known.values():
                name = "black" if code == 0 else f"class_{len(names) - len(known) + 1}"
                names[name] = colour
                ignored |= {name} if code == 0 or pixels < STRAY * counts.total() else set()
    if len(names) > MOST_CODES:
        raise ReleaseError(
            f"{images[0].parent}: the labels have {len(names)} colours or numbers, more than {MOST_CODES}; if they were stored "
            "with loss, export them as PNG"
        )
    pixels = {name: counts[code if isinstance(code, int) else pack(*code)] for name, code in names.items() if code is not None}
    ignored |= {*_ignored(names, pixels, whole=len(sample) == len(images))}
    if len(names) - len(ignored) < 2:
        ignored = set()
    return Contents(
        names, pixels, "pixels", tuple(name for name in names if name in ignored), None, source,
        f"{len(sample)} of {len(images)} files",
    )


def _is_grey(path: Path) -> bool:
    """Whether an image holds numbers rather than colours: grey, or indices of a palette."""
    image, _ = read_drawn(path, indices=True)
    return image.ndim == 2 or bool((image == image[..., :1]).all())


def _codes(path: Path, by_number: bool) -> dict[int, int]:
    """Pixels of each number, or of each colour as one number, in a label image."""
    image, clear = read_drawn(path, indices=by_number)
    codes = (image if image.ndim == 2 else image[..., 0]) if by_number else packed_colours(image, path)
    codes = codes.ravel() if clear is None else codes[~clear]
    # by runs of equal pixels, of which a drawn image has few
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))[: len(codes)]
    values, which = np.unique(codes[starts], return_inverse=True)
    pixels = np.bincount(which, np.diff(starts, append=len(codes)), len(values))
    return {int(value): int(count) for value, count in zip(values, pixels, strict=True)}


def _is_readable(path: Path, found: Found) -> bool:
    """Whether a label image can be read; noted if not."""
    try:
        read_drawn(path, indices=True)
    except ReleaseError as error:
        found.notes.append(f"{error} (the label is left out)")
        return False
    return True


def _labelmap(found: Found) -> tuple[dict[str, Colour], str]:
    """Colours of names from CVAT's labelmap.txt, or from a table of name, r, g, b, and where that lies."""
    for path in found.labelmaps:
        return read_labelmap(path), found.place(path)
    for path in found.lists:
        rows = [[cell.strip() for cell in line.split(",")] for line in _lines(path)]
        colours = {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in rows if _is_coloured(row)}
        if path.suffix.lower() == ".csv" and len(colours) > 1 and len(colours) in (len(rows), len(rows) - 1):
            return colours, found.place(path)
    return {}, ""


def _is_coloured(row: list[str]) -> bool:
    return len(row) == 4 and all(cell.isdecimal() and int(cell) < 256 for cell in row[1:])


def _listed(folder: Path, found: Found) -> tuple[dict[int, str], str]:
    """Names of numbers from a list beside the labels or above them, and where that lies."""
    for path in found.lists:
        if path.name.lower() in _LISTS and folder.is_relative_to(path.parent):
            names = [line for line in _lines(path) if line != "__ignore__"]
            if 2 <= len({*names}) == len(names) <= MOST_CODES:
                return dict(enumerate(names)), found.place(path)
    return {}, ""


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > 2**16:  # a list of names is short
        return []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _published(counts: Counter[int]) -> tuple[dict[str, Colour], str]:
    """Names of the colours of a data set that comes with the package, if nearly all pixels have its colours."""
    for spec in SPECS.values():
        codes = {pack(*colour): name for name, colour in spec.labels.items() if not isinstance(colour, int)}
        known = sum(counts[code] for code in codes)
        if known >= (1 - STRAY) * counts.total() and len(codes.keys() & counts.keys()) > 2:
            return {name: unpack(code) for code, name in codes.items()}, f"the colours of {spec.title}"
    return {}, ""
