"""Things that stand on the ground: houses, churches, trees, cars, people, fences, haystacks, hills."""

from __future__ import annotations

import numpy as np

from sspcore.synthetic.builder import Builder, Colour, Mover, Pattern, Surface, Thing, rectangle
from sspcore.synthetic.ground import PERIOD

# colours of a kind of surface, one of which is picked and varied a little
_WALLS = (
    (0.80, 0.76, 0.68), (0.62, 0.61, 0.60), (0.50, 0.49, 0.48), (0.66, 0.46, 0.37), (0.86, 0.85, 0.82), (0.70, 0.62, 0.45),
    (0.47, 0.42, 0.36),
)
_ROOFS = (
    (0.62, 0.33, 0.25), (0.47, 0.30, 0.25), (0.42, 0.42, 0.44), (0.34, 0.34, 0.37), (0.55, 0.44, 0.35), (0.40, 0.43, 0.32),
)
_FLAT_ROOFS = ((0.46, 0.46, 0.47), (0.36, 0.37, 0.39), (0.60, 0.58, 0.54), (0.42, 0.44, 0.33), (0.52, 0.42, 0.38))
_CHURCH_WALLS = ((0.85, 0.83, 0.78), (0.72, 0.66, 0.55), (0.78, 0.74, 0.70))
_CAR_PAINTS = (
    (0.86, 0.86, 0.86), (0.16, 0.16, 0.18), (0.50, 0.51, 0.53), (0.62, 0.10, 0.10), (0.13, 0.22, 0.45), (0.33, 0.35, 0.36),
    (0.42, 0.46, 0.38), (0.70, 0.66, 0.58),
)
_CLOTHES = (
    (0.75, 0.20, 0.18), (0.17, 0.20, 0.36), (0.80, 0.78, 0.74), (0.20, 0.20, 0.21), (0.35, 0.42, 0.30), (0.70, 0.60, 0.25),
    (0.45, 0.35, 0.30), (0.50, 0.50, 0.52),
)
_HEADS = ((0.72, 0.55, 0.45), (0.25, 0.18, 0.14), (0.55, 0.42, 0.28))
_HAY = ((0.68, 0.58, 0.33), (0.58, 0.50, 0.31), (0.52, 0.46, 0.30))
_GLASS, _BRICK, _SOOT, _BARK = (0.16, 0.20, 0.24), (0.45, 0.33, 0.29), (0.2, 0.2, 0.2), (0.33, 0.27, 0.21)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 0.06) -> np.ndarray:
    """A colour of the list, slightly varied."""
    colour = np.array(colours[rng.integers(len(colours))])
    return np.clip(colour + rng.normal(0, spread / 2, 3) + rng.normal(0, spread), 0.04, 0.95)


def house(
    b: Builder, rng: np.random.Generator, x: float, y: float, length: float, width: float, angle: float, flat: bool
) -> None:
    """A house with a pitched, hipped or flat roof."""
    b.new_object(x, y)
    eaves = rng.uniform(3.2, 6.0) if flat else rng.uniform(2.7, 4.2)
    wall = _pick(rng, _WALLS)
    walls = Surface(wall, Thing.WALL, Pattern.WINDOWS)
    plan = rectangle(x, y, length, width, angle)
    if not flat:
        b.prism(plan, 0, eaves, walls)
        roof = Surface(_pick(rng, _ROOFS), Thing.ROOF, Pattern.TILES)
        rise = min(length, width) * rng.uniform(0.22, 0.36)
        b.gable(plan, eaves, eaves + rise, roof, Surface(wall * 0.95, Thing.WALL), 1, hip=rng.choice([0.0, 0.3]) * length)
        if rng.random() < 0.7:
            cx, cy = plan.mean(0) + (plan[0] - plan[2]) * rng.uniform(-0.2, 0.2)
            chimney, top = Surface(_BRICK, Thing.ROOF), Surface(_SOOT, Thing.ROOF)
            b.prism(rectangle(cx, cy, 0.7, 0.7, angle), eaves, eaves + rise + 0.7, chimney, 2, lid=top)
        return
    b.prism(plan, 0, eaves, walls, lid=Surface(_pick(rng, _FLAT_ROOFS), Thing.ROOF, Pattern.BITUMEN))
    for _ in range(rng.integers(1, 5)):
        u, v = rng.uniform(0.2, 0.8, 2)
        spot = plan[0] + (plan[1] - plan[0]) * u + (plan[3] - plan[0]) * v
        size = rng.uniform(0.7, 1.8, 2)
        top = eaves + rng.uniform(0.4, 1.0)
        sides, lid = (Surface(_pick(rng, _FLAT_ROOFS), Thing.ROOF) for _ in range(2))
        b.prism(rectangle(*spot, *size, angle), eaves, top, sides, 2, lid)


def church(b: Builder, rng: np.random.Generator, x: float, y: float, angle: float) -> None:
    """A nave with a tower and a spire."""
    wall, roof = _pick(rng, _CHURCH_WALLS), _pick(rng, _ROOFS[:4])
    b.new_object(x, y)
    plan = rectangle(x, y, 15, 8, angle)
    b.prism(plan, 0, 6, Surface(wall, Thing.CHURCH, Pattern.WINDOWS))
    b.gable(plan, 6, 10, Surface(roof, Thing.CHURCH, Pattern.TILES), Surface(wall, Thing.CHURCH), 1)
    tower = np.array([x, y]) + np.array([np.cos(angle), np.sin(angle)]) * 9.6
    b.new_object(*tower)
    b.prism(rectangle(*tower, 4.2, 4.2, angle), 0, 12, Surface(wall * 0.97, Thing.CHURCH, Pattern.WINDOWS))
    b.cone(rectangle(*tower, 4.8, 4.8, angle), 12, 19, Surface(roof * 0.85, Thing.CHURCH, Pattern.TILES), 2)


def tree(b: Builder, rng: np.random.Generator, x: float, y: float, size: float, tint: np.ndarray) -> None:
    """A tree of `size` metres height: a trunk and a crown of overlapping balls; one in four is a conifer."""
    b.new_object(x, y)
    colour = np.clip(tint * rng.uniform(0.75, 1.2) + rng.normal(0, 0.02, 3), 0.03, 0.9)
    b.ball((x, y, size * 0.25), 0.06 * size**0.7, size * 0.3, Surface(_BARK, Thing.TREE), shadow=False)
    if rng.random() < 0.25:
        for i, level in enumerate((0.3, 0.48, 0.65, 0.82)):
            needles = Surface(colour * (0.8 + 0.1 * i), Thing.TREE, Pattern.FOLIAGE)
            b.ball((x, y, size * level), size * 0.27 * (1.12 - level), size * 0.17, needles, i + 1)
        return
    spread = size * 0.22
    offsets = rng.normal(0, 1, (8, 3))
    offsets /= np.maximum(np.linalg.norm(offsets, axis=1, keepdims=True), 0.8)
    for offset in offsets[np.argsort(offsets[:, 2])]:
        centre = np.array([x, y, size * 0.66]) + offset * [spread, spread, size * 0.17]
        radius = size * rng.uniform(0.12, 0.19)
        height = radius * rng.uniform(0.8, 1.0)
        leaves = Surface(colour * rng.uniform(0.85, 1.15), Thing.TREE, Pattern.FOLIAGE)
        b.ball(centre, radius, height, leaves, 1 + int(10 * (offset[2] + 1)))


def bush(b: Builder, rng: np.random.Generator, x: float, y: float, tint: np.ndarray, thing: Thing) -> None:
    """A low bush."""
    b.new_object(x, y)
    for i in range(rng.integers(1, 4)):
        radius = rng.uniform(0.35, 0.8)
        dx, dy = rng.normal(0, 0.5, 2)
        leaves = Surface(tint * rng.uniform(0.8, 1.2), thing, Pattern.FOLIAGE)
        b.ball((x + dx, y + dy, radius * 0.6), radius, radius * 0.8, leaves, i)


def car(b: Builder, rng: np.random.Generator, x: float, y: float, angle: float, mover: Mover | None) -> None:
    """A car or, one in six, a van; `mover` None: parked."""
    b.new_object(x, y, mover)
    thing = Thing.STATIC_CAR if mover is None else Thing.MOVING_CAR
    paint = _pick(rng, _CAR_PAINTS, 0.04)
    sides, top = Surface(paint, thing, Pattern.CAR_SIDE), Surface(paint, thing)
    if rng.random() < 0.16:
        b.prism(rectangle(x, y, 5.6, 2.0, angle), 0.1, 1.1, sides, lid=top)
        b.prism(rectangle(x, y, 5.5, 1.95, angle), 1.1, 2.3, Surface(paint * 0.97, thing), 2, lid=top, taper=0.95)
        return
    length = rng.uniform(3.9, 4.7)
    b.prism(rectangle(x, y, length, 1.8, angle), 0.1, 0.85, sides, lid=top)
    back = np.array([np.cos(angle), np.sin(angle)]) * -0.25
    cabin = rectangle(x + back[0], y + back[1], length * 0.58, 1.66, angle)
    b.prism(cabin, 0.85, 1.45, Surface(_GLASS, thing), 2, lid=Surface(paint * 0.96, thing), taper=0.78)


def person(b: Builder, rng: np.random.Generator, x: float, y: float, mover: Mover | None) -> None:
    """A standing or walking person."""
    b.new_object(x, y, mover)
    s = rng.uniform(0.92, 1.1)
    b.ball((x, y, 0.46 * s), 0.19 * s, 0.47 * s, Surface(_pick(rng, _CLOTHES[1:]) * 0.8, Thing.PERSON), 0)
    b.ball((x, y, 1.14 * s), 0.29 * s, 0.40 * s, Surface(_pick(rng, _CLOTHES), Thing.PERSON), 1)
    b.ball((x, y, 1.64 * s), 0.145 * s, 0.17 * s, Surface(_pick(rng, _HEADS, 0.03), Thing.PERSON), 2, shadow=False)


def fence(b: Builder, start: tuple[float, float], end: tuple[float, float], height: float, colour: np.ndarray) -> None:
    """A board fence in segments of about 3 m, seen from both sides."""
    a, z = np.array(start), np.array(end)
    boards, top = Surface(colour, Thing.FENCE, Pattern.PLANKS), Surface(colour * 1.1, Thing.FENCE)
    count = max(1, round(float(np.linalg.norm(z - a)) / 3))
    for i in range(count):
        p, q = a + (z - a) * i / count, a + (z - a) * (i + 1) / count
        b.new_object(*((p + q) / 2))
        side = np.array([p[1] - q[1], q[0] - p[0]]) / np.linalg.norm(q - p) * 0.05
        b.prism(np.stack([p - side, q - side, q + side, p + side]), 0, height, boards, lid=top)


def haystack(b: Builder, rng: np.random.Generator, x: float, y: float) -> None:
    """A pointed stack or a round bale of hay."""
    b.new_object(x, y)
    colour = _pick(rng, _HAY, 0.04)
    hay = Surface(colour, Thing.HAYSTACK, Pattern.STRAW)
    if rng.random() < 0.6:
        size = rng.uniform(1.3, 2.0)
        b.ball((x, y, size * 0.6), size, size * 0.9, hay)
        b.ball((x, y, size * 1.45), size * 0.55, size * 0.75, hay._replace(colour=colour * 1.05), 1)
    else:
        b.ball((x, y, 0.75), 1.0, 0.85, hay)


def hill(b: Builder, rng: np.random.Generator, x: float, y: float, radius: float, height: float, tint: np.ndarray) -> None:
    """A hill: the cap of an ellipsoid that reaches into the ground."""
    b.new_object(x, y)
    b.ball((x, y, 0), radius, height, Surface(tint * rng.uniform(0.9, 1.1), Thing.HILL, Pattern.TURF), shadow=False)


def lane(
    b: Builder, rng: np.random.Generator, side: int, y: float, places: np.ndarray, speeds: tuple[float, float], jitter: float,
    density: float | None = None,
) -> None:
    """Cars on one lane of a road along x, each near one of `places` (x); side -1 drives towards +x."""
    speed = rng.uniform(*speeds)
    for x in places:
        if density is None or rng.random() < density:
            velocity = -side * (speed + rng.uniform(-0.4, 0.4))
            car(b, rng, x + rng.uniform(-jitter, jitter), y, 0 if side < 0 else np.pi, Mover((velocity, 0.0), 0, 0))


def groups(
    b: Builder, rng: np.random.Generator, count: int, y: float, distance: tuple[float, float], spread: float
) -> None:
    """Groups of one to four people who walk, most of them, along a road at y, at a distance from its middle."""
    for _ in range(count):
        x, side, speed = rng.uniform(0, PERIOD), rng.choice([-1, 1]), rng.choice([-1, 1]) * rng.uniform(0.6, 1.6)
        for _ in range(rng.integers(1, 5)):
            mover = Mover((speed, 0.0), 30, rng.uniform(0, 25)) if rng.random() < 0.85 else None
            person(b, rng, x + rng.uniform(-spread, spread), y + side * rng.uniform(*distance), mover)
