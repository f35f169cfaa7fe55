"""Training windows from a still: what a slightly moved camera would have seen before. Ours, not from the paper.

A video system learns from neighbouring frames, a still has none. The frames before it are the still itself under small random
homographies, so that homography and flow between them are exact. The window lies inside the still: it is enlarged a little,
just so far that no frame shows anything beyond the border, where nothing is known.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from sspcore.core.classes import IGNORE
from sspcore.core.types import Size
from sspcore.data.photometric import uniform
from sspcore.data.samples import Sample, transform
from sspcore.motion.geometry import homography_to_flow, pixel_grid, sampling_homography

# The largest motion between two frames, as in a calm flight at about ten frames a second.
SHIFT = 0.03  # of height and width
ROTATION = math.radians(1.5)
ZOOM = 0.02
PERSPECTIVE = 0.01  # change of scale at the border
UNEVEN = (0.5, 1.5)  # a camera moves on in one direction, not evenly
MATCHES = 16  # pixels between two of the points that stand for the matches of a registration


def moving_camera(still: Sample, length: int, flow: bool = False, correspondences: bool = False) -> Sample:
    """A window of `length` frames that ends in a still, as a moving camera sees it.

    Draws from torch's global generator.

    Args:
        still: a sample of one frame; its label and teacher logits are taken along.
        flow, correspondences: whether the window gets the exact flow, and evenly spread points that all fit the homography.
    Returns: the window at the still's size. Its last frame alone has a label; all have teacher logits if the still has.
    """
    size: Size = tuple(still.frames.shape[-2:])
    steps = _steps(length - 1, size)
    views = _views(steps, size)
    frames = [transform(still, view, size, repeat_border=True) for view in views]
    labels = torch.stack([torch.full_like(frames[0].labels[0], IGNORE)] * (length - 1) + [frames[-1].labels[0]])
    exact = homography_to_flow(sampling_homography(steps), size).float() if flow else None
    points = pixel_grid(*size)[0][:, MATCHES // 2::MATCHES, MATCHES // 2::MATCHES].flatten(1).T
    matches = torch.cat([points, torch.ones(len(points), 1)], dim=1).repeat(length - 1, 1, 1) if correspondences else None
    return replace(
        still, frames=torch.cat([frame.frames for frame in frames]), labels=labels, H_prev_to_cur=steps,
        flow_to_prev=exact, correspondences=matches,
        teacher=None if still.teacher is None else torch.cat([frame.teacher for frame in frames]),
    )


def _steps(count: int, size: Size) -> Tensor:
    """Homographies from each frame to the next (count, 3, 3) float64, in pixels: one motion, repeated unevenly."""
    limits = (SHIFT, SHIFT, ROTATION, ZOOM, PERSPECTIVE, PERSPECTIVE)
    speed = uniform(0, 1)  # some cameras hardly move
    motion = [speed * uniform(-limit, limit) for limit in limits]
    return torch.stack([_homography([uniform(*UNEVEN) * each for each in motion], size) for _ in range(count)])


def _homography(motion: list[float], size: Size) -> Tensor:
    """Pixels to pixels: a shift, a turn and a zoom about the centre, and a tilt; see the limits above for the units."""
    shift_x, shift_y, angle, zoom, tilt_x, tilt_y = motion
    height, width = size
    cos, sin = (math.exp(zoom) * each for each in (math.cos(angle), math.sin(angle)))
    moved = torch.tensor([
        [cos, -sin, shift_x * width], [sin, cos, shift_y * height], [2 * tilt_x / width, 2 * tilt_y / height, 1.0],
    ], dtype=torch.float64)
    return _about_centre(moved, size)


def _about_centre(matrix: Tensor, size: Size) -> Tensor:
    """A map of coordinates whose origin is the frame's centre, as one of pixels."""
    centre = torch.eye(3, dtype=torch.float64)
    centre[0, 2], centre[1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
    return centre @ matrix @ torch.linalg.inv(centre)


def _views(steps: Tensor, size: Size) -> list[Tensor]:
    """Pixels of the still to pixels of each frame, (3, 3); every frame lies inside the still."""
    to_last = [torch.eye(3, dtype=torch.float64)]
    for step in reversed(steps.unbind()):
        to_last.insert(0, to_last[0] @ step)
    height, width = size
    corners = torch.tensor([[x, y, 1.0] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)], dtype=torch.float64).T
    seen = torch.stack([matrix @ corners for matrix in to_last])
    x, y = seen[:, 0] / seen[:, 2] - (width - 1) / 2, seen[:, 1] / seen[:, 2] - (height - 1) / 2
    enlarged = max(1.0, float((x.abs() / (width / 2)).max()), float((y.abs() / (height / 2)).max()))
    enlarge = _about_centre(torch.diag(torch.tensor([enlarged, enlarged, 1.0], dtype=torch.float64)), size)
    return [torch.linalg.inv(matrix) @ enlarge for matrix in to_last]
