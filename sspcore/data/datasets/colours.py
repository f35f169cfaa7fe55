"""Label images in colours, and the layer of VDD that refines those of UAVid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sspcore.core.classes import Colour
from sspcore.core.errors import ReleaseError
from sspcore.data.datasets.spec import DatasetSpec

_NO_COLOUR = 254
VDD_ROOF, VDD_WATER = 5, 6  # grey ids of the VDD layer that refine building and clutter


def colours_to_ids(label_rgb: np.ndarray, spec: DatasetSpec, source: str) -> np.ndarray:
    """Class ids and IGNORE (H, W) uint8 of a label image (H, W, 3) uint8 RGB.

    Raises: ReleaseError naming `source`, the file, if a colour is not one of the data set's.
    """
    packed = (label_rgb[..., 0].astype(np.int32) << 16) | (label_rgb[..., 1].astype(np.int32) << 8) | label_rgb[..., 2]
    ids = _ids_of_colours(tuple(spec.label_colours.items()))[packed]
    unknown = ids == _NO_COLOUR
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        raise ReleaseError(
            f"{source}: colour {tuple(int(c) for c in label_rgb[y, x])} at x={x}, y={y} is not a label colour of "
            f"{spec.title} ({unknown.sum()} such pixels); use the release's lossless PNG labels"
        )
    return ids


@lru_cache(maxsize=2)
def _ids_of_colours(colours: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """Class id of each of the 2^24 colours: one look-up for a pixel is several times faster than a comparison for a class."""
    table = np.full(1 << 24, _NO_COLOUR, np.uint8)
    for (r, g, b), class_id in colours:
        table[(r << 16) | (g << 8) | b] = class_id
    return table


def merge_vdd(ids: np.ndarray, clutter: np.ndarray, vdd: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """UAVid ids refined by the VDD layer: roof where it says roof over building, water where it says water over clutter.

    Args:
        ids: (H, W) uint8 class ids.
        clutter: (H, W) bool, pixels labelled clutter in the colour image.
        vdd: (H, W) uint8 grey ids of the VDD layer.
        spec: UAVid, or a data set with its classes.
    Returns: (H, W) uint8, a new array.
    """
    merged = ids.copy()
    merged[(vdd == VDD_ROOF) & (ids == spec.id_of("building"))] = spec.id_of("roof")
    merged[(vdd == VDD_WATER) & clutter] = spec.id_of("water")
    return merged
