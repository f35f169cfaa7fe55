"""Label maps as files: class ids, palettes, colours; labels in the forms of a data set too. Read to class ids."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sspcore.core.classes import IGNORE, ClassSpec, Colour
from sspcore.core.errors import SspError
from sspcore.core.types import Size
from sspcore.core.yaml_files import read_mapping
from sspcore.data.annotations import coco, cvat, labelme, read_label_image
from sspcore.data.annotations.images import UNKNOWN, code_table, pack, packed_colours
from sspcore.data.datasets import DatasetSpec
from sspcore.metrics.records import MAX_SIDE

_GREY, _PALETTE, _DEPTH, _KIND = 0, 3, 24, 25  # kinds of PNG, and where its head says which and how many bits


@dataclass(frozen=True)
class LabelFile:
    """A true label map: a file, or one picture of a COCO file."""

    path: Path
    picture: str = ""


def read_palette(path: Path) -> ClassSpec:
    """Classes in the order of a file of colours: CVAT's labelmap.txt, or YAML with `name: [r, g, b]`."""
    if path.suffix.lower() == ".txt":
        colours = cvat.read_labelmap(path)
    else:
        try:
            colours = read_mapping(path)
        except ValueError as error:
            raise SspError(f"{path}: {error}") from error
    for name, colour in colours.items():
        if len(colour := list(colour) if isinstance(colour, (list, tuple)) else []) != 3 or not all(
            type(value) is int and 0 <= value <= 255 for value in colour
        ):
            raise SspError(f"{path}: {name}: no colour; give red, green and blue, as in {name}: [128, 64, 128]")
    return ClassSpec("palette", path.name, tuple(map(str, colours)), tuple(map(tuple, colours.values())), ())


def colours_of(classes: ClassSpec | None) -> dict[Colour, int]:
    """Class id of each display colour and of each colour of a data set's labels; black is ignored unless it is a class's."""
    if classes is None:
        return {}
    labels = classes.label_colours if isinstance(classes, DatasetSpec) else {}
    return {(0, 0, 0): IGNORE} | labels | {colour: k for k, colour in enumerate(classes.palette)}


def read_label_map(path: Path, n_classes: int, colours: Mapping[Colour, int] | None = None) -> np.ndarray:
    """(H, W) uint8 class ids of a PNG: grey values, indices of a palette, or colours.

    Args:
        colours: class id of each colour. A palette that holds these colours is read by them, any other by its indices.
    Raises: SspError if the file cannot be read, holds colours without a class, or a value from n_classes to 254.
    """
    data = path.read_bytes()
    try:
        # Pillow, not OpenCV: it gives a palette's indices, and refuses a truncated file
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            labels = _ids(image, data, colours or {}, path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SspError(f"{path}: not a readable PNG ({len(data)} bytes); write it again") from error
    if max(labels.shape) > MAX_SIDE:
        raise SspError(f"{path}: is {shown(labels.shape)}, sides above {MAX_SIDE} cannot be scored; cut tiles")
    present = np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256])[:IGNORE, 0])
    if present.size and present[-1] >= n_classes:
        raise SspError(f"{path}: holds the value {present[-1]}, but classes are 0..{n_classes - 1} and 255 (ignored)")
    return labels


def size_of(path: Path) -> Size:
    """(H, W) of a label map, by its head. Raises SspError if it is no PNG."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SspError(f"{path}: not a readable PNG ({path.stat().st_size} bytes); write it again") from error


def size_of_label(label: LabelFile) -> Size | None:
    """(H, W) of a true label map; None of polygons, which have any."""
    return size_of(label.path) if label.path.suffix.lower() == ".png" else None


def _ids(image: Image.Image, data: bytes, colours: Mapping[Colour, int], path: Path) -> np.ndarray:
    depth, kind = data[_DEPTH], data[_KIND]  # grey of fewer than 8 bits comes stretched to 0..255
    if kind == _PALETTE:
        indices = np.array(image)
        used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
        palette = np.array(image.getpalette("RGB") + [0] * 768, np.uint8).reshape(-1, 3)[:256]
        table = [colours.get(tuple(map(int, palette[k]))) for k in range(256)]
        if colours and all(table[k] is not None for k in used):
            return np.array([value or 0 for value in table], np.uint8)[indices]
        return indices
    if kind == _GREY:
        values = np.array(image)
        if depth == 8 or (depth == 16 and values.max(initial=0) <= IGNORE):
            return values.astype(np.uint8)
        raise SspError(f"{path}: expected class ids from 0 to 255 in a grey PNG of 8 or 16 bits; save it so")
    rgb = np.array(image.convert("RGB"))
    if not colours and (rgb == rgb[..., :1]).all():  # a number in each channel
        return rgb[..., 0]
    if not colours:
        raise SspError(f"{path}: expected class ids, found colours; say what they mean with --dataset or --palette")
    codes = tuple((pack(*colour), value) for colour, value in colours.items())
    ids = code_table(codes, 24)[packed_colours(rgb[..., ::-1], path)]
    if (unknown := ids == UNKNOWN).any():
        y, x = np.argwhere(unknown)[0]
        raise SspError(
            f"{path}: colour {tuple(map(int, rgb[y, x]))} at x={x}, y={y} is no class's ({unknown.sum()} such pixels); "
            "give the palette that the maps were drawn with"
        )
    return ids


def read_truth(label: LabelFile, n_classes: int, classes: ClassSpec | None, size: Size) -> np.ndarray:
    """(H, W) uint8 class ids of a true label map in one of the forms that its data set may have.

    Args:
        size: (H, W) of its frame, which polygons are painted at.
    Raises: SspError naming the file and what is wrong.
    """
    if isinstance(classes, DatasetSpec):
        if label.picture:
            return coco.read(label.path, label.picture, classes, size)
        if label.path.suffix.lower() == ".json":
            return labelme.read(label.path, classes, size)
        if classes.label_ids or _in_colours(label.path):
            return read_label_image(label.path, classes)
    elif label.path.suffix.lower() == ".json":
        raise SspError(f"{label.path}: names of classes are needed to read it; give --dataset")
    return read_label_map(label.path, n_classes, colours_of(classes))


def _in_colours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_KIND + 1)
    return len(head) > _KIND and head[_KIND] not in (_GREY, _PALETTE)


def shown(size: tuple[int, ...]) -> str:
    """Height and width, as in errors."""
    return f"{size[0]}x{size[1]}"
