"""What stands where: a street of a town in the manner of UAVid, and a village road through fields in that of RuralScapes."""

from __future__ import annotations

import numpy as np

from sspcore.synthetic import solids
from sspcore.synthetic.builder import Builder, Mover, Thing
from sspcore.synthetic.ground import PERIOD, GroundCanvas, Material

ROAD_Y = 82.0  # middle of the road, which runs along x
_STREET, _SIDEWALK, _VILLAGE_ROAD = 3.7, 1.9, 2.9  # half the width of a road; width of a sidewalk


def _town_lots(b: Builder, rng: np.random.Generator, canvas: GroundCanvas, side: int, tint: np.ndarray) -> None:
    kerb = _STREET + _SIDEWALK
    pitch = PERIOD / 12
    # lots are shuffled in threes, so that every view holds several kinds
    triples = [
        ("house", "pond", "flat"), ("flat", "house", "parking"), ("pond", "flat", "house"), ("house", "canal", "parking"),
    ]
    rng.shuffle(triples)
    kinds = [kind for triple in triples for kind in rng.permutation(triple)]
    for i, kind in enumerate(kinds):
        x = (i + 0.5) * pitch

        def at(depth: float) -> float:
            return ROAD_Y + side * (kerb + depth)

        if kind in ("house", "flat"):
            depth = rng.uniform(7, 9)
            set_back = rng.uniform(1.2, 3)
            size = (rng.uniform(8.5, 11.5), depth)
            canvas.band((x + 3, at(0)), (x + 3, at(set_back + 2)), 2.2, Material.PAVING)
            solids.house(b, rng, x, at(set_back + depth / 2), *size, rng.normal(0, 0.03), kind == "flat")
            for _ in range(rng.integers(1, 4)):
                solids.bush(b, rng, x + rng.uniform(-6, 6), at(rng.uniform(0.5, 1.2)), tint, Thing.LOW_VEGETATION)
            solids.tree(b, rng, x - 6.6, at(rng.uniform(2, 8)), rng.uniform(4, 6.5), tint)
            back = at(set_back + depth + 3)
            solids.fence(b, (x - 6.8, back), (x + 6.8, back), 1.4, np.array([0.46, 0.40, 0.33]))
        elif kind == "pond":
            canvas.pond(rng, x, at(6), 11, 8.5)
            for _ in range(5):
                solids.tree(b, rng, x + rng.uniform(-7, 7), at(rng.uniform(11, 15)), rng.uniform(4, 7), tint)
            solids.bush(b, rng, x - 6, at(1.2), tint, Thing.LOW_VEGETATION)
        elif kind == "canal":
            canvas.band((x, at(0)), (x, at(60)), 9.0, Material.BANK)
            canvas.band((x, at(0)), (x, at(60)), 7.0, Material.WATER)
            for depth in (2, 6, 11, 17):
                solids.tree(b, rng, x + rng.choice([-5.8, 5.8]), at(depth), rng.uniform(4, 6), tint)
        else:
            canvas.polygon(np.array([[x - 6, at(0)], [x + 6, at(0)], [x + 6, at(12)], [x - 6, at(12)]]), Material.ASPHALT)
            for slot in range(5):
                if rng.random() < 0.75:
                    solids.car(b, rng, x - 5 + slot * 2.5, at(8.7), np.pi / 2, None)
                canvas.band((x - 6.2 + slot * 2.5, at(6)), (x - 6.2 + slot * 2.5, at(11)), 0.12, Material.MARKING)
        for _ in range(4):  # the back rows
            back = at(rng.uniform(19, 45))
            if rng.random() < 0.3:
                solids.house(b, rng, x + rng.uniform(-2, 2), back, 9, 7, rng.uniform(-0.3, 0.3), rng.random() < 0.5)
            else:
                solids.tree(b, rng, x + rng.uniform(-7, 7), back, rng.uniform(4, 8), tint)


def _street(b: Builder, rng: np.random.Generator, canvas: GroundCanvas, tint: np.ndarray) -> None:
    y = ROAD_Y
    canvas.band((0, y), (PERIOD, y), 2 * (_STREET + _SIDEWALK), Material.PAVING)
    canvas.band((0, y), (PERIOD, y), 2 * _STREET, Material.ASPHALT)
    for x in np.arange(0, PERIOD, PERIOD / 27):
        canvas.band((x, y), (x + 2.8, y), 0.16, Material.MARKING)
    for side in (-1, 1):
        canvas.band((0, y + side * 3.5), (PERIOD, y + side * 3.5), 0.14, Material.MARKING)
    canvas.scatter(rng, 0.14, Material.PATCH, (Material.ASPHALT,))
    for x in rng.uniform(0, PERIOD, 7):
        for stripe in np.arange(-3.2, 3.3, 0.9):
            canvas.band((x, y + stripe), (x + 2.6, y + stripe), 0.45, Material.MARKING)
    for x in np.arange(0, PERIOD, PERIOD / 11):
        if rng.random() < 0.6:
            solids.tree(b, rng, x, y + rng.choice([-1, 1]) * (_STREET + _SIDEWALK - 0.3), rng.uniform(3.2, 5), tint)


def _town_traffic(b: Builder, rng: np.random.Generator) -> None:
    for lane in (-1, 1):
        solids.lane(b, rng, lane, ROAD_Y + lane * 1.85, np.arange(0, PERIOD - 7, 14.5), (3.5, 7), 2.5)
    for x in np.arange(3, PERIOD, 13):
        if rng.random() < 0.5:
            solids.car(b, rng, x, ROAD_Y + rng.choice([-1, 1]) * 6.8, rng.choice([0, np.pi]) + rng.normal(0, 0.04), None)
    solids.groups(b, rng, 44, ROAD_Y, (4.0, 6.2), 1.2)  # on the sidewalks
    for _ in range(24):  # people crossing the street
        mover = Mover((rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.5)), 9, rng.uniform(0, 18))
        solids.person(b, rng, rng.uniform(0, PERIOD), ROAD_Y - 4.6, mover)
    for _ in range(26):
        solids.person(b, rng, rng.uniform(0, PERIOD), ROAD_Y + rng.choice([-1, 1]) * rng.uniform(6.5, 14), None)


def build_urban(rng: np.random.Generator, sun: np.ndarray) -> tuple[Builder, GroundCanvas]:
    """A random town."""
    b = Builder(sun)
    canvas = GroundCanvas(rng, Material.GRASS)
    tint = np.array([0.33, 0.41, 0.21]) * rng.uniform(0.85, 1.15, 3)
    canvas.scatter(rng, 0.4, Material.MEADOW, (Material.GRASS,))
    canvas.scatter(rng, 0.12, Material.SOIL, (Material.GRASS, Material.MEADOW))
    for side in (-1, 1):
        _town_lots(b, rng, canvas, side, tint)
        canvas.band((0, ROAD_Y + side * 50), (PERIOD, ROAD_Y + side * 50), 6, Material.ASPHALT)
    _street(b, rng, canvas, tint)
    _town_traffic(b, rng)
    return b, canvas


def _village_lots(b: Builder, rng: np.random.Generator, canvas: GroundCanvas, side: int, tint: np.ndarray) -> None:
    kinds = [
        *rng.permutation(["house", "hay", "house", "wood", "pond"]),
        *rng.permutation(["house", "hay", "church", "wood", "mound"]),
    ]
    pitch = PERIOD / len(kinds)
    boards = np.array([0.47, 0.41, 0.34]) * rng.uniform(0.85, 1.2)
    for i, kind in enumerate(kinds):
        x = (i + 0.5) * pitch

        def at(depth: float) -> float:
            return ROAD_Y + side * (_VILLAGE_ROAD + depth)

        if rng.random() < 0.65 or kind == "house":
            solids.fence(b, (x - pitch / 2 + 1, at(3.2)), (x + pitch / 2 - 1, at(3.2)), rng.uniform(1.1, 1.7), boards)
        if rng.random() < 0.4:
            solids.fence(b, (x + pitch / 2, at(3.2)), (x + pitch / 2, at(17)), rng.uniform(1.1, 1.7), boards)
        if kind == "house":
            canvas.polygon(np.array([[x - 5, at(0)], [x - 2, at(0)], [x - 2, at(9)], [x - 5, at(9)]]), Material.PAVING)
            solids.house(b, rng, x + 1.5, at(10), rng.uniform(8, 11), rng.uniform(6, 8), rng.normal(0, 0.15), False)
            solids.house(b, rng, x - 2, at(24), 6, 5, rng.normal(0, 0.2), False)
            if rng.random() < 0.6:
                solids.car(b, rng, x - 3.5, at(6.0), np.pi / 2, None)
            solids.tree(b, rng, x - 6, at(15), rng.uniform(3.5, 6), tint)
            solids.haystack(b, rng, x + 6.5, at(19))
        elif kind == "hay":
            for _ in range(7):
                solids.haystack(b, rng, x + rng.uniform(-7, 7), at(rng.uniform(5, 22)))
        elif kind == "church":
            solids.church(b, rng, x - 3, at(17), rng.choice([0, np.pi]) + rng.normal(0, 0.2))
            for _ in range(3):
                solids.tree(b, rng, x + rng.uniform(-8, 8), at(rng.uniform(5, 8)), rng.uniform(3, 5), tint)
        elif kind == "wood":
            for _ in range(16):
                solids.tree(b, rng, x + rng.uniform(-8, 8), at(rng.uniform(6, 30)), rng.uniform(4, 8), tint)
        elif kind == "pond":
            canvas.pond(rng, x, at(13), 14, 15)
            solids.bush(b, rng, x + 7, at(9), tint, Thing.TREE)
        else:
            solids.hill(b, rng, x, at(19), rng.uniform(9, 12), rng.uniform(2.5, 4), np.array([0.45, 0.43, 0.27]))
            for _ in range(3):
                solids.bush(b, rng, x + rng.uniform(-8, 8), at(5), tint, Thing.TREE)


def _background(b: Builder, rng: np.random.Generator, tint: np.ndarray) -> None:
    turf = np.array([0.42, 0.43, 0.26]) * rng.uniform(0.88, 1.12, 3)
    for side in (-1, 1):
        for x in np.arange(10, PERIOD, 55):
            y = ROAD_Y + side * rng.uniform(52, 70)
            solids.hill(b, rng, x + rng.uniform(-12, 12), y, rng.uniform(24, 34), rng.uniform(6, 12), turf)
        for _ in range(45):
            solids.tree(b, rng, rng.uniform(0, PERIOD), ROAD_Y + side * rng.uniform(30, 48), rng.uniform(4, 8), tint)


def _village_traffic(b: Builder, rng: np.random.Generator) -> None:
    for lane in (-1, 1):
        solids.lane(b, rng, lane, ROAD_Y + lane * 1.45, np.arange(0, PERIOD - 8, 15.5), (4, 8), 3, density=0.85)
    for x in np.arange(5, PERIOD, 16):
        if rng.random() < 0.5:
            solids.car(b, rng, x, ROAD_Y + rng.choice([-1, 1]) * 4.3, rng.normal(0, 0.06), None)
    solids.groups(b, rng, 30, ROAD_Y, (3.1, 5.8), 1.5)
    for _ in range(16):
        mover = Mover((rng.uniform(-0.3, 0.3), rng.uniform(0.7, 1.4)), 8, rng.uniform(0, 16))
        solids.person(b, rng, rng.uniform(0, PERIOD), ROAD_Y - 4, mover)
    for _ in range(30):
        mover = Mover((rng.uniform(-1, 1), rng.uniform(0.2, 0.8)), 4, rng.uniform(0, 8))
        solids.person(b, rng, rng.uniform(0, PERIOD), ROAD_Y + rng.choice([-1, 1]) * rng.uniform(7, 14), mover)


def build_rural(rng: np.random.Generator, sun: np.ndarray) -> tuple[Builder, GroundCanvas]:
    """A random village."""
    b = Builder(sun)
    canvas = GroundCanvas(rng, Material.GRASS)
    tint = np.array([0.31, 0.37, 0.20]) * rng.uniform(0.85, 1.15, 3)
    canvas.scatter(rng, 0.4, Material.MEADOW, (Material.GRASS,))
    for _ in range(16):
        x, y = rng.uniform(0, PERIOD), ROAD_Y + rng.choice([-1, 1]) * rng.uniform(24, 70)
        size = rng.uniform(14, 36, 2)
        corners = np.array([[0, 0], [size[0], rng.uniform(-4, 4)], [size[0], size[1]], [0, size[1]]]) + [x, y]
        canvas.polygon(corners, rng.choice([Material.CROP, Material.SOIL, Material.MEADOW]))
    canvas.scatter(rng, 0.1, Material.SOIL, (Material.GRASS, Material.MEADOW))
    for side in (-1, 1):
        river = ROAD_Y + side * rng.uniform(34, 40)
        phase_source = np.random.default_rng(rng.integers(2**32))
        canvas.winding(phase_source, river, rng.uniform(6, 9), 2.5, Material.WATER)
    for x in (rng.uniform(20, 50), rng.uniform(80, 140)):
        canvas.winding(rng, x, rng.uniform(4, 6), 1.2, Material.WATER, along_y=True)
    canvas.winding(rng, ROAD_Y - 21, 2.4, 1.0, Material.TRACK)
    for side in (-1, 1):
        _village_lots(b, rng, canvas, side, tint)
    canvas.band((0, ROAD_Y), (PERIOD, ROAD_Y), 2 * _VILLAGE_ROAD + 1.4, Material.TRACK)
    road = rng.choice([Material.ASPHALT, Material.ASPHALT, Material.TRACK])
    canvas.band((0, ROAD_Y), (PERIOD, ROAD_Y), 2 * _VILLAGE_ROAD, road)
    canvas.scatter(rng, 0.2, Material.PATCH, (Material.ASPHALT,))
    if road == Material.ASPHALT:
        for x in np.arange(0, PERIOD, PERIOD / 27):
            canvas.band((x, ROAD_Y), (x + 2.5, ROAD_Y), 0.14, Material.MARKING)
    _background(b, rng, tint)
    _village_traffic(b, rng)
    return b, canvas
