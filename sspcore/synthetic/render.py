"""From a world and a time to a picture with geometry: painter's order within layers, depth between them.

Deferred: polygons of primitive ids are filled first, then every pixel's ray meets its primitive once, so each pixel knows
its world point, its object and its thing exactly; labels, flow and occlusion follow from these.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sspcore.synthetic.builder import Layer, Thing
from sspcore.synthetic.camera import Camera
from sspcore.synthetic.ground import MATERIAL_THINGS, PERIOD
from sspcore.synthetic.shading import shade
from sspcore.synthetic.world import World

NEAR = 0.4
FAR = 220.0
_SKY_DEPTH = 1e6
GROUND_PRIMITIVE, SKY_PRIMITIVE = -1, -2


@dataclass(frozen=True)
class View:
    """One rendered frame with its geometry.

    Attributes:
        image: (H, W, 3) float32 RGB radiance, 0..255, before the sensor.
        thing: (H, W) uint8, see Thing.
        primitive: (H, W) int32 index into the world's primitives, or GROUND_PRIMITIVE / SKY_PRIMITIVE.
        object_id: (H, W) int32, -1 ground, -2 sky.
        depth: (H, W) float32 along the optical axis.
        rays: (H, W, 3) float32, see Camera.rays.
        time, camera: when and from where; wrap_x: where the periodic world was cut.
    """

    image: np.ndarray
    thing: np.ndarray
    primitive: np.ndarray
    object_id: np.ndarray
    depth: np.ndarray
    rays: np.ndarray
    time: float
    camera: Camera
    wrap_x: float


def _clip_near(polygon: np.ndarray) -> np.ndarray:
    """The part of a polygon (n, 3), camera axes, in front of the near plane."""
    result = []
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if a[2] >= NEAR:
            result.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            result.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(result)


def _to_fixed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixel coordinates as 1/16 px integers, kept within what the rasteriser can add up."""
    return np.rint(np.clip(np.stack([x, y], -1), -4000, 4000) * 16).astype(np.int32)


_CIRCLE = np.stack([wave(np.linspace(0, 2 * np.pi, 16, endpoint=False)) for wave in (np.cos, np.sin)])


def _ball_outlines(centres: np.ndarray, radii: np.ndarray, camera: Camera) -> np.ndarray:
    """(n, 16, 2) fixed-point outlines of ellipsoids, centres relative to the camera: their dual quadrics, projected."""
    local = centres @ camera.rotation.T
    spread = np.einsum("ij,nj,kj->nik", camera.rotation, radii**2, camera.rotation)
    dual = spread - local[:, :, None] * local[:, None]  # of the image conic, for unit intrinsics
    dual = dual / dual[:, 2:, 2:]
    middle = dual[:, :2, 2]
    shape = middle[:, :, None] * middle[:, None] - dual[:, :2, :2]
    a = np.sqrt(np.maximum(shape[:, 0, 0], 1e-12))
    low = shape[:, 1, 0] / a
    c = np.sqrt(np.maximum(shape[:, 1, 1] - low**2, 1e-12))
    x = middle[:, :1] + a[:, None] * _CIRCLE[0]
    y = middle[:, 1:] + low[:, None] * _CIRCLE[0] + c[:, None] * _CIRCLE[1]
    cx, cy = camera.centre
    return _to_fixed(x * camera.focal + cx, y * camera.focal + cy)


def _intersect_faces(
    index: np.ndarray, rays: np.ndarray, corner: np.ndarray, normal: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """Depths where rays (n, 3) meet the planes of faces `index`, kept within each face's own range of depths."""
    facing = np.einsum("nc,nc->n", normal[index], rays)
    distance = np.einsum("fc,fc->f", normal, corner)[index]
    depth = distance / np.where(np.abs(facing) < 1e-6, 1e-6, facing)
    return np.clip(depth, reach[index, 0], reach[index, 1])


def _intersect_balls(index: np.ndarray, rays: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Depths where rays (n, 3) enter ellipsoids `index`; a ray that just misses gets the nearest approach."""
    p, q = -(centre / radii)[index], rays / radii[index]
    qq, pq, pp = (np.einsum("nc,nc->n", *pair) for pair in ((q, q), (p, q), (p, p)))
    root = np.sqrt(np.maximum(pq**2 - qq * (pp - 1), 0))
    return (-pq - root) / qq


def render_view(world: World, time: float, focal: float, size: tuple[int, int], wrap_x: float) -> View:
    """Render the world at `time` seconds; `wrap_x` must be the same for all frames of a sequence that flow connects."""
    camera = world.flight.camera(time, focal, size)
    height, width = size
    rays = camera.rays()
    offsets = world.object_offsets(time, wrap_x)
    n_faces = world.n_faces
    shift = offsets[world.object_id] - camera.position
    corners = world.corners + shift[:n_faces, None]
    centres = world.centres + shift[n_faces:]

    # which primitives can be seen
    local = corners @ camera.rotation.T
    face_depth = local[..., 2]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    facing = np.einsum("fc,fc->f", normal, corners[:, 0]) < -1e-6
    fx, fy = camera.pixels(local, np.maximum(face_depth, NEAR))
    whole = (face_depth >= NEAR).all(1)
    outside = (fx.max(1) < -1) | (fx.min(1) > width) | (fy.max(1) < -1) | (fy.min(1) > height)
    seen_faces = facing & (face_depth.max(1) > NEAR) & (face_depth.min(1) < FAR) & ~(whole & outside)
    ball_local = centres @ camera.rotation.T
    ball_depth, reach = ball_local[:, 2], world.radii.max(1)
    margin = reach * 1.4
    half_w, half_h = (width / 2 + 1) / camera.focal, (height / 2 + 1) / camera.focal
    seen_balls = (ball_depth > np.minimum(reach * 1.05, 30) + NEAR) & (ball_depth < FAR)
    seen_balls &= np.abs(ball_local[:, 0]) < half_w * ball_depth + margin
    seen_balls &= np.abs(ball_local[:, 1]) < half_h * ball_depth + margin
    distance = np.linalg.norm(world.anchors + offsets[:, :2] - camera.position[:2], axis=1)

    ball_index = np.flatnonzero(seen_balls)
    outlines = dict(
        zip((ball_index + n_faces).tolist(), _ball_outlines(centres[ball_index], world.radii[ball_index], camera), strict=True)
    )
    fixed = _to_fixed(fx, fy)
    seen = np.concatenate([np.flatnonzero(seen_faces), ball_index + n_faces])
    own = np.concatenate([np.linalg.norm(corners.mean(1), axis=1), np.linalg.norm(centres, axis=1)])
    objects = world.object_id[seen]
    ranked = seen[np.lexsort((-own[seen], world.order[seen], objects, -distance[objects]))]

    # terrain, buildings, small things: filled far to near within a layer, merged by depth
    vertical = rays[..., 2]
    ground_depth = np.where(vertical < -1e-4, -camera.position[2] / np.minimum(vertical, -1e-4), _SKY_DEPTH).astype(np.float32)
    depth = np.minimum(ground_depth, _SKY_DEPTH)
    primitive = np.where(depth >= 4000, SKY_PRIMITIVE, GROUND_PRIMITIVE).astype(np.int32)
    depth[primitive == SKY_PRIMITIVE] = _SKY_DEPTH
    face_reach = np.stack([np.maximum(face_depth.min(1), NEAR), face_depth.max(1)], 1).astype(np.float32)
    flat_rays = rays.reshape(-1, 3)
    for layer in Layer:
        ids = np.full(size, -1, np.int32)
        for i in ranked[world.layer[ranked] == layer].tolist():
            if i >= n_faces or whole[i]:
                cv2.fillConvexPoly(ids, outlines[i] if i >= n_faces else fixed[i], i, shift=4)
            else:
                part = _clip_near(local[i])
                if len(part) >= 3:
                    cv2.fillConvexPoly(ids, _to_fixed(*camera.pixels(part, part[:, 2])), i, shift=4)
        flat = ids.ravel()
        hits = np.full(flat.shape, np.inf, np.float32)
        pixels = np.flatnonzero(flat >= 0)
        is_face = flat[pixels] < n_faces
        on_faces, on_balls = pixels[is_face], pixels[~is_face]
        hits[on_faces] = _intersect_faces(flat[on_faces], flat_rays[on_faces], corners[:, 0], normal, face_reach)
        hits[on_balls] = _intersect_balls(flat[on_balls] - n_faces, flat_rays[on_balls], centres, world.radii)
        hits = hits.reshape(size)
        # things stand on the ground: the outermost pixel of their outline may lie a little below it
        slack = 0.0 if layer == Layer.TERRAIN else 0.25
        wins = hits < depth + slack
        depth = np.where(wins, hits, depth)
        primitive = np.where(wins, ids, primitive)

    points = rays * depth[..., None]
    ground_pixels = primitive == GROUND_PRIMITIVE
    object_id = np.where(primitive >= 0, world.object_id[np.maximum(primitive, 0)], primitive).astype(np.int32)
    gx = np.where(ground_pixels, points[..., 0] + camera.position[0], 0).astype(np.float32)
    gy = np.where(ground_pixels, points[..., 1] + camera.position[1], 0).astype(np.float32)
    materials = world.ground.materials_at(gx, gy)
    thing = np.where(primitive >= 0, world.thing[np.maximum(primitive, 0)], MATERIAL_THINGS[materials]).astype(np.uint8)
    # far off, the repeated map is finer than the pixels
    thing[ground_pixels & (depth > FAR)] = Thing.LOW_VEGETATION
    thing[primitive == SKY_PRIMITIVE] = Thing.SKY
    origins = np.concatenate([corners[:, 0], centres])
    image = shade(world, camera, primitive, depth, points, rays, origins, normal, gx, gy, materials, offsets)
    return View(image, thing, primitive, object_id, depth.astype(np.float32), rays, time, camera, wrap_x)


def flow_between(world: World, source: View, target: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact flow source -> target.

    Returns: flow (2, H, W) float32, in_view (H, W) bool, occluded (H, W) bool (hidden in the target, or out of its view).
    """
    offsets = world.object_offsets(target.time, None) - world.object_offsets(source.time, None)
    step = np.concatenate([offsets, np.zeros((2, 3))]).astype(np.float32)  # -1 and -2: ground and sky stay
    move = (source.camera.position - target.camera.position).astype(np.float32)
    points = source.rays * source.depth[..., None] + move + step[source.object_id]
    points = np.where((source.primitive == SKY_PRIMITIVE)[..., None], source.rays * _SKY_DEPTH, points)
    x, y, depth = target.camera.project(points)
    height, width = source.camera.size
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    flow = np.clip(np.stack([x - columns, y - rows]), -510, 510).astype(np.float32)
    in_view = (depth > 0) & (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    i, j = np.clip(np.rint(y), 0, height - 1).astype(int), np.clip(np.rint(x), 0, width - 1).astype(int)
    same = target.object_id[i, j] == source.object_id
    # depth changes by this much within a pixel on ground seen at a grazing angle
    slope = depth**2 / (target.camera.focal * target.camera.position[2])
    tolerance = np.where(source.primitive >= 0, 0.3 + 0.01 * depth, 0.1 + slope)
    close = (np.abs(target.depth[i, j] - depth) < tolerance) | (source.primitive == SKY_PRIMITIVE)
    return flow, in_view, ~(in_view & same & close)


def wrap_centre(world: World, duration: float) -> float:
    """Where to cut the periodic world: half a period ahead of and behind what the flight sees."""
    x = world.flight.start[0] + world.flight.velocity[0] * duration / 2
    return float(x + PERIOD / 2 - 25)
