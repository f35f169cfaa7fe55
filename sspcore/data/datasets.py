"""What a data set is: classes, colours, split and layout of UAVid and RuralScapes (paper, section 4; METHOD section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sspcore.core.classes import IGNORE, ClassSpec, Colour
from sspcore.core.errors import ReleaseError

_NO_COLOUR = 254


@dataclass(frozen=True)
class DatasetSpec(ClassSpec):
    """A data set as training and evaluation see it.

    Attributes:
        label_colours: colour in the release's label images -> class id or IGNORE.
        validation: names of the published validation sequences.
    """

    label_colours: dict[Colour, int]
    validation: tuple[str, ...]


# Label colours of UAVid release v1.5. Roof and water have no colour there: they come from the VDD layer.
UAVID_COLOURS: dict[str, Colour] = {
    "clutter": (0, 0, 0),
    "building": (128, 0, 0),
    "road": (128, 64, 128),
    "tree": (0, 128, 0),
    "low vegetation": (128, 128, 0),
    "moving car": (64, 0, 128),
    "static car": (192, 0, 192),
    "human": (64, 64, 0),
}
VDD_ROOF, VDD_WATER = 5, 6  # grey ids of the VDD layer that refine building and clutter

_UAVID_CLASSES = ("road", "vegetation", "tree", "person", "vehicle", "water", "building", "roof")

UAVID = DatasetSpec(
    name="uavid",
    title="UAVid",
    classes=_UAVID_CLASSES,
    palette=(
        (128, 64, 128), (148, 148, 40), (0, 110, 30), (235, 60, 60),
        (150, 0, 200), (40, 110, 220), (128, 0, 0), (225, 130, 60),
    ),
    label_colours={
        UAVID_COLOURS["clutter"]: IGNORE,
        UAVID_COLOURS["building"]: _UAVID_CLASSES.index("building"),
        UAVID_COLOURS["road"]: _UAVID_CLASSES.index("road"),
        UAVID_COLOURS["tree"]: _UAVID_CLASSES.index("tree"),
        UAVID_COLOURS["low vegetation"]: _UAVID_CLASSES.index("vegetation"),
        UAVID_COLOURS["moving car"]: _UAVID_CLASSES.index("vehicle"),
        UAVID_COLOURS["static car"]: _UAVID_CLASSES.index("vehicle"),
        UAVID_COLOURS["human"]: _UAVID_CLASSES.index("person"),
    },
    moving=("person", "vehicle"),
    validation=("seq16", "seq17", "seq18", "seq19", "seq20", "seq36", "seq37"),
)

RURALSCAPES_COLOURS: dict[str, Colour] = {
    "residential": (255, 255, 0),
    "land": (0, 255, 0),
    "forest": (0, 127, 0),
    "sky": (0, 255, 255),
    "fence": (127, 127, 0),
    "road": (255, 255, 255),
    "hill": (127, 127, 63),
    "church": (255, 0, 255),
    "car": (127, 127, 127),
    "person": (255, 0, 0),
    "haystack": (255, 127, 0),
    "water": (0, 0, 255),
}

RURALSCAPES = DatasetSpec(
    name="ruralscapes",
    title="RuralScapes",
    classes=tuple(RURALSCAPES_COLOURS),
    palette=(
        (225, 205, 60), (120, 200, 90), (0, 110, 30), (140, 210, 235), (120, 100, 20), (200, 200, 200),
        (140, 130, 90), (90, 20, 150), (90, 90, 105), (235, 60, 60), (240, 140, 40), (40, 80, 220),
    ),
    label_colours={(0, 0, 0): IGNORE} | {colour: i for i, colour in enumerate(RURALSCAPES_COLOURS.values())},
    moving=("car", "person"),
    validation=("DJI_0051", "DJI_0056", "DJI_0061", "DJI_0086", "DJI_0088", "DJI_0089", "DJI_0116"),
)

SPECS: dict[str, DatasetSpec] = {spec.name: spec for spec in (UAVID, RURALSCAPES)}


def colours_to_ids(label_rgb: np.ndarray, spec: DatasetSpec, source: str) -> np.ndarray:
    """Class ids of a colour label image.

    Args:
        label_rgb: (H, W, 3) uint8, RGB.
        spec: the data set.
        source: name of the file, for the error.
    Returns: (H, W) uint8 with class ids and IGNORE.
    Raises: ReleaseError if a colour is not one of the data set's.
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
    """Class id of each of the 2^24 colours: one look-up a pixel, several times faster than a comparison a class."""
    table = np.full(1 << 24, _NO_COLOUR, np.uint8)
    for (r, g, b), class_id in colours:
        table[(r << 16) | (g << 8) | b] = class_id
    return table


def merge_vdd(ids: np.ndarray, clutter: np.ndarray, vdd: np.ndarray) -> np.ndarray:
    """UAVid ids refined by the VDD layer: roof where it says roof over building, water where it says water over clutter.

    Args:
        ids: (H, W) uint8 UAVid class ids.
        clutter: (H, W) bool, pixels labelled clutter in the colour image.
        vdd: (H, W) uint8 grey ids of the VDD layer.
    Returns: (H, W) uint8, a new array.
    """
    merged = ids.copy()
    merged[(vdd == VDD_ROOF) & (ids == UAVID.id_of("building"))] = UAVID.id_of("roof")
    merged[(vdd == VDD_WATER) & clutter] = UAVID.id_of("water")
    return merged
