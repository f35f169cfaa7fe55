"""Samples for training and their geometry: frames, labels, motion and teacher logits change together.

A geometric change is a map A of pixel coordinates, x' = A x: affine, or a homography. Flow vectors are moved with it and
homographies become A H A^-1; nothing is estimated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.transforms.v2 import functional as F

from sspcore.core.classes import IGNORE
from sspcore.core.types import Size
from sspcore.motion.geometry import pixel_grid
from sspcore.motion.geometry import sample as read_at


@dataclass(frozen=True)
class Sample:
    """One training window before it is batched, all at the same size (H, W).

    Attributes:
        frames: (T, 3, H, W) uint8.
        labels: (T, H, W) uint8, 255 where there is none.
        H_prev_to_cur: (T-1, 3, 3) float64.
        flow_to_prev: (T-1, 2, H, W) float32, or None where neither model nor loss wants flow.
        correspondences: (T-1, N, 3) float32, see `sspcore.core.types.Motion`, or None; those that a crop leaves outside stay.
        teacher: (T, C, H/4, W/4) float, teacher logits, or None.
        registered: (T-1,) bool, whether a homography was found; only where samples are registered as they are read.
    """

    frames: Tensor
    labels: Tensor
    H_prev_to_cur: Tensor
    flow_to_prev: Tensor | None = None
    correspondences: Tensor | None = None
    teacher: Tensor | None = None
    registered: Tensor | None = None


def crop_and_resize(sample: Sample, top: int, left: int, box: Size, size: Size) -> Sample:
    """Cut the box (height, width) at (top, left) and resize it to `size`; top, left and box in multiples of 4 if there
    are teacher logits (they live on a grid of stride 4)."""
    scale_y, scale_x = size[0] / box[0], size[1] / box[1]
    # pixel centres: x' = (x - left + 0.5) * s - 0.5
    affine = torch.tensor([
        [scale_x, 0.0, (0.5 - left) * scale_x - 0.5],
        [0.0, scale_y, (0.5 - top) * scale_y - 0.5],
        [0.0, 0.0, 1.0],
    ], dtype=torch.float64)
    rows, columns = slice(top, top + box[0]), slice(left, left + box[1])
    frames, labels = sample.frames[..., rows, columns], sample.labels[..., rows, columns]
    flow = None if sample.flow_to_prev is None else sample.flow_to_prev[..., rows, columns]
    teacher = sample.teacher
    if teacher is not None:
        teacher = teacher[..., top // 4: (top + box[0]) // 4, left // 4: (left + box[1]) // 4]
    if box != size:
        frames = F.resize_image(frames, list(size), antialias=True)
        # nearest by pixel centres, as the frames: torchvision's mask resize rounds down, half a pixel off
        labels = interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(labels.dtype)
        if flow is not None:
            flow = interpolate(flow, size, mode="bilinear", align_corners=False)
            flow = flow * torch.tensor([scale_x, scale_y])[:, None, None]
        if teacher is not None:
            teacher = interpolate(teacher, (size[0] // 4, size[1] // 4), mode="bilinear", align_corners=False)
    return replace(
        sample, frames=frames, labels=labels, flow_to_prev=flow, teacher=teacher,
        H_prev_to_cur=affine @ sample.H_prev_to_cur @ torch.linalg.inv(affine),
        correspondences=_moved_matches(sample.correspondences, affine),
    )


def flip_horizontally(sample: Sample) -> Sample:
    """Mirror left and right: x' = W - 1 - x."""
    width = sample.frames.shape[-1]
    mirror = torch.tensor([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    flow = sample.flow_to_prev
    if flow is not None:
        flow = flow.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    return replace(
        sample, frames=sample.frames.flip(-1), labels=sample.labels.flip(-1), flow_to_prev=flow,
        H_prev_to_cur=mirror @ sample.H_prev_to_cur @ mirror, correspondences=_moved_matches(sample.correspondences, mirror),
        teacher=None if sample.teacher is None else sample.teacher.flip(-1),
    )


def transform(sample: Sample, matrix: Tensor, size: Size, repeat_border: bool = False) -> Sample:
    """Every pixel x moved to matrix x, at a size of (height, width) from the upper left corner on.

    Args:
        matrix: (3, 3) float64, pixels of the sample to pixels of the result.
        repeat_border: for a view that lies inside the sample, whose border pixels reach half a pixel beyond their centres.
            Otherwise what lies outside is black, ignored in the labels, and has teacher logits 0, as in the reference: all
            classes equally likely.
    Returns: a sample of that size; matches that leave it stay among the correspondences.
    """
    back = torch.linalg.inv(matrix)
    border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
    frames = [_moved(frame, matrix, size, cv2.INTER_LINEAR, border) for frame in sample.frames.movedim(1, -1).numpy()]
    labels = [_moved(label, matrix, size, cv2.INTER_NEAREST, border, IGNORE) for label in sample.labels.numpy()]
    flow, teacher = sample.flow_to_prev, sample.teacher
    if flow is not None:
        fields = flow.movedim(1, -1).contiguous().numpy()
        flow = torch.stack([_moved_flow(field, matrix, size) for field in fields]).movedim(-1, 1)
    if teacher is not None:
        x, y = pixel_grid(size[0] // 4, size[1] // 4, dtype=torch.float64)[0] * 4 + 1.5  # pixels at the cells' centres
        x, y, scale = (row[0] * x + row[1] * y + row[2] for row in back)
        cells = (torch.stack((x, y)) / scale - 1.5) / 4
        padding = "border" if repeat_border else "zeros"
        teacher = read_at(teacher, cells[None].expand(len(teacher), -1, -1, -1), padding=padding)[0]
    return replace(
        sample, frames=torch.from_numpy(np.stack(frames)).movedim(-1, 1), labels=torch.from_numpy(np.stack(labels)),
        flow_to_prev=flow, teacher=teacher, H_prev_to_cur=matrix @ sample.H_prev_to_cur @ back,
        correspondences=_moved_matches(sample.correspondences, matrix),
    )


def _moved(
    image: np.ndarray[Any, Any], matrix: Tensor, size: Size, flags: int, border: int, outside: int = 0
) -> np.ndarray[Any, Any]:
    """An array (H, W) or (H, W, C) under x' = matrix x; OpenCV's affine warp is ten times as fast as its homography."""
    rows = matrix.numpy() / float(matrix[2, 2])
    if rows[2, 0] == rows[2, 1] == 0:
        return cv2.warpAffine(image, rows[:2], size[::-1], flags=flags, borderMode=border, borderValue=outside)
    return cv2.warpPerspective(image, rows, size[::-1], flags=flags, borderMode=border, borderValue=outside)


def _moved_flow(flow: np.ndarray[Any, Any], matrix: Tensor, size: Size) -> Tensor:
    """Flow (H, W, 2) under x' = matrix x: both ends of every vector are moved."""
    here = pixel_grid(*size)[0].movedim(0, -1).contiguous().numpy()
    vectors = _moved(flow, matrix, size, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    ends = cv2.perspectiveTransform(here, torch.linalg.inv(matrix).numpy()) + vectors
    return torch.from_numpy(cv2.perspectiveTransform(ends, matrix.numpy()) - here)


def _moved_matches(correspondences: Tensor | None, matrix: Tensor) -> Tensor | None:
    """Correspondences (..., 3) whose points go to x' = matrix x; inliers stay inliers."""
    if correspondences is None:
        return None
    points = correspondences[..., :2].double() @ matrix[:, :2].T + matrix[:, 2]
    return torch.cat([(points[..., :2] / points[..., 2:]).to(correspondences.dtype), correspondences[..., 2:]], dim=-1)


def filled_up(parts: Sequence[Tensor]) -> Tensor:
    """Correspondences (..., N_i, 3) stacked, with rows of NaN where there are fewer than in others."""
    longest = max((part.shape[-2] for part in parts), default=0)
    return torch.stack([pad(part, (0, 0, 0, longest - part.shape[-2]), value=torch.nan) for part in parts])
