"""The layer of VDD, which refines the labels of UAVid."""

from __future__ import annotations

import numpy as np

from sspcore.data.datasets.spec import DatasetSpec

VDD_ROOF, VDD_WATER = 5, 6  # grey ids of the VDD layer that refine building and clutter


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
