"""Colours of the pixels of a view: ground, faces, balls, sky; light, moving shadows, haze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from sspcore.synthetic.builder import Pattern
from sspcore.synthetic.camera import Camera
from sspcore.synthetic.textures import remap_list

if TYPE_CHECKING:
    from sspcore.synthetic.world import World


def _shadow_mask(world: World, camera: Camera, offsets: np.ndarray) -> np.ndarray:
    """(H, W) float32, 1 in the shadow of something that moves."""
    mask = np.zeros(camera.size, np.uint8)
    matrix = camera.ground_matrix()
    movers = world.object_movers
    by_mover = np.zeros((len(world.builder.movers) + 1, 3))
    by_mover[movers[movers >= 0]] = offsets[movers >= 0]
    for polygon, mover in world.builder.shadows:
        if mover < 0:
            continue
        points = np.column_stack([polygon + by_mover[mover, :2], np.ones(len(polygon))]) @ matrix.T
        if points[:, 2].min() < 0.5:
            continue
        pixels = points[:, :2] / points[:, 2:]
        if (pixels.max(0) < 0).any() or (pixels.min(0) > camera.size[::-1]).any():
            continue
        cv2.fillConvexPoly(mask, np.rint(np.clip(pixels, -4000, 4000) * 16).astype(np.int32), 255, shift=4)
    return cv2.blur(mask, (3, 3)).astype(np.float32) / 255


def _face_colour(pattern: np.ndarray, u: np.ndarray, v: np.ndarray, colour: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Patterned colours (n, 3) of face pixels at (u, v) metres from the face's first corner."""
    strength = np.select(
        [pattern == Pattern.TILES, pattern == Pattern.BITUMEN, pattern == Pattern.WINDOWS], [0.13, 0.11, 0.09], 0.05
    )
    factor = 1 + strength * grain
    tiles = (pattern == Pattern.TILES) * (0.10 * np.sin(v * (2 * np.pi / 0.33)) + 0.05 * np.sin(u * (2 * np.pi / 0.3)))
    planks = (pattern == Pattern.PLANKS) * (0.22 * np.sin(u * (2 * np.pi / 0.28)))
    result = colour * (factor + tiles + planks)[:, None]
    fu, fv = u / 2.3 % 1, v / 2.7 % 1
    window = (pattern == Pattern.WINDOWS) & (fu > 0.3) & (fu < 0.72) & (fv > 0.36) & (fv < 0.78)
    result[window] = np.array([0.20, 0.24, 0.28]) * (1 + 0.25 * grain[window, None])
    near_wheel = np.minimum(np.hypot(u - 0.85, v - 0.2), np.hypot(u - 3.2, v - 0.2)) < 0.36
    result[(pattern == Pattern.CAR_SIDE) & (near_wheel | (v < 0.16))] = 0.09
    return result


def shade(
    world: World, camera: Camera, primitive: np.ndarray, depth: np.ndarray, points: np.ndarray, rays: np.ndarray,
    origins: np.ndarray, normals: np.ndarray, gx: np.ndarray, gy: np.ndarray, materials: np.ndarray, offsets: np.ndarray,
) -> np.ndarray:
    """(H, W, 3) float32 radiance 0..255 of a view; `points` and `origins` are relative to the camera."""
    size = primitive.shape
    footprint = (depth / camera.focal).astype(np.float32)
    # grazing rays cover more ground
    slant = np.clip(1 / np.maximum(-rays[..., 2], 0.02), 1, 8).astype(np.float32)
    spread = footprint * np.sqrt(slant)
    ground = world.ground
    image = ground.colour.sample(gx, gy, spread)
    detail = ground.detail.sample(gx, gy, spread) * ground.grain[materials]
    image *= (1 + detail)[..., None]
    image *= (1 - (0.85 - world.ambient * 0.6) * _shadow_mask(world, camera, offsets))[..., None]

    flat_id, flat_points = primitive.ravel(), points.reshape(-1, 3)
    flat_image = image.reshape(-1, 3)
    pixels = np.flatnonzero(flat_id >= 0)
    if len(pixels):
        index = flat_id[pixels]
        local = flat_points[pixels] - origins[index].astype(np.float32)
        pattern = world.pattern[index]
        is_face = index < world.n_faces
        u, v = np.empty(len(pixels), np.float32), np.empty(len(pixels), np.float32)
        light = np.empty(len(pixels), np.float32)
        faces = index[is_face]
        edge = world.corners[:, 1] - world.corners[:, 0]
        edge = edge / np.linalg.norm(edge, axis=1, keepdims=True)
        u[is_face] = np.einsum("nc,nc->n", local[is_face], edge[faces])
        v[is_face] = np.einsum("nc,nc->n", local[is_face], np.cross(normals, edge)[faces])
        sunlit = np.maximum(normals @ world.sun, 0)
        light[is_face] = (world.ambient + (1.15 - world.ambient) * sunlit + 0.06 * normals[:, 2])[faces]
        balls = index[~is_face] - world.n_faces
        on_ball = local[~is_face]
        u[~is_face], v[~is_face] = on_ball[:, 0] + 0.7 * on_ball[:, 2], on_ball[:, 1] - 0.7 * on_ball[:, 2]
        direction = on_ball / (world.radii[balls] ** 2)
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
        light[~is_face] = world.ambient + (1.1 - world.ambient) * np.maximum(direction @ world.sun, 0) + 0.1 * direction[:, 2]
        scale = np.where(pattern == Pattern.TURF, 0.35, 1.0)
        # every primitive takes another part of the tile
        tile_u, tile_v = (u * scale + index % 61 * 0.53).astype(np.float32), (v * scale + index % 47 * 0.71).astype(np.float32)
        grain = world.surface.sample(tile_u, tile_v, (footprint.ravel()[pixels] * scale).astype(np.float32))
        colour = world.colour[index]
        base = np.empty((len(pixels), 3), np.float32)
        base[is_face] = _face_colour(pattern[is_face], u[is_face], v[is_face], colour[is_face], grain[is_face])
        rough = np.select(
            [pattern == Pattern.FOLIAGE, pattern == Pattern.TURF, pattern == Pattern.STRAW], [0.3, 0.2, 0.17], 0.07
        )
        base[~is_face] = colour[~is_face] * (1 + rough * grain)[~is_face, None]
        flat_image[pixels] = base * light[:, None] * 255

    fade = np.exp(-np.minimum(depth, 4000) / world.haze).astype(np.float32)[..., None]
    image = flat_image.reshape(*size, 3) * fade + world.haze_colour.astype(np.float32) * (1 - fade)
    sky = primitive == -2
    if sky.any():
        direction = rays[sky] / np.linalg.norm(rays[sky], axis=1, keepdims=True)
        heading = np.arctan2(direction[:, 1], direction[:, 0])
        lift = np.maximum(direction[:, 2], 0)
        cloud = remap_list(world.clouds, heading * 120, np.sqrt(lift) * 180)
        blue = np.array([0.50, 0.66, 0.86]) * 255
        veil = np.clip(1 - lift * 2.2 + 0.25 * cloud, 0, 1)[:, None]
        image[sky] = blue * (1 - veil) + world.haze_colour * veil
    return np.clip(image, 0, 255).astype(np.float32)
