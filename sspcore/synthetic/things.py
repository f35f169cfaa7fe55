"""What the renderer can show, and how each release labels it (METHOD section 8)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.data.datasets import RURALSCAPES_COLOURS, UAVID, UAVID_COLOURS, DatasetSpec


class Thing(IntEnum):
    """Meaning of a rendered pixel, finer than the classes of either data set."""

    VOID = 0
    ROAD = 1
    LOW_VEGETATION = 2
    TREE = 3
    PERSON = 4
    MOVING_CAR = 5
    STATIC_CAR = 6
    WATER = 7
    WALL = 8
    ROOF = 9
    SKY = 10
    FENCE = 11
    HILL = 12
    CHURCH = 13
    HAYSTACK = 14
    PAVING = 15


# name in the release's colour labels, per thing; missing things are clutter / unlabelled
_UAVID_NAMES = {
    Thing.ROAD: "road",
    Thing.LOW_VEGETATION: "low vegetation",
    Thing.TREE: "tree",
    Thing.PERSON: "human",
    Thing.MOVING_CAR: "moving car",
    Thing.STATIC_CAR: "static car",
    Thing.WALL: "building",
    Thing.ROOF: "building",
}
_UAVID_CLASSES = {
    Thing.ROAD: "road",
    Thing.LOW_VEGETATION: "vegetation",
    Thing.TREE: "tree",
    Thing.PERSON: "person",
    Thing.MOVING_CAR: "vehicle",
    Thing.STATIC_CAR: "vehicle",
    Thing.WATER: "water",
    Thing.WALL: "building",
    Thing.ROOF: "roof",
}
_RURAL_NAMES = {
    Thing.ROAD: "road",
    Thing.LOW_VEGETATION: "land",
    Thing.PAVING: "land",
    Thing.TREE: "forest",
    Thing.PERSON: "person",
    Thing.MOVING_CAR: "car",
    Thing.STATIC_CAR: "car",
    Thing.WATER: "water",
    Thing.WALL: "residential",
    Thing.ROOF: "residential",
    Thing.SKY: "sky",
    Thing.FENCE: "fence",
    Thing.HILL: "hill",
    Thing.CHURCH: "church",
    Thing.HAYSTACK: "haystack",
}
# VDD ids: 0 other, 1 wall, 2 road, 3 vegetation, 4 vehicle, 5 roof, 6 water
_VDD_IDS = {
    Thing.WALL: 1,
    Thing.ROAD: 2,
    Thing.LOW_VEGETATION: 3,
    Thing.TREE: 3,
    Thing.MOVING_CAR: 4,
    Thing.STATIC_CAR: 4,
    Thing.ROOF: 5,
    Thing.WATER: 6,
}


def colour_table(spec: DatasetSpec) -> np.ndarray:
    """(n things, 3) uint8 RGB: label colour of each thing in the release."""
    names, colours = (_UAVID_NAMES, UAVID_COLOURS) if spec is UAVID else (_RURAL_NAMES, RURALSCAPES_COLOURS)
    table = np.zeros((len(Thing), 3), np.uint8)
    for thing, name in names.items():
        table[thing] = colours[name]
    return table


def class_table(spec: DatasetSpec) -> np.ndarray:
    """(n things,) uint8: class id of each thing, IGNORE where the data set has no class for it."""
    names = _UAVID_CLASSES if spec is UAVID else _RURAL_NAMES
    table = np.full(len(Thing), IGNORE, np.uint8)
    for thing, name in names.items():
        table[thing] = spec.id_of(name)
    return table


def vdd_table() -> np.ndarray:
    """(n things,) uint8: grey id of each thing in the VDD layer."""
    table = np.zeros(len(Thing), np.uint8)
    for thing, value in _VDD_IDS.items():
        table[thing] = value
    return table
