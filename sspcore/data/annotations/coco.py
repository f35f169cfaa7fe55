"""COCO: one JSON file of many images, with polygons and run-length encoded masks.

A file is read once and kept while it is used: some are hundreds of megabytes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from sspcore.core.errors import ReleaseError
from sspcore.core.images import resize_labels
from sspcore.core.types import Size
from sspcore.data.annotations.shapes import Coordinate, Number, Side, canvas, label_id, paint, read_checked, require_aspect
from sspcore.data.datasets import DatasetSpec

_MOST_PIXELS = 2**28  # of a mask; 16,384 x 16,384


@dataclass(frozen=True)
class Runs:
    """A mask by the lengths of its runs, down the columns, the first of pixels outside."""

    size: tuple[Side, Side]
    counts: list[Annotated[int, Field(ge=0, le=2**32)]] | str


@dataclass(frozen=True)
class Picture:
    """An image of the file."""

    id: Number
    file_name: str
    width: Side
    height: Side


@dataclass(frozen=True)
class Category:
    """A label of the file."""

    id: Number
    name: str


@dataclass(frozen=True)
class Annotation:
    """An object: polygons of (x, y, x, y, ...), or a mask. `iscrowd` does not count: a crowd has its class, too."""

    image_id: Number
    category_id: Number
    segmentation: list[list[Coordinate]] | Runs | None = None
    id: Number | str | None = None


@dataclass(frozen=True)
class Content:
    """What is read of a file."""

    images: list[Picture]
    categories: list[Category]
    annotations: list[Annotation] = field(default_factory=list)


@dataclass(frozen=True)
class Labels:
    """A file, sorted: its images by name, names of its categories by number, annotations by number of the image."""

    images: dict[str, Picture]
    categories: dict[int, str]
    annotations: dict[int, list[Annotation]]


_FILE = TypeAdapter(Content)


def load(path: Path) -> Labels:
    """What a file holds. Raises ReleaseError naming it and the entry that is not as COCO has it."""
    try:
        status = path.stat()
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    return _load(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _load(path: Path, changed: int, size: int) -> Labels:
    content = read_checked(path, _FILE)
    images = {picture.file_name: picture for picture in content.images}
    if len(images) < len(content.images) or len({picture.id for picture in content.images}) < len(content.images):
        raise ReleaseError(f"{path}: two images have the same name or id; export the labels again")
    annotations = defaultdict(list)
    for annotation in content.annotations:
        annotations[annotation.image_id].append(annotation)
    return Labels(images, {category.id: category.name for category in content.categories}, annotations)


def frames(path: Path) -> dict[str, Size]:
    """(H, W) of every labelled image of a file by its file name; one without an annotation has not been labelled yet.

    Raises: ReleaseError if the file cannot be read.
    """
    content = load(path)
    return {
        name: (picture.height, picture.width) for name, picture in content.images.items() if picture.id in content.annotations
    }


def unlabelled(path: Path) -> list[str]:
    """File names of the images that have no annotation."""
    content = load(path)
    return [name for name, picture in content.images.items() if picture.id not in content.annotations]


def read(path: Path, file_name: str, spec: DatasetSpec, size: Size) -> np.ndarray:
    """Class ids and IGNORE (H, W) uint8 of one image of a COCO file, for a frame of `size`.

    COCO gives objects no order, so that large ones are painted first and small ones over them: a car over the road below it.
    Objects of the same area are painted in the file's order. All parts of an object belong to it, also where they overlap.

    Raises: ReleaseError naming the file and the annotation, if it cannot be read, has a category that the data set does not
        know, or is of an image of another shape than the frame.
    """
    content = load(path)
    picture = content.images.get(file_name)
    if picture is None:
        raise ReleaseError(f"{path}: has no image {file_name}; export the labels again, or correct files: in the dataset.yaml")
    own = (picture.height, picture.width)
    require_aspect(own, size, f"{path}: {file_name}")
    labels = canvas(size, spec)
    painted = []
    for position, annotation in enumerate(content.annotations.get(picture.id, [])):
        place = f"{path}: annotation {position if annotation.id is None else annotation.id} of {file_name}"
        if annotation.category_id not in content.categories:
            raise ReleaseError(f"{place}: there is no category {annotation.category_id}; export the labels again")
        value = label_id(content.categories[annotation.category_id], spec, place)
        if not annotation.segmentation:
            raise ReleaseError(f"{place}: has a box at most, no outline; export polygons or masks, or delete it")
        box, inside = _mask(annotation.segmentation, own, size, place)
        painted.append((np.count_nonzero(inside), value, box, inside))
    for _, value, box, inside in sorted(painted, key=lambda each: -each[0]):
        labels[box][inside] = value
    return labels


def _mask(segmentation: list[list[float]] | Runs, own: Size, size: Size, place: str) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where an object lies in a frame of `size`, and its pixels there (h, w) bool."""
    if isinstance(segmentation, Runs):
        inside = resize_labels(_decoded(segmentation, own, place), size)
        rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else (slice(0), slice(0))
        return box, inside[box].astype(bool)
    if wrong := [part for part in segmentation if len(part) < 6 or len(part) % 2]:
        raise ReleaseError(f"{place}: a polygon of {len(wrong[0])} numbers, not of 3 or more pairs; draw it again")
    parts = [np.array(part).reshape(-1, 2) * (size[1] / own[1], size[0] / own[0]) for part in segmentation]
    corners = np.concatenate(parts)
    left, top = np.floor(corners.min(0)).clip(0, size[::-1]).astype(int)
    right, bottom = np.ceil(corners.max(0)).clip(0, size[::-1]).astype(int)
    inside = np.zeros((bottom - top, right - left), np.uint8)
    for part in parts:
        paint(inside, part - (left, top), 1)
    return (slice(top, bottom), slice(left, right)), inside.astype(bool)


def _decoded(runs: Runs, own: Size, place: str) -> np.ndarray:
    """(H, W) uint8, 1 where a run-length encoded mask of an image of the size `own` is set."""
    counts = _counts(runs.counts, place) if isinstance(runs.counts, str) else runs.counts
    if runs.size != own or min(counts, default=0) < 0 or sum(counts) != own[0] * own[1] or sum(counts) > _MOST_PIXELS:
        raise ReleaseError(
            f"{place}: its mask has {sum(counts)} pixels of {runs.size[1]}x{runs.size[0]}, the image {own[1]}x{own[0]}; export "
            "the labels again"
        )
    return np.repeat(np.arange(len(counts), dtype=np.int64) % 2, counts).astype(np.uint8).reshape(own[::-1]).T


def _counts(text: str, place: str) -> list[int]:
    """Lengths of runs from COCO's text: digits of 5 bits, the sixth says that more follow; from the fourth on, differences to
    the run before the last."""
    counts: list[int] = []
    value = bits = 0
    for digit in (ord(letter) - 48 for letter in text):
        if not 0 <= digit < 64 or bits > 40:
            raise ReleaseError(f"{place}: its mask is no run-length code of COCO; export it again")
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:
            value -= (digit & 16) << (bits - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    return counts
