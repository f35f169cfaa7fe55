"""The ground: a periodic map of materials, painted from shapes, with colours, detail and baked shadows."""

from __future__ import annotations

from enum import IntEnum

import cv2
import numpy as np

from sspcore.synthetic.builder import Thing
from sspcore.synthetic.textures import RepeatingTexture, noise_tile

TEXELS = 2048
TEXEL = 0.08  # metres
PERIOD = TEXELS * TEXEL  # the world repeats after this many metres in x and y


class Material(IntEnum):
    """What the ground is made of."""

    GRASS, MEADOW, SOIL, CROP, ASPHALT, PATCH, MARKING, PAVING, WATER, TRACK, BANK = range(11)


# what it counts as, base colour, strength of the large, medium and fine variation
_LOOKS: dict[Material, tuple[Thing, tuple[float, float, float], tuple[float, float, float]]] = {
    Material.GRASS: (Thing.LOW_VEGETATION, (0.36, 0.43, 0.23), (0.10, 0.13, 0.15)),
    Material.MEADOW: (Thing.LOW_VEGETATION, (0.47, 0.46, 0.28), (0.12, 0.14, 0.17)),
    Material.SOIL: (Thing.LOW_VEGETATION, (0.47, 0.39, 0.30), (0.10, 0.10, 0.13)),
    Material.CROP: (Thing.LOW_VEGETATION, (0.55, 0.50, 0.30), (0.07, 0.10, 0.15)),
    Material.ASPHALT: (Thing.ROAD, (0.44, 0.44, 0.45), (0.06, 0.06, 0.09)),
    Material.PATCH: (Thing.ROAD, (0.35, 0.35, 0.37), (0.05, 0.05, 0.08)),
    Material.MARKING: (Thing.ROAD, (0.78, 0.78, 0.74), (0.04, 0.09, 0.08)),
    Material.PAVING: (Thing.PAVING, (0.56, 0.53, 0.49), (0.06, 0.06, 0.10)),
    Material.WATER: (Thing.WATER, (0.25, 0.33, 0.32), (0.10, 0.06, 0.05)),
    Material.TRACK: (Thing.ROAD, (0.54, 0.48, 0.40), (0.08, 0.11, 0.14)),
    Material.BANK: (Thing.LOW_VEGETATION, (0.42, 0.40, 0.29), (0.10, 0.12, 0.16)),
}
MATERIAL_THINGS = np.array([_LOOKS[m][0] for m in Material], np.uint8)


class GroundCanvas:
    """A periodic map of materials to paint on; world coordinates in metres."""

    def __init__(self, rng: np.random.Generator, base: Material) -> None:
        self.materials = np.full((TEXELS, TEXELS), int(base), np.uint8)
        # one cloud of blobs, cut at different heights and offsets, gives every natural outline
        self._blobs = cv2.resize(noise_tile(rng, 512, 1.4, 3, 60), (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)

    def _stamp(self, image: np.ndarray, points: np.ndarray, value: int) -> None:
        low, high = points.min(0), points.max(0)
        for sx in range(int(np.floor(low[0] / PERIOD)), int(np.floor(high[0] / PERIOD)) + 1):
            for sy in range(int(np.floor(low[1] / PERIOD)), int(np.floor(high[1] / PERIOD)) + 1):
                shifted = (points - [sx * PERIOD, sy * PERIOD]) / TEXEL
                cv2.fillPoly(image, [np.rint(shifted * 16).astype(np.int32)], value, shift=4)

    def polygon(self, points: np.ndarray, material: Material) -> None:
        """Fill a polygon (n, 2)."""
        self._stamp(self.materials, np.asarray(points), int(material))

    def band(self, start: tuple[float, float], end: tuple[float, float], width: float, material: Material) -> None:
        """A straight strip."""
        a, b = np.array(start), np.array(end)
        side = np.array([a[1] - b[1], b[0] - a[0]]) / np.linalg.norm(b - a) * width / 2
        self.polygon(np.stack([a - side, b - side, b + side, a + side]), material)

    def winding(
        self, rng: np.random.Generator, y: float, width: float, sway: float, material: Material, along_y: bool = False
    ) -> None:
        """A periodic winding strip along x (or y): path, brook, river."""
        t = np.linspace(0, PERIOD, 160)
        phase = rng.uniform(0, 2 * np.pi, 2)
        middle = y + sway * (
            np.sin(2 * np.pi * 2 * t / PERIOD + phase[0]) + 0.5 * np.sin(2 * np.pi * 5 * t / PERIOD + phase[1])
        )
        half = width / 2 * (1 + 0.2 * np.sin(2 * np.pi * 7 * t / PERIOD + phase[0]))
        outline = np.concatenate([np.stack([t, middle - half], 1), np.stack([t, middle + half], 1)[::-1]])
        self.polygon(outline[:, ::-1] if along_y else outline, material)

    def scatter(self, rng: np.random.Generator, share: float, material: Material, over: tuple[Material, ...]) -> None:
        """Natural patches covering about `share` of the given materials."""
        shift = rng.integers(0, TEXELS, 2)
        blobs = np.roll(self._blobs, shift, (0, 1))
        patch = blobs > np.quantile(blobs[::8, ::8], 1 - share)
        table = np.arange(256, dtype=np.uint8)
        table[[int(m) for m in over]] = int(material)
        self.materials = np.where(patch, table[self.materials], self.materials)

    def pond(self, rng: np.random.Generator, x: float, y: float, length: float, width: float) -> None:
        """A pond with a bank, of irregular outline."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        wobble = 1 + 0.12 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.08 * np.sin(5 * angle + rng.uniform(0, 6))
        ring = np.stack([np.cos(angle) * length / 2, np.sin(angle) * width / 2], 1) * wobble[:, None]
        self.polygon(ring * 1.12 + [x, y], Material.BANK)
        self.polygon(ring + [x, y], Material.WATER)

    def shadow_map(self, polygons: list[np.ndarray]) -> np.ndarray:
        """(TEXELS, TEXELS) float32 in 0..1: 1 in full shadow, with a soft edge."""
        mask = np.zeros((TEXELS, TEXELS), np.uint8)
        for points in polygons:
            self._stamp(mask, points, 255)
        return cv2.blur(mask, (5, 5)).astype(np.float32) / 255


class Ground:
    """The finished ground.

    Attributes:
        materials: (TEXELS, TEXELS) uint8.
        colour: mip-mapped colour with baked shadows, 0..255.
        detail: fine grain, its strength a material in `grain`.
    """

    def __init__(self, rng: np.random.Generator, canvas: GroundCanvas, shadows: list[np.ndarray], shade: float) -> None:
        self.materials = canvas.materials
        tint = rng.uniform(0.9, 1.1, (len(Material), 3)) * rng.uniform(0.86, 1.14, (len(Material), 1))
        # grey ground keeps near-grey tints
        for material in (Material.ASPHALT, Material.PATCH, Material.MARKING, Material.PAVING):
            tint[material] = tint[material].mean() * (1 + (tint[material] - tint[material].mean()) * 0.4)
        base = np.array([_LOOKS[m][1] for m in Material]) * tint
        strengths = np.array([_LOOKS[m][2] for m in Material], np.float32)
        large = cv2.resize(noise_tile(rng, 256, 1.2, 2, 40), (TEXELS, TEXELS), interpolation=cv2.INTER_LINEAR)
        medium = np.tile(noise_tile(rng, 1024, 0.5, 24, 400), (2, 2))
        variation = 1 + strengths[self.materials, 0] * large + strengths[self.materials, 1] * medium
        variation *= 1 - shade * canvas.shadow_map(shadows)
        rows = self.materials == Material.CROP
        furrows = np.sin(np.arange(TEXELS) * (2 * np.pi * 224 / TEXELS)).astype(np.float32)[:, None]
        variation += np.where(rows, 0.14 * furrows, 0)
        stones = self.materials == Material.PAVING
        grid = np.arange(TEXELS) % 16 == 0
        variation -= np.where(stones & (grid[:, None] | grid[None]), 0.13, 0)
        colour = (base.astype(np.float32) * 255)[self.materials] * variation[..., None]
        self.colour = RepeatingTexture(np.clip(colour, 0, 255).astype(np.uint8), TEXEL, 3)
        self.detail = RepeatingTexture(noise_tile(rng, 512, 0.35, 12, 200), 0.022, 3)
        self.grain = strengths[:, 2].copy()

    def materials_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Material of the nearest texel at world (x, y), (H, W) float32 each."""
        scale = np.float32(1 / TEXEL)
        return cv2.remap(self.materials, x * scale, y * scale, cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP)
