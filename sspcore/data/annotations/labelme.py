"""LabelMe: a JSON file beside each image, with its shapes in the order in which they were drawn."""

from __future__ import annotations

import base64
import binascii
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import TypeAdapter

from sspcore.core.errors import ReleaseError
from sspcore.core.types import Size
from sspcore.data.annotations.shapes import Coordinate, Side, canvas, label_id, paint, read_checked, require_aspect
from sspcore.data.datasets import DatasetSpec

log = logging.getLogger(__name__)

_ANGLES = np.linspace(0, 2 * np.pi, 360, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # its corners, 0.04 px inside a circle of a radius of 1000 px
_CORNERS = {"polygon": 3, "oriented_rectangle": 4, "rotation": 4, "rectangle": 2, "circle": 2, "mask": 2}  # at least
_NO_AREA = ("line", "linestrip", "point", "points")


@dataclass(frozen=True)
class Shape:
    """A shape as LabelMe and its relatives write it; groups, flags and other entries do not count."""

    label: str
    points: list[tuple[Coordinate, Coordinate]]
    shape_type: Literal[
        "polygon", "rectangle", "oriented_rectangle", "rotation", "circle", "mask", "line", "linestrip", "point", "points"
    ] = "polygon"
    mask: str | None = None


@dataclass(frozen=True)
class Labelled:
    """A file; the copy of the image that it may hold is not read."""

    shapes: list[Shape]
    imageHeight: Side | None = None
    imageWidth: Side | None = None


_FILE = TypeAdapter(Labelled)


def load(path: Path) -> Labelled:
    """The shapes of a file. Raises ReleaseError naming it and the entry that is not as LabelMe has it."""
    labelled = read_checked(path, _FILE)
    for number, shape in enumerate(labelled.shapes):
        if len(shape.points) < _CORNERS.get(shape.shape_type, 0):
            raise ReleaseError(
                f"{path}: shapes.{number}: a {shape.shape_type} of {len(shape.points)} points; draw '{shape.label}' again"
            )
    return labelled


def read(path: Path, spec: DatasetSpec, size: Size) -> np.ndarray:
    """Class ids and IGNORE (H, W) uint8 of a LabelMe file, for a frame of `size`.

    A later shape is painted over an earlier one. Polygons, rectangles, circles and masks have an area; lines and points have
    none and are passed over, which is logged. If the image that was labelled is a scaled copy of the frame, so are the shapes.

    Raises: ReleaseError naming the file and the entry, if it cannot be read, has a label that the data set does not know, or is
        of an image of another shape than the frame.
    """
    labelled = load(path)
    own = (labelled.imageHeight or size[0], labelled.imageWidth or size[1])
    require_aspect(own, size, str(path))
    scale = np.array([size[1] / own[1], size[0] / own[0]])
    labels = canvas(size, spec)
    for number, shape in enumerate(labelled.shapes):
        value = label_id(shape.label, spec, f"{path}: shapes.{number}")
        if shape.shape_type == "mask":
            _paint_mask(labels, own, shape, value, f"{path}: shapes.{number}")
        elif shape.shape_type not in _NO_AREA:
            paint(labels, _outline(shape) * scale, value)
    if passed := sum(shape.shape_type in _NO_AREA for shape in labelled.shapes):
        log.warning("%s: %d lines or points have no area and are passed over; draw polygons to label pixels", path, passed)
    return labels


def _outline(shape: Shape) -> np.ndarray:
    """Corners (N, 2) of a shape's area as (x, y)."""
    points = np.array(shape.points)
    if shape.shape_type == "circle":  # its centre and a point of its edge
        return points[0] + np.linalg.norm(points[1] - points[0]) * _CIRCLE
    if shape.shape_type == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return points


def _paint_mask(labels: np.ndarray, own: Size, shape: Shape, value: int, place: str) -> None:
    """Paint a mask, a PNG of the box from its first pixel to its last, both within it."""
    try:
        data = np.frombuffer(base64.b64decode(shape.mask or "", validate=True), np.uint8)
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    except (binascii.Error, ValueError, cv2.error):
        mask = None
    if mask is None:
        raise ReleaseError(f"{place}: the mask of '{shape.label}' is not a readable PNG; draw it again")
    left, top = (int(side) for side in shape.points[0])
    # the pixel of the mask that lies under the centre of each row and column of the frame
    rows, columns = (
        np.floor((np.arange(side) + 0.5) * mine / side).astype(int) - start
        for side, mine, start in zip(labels.shape, own, (top, left), strict=True)
    )
    y, x = np.flatnonzero((rows >= 0) & (rows < len(mask))), np.flatnonzero((columns >= 0) & (columns < mask.shape[1]))
    box = labels[np.ix_(y, x)]
    labels[np.ix_(y, x)] = np.where(mask[np.ix_(rows[y], columns[x])] > 0, value, box)
