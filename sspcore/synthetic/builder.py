"""Collects the solids of a world: planar faces and upright ellipsoids, what they mean, and the shadows they cast on the ground.

Every solid belongs to an object; objects that move have a mover, which displaces them rigidly (no rotation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.data.datasets import DatasetSpec

Colour = Sequence[float] | np.ndarray


class Thing(IntEnum):
    """Meaning of a rendered pixel, finer than the classes of either data set."""

    VOID, ROAD, LOW_VEGETATION, TREE, PERSON, MOVING_CAR, STATIC_CAR, WATER = range(8)
    WALL, ROOF, SKY, FENCE, HILL, CHURCH, HAYSTACK, PAVING = range(8, 16)


class Pattern(IntEnum):
    """Surface pattern of a face or an ellipsoid."""

    PLAIN, WINDOWS, TILES, BITUMEN, PLANKS, CAR_SIDE, FOLIAGE, TURF, STRAW = range(9)


class Layer(IntEnum):
    """Painter's order is exact within a layer of things of like size; layers are merged by depth."""

    TERRAIN, BUILDING, SMALL = range(3)


_LAYERS = {Thing.HILL: Layer.TERRAIN, Thing.WALL: Layer.BUILDING, Thing.ROOF: Layer.BUILDING, Thing.CHURCH: Layer.BUILDING}


class Surface(NamedTuple):
    """What a face or an ellipsoid looks like and means: colour (3,) in 0..1."""

    colour: Colour
    thing: Thing
    pattern: Pattern = Pattern.PLAIN

    @property
    def layer(self) -> Layer:
        return _LAYERS.get(self.thing, Layer.SMALL)


class Primitive(NamedTuple):
    """A face or an ellipsoid, the object that it belongs to, and its place in the painter's order within the object.

    shape: (4, 3) corners of a face, or (2, 3) centre and radii of an ellipsoid.
    """

    shape: np.ndarray
    surface: Surface
    object_id: int
    order: int


@dataclass(frozen=True)
class Mover:
    """Position offset over time: straight on, turning back after `span` metres, or round the world if span is 0."""

    velocity: tuple[float, float]
    span: float
    phase: float

    def offset(self, time: float) -> np.ndarray:
        """(3,) displacement at `time` from where the object was built."""
        vx, vy = self.velocity
        if self.span == 0:
            return np.array([vx * time, vy * time, 0.0])
        speed = float(np.hypot(vx, vy))
        way = (self.phase + speed * time) % (2 * self.span)
        distance = way if way < self.span else 2 * self.span - way
        return np.array([vx / speed * distance, vy / speed * distance, 0.0])


@dataclass
class Builder:
    """A world under construction.

    Attributes:
        sun: (3,) unit vector towards the sun.
        faces, balls: the primitives.
        shadows: ground polygons, each with its object's mover (-1: static).
        movers: the movers; anchors: ground position of each object, for sorting.
        object_movers: index of each object's mover, -1 if it stands still.
    """

    sun: np.ndarray
    faces: list[Primitive] = field(default_factory=list)
    balls: list[Primitive] = field(default_factory=list)
    shadows: list[tuple[np.ndarray, int]] = field(default_factory=list)
    movers: list[Mover] = field(default_factory=list)
    anchors: list[np.ndarray] = field(default_factory=list)
    object_movers: list[int] = field(default_factory=list)

    def new_object(self, x: float, y: float, mover: Mover | None = None) -> None:
        """Start an object anchored at (x, y); the solids that follow belong to it."""
        self.anchors.append(np.array([x, y]))
        if mover is not None:
            self.movers.append(mover)
        self.object_movers.append(len(self.movers) - 1 if mover is not None else -1)

    def face(self, corners: Sequence[np.ndarray], surface: Surface, order: int = 0) -> None:
        """A planar face, corners (4, 3) counter-clockwise seen from outside (a triangle repeats its third corner)."""
        self.faces.append(Primitive(np.stack(corners), surface, len(self.anchors) - 1, order))

    def ball(
        self, centre: Sequence[float], radius: float, half_height: float, surface: Surface, order: int = 0, shadow: bool = True
    ) -> None:
        """An upright ellipsoid of revolution."""
        shape = np.array([centre, (radius, radius, half_height)], np.float64)
        self.balls.append(Primitive(shape, surface, len(self.anchors) - 1, order))
        if shadow:
            angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            ring = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
            reach = np.array([0, 0, 0.6 * half_height])
            self._shadow(np.concatenate([self._cast(shape[0] - reach) + ring, self._cast(shape[0] + reach) + ring]))

    def prism(
        self, footprint: np.ndarray, bottom: float, top: float, walls: Surface, order: int = 0, lid: Surface | None = None,
        taper: float = 1.0,
    ) -> None:
        """Walls over a footprint (n, 2), counter-clockwise, with a lid; `taper` shrinks the top."""
        middle = footprint.mean(0)
        base = np.column_stack([footprint, np.full(len(footprint), bottom)])
        crown = np.column_stack([middle + (footprint - middle) * taper, np.full(len(footprint), top)])
        for a, b, c, d in zip(base, np.roll(base, -1, 0), np.roll(crown, -1, 0), crown, strict=True):
            self.face((a, b, c, d), walls, order)
        if lid is not None:
            self.face(crown, lid, order + 1)
        self._shadow([*footprint, *map(self._cast, crown)])

    def cone(self, footprint: np.ndarray, bottom: float, top: float, surface: Surface, order: int) -> None:
        """A pyramid over a square footprint (4, 2)."""
        apex = np.array([*footprint.mean(0), top])
        base = np.column_stack([footprint, np.full(4, bottom)])
        for a, b in zip(base, np.roll(base, -1, 0), strict=True):
            self.face((a, b, apex, apex), surface, order)
        self._shadow([*map(self._cast, base), self._cast(apex)])

    def gable(
        self, footprint: np.ndarray, eaves: float, ridge: float, roof: Surface, wall: Surface, order: int, hip: float = 0.0
    ) -> None:
        """A pitched roof; the ridge runs along the footprint's first edge, shortened by `hip` metres at both ends."""
        a, b, c, d = (np.array([*p, eaves]) for p in footprint)
        along = (b - a) / np.linalg.norm(b - a)
        across = (d - a) / np.linalg.norm(d - a)
        start, end = (a + d) / 2 + along * hip, (b + c) / 2 - along * hip
        start[2] = end[2] = ridge
        for corners in ((b, c, end, end), (d, a, start, start)):
            self.face(corners, roof if hip else wall, order if hip else 0)
        overhang = 0.0 if hip else 0.35
        slope = (ridge - eaves) / (np.linalg.norm(d - a) / 2)
        drop = np.array([0, 0, slope * overhang])
        near, far, ends = -across * overhang - drop, across * overhang - drop, along * overhang
        self.face((a - ends + near, b + ends + near, end + ends, start - ends), roof, order)
        self.face((c + ends + far, d - ends + far, start - ends, end + ends), roof, order)
        self._shadow([*map(self._cast, (a, b, c, d, start, end))])

    def _cast(self, point: np.ndarray) -> np.ndarray:
        """The shadow of a point on the ground, (2,)."""
        return point[:2] - self.sun[:2] / self.sun[2] * point[2]

    def _shadow(self, points: Sequence[np.ndarray]) -> None:
        hull = cv2.convexHull(np.asarray(points, np.float32))[:, 0]
        self.shadows.append((hull, self.object_movers[-1]))


def rectangle(x: float, y: float, length: float, width: float, angle: float = 0.0) -> np.ndarray:
    """Corners (4, 2) of a rectangle around (x, y), counter-clockwise."""
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


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


def label_tables(spec: DatasetSpec) -> tuple[np.ndarray, ...]:
    """Of each thing, uint8: colour in the release (n, 3) RGB, class id or IGNORE (n,), grey id in the VDD layer (n,)."""
    label, name = (0, 1) if spec.name == "uavid" else (3, 3)
    meanings = [_MEANINGS[thing] for thing in Thing]
    colours = [spec.labels.get(each[label], (0, 0, 0)) for each in meanings]
    classes = [IGNORE if each[name] is None else spec.id_of(each[name]) for each in meanings]
    return tuple(np.array(values, np.uint8) for values in (colours, classes, [each[2] for each in meanings]))
