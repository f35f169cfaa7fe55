"""Things that stand on the ground: houses, churches, trees, cars, people, fences, haystacks, hills."""

from __future__ import annotations

import numpy as np

from sspcore.synthetic.builder import Builder, Layer, Mover, Pattern, rectangle
from sspcore.synthetic.things import Thing

_WALLS = (
    (0.80, 0.76, 0.68),
    (0.62, 0.61, 0.60),
    (0.50, 0.49, 0.48),
    (0.66, 0.46, 0.37),
    (0.86, 0.85, 0.82),
    (0.70, 0.62, 0.45),
    (0.47, 0.42, 0.36),
)
_ROOFS = (
    (0.62, 0.33, 0.25),
    (0.47, 0.30, 0.25),
    (0.42, 0.42, 0.44),
    (0.34, 0.34, 0.37),
    (0.55, 0.44, 0.35),
    (0.40, 0.43, 0.32),
)
_FLAT_ROOFS = ((0.46, 0.46, 0.47), (0.36, 0.37, 0.39), (0.60, 0.58, 0.54), (0.42, 0.44, 0.33), (0.52, 0.42, 0.38))
_PAINTS = (
    (0.86, 0.86, 0.86),
    (0.16, 0.16, 0.18),
    (0.50, 0.51, 0.53),
    (0.62, 0.10, 0.10),
    (0.13, 0.22, 0.45),
    (0.33, 0.35, 0.36),
    (0.42, 0.46, 0.38),
    (0.70, 0.66, 0.58),
)
_CLOTHES = (
    (0.75, 0.20, 0.18),
    (0.17, 0.20, 0.36),
    (0.80, 0.78, 0.74),
    (0.20, 0.20, 0.21),
    (0.35, 0.42, 0.30),
    (0.70, 0.60, 0.25),
    (0.45, 0.35, 0.30),
    (0.50, 0.50, 0.52),
)
_GLASS = (0.16, 0.20, 0.24)


def _pick(rng: np.random.Generator, colours: tuple, spread: float = 0.06) -> np.ndarray:
    """A colour of the list, slightly varied."""
    return np.clip(
        np.array(colours[rng.integers(len(colours))]) + rng.normal(0, spread / 2, 3) + rng.normal(0, spread), 0.04, 0.95
    )


def house(
    b: Builder, rng: np.random.Generator, x: float, y: float, length: float, width: float, angle: float, flat: bool
) -> None:
    """A house with a pitched, hipped or flat roof."""
    b.new_object(x, y)
    eaves = rng.uniform(2.7, 4.2) if not flat else rng.uniform(3.2, 6.0)
    wall = _pick(rng, _WALLS)
    plan = rectangle(x, y, length, width, angle)
    if not flat:
        b.prism(plan, 0, eaves, wall, Thing.WALL, Layer.BUILDING, 0, Pattern.WINDOWS)
        roof = _pick(rng, _ROOFS)
        rise = min(length, width) * rng.uniform(0.22, 0.36)
        b.gable(plan, eaves, eaves + rise, roof, Thing.ROOF, wall * 0.95, Thing.WALL, 1, hip=rng.choice([0.0, 0.3]) * length)
        if rng.random() < 0.7:
            cx, cy = plan.mean(0) + (plan[0] - plan[2]) * rng.uniform(-0.2, 0.2)
            b.prism(
                rectangle(cx, cy, 0.7, 0.7, angle),
                eaves,
                eaves + rise + 0.7,
                (0.45, 0.33, 0.29),
                Thing.ROOF,
                Layer.BUILDING,
                2,
                lid=((0.2, 0.2, 0.2), Thing.ROOF, Pattern.PLAIN),
            )
        return
    roof = _pick(rng, _FLAT_ROOFS)
    b.prism(plan, 0, eaves, wall, Thing.WALL, Layer.BUILDING, 0, Pattern.WINDOWS, lid=(roof, Thing.ROOF, Pattern.BITUMEN))
    for _ in range(rng.integers(1, 5)):
        u, v = rng.uniform(0.2, 0.8, 2)
        spot = plan[0] + (plan[1] - plan[0]) * u + (plan[3] - plan[0]) * v
        size = rng.uniform(0.7, 1.8, 2)
        b.prism(
            rectangle(*spot, *size, angle),
            eaves,
            eaves + rng.uniform(0.4, 1.0),
            _pick(rng, _FLAT_ROOFS),
            Thing.ROOF,
            Layer.BUILDING,
            2,
            lid=(_pick(rng, _FLAT_ROOFS), Thing.ROOF, Pattern.PLAIN),
        )


def church(b: Builder, rng: np.random.Generator, x: float, y: float, angle: float) -> None:
    """A nave with a tower and a spire."""
    wall, roof = _pick(rng, ((0.85, 0.83, 0.78), (0.72, 0.66, 0.55), (0.78, 0.74, 0.70))), _pick(rng, _ROOFS[:4])
    along = np.array([np.cos(angle), np.sin(angle)])
    b.new_object(x, y)
    plan = rectangle(x, y, 15, 8, angle)
    b.prism(plan, 0, 6, wall, Thing.CHURCH, Layer.BUILDING, 0, Pattern.WINDOWS)
    b.gable(plan, 6, 10, roof, Thing.CHURCH, wall, Thing.CHURCH, 1)
    tower = np.array([x, y]) + along * 9.6
    b.new_object(*tower)
    plan = rectangle(*tower, 4.2, 4.2, angle)
    b.prism(plan, 0, 12, wall * 0.97, Thing.CHURCH, Layer.BUILDING, 0, Pattern.WINDOWS)
    b.cone(rectangle(*tower, 4.8, 4.8, angle), 12, 19, roof * 0.85, Thing.CHURCH, Layer.BUILDING, 2)


def tree(b: Builder, rng: np.random.Generator, x: float, y: float, size: float, tint: np.ndarray, ground: float = 0.0) -> None:
    """A tree of `size` metres height: a trunk and a crown of overlapping balls; one in four is a conifer."""
    b.new_object(x, y)
    colour = np.clip(tint * rng.uniform(0.75, 1.2) + rng.normal(0, 0.02, 3), 0.03, 0.9)
    b.ball(
        (x, y, ground + size * 0.25), 0.06 * size**0.7, size * 0.3, (0.33, 0.27, 0.21), Thing.TREE, Layer.SMALL, 0, shadow=False
    )
    if rng.random() < 0.25:
        for i, level in enumerate((0.3, 0.48, 0.65, 0.82)):
            b.ball(
                (x, y, ground + size * level),
                size * 0.27 * (1.12 - level),
                size * 0.17,
                colour * (0.8 + 0.1 * i),
                Thing.TREE,
                Layer.SMALL,
                i + 1,
                Pattern.FOLIAGE,
            )
        return
    spread = size * 0.22
    offsets = rng.normal(0, 1, (8, 3))
    offsets /= np.maximum(np.linalg.norm(offsets, axis=1, keepdims=True), 0.8)
    for i in np.argsort(offsets[:, 2]):
        centre = np.array([x, y, ground + size * 0.66]) + offsets[i] * [spread, spread, size * 0.17]
        radius = size * rng.uniform(0.12, 0.19)
        b.ball(
            centre,
            radius,
            radius * rng.uniform(0.8, 1.0),
            colour * rng.uniform(0.85, 1.15),
            Thing.TREE,
            Layer.SMALL,
            1 + int(10 * (offsets[i, 2] + 1)),
            Pattern.FOLIAGE,
        )


def bush(b: Builder, rng: np.random.Generator, x: float, y: float, tint: np.ndarray, thing: Thing) -> None:
    """A low bush."""
    b.new_object(x, y)
    for i in range(rng.integers(1, 4)):
        radius = rng.uniform(0.35, 0.8)
        spot = rng.normal(0, 0.5, 2)
        b.ball(
            (x + spot[0], y + spot[1], radius * 0.6),
            radius,
            radius * 0.8,
            tint * rng.uniform(0.8, 1.2),
            thing,
            Layer.SMALL,
            i,
            Pattern.FOLIAGE,
        )


def car(b: Builder, rng: np.random.Generator, x: float, y: float, angle: float, mover: Mover | None) -> None:
    """A car or, now and then, a van; `mover` None: parked."""
    b.new_object(x, y, mover)
    thing = Thing.STATIC_CAR if mover is None else Thing.MOVING_CAR
    paint = _pick(rng, _PAINTS, 0.04)
    if rng.random() < 0.16:
        plan = rectangle(x, y, 5.6, 2.0, angle)
        b.prism(plan, 0.1, 1.1, paint, thing, Layer.SMALL, 0, Pattern.CAR_SIDE, lid=(paint, thing, Pattern.PLAIN))
        b.prism(
            rectangle(x, y, 5.5, 1.95, angle),
            1.1,
            2.3,
            paint * 0.97,
            thing,
            Layer.SMALL,
            2,
            Pattern.PLAIN,
            lid=(paint, thing, Pattern.PLAIN),
            taper=0.95,
        )
        return
    length = rng.uniform(3.9, 4.7)
    b.prism(
        rectangle(x, y, length, 1.8, angle),
        0.1,
        0.85,
        paint,
        thing,
        Layer.SMALL,
        0,
        Pattern.CAR_SIDE,
        lid=(paint, thing, Pattern.PLAIN),
    )
    back = np.array([np.cos(angle), np.sin(angle)]) * -0.25
    b.prism(
        rectangle(x + back[0], y + back[1], length * 0.58, 1.66, angle),
        0.85,
        1.45,
        _GLASS,
        thing,
        Layer.SMALL,
        2,
        lid=(paint * 0.96, thing, Pattern.PLAIN),
        taper=0.78,
    )


def person(b: Builder, rng: np.random.Generator, x: float, y: float, mover: Mover | None) -> None:
    """A standing or walking person."""
    b.new_object(x, y, mover)
    s = rng.uniform(0.92, 1.1)
    thing, layer = Thing.PERSON, Layer.SMALL
    b.ball((x, y, 0.46 * s), 0.19 * s, 0.47 * s, _pick(rng, _CLOTHES[1:]) * 0.8, thing, layer, 0)
    b.ball((x, y, 1.14 * s), 0.29 * s, 0.40 * s, _pick(rng, _CLOTHES), thing, layer, 1)
    hair = _pick(rng, ((0.72, 0.55, 0.45), (0.25, 0.18, 0.14), (0.55, 0.42, 0.28)), 0.03)
    b.ball((x, y, 1.64 * s), 0.145 * s, 0.17 * s, hair, thing, layer, 2, shadow=False)


def fence(b: Builder, start: tuple[float, float], end: tuple[float, float], height: float, colour: np.ndarray) -> None:
    """A board fence in segments of about 3 m, seen from both sides."""
    a, z = np.array(start), np.array(end)
    count = max(1, round(float(np.linalg.norm(z - a)) / 3))
    for i in range(count):
        p, q = a + (z - a) * i / count, a + (z - a) * (i + 1) / count
        b.new_object(*((p + q) / 2))
        side = np.array([p[1] - q[1], q[0] - p[0]]) / np.linalg.norm(q - p) * 0.05
        plan = np.stack([p - side, q - side, q + side, p + side])
        b.prism(
            plan, 0, height, colour, Thing.FENCE, Layer.SMALL, 0, Pattern.PLANKS, lid=(colour * 1.1, Thing.FENCE, Pattern.PLAIN)
        )


def haystack(b: Builder, rng: np.random.Generator, x: float, y: float) -> None:
    """A pointed stack or a round bale of hay."""
    b.new_object(x, y)
    colour = _pick(rng, ((0.68, 0.58, 0.33), (0.58, 0.50, 0.31), (0.52, 0.46, 0.30)), 0.04)
    if rng.random() < 0.6:
        size = rng.uniform(1.3, 2.0)
        b.ball((x, y, size * 0.6), size, size * 0.9, colour, Thing.HAYSTACK, Layer.SMALL, 0, Pattern.STRAW)
        b.ball((x, y, size * 1.45), size * 0.55, size * 0.75, colour * 1.05, Thing.HAYSTACK, Layer.SMALL, 1, Pattern.STRAW)
    else:
        b.ball((x, y, 0.75), 1.0, 0.85, colour, Thing.HAYSTACK, Layer.SMALL, 0, Pattern.STRAW)


def hill(b: Builder, rng: np.random.Generator, x: float, y: float, radius: float, height: float, tint: np.ndarray) -> None:
    """A hill: the cap of an ellipsoid that reaches into the ground."""
    b.new_object(x, y)
    b.ball((x, y, 0), radius, height, tint * rng.uniform(0.9, 1.1), Thing.HILL, Layer.TERRAIN, 0, Pattern.TURF, shadow=False)
