"""Collects the solids of a world: planar faces and upright ellipsoids, with the shadows they cast on the ground.

Every solid belongs to an object; objects that move have a mover, which displaces them rigidly (no rotation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import cv2
import numpy as np

from sspcore.synthetic.things import Thing

Colour = Sequence[float] | np.ndarray


class Pattern(IntEnum):
    """Surface pattern of a face or an ellipsoid."""

    PLAIN = 0
    WINDOWS = 1
    TILES = 2
    BITUMEN = 3
    PLANKS = 4
    CAR_SIDE = 5
    FOLIAGE = 6
    TURF = 7
    STRAW = 8


class Layer(IntEnum):
    """Painter's order is exact within a layer of things of like size; layers are merged by depth."""

    TERRAIN = 0
    BUILDING = 1
    SMALL = 2


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
        faces, balls: rows of the primitives' attributes, see `face` and `ball`.
        shadows: ground polygons, each with its object's mover (-1: static).
        movers: the movers; anchors: ground position of each object, for sorting.
    """

    sun: np.ndarray
    faces: list[tuple] = field(default_factory=list)
    balls: list[tuple] = field(default_factory=list)
    shadows: list[tuple[np.ndarray, int]] = field(default_factory=list)
    movers: list[Mover] = field(default_factory=list)
    anchors: list[np.ndarray] = field(default_factory=list)
    object_movers: list[int] = field(default_factory=list)

    def new_object(self, x: float, y: float, mover: Mover | None = None) -> int:
        """Start an object anchored at (x, y); the solids that follow belong to it."""
        self.anchors.append(np.array([x, y]))
        if mover is not None:
            self.movers.append(mover)
        self.object_movers.append(len(self.movers) - 1 if mover is not None else -1)
        return len(self.anchors) - 1

    @property
    def _object(self) -> int:
        return len(self.anchors) - 1

    def face(
        self, corners: np.ndarray, colour: Colour, thing: Thing, layer: Layer, order: int = 0, pattern: Pattern = Pattern.PLAIN
    ) -> None:
        """A planar face, corners (4, 3) counter-clockwise seen from outside (a triangle repeats its third corner)."""
        self.faces.append(
            (
                np.asarray(corners, np.float64),
                np.asarray(colour, np.float32),
                int(pattern),
                int(thing),
                self._object,
                int(layer),
                order,
            )
        )

    def ball(
        self,
        centre: Sequence[float],
        radius: float,
        half_height: float,
        colour: Colour,
        thing: Thing,
        layer: Layer,
        order: int = 0,
        pattern: Pattern = Pattern.PLAIN,
        shadow: bool = True,
    ) -> None:
        """An upright ellipsoid of revolution."""
        self.balls.append(
            (
                np.asarray(centre, np.float64),
                radius,
                half_height,
                np.asarray(colour, np.float32),
                int(pattern),
                int(thing),
                self._object,
                int(layer),
                order,
            )
        )
        if shadow:
            angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            ring = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
            low = self._cast(np.asarray(centre) - [0, 0, 0.6 * half_height])
            high = self._cast(np.asarray(centre) + [0, 0, 0.6 * half_height])
            self._shadow(np.concatenate([low + ring, high + ring]))

    def prism(
        self,
        footprint: np.ndarray,
        bottom: float,
        top: float,
        colour: Colour,
        thing: Thing,
        layer: Layer,
        order: int = 0,
        pattern: Pattern = Pattern.PLAIN,
        lid: tuple[Colour, Thing, Pattern] | None = None,
        taper: float = 1.0,
        shadow: bool = True,
    ) -> None:
        """Walls over a footprint (n, 2), counter-clockwise, with a lid (colour, thing, pattern); `taper` shrinks the top."""
        middle = footprint.mean(0)
        upper = middle + (footprint - middle) * taper
        base = np.column_stack([footprint, np.full(len(footprint), bottom)])
        crown = np.column_stack([upper, np.full(len(footprint), top)])
        for i in range(len(footprint)):
            j = (i + 1) % len(footprint)
            self.face(np.stack([base[i], base[j], crown[j], crown[i]]), colour, thing, layer, order, pattern)
        if lid is not None:
            self.face(crown, lid[0], lid[1], layer, order + 1, lid[2])
        if shadow:
            self._shadow(np.concatenate([footprint, [self._cast(p) for p in crown]]))

    def cone(
        self,
        footprint: np.ndarray,
        bottom: float,
        top: float,
        colour: Colour,
        thing: Thing,
        layer: Layer,
        order: int,
        pattern: Pattern = Pattern.TILES,
    ) -> None:
        """A pyramid over a square footprint (4, 2)."""
        apex = np.array([*footprint.mean(0), top])
        base = np.column_stack([footprint, np.full(4, bottom)])
        for i in range(4):
            self.face(np.stack([base[i], base[(i + 1) % 4], apex, apex]), colour, thing, layer, order, pattern)
        self._shadow(np.concatenate([[self._cast(p) for p in base], [self._cast(apex)]]))

    def gable(
        self,
        footprint: np.ndarray,
        eaves: float,
        ridge: float,
        colour: Colour,
        roof: Thing,
        wall_colour: Colour,
        wall: Thing,
        order: int,
        hip: float = 0.0,
    ) -> None:
        """A pitched roof; the ridge runs along the footprint's first edge, shortened by `hip` metres at both ends."""
        a, b, c, d = (np.array([*p, eaves]) for p in footprint)
        along = (b - a) / np.linalg.norm(b - a)
        across = (d - a) / np.linalg.norm(d - a)
        start, end = (a + d) / 2 + along * hip, (b + c) / 2 - along * hip
        start[2] = end[2] = ridge
        if hip:
            self.face(np.stack([b, c, end, end]), colour, roof, Layer.BUILDING, order, Pattern.TILES)
            self.face(np.stack([d, a, start, start]), colour, roof, Layer.BUILDING, order, Pattern.TILES)
            overhang = 0.0
        else:
            self.face(np.stack([b, c, end, end]), wall_colour, wall, Layer.BUILDING)
            self.face(np.stack([d, a, start, start]), wall_colour, wall, Layer.BUILDING)
            overhang = 0.35
        slope = (ridge - eaves) / (np.linalg.norm(d - a) / 2)
        drop = np.array([0, 0, slope * overhang])
        near, far, ends = -across * overhang - drop, across * overhang - drop, along * overhang
        for eave in (
            (a - ends + near, b + ends + near, end + ends, start - ends),
            (c + ends + far, d - ends + far, start - ends, end + ends),
        ):
            self.face(np.stack(eave), colour, roof, Layer.BUILDING, order, Pattern.TILES)
        self._shadow(np.array([self._cast(p) for p in (a, b, c, d, start, end)]))

    def _cast(self, point: np.ndarray) -> np.ndarray:
        """Where the sun throws a point onto the ground, (2,)."""
        return np.asarray(point[:2]) - self.sun[:2] / self.sun[2] * point[2]

    def _shadow(self, points: np.ndarray) -> None:
        hull = cv2.convexHull(np.asarray(points, np.float32))[:, 0]
        self.shadows.append((hull, self.object_movers[self._object]))


def rectangle(x: float, y: float, length: float, width: float, angle: float = 0.0) -> np.ndarray:
    """Corners (4, 2) of a rectangle around (x, y), counter-clockwise."""
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]
