"""A street of a town, in the manner of UAVid: lots on both sides, crossings, ponds, canals, traffic, people."""

from __future__ import annotations

import numpy as np

from sspcore.synthetic import solids
from sspcore.synthetic.builder import Builder, Mover
from sspcore.synthetic.ground import PERIOD, GroundCanvas, Material
from sspcore.synthetic.things import Thing

STREET_Y = 82.0
_LOTS = 12
_HALF_ROAD, _SIDEWALK = 3.7, 1.9


def _lots(b: Builder, rng: np.random.Generator, canvas: GroundCanvas, side: int, tint: np.ndarray) -> None:
    kerb = _HALF_ROAD + _SIDEWALK
    pitch = PERIOD / _LOTS
    # lots are shuffled in threes, so that every view holds several kinds
    triples = [
        ("house", "pond", "flat"), ("flat", "house", "parking"), ("pond", "flat", "house"), ("house", "canal", "parking"),
    ]
    rng.shuffle(triples)
    kinds = [kind for triple in triples for kind in rng.permutation(triple)]
    for i, kind in enumerate(kinds):
        x = (i + 0.5) * pitch

        def at(depth: float) -> float:
            return STREET_Y + side * (kerb + depth)

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
    y = STREET_Y
    canvas.band((0, y), (PERIOD, y), 2 * (_HALF_ROAD + _SIDEWALK), Material.PAVING)
    canvas.band((0, y), (PERIOD, y), 2 * _HALF_ROAD, Material.ASPHALT)
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
            solids.tree(b, rng, x, y + rng.choice([-1, 1]) * (_HALF_ROAD + _SIDEWALK - 0.3), rng.uniform(3.2, 5), tint)


def _traffic(b: Builder, rng: np.random.Generator) -> None:
    for lane in (-1, 1):
        solids.lane(b, rng, lane, STREET_Y + lane * 1.85, np.arange(0, PERIOD - 7, 14.5), (3.5, 7), 2.5)
    for x in np.arange(3, PERIOD, 13):
        if rng.random() < 0.5:
            solids.car(b, rng, x, STREET_Y + rng.choice([-1, 1]) * 6.8, rng.choice([0, np.pi]) + rng.normal(0, 0.04), None)


def _people(b: Builder, rng: np.random.Generator) -> None:
    solids.groups(b, rng, 44, STREET_Y, (4.0, 6.2), 1.2)  # on the sidewalks
    for _ in range(24):  # people crossing the street
        mover = Mover((rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.5)), 9, rng.uniform(0, 18))
        solids.person(b, rng, rng.uniform(0, PERIOD), STREET_Y - 4.6, mover)
    for _ in range(26):
        solids.person(b, rng, rng.uniform(0, PERIOD), STREET_Y + rng.choice([-1, 1]) * rng.uniform(6.5, 14), None)


def build_urban(rng: np.random.Generator, sun: np.ndarray) -> tuple[Builder, GroundCanvas]:
    """A random town."""
    b = Builder(sun)
    canvas = GroundCanvas(rng, Material.GRASS)
    tint = np.array([0.33, 0.41, 0.21]) * rng.uniform(0.85, 1.15, 3)
    canvas.scatter(rng, 0.4, Material.MEADOW, (Material.GRASS,))
    canvas.scatter(rng, 0.12, Material.SOIL, (Material.GRASS, Material.MEADOW))
    for side in (-1, 1):
        _lots(b, rng, canvas, side, tint)
        canvas.band((0, STREET_Y + side * 50), (PERIOD, STREET_Y + side * 50), 6, Material.ASPHALT)
    _street(b, rng, canvas, tint)
    _traffic(b, rng)
    _people(b, rng)
    return b, canvas
