"""What the renderer can show, and how each release labels it (METHOD section 8)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.data.datasets import DatasetSpec


class Thing(IntEnum):
    """Meaning of a rendered pixel, finer than the classes of either data set."""

    VOID, ROAD, LOW_VEGETATION, TREE, PERSON, MOVING_CAR, STATIC_CAR, WATER = range(8)
    WALL, ROOF, SKY, FENCE, HILL, CHURCH, HAYSTACK, PAVING = range(8, 16)


# what each is in UAVid's label images, in UAVid's classes, in the VDD layer (0 other, 1 wall, 2 road, 3 vegetation, 4 vehicle,
# 5 roof, 6 water), and in RuralScapes; None: clutter, unlabelled
_MEANINGS: dict[Thing, tuple[str | None, str | None, int, str | None]] = {
    Thing.VOID: (None, None, 0, None),
    Thing.ROAD: ("road", "road", 2, "road"),
    Thing.LOW_VEGETATION: ("low vegetation", "vegetation", 3, "land"),
    Thing.TREE: ("tree", "tree", 3, "forest"),
    Thing.PERSON: ("human", "person", 0, "person"),
    Thing.MOVING_CAR: ("moving car", "vehicle", 4, "car"),
    Thing.STATIC_CAR: ("static car", "vehicle", 4, "car"),
    Thing.WATER: (None, "water", 6, "water"),
    Thing.WALL: ("building", "building", 1, "residential"),
    Thing.ROOF: ("building", "roof", 5, "residential"),
    Thing.SKY: (None, None, 0, "sky"),
    Thing.FENCE: (None, None, 0, "fence"),
    Thing.HILL: (None, None, 0, "hill"),
    Thing.CHURCH: (None, None, 0, "church"),
    Thing.HAYSTACK: (None, None, 0, "haystack"),
    Thing.PAVING: (None, None, 0, "land"),
}


def colour_table(spec: DatasetSpec) -> np.ndarray:
    """(n things, 3) uint8 RGB: label colour of each thing in the release."""
    column = 0 if spec.name == "uavid" else 3
    return np.array([spec.labels.get(_MEANINGS[thing][column], (0, 0, 0)) for thing in Thing], np.uint8)


def class_table(spec: DatasetSpec) -> np.ndarray:
    """(n things,) uint8: class id of each thing, IGNORE where the data set has no class for it."""
    names = [_MEANINGS[thing][1 if spec.name == "uavid" else 3] for thing in Thing]
    return np.array([IGNORE if name is None else spec.id_of(name) for name in names], np.uint8)


def vdd_table() -> np.ndarray:
    """(n things,) uint8: grey id of each thing in the VDD layer."""
    return np.array([_MEANINGS[thing][2] for thing in Thing], np.uint8)
