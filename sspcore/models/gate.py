"""The gate between two motions: in which cells of a frame the past comes by the homography, and in which by flow.

A homography moves the ground and nothing that stands out of it or drives on it; flow follows those and is noisy on the
ground. The matches that the homography was fitted to tell where it holds: see `sspcore.models.spec.Gate` for the rule.
Source: arXiv 2606.09162 (METHOD section 10).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.types import Size
from sspcore.models.spec import Gate


def cell_counts(correspondences: Tensor, size: Size, grid: int) -> Tensor:
    """Inliers and matches in each cell of a frame, (B, 2, grid, grid) float32.

    Args:
        correspondences: (B, N, 3), (x, y, inlier) as in `sspcore.core.types.Motion`; what lies outside the frame or is NaN
            counts nowhere.
        size: (H, W) of the frame in pixels. Cells divide its pixel area [-0.5, W - 0.5] x [-0.5, H - 0.5] evenly.
    """
    x, y, inlier = correspondences.float().unbind(-1)
    row, column = ((y + 0.5) * grid / size[0]).floor(), ((x + 0.5) * grid / size[1]).floor()
    inside = (row >= 0) & (row < grid) & (column >= 0) & (column < grid)
    cell = torch.where(inside, row * grid + column, grid * grid).long()  # the last one takes what lies outside
    values = torch.stack([torch.where(inside, inlier, 0), inside.float()], dim=1)
    counts = values.new_zeros(*values.shape[:2], grid * grid + 1).scatter_add(2, cell[:, None].expand_as(values), values)
    return counts[..., :-1].unflatten(-1, (grid, grid))


def homography_holds(correspondences: Tensor, size: Size, gate: Gate) -> Tensor:
    """Cells whose past the homography brings, (B, 1, grid, grid) bool; arguments as `cell_counts`."""
    counts = cell_counts(correspondences, size, gate.grid)
    of_frame = counts.sum((2, 3), keepdim=True)
    if gate.reach:
        counts = F.avg_pool2d(counts, 2 * gate.reach + 1, stride=1, padding=gate.reach, divisor_override=1)
    (inliers, matches), (all_inliers, all_matches) = counts.split(1, dim=1), of_frame.split(1, dim=1)
    share = inliers / matches  # NaN without a match
    threshold = share.flatten(1).nanmedian(1).values.view(-1, 1, 1, 1) if gate.threshold == "median" else gate.threshold
    share = torch.where(matches > 0, share, all_inliers / all_matches)
    return (share >= threshold) & (share > 0)


def pixels_of(cells: Tensor, size: Size) -> Tensor:
    """Cells (B, 1, grid, grid) bool as a mask (B, 1, H, W) of a frame of any size: each pixel as the cell of its centre."""
    return F.interpolate(cells.float(), size=tuple(size), mode="nearest-exact") > 0.5
