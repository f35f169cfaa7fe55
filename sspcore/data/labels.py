"""Labels of a frame as class ids, in whatever form they lie beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from sspcore.core.errors import ReleaseError
from sspcore.core.images import read_grey, read_rgb
from sspcore.core.types import Size
from sspcore.data.annotations import coco, labelme, read_label_image
from sspcore.data.datasets import DatasetSpec, merge_vdd
from sspcore.data.footage import Sequence

_UPRIGHT = {  # an image as it is stored, turned as EXIF's orientation says; those that change places of height and width
    5: lambda ids: ids.T, 6: lambda ids: np.rot90(ids, -1), 7: lambda ids: np.rot90(ids, 2).T, 8: lambda ids: np.rot90(ids),
}


def read_label(sequence: Sequence, number: int, spec: DatasetSpec, frame_size: Size) -> np.ndarray:
    """(H, W) uint8 class ids of one labelled frame, VDD layer merged where the sequence has one.

    A picture that its file says to turn is shown upright. Labels that were drawn on the picture as it is stored are turned too.

    Raises: ReleaseError if the label has another size than the frame, something that the data set does not know, or cannot be
        read.
    """
    path, size = sequence.labels[number], tuple(frame_size)
    turn = None
    if number in sequence.frames and size[0] != size[1] and _is_drawn_across(sequence, number, size):
        turn = _UPRIGHT.get(orientation(sequence.frames[number]))
    drawn_size = size[::-1] if turn else size
    if number in sequence.entries:
        ids = coco.read(path, sequence.entries[number], spec, drawn_size)
    elif path.suffix.lower() == ".json":
        ids = labelme.read(path, spec, drawn_size)
    else:
        ids = read_label_image(path, spec)
    if ids.shape != drawn_size:
        picture, advice = "video frame", "they must be from the same release"
        if spec.root:
            picture, advice = "still" if sequence.still else "frame", "export the labels at the size of the pictures"
        raise ReleaseError(
            f"{path}: label is {ids.shape[1]}x{ids.shape[0]} but the {picture} is {size[1]}x{size[0]}; {advice}"
        )
    if number in sequence.vdd:
        vdd = read_grey(sequence.vdd[number])
        if vdd.shape != ids.shape:
            raise ReleaseError(f"{sequence.vdd[number]}: VDD label is {vdd.shape}, the UAVid label {ids.shape}")
        ids = merge_vdd(ids, (read_rgb(path) == spec.labels["clutter"]).all(-1), vdd, spec)
    return np.ascontiguousarray(turn(ids)) if turn else ids


def _is_drawn_across(sequence: Sequence, number: int, size: Size) -> bool:
    """Whether the label of an upright picture lies on its side, or the other way round."""
    path = sequence.labels[number]
    if number in sequence.entries:
        picture = coco.load(path).images[sequence.entries[number]]
        drawn = (picture.height, picture.width)
    elif path.suffix.lower() == ".json":
        labelled = labelme.load(path)
        drawn = (labelled.imageHeight or size[0], labelled.imageWidth or size[1])
    else:
        try:
            with Image.open(path) as image:
                drawn = image.size[::-1]
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return False  # which is said where it is read
    return (drawn[0] < drawn[1]) != (size[0] < size[1])


def orientation(path: Path) -> int:
    """How the file says that the picture is to be turned, as EXIF has it; 1: not at all."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1
