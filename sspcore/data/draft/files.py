"""What lies in a folder: videos, pictures, and labels in every form that is read."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco, labelme
from sspcore.data.annotations.cvat import LABELMAP
from sspcore.data.annotations.images import packed_colours, read_drawn
from sspcore.data.archives import is_archive
from sspcore.data.layouts import IMAGE_SUFFIXES, MASK_LIST, MASK_LIST_HEAD, VIDEO_SUFFIXES
from sspcore.data.releases import natural_order

MOST_FILES = 200_000
MOST_CODES = 64  # of one label image; one with more was stored with loss, or is none
_LOSSY = (".jpg", ".jpeg")
_LABEL_FOLDER = re.compile(
    r"(^|[^a-z])(labels?|masks?|annotations?|gt|ground_?truth|seg(mentation)?s?(class)?|semantics?)([^a-z]|$)"
)
_LABEL_NAME = re.compile(r"[-_. ](masks?|labels?|seg|segmentation|gt|annotation)$")
_OVERLAY = re.compile(r"(?i)(.*[-_. ])?overlays?([-_. ]?\d+)?")
_INSTANCES = "segmentationobject"  # CVAT and Pascal VOC: a colour for each object, not for each class

Item = TypeVar("Item")


@dataclass
class Found:
    """The files of a folder, each kind in natural order, and a line for each thing that was passed over."""

    root: Path
    videos: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    label_images: list[Path] = field(default_factory=list)
    labelme: list[Path] = field(default_factory=list)
    coco: list[Path] = field(default_factory=list)
    labelmaps: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """A path below the folder, as it is named to people."""
        return path.relative_to(self.root).as_posix() or "."


def look_through(root: Path) -> Found:
    """The files below a folder, sorted by what they are; hidden ones do not count, links are followed.

    Raises: ReleaseError if there is no such folder, or too many files for one data set.
    """
    if not root.is_dir():
        raise ReleaseError(f"{root}: no such folder; give the one that holds your videos, pictures and labels")
    found = Found(root)
    images: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in _files(root):
        suffix = path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            found.videos.append(path)
        elif suffix in IMAGE_SUFFIXES:
            images[path.parent].append(path)
        elif path.name.lower() == LABELMAP:
            found.labelmaps.append(path)
        elif suffix in (".csv", ".txt"):
            found.lists.append(path)
        elif suffix == ".json":
            _sort_json(path, found)
        elif is_archive(path):
            found.notes.append(f"{found.place(path)}: archives are not read; unpack it, then run again")
        elif suffix == ".xml" and "annotation" in path.stem.lower():
            found.notes.append(f"{found.place(path)}: XML is not read; export as CVAT's Segmentation mask 1.1 or as COCO")
    _pass_over_own(images, found)
    _sort_images(images, found)
    return found


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` items, spread evenly over all."""
    return [items[k] for k in sorted({round(k) for k in np.linspace(0, len(items) - 1, most)})] if items else []


def _is_drawn(path: Path) -> bool | None:
    status = path.stat()
    return _has_few_values(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _has_few_values(path: Path, changed: int, size: int) -> bool | None:
    """Whether an image has so few colours or numbers that it may be a label image; None if it cannot be read."""
    try:
        image, _ = read_drawn(path, indices=True)
        step = max(1, min(image.shape[:2]) // 256)
        image = image[::step, ::step]
        return len(np.unique(image if image.ndim == 2 else packed_colours(image, path))) <= MOST_CODES
    except ReleaseError:
        return None


def _files(root: Path) -> Iterator[Path]:
    seen: set[str] = set()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((name for name in folders if name[0] != "." and name != "__MACOSX"), key=natural_order)
        names = sorted((name for name in names if name[0] != "."), key=natural_order)
        count += len(names)
        if count > MOST_FILES:
            raise ReleaseError(f"{root}: holds more than {MOST_FILES} files; name the folder of one data set")
        yield from (Path(folder, name) for name in names)


def _pass_over_own(images: dict[Path, list[Path]], found: Found) -> None:
    """Leave out what `sspcore stream` made here: a model's answers are no truth, its overlays no flights."""
    for listing in [path for path in found.lists if path.name == MASK_LIST]:
        with listing.open(encoding="utf-8", newline="", errors="replace") as file:
            rows = [tuple(row) for row in csv.reader(file)]
        if rows[:1] != [MASK_LIST_HEAD]:
            continue
        names, folder = {row[0] for row in rows if row}, listing.parent
        if kept := [path for path in images.pop(folder, []) if path.name not in names]:
            images[folder] = kept
        found.notes.append(
            f"{found.place(folder)}: class maps of sspcore stream, no labels, not used; delete {MASK_LIST} there if you "
            "corrected them by hand"
        )
    overlays = [path for path in found.videos if _OVERLAY.fullmatch(path.stem)]
    if len(overlays) < len(found.videos):
        found.videos = [path for path in found.videos if path not in overlays]
        found.notes += [
            f"{found.place(path)}: by its name an overlay, not used; move it elsewhere, or rename it if it is a flight"
            for path in overlays
        ]


def _sort_json(path: Path, found: Found) -> None:
    """LabelMe if it has shapes, COCO if it has annotations; what is neither is of no interest here."""
    data = path.read_bytes()
    for mark, read, files in ((b'"shapes"', labelme.load, found.labelme), (b'"annotations"', coco.load, found.coco)):
        if mark in data:
            try:
                read(path)
                files.append(path)
            except ReleaseError as error:
                found.notes.append(f"{error} (is not used)")
            return


def _sort_images(images: dict[Path, list[Path]], found: Found) -> None:
    """Pictures and label images, by the names of files and folders, and by whether they are drawn."""
    stems = {folder: {path.stem for path in paths} for folder, paths in images.items()}
    for folder, paths in images.items():
        parts = [part.lower() for part in folder.relative_to(found.root).parts]
        if _INSTANCES in parts:
            found.notes.append(f"{found.place(folder)}: colours of single objects, not of classes; is not used")
            continue
        lossless = [path for path in paths if path.suffix.lower() not in _LOSSY]
        photographed = {path.stem for path in paths if path.suffix.lower() in _LOSSY}
        named = any(map(_LABEL_FOLDER.search, parts))
        elsewhere = [each for each in images if each != folder and len(stems[folder] & stems[each]) * 2 >= len(paths)]
        drawn = _all_drawn(lossless)
        if drawn and (named or not photographed and any(not _all_drawn(images[each]) for each in elsewhere)):
            labels = set(lossless)
        elif named and elsewhere and _LABEL_FOLDER.search(parts[-1]):
            found.notes.append(f"{found.place(folder)}: too many colours for labels; export them as PNG, which loses nothing")
            continue
        else:
            labels = {
                path for path in lossless
                if (path.stem in photographed or _is_named_label(path.stem, stems[folder])) and _is_drawn(path)
            }
        for path in paths:
            (found.label_images if path in labels else found.pictures).append(path)


def _all_drawn(paths: list[Path]) -> bool:
    """Whether all of a sample that can be read are drawn."""
    drawn = {_is_drawn(path) for path in spread(paths, 5)} - {None}
    return drawn == {True}


def _is_named_label(stem: str, others: Iterable[str]) -> bool:
    """Whether a file is called like another one of its folder, and label or mask."""
    match = _LABEL_NAME.search(stem.lower())
    return bool(match) and stem[: match.start()] in others
