"""A finished world: arrays of primitives, the ground, the light and the flight, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sspcore.synthetic.builder import Builder
from sspcore.synthetic.camera import FlightPath, random_flight
from sspcore.synthetic.ground import PERIOD, Ground
from sspcore.synthetic.layouts import ROAD_Y, build_rural, build_urban
from sspcore.synthetic.textures import RepeatingTexture, noise_tile


@dataclass(frozen=True)
class World:
    """Everything that a frame is rendered from. Faces come before balls in the per-primitive arrays.

    Attributes:
        corners: (F, 4, 3); centres: (B, 3); radii: (B, 3).
        colour, pattern, thing, object_id, layer, order: one row a primitive.
        anchors, object_movers: one row an object; builder keeps the movers and the moving shadows.
        sun, ambient, haze, tint: light and weather.
    """

    corners: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    colour: np.ndarray
    pattern: np.ndarray
    thing: np.ndarray
    object_id: np.ndarray
    layer: np.ndarray
    order: np.ndarray
    anchors: np.ndarray
    object_movers: np.ndarray
    builder: Builder
    ground: Ground
    surface: RepeatingTexture
    clouds: np.ndarray
    sun: np.ndarray
    ambient: float
    haze: float
    haze_colour: np.ndarray
    flight: FlightPath

    @property
    def n_faces(self) -> int:
        return len(self.corners)

    def object_offsets(self, time: float, wrap_x: float | None) -> np.ndarray:
        """(objects, 3) displacement of every object at `time`; `wrap_x`: bring those going round next to this x."""
        offsets = np.array([m.offset(time) for m in self.builder.movers] or np.zeros((1, 3)))
        moving = self.object_movers >= 0
        result = np.zeros((len(self.anchors), 3))
        result[moving] = offsets[self.object_movers[moving]]
        if wrap_x is not None:
            # static objects too: the world is periodic and only the copy nearest to the view ahead is drawn
            x = self.anchors[:, 0] + result[:, 0]
            result[:, 0] += np.round((wrap_x - x) / PERIOD) * PERIOD
        return result


def make_world(seed: np.random.SeedSequence, rural: bool, index: int) -> World:
    """A random world; two in three rural ones show the horizon, by the sequence's index."""
    rng = np.random.default_rng(seed)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(32, 62))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    b, canvas = (build_rural if rural else build_urban)(rng, sun)
    overcast = rng.uniform(0, 1)
    ground = Ground(rng, canvas, [p for p, mover in b.shadows if mover < 0], 0.5 - 0.25 * overcast)
    flight = random_flight(rng, rural, index % 3 != 2, ROAD_Y)
    warm = np.array([1.0, 0.97, 0.92]) * (1 - overcast) + np.array([0.93, 0.97, 1.0]) * overcast

    primitives = [*b.faces, *b.balls]
    surfaces = [each.surface for each in primitives]
    balls = np.stack([each.shape for each in b.balls])
    return World(
        corners=np.stack([each.shape for each in b.faces]),
        centres=balls[:, 0],
        radii=balls[:, 1],
        colour=(np.array([each.colour for each in surfaces], np.float32) * warm).astype(np.float32),
        pattern=np.array([each.pattern for each in surfaces]),
        thing=np.array([each.thing for each in surfaces], np.uint8),
        object_id=np.array([each.object_id for each in primitives]),
        layer=np.array([each.layer for each in surfaces]),
        order=np.array([each.order for each in primitives]),
        anchors=np.stack(b.anchors),
        object_movers=np.array(b.object_movers),
        builder=b,
        ground=ground,
        surface=RepeatingTexture(noise_tile(rng, 512, 0.6, 8, 200), 0.03, 3),
        clouds=noise_tile(rng, 256, 1.5, 2, 60),
        sun=sun,
        ambient=0.55 + 0.2 * overcast,
        haze=rng.uniform(250, 600),
        haze_colour=np.array([0.78, 0.82, 0.86]) * 255 * warm,
        flight=flight,
    )
