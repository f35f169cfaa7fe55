"""What LabelMe and COCO have in common: names become class ids, shapes become pixels, files are checked as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.core.types import Size
from sspcore.data.datasets import DatasetSpec

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]  # pixels
Side = Annotated[int, Field(ge=1, le=65_536)]
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]

Content = TypeVar("Content")


def read_checked(path: Path, content: TypeAdapter[Content]) -> Content:
    """What a JSON file holds. Raises ReleaseError naming the file and the first entry that is not as the format has it."""
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # a mark that editors of Windows put before the text
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    try:
        return content.validate_json(data)
    except ValidationError as error:
        first = max(error.errors(include_url=False, include_input=False), key=lambda fault: len(fault["loc"]))
        place = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"{path}: {place and place + ': '}{first['msg']}; export the labels again") from error


def label_id(name: str, spec: DatasetSpec, place: str) -> int:
    """Class id, or IGNORE, of a name in label files. Raises ReleaseError naming `place`, the file and its entry."""
    if name not in spec.labels:
        raise ReleaseError(
            f"{place}: '{name}' is not a label of {spec.title} ({', '.join(spec.labels)}); write it under labels: of its "
            "dataset.yaml, and the class that it is, or null, under label_classes:"
        )
    return spec.label_names[name]


def unlabelled_id(spec: DatasetSpec) -> int:
    """Class id of pixels that no shape covers, IGNORE if the data set gives them no class."""
    return IGNORE if spec.unlabelled is None else spec.id_of(spec.unlabelled)


def canvas(size: Size, spec: DatasetSpec) -> np.ndarray:
    """(H, W) uint8 before anything is painted: unlabelled."""
    return np.full(size, unlabelled_id(spec), np.uint8)


def require_aspect(own: Size, size: Size, place: str) -> None:
    """Raises ReleaseError unless labels that were drawn on an image of the size `own` fit frames of `size`, up to a scale.

    A scaled copy has sides that were rounded to whole pixels, so each may be off by one.
    """
    if abs(own[0] * size[1] - own[1] * size[0]) > max(*own, *size):
        raise ReleaseError(
            f"{place}: the labels are of an image of {own[1]}x{own[0]}, but the frame is {size[1]}x{size[0]}; label the frame, "
            "or a scaled copy of it"
        )


def paint(labels: np.ndarray, polygon: np.ndarray, value: int) -> None:
    """Set the pixels of `labels` (H, W) whose centres lie inside a polygon (N, 2) of (x, y); where it crosses itself, even-odd.

    Exact: every edge turns inside to outside from the first pixel of a row on whose centre lies to its right.
    """
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    height, width = labels.shape
    first, end = (np.ceil(side - 0.5).clip(0, height).astype(int) for side in (np.minimum(y0, y1), np.maximum(y0, y1)))
    counts = end - first
    if not counts.any():
        return
    edge = np.repeat(np.arange(len(polygon)), counts)
    rows = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[edge]
    x = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    columns = np.ceil(x - 0.5).clip(0, width).astype(int)
    top, left = rows.min(), columns.min()
    turns = np.zeros((rows.max() + 1 - top, columns.max() + 1 - left), np.uint8)
    np.bitwise_xor.at(turns, (rows - top, columns - left), 1)
    inside = np.bitwise_xor.accumulate(turns, axis=1)[:, :width - left].astype(bool)
    labels[top: top + len(turns), left: left + turns.shape[1]][inside] = value
