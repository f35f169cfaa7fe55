"""Labels of a frame as class ids, in whatever form they lie beside it."""

from __future__ import annotations

import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.core.images import read_grey, read_rgb
from sspcore.core.types import Size
from sspcore.data.annotations import coco, labelme, read_label_image
from sspcore.data.datasets import DatasetSpec, merge_vdd
from sspcore.data.footage import Sequence


def read_label(sequence: Sequence, number: int, spec: DatasetSpec, frame_size: Size) -> np.ndarray:
    """(H, W) uint8 class ids of one labelled frame, VDD layer merged where the sequence has one.

    Raises: ReleaseError if the label has another size than the frame, something that the data set does not know, or cannot be
        read.
    """
    path = sequence.labels[number]
    if number in sequence.entries:
        return coco.read(path, sequence.entries[number], spec, frame_size)
    if path.suffix.lower() == ".json":
        return labelme.read(path, spec, frame_size)
    ids = read_label_image(path, spec)
    if ids.shape != tuple(frame_size):
        raise ReleaseError(
            f"{path}: label is {ids.shape[1]}x{ids.shape[0]} but the {'still' if sequence.still else 'video frame'} is "
            f"{frame_size[1]}x{frame_size[0]}; they must be from the same release"
        )
    if number in sequence.vdd:
        vdd = read_grey(sequence.vdd[number])
        if vdd.shape != ids.shape:
            raise ReleaseError(f"{sequence.vdd[number]}: VDD label is {vdd.shape}, the UAVid label {ids.shape}")
        ids = merge_vdd(ids, (read_rgb(path) == spec.labels["clutter"]).all(-1), vdd, spec)
    return ids
