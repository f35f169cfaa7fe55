"""Pictures of motion: flow, warps, occlusion, registration (notebook 02)."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.utils import flow_to_image

from sspcore.core.images import to_tensor
from sspcore.motion.geometry import (
    occlusion_mask,
    occlusion_mask_same_pixel,
    soft_occlusion,
    warp_by_flow,
    warp_by_homography,
)
from sspcore.motion.registration import Registration
from sspcore.report.style import GREEN, VERMILION, figure, hide_axes


def flow_picture(flow: torch.Tensor) -> np.ndarray:
    """(2, H, W) flow as RGB by the usual colour wheel; the largest vector has full saturation."""
    return flow_to_image(flow).movedim(0, -1).numpy()


def flow_wheel(size: int = 101) -> np.ndarray:
    """The legend: colour of the vector that points from the centre to a pixel, up to the largest vector."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    wheel = flow_picture(torch.stack([x, y]))
    wheel[(x * x + y * y > 1).numpy()] = 255
    return wheel


def warp_panels(previous: np.ndarray, current: np.ndarray, flow_to_prev: torch.Tensor) -> Figure:
    """Frame before, frame, flow, the frame before warped into the frame, their difference, and the soft mask O."""
    frame, before = to_tensor(current)[None], to_tensor(previous)[None]
    warped, valid = warp_by_flow(before, flow_to_prev[None])
    weight = (soft_occlusion(frame, warped) * valid)[0, 0].numpy()
    shown = warp_by_flow(torch.from_numpy(previous.copy()).movedim(-1, 0)[None].float(), flow_to_prev[None])[0]
    shown = shown[0].round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()
    difference = np.abs(shown.astype(int) - current).mean(-1)
    picture, axes = _grid(current, 2, 3)
    longest = float(flow_to_prev.norm(dim=0).max())
    panels = [
        ("frame k-1", previous, {}), ("frame k", current, {}),
        (f"flow k to k-1 (longest {longest:.1f} px)", flow_picture(flow_to_prev), {}),
        ("k-1 warped into k", shown, {}), ("absolute difference to k", difference, {"cmap": "magma", "vmin": 0, "vmax": 80}),
        ("soft mask O (1 = same place)", weight, {"cmap": "viridis", "vmin": 0, "vmax": 1}),
    ]
    for cell, (title, image, options) in zip(axes.flat, panels, strict=True):
        drawn = cell.imshow(image, **options)
        hide_axes(cell)
        cell.set_title(title)
        if options:
            picture.colorbar(drawn, ax=cell, shrink=0.7)
    wheel = axes[0][2].inset_axes([0.83, 0.02, 0.16, 0.27])
    wheel.imshow(flow_wheel())
    hide_axes(wheel)
    return picture


def precision_recall(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Precision and recall of a mask (H, W) against the exact one; NaN where the denominator is empty."""
    hits = float((mask & truth).sum())
    found, there = float(mask.sum()), float(truth.sum())
    return hits / found if found else float("nan"), hits / there if there else float("nan")


def occlusion_panels(
    current: np.ndarray, flow_to_prev: torch.Tensor, flow_from_prev: torch.Tensor, exact: np.ndarray | None
) -> Figure:
    """The hard mask M_occ in both readings beside the exact occlusion; titles carry precision and recall.

    Args:
        flow_to_prev, flow_from_prev: (2, H, W), frame k to k-1 and k-1 to k.
        exact: (H, W) bool, hidden in k-1 or out of its view; None where unknown.
    """
    masks = {
        "followed along the flow": occlusion_mask(flow_to_prev[None], flow_from_prev[None])[0, 0].numpy(),
        "same pixel (reference)": occlusion_mask_same_pixel(flow_to_prev[None], flow_from_prev[None])[0, 0].numpy(),
    }
    if exact is not None:
        masks = {"exact": exact} | masks
    picture, axes = _grid(current, 1, len(masks))
    for cell, (name, mask) in zip(axes.flat, masks.items(), strict=True):
        cell.imshow(overlay(current, mask))
        hide_axes(cell)
        title = f"{name}\n{100 * mask.mean():.1f} % of pixels"
        if exact is not None and name != "exact":
            precision, recall = precision_recall(mask, exact)
            title += f", precision {precision:.2f}, recall {recall:.2f}"
        cell.set_title(title)
    return picture


def registration_panels(previous: np.ndarray, current: np.ndarray, registration: Registration) -> Figure:
    """Matched points on the frame (inliers and outliers), and the frame before brought in by the homography."""
    H_prev_to_cur = torch.from_numpy(registration.H_prev_to_cur)[None]
    before = torch.from_numpy(previous.copy()).movedim(-1, 0)[None].float()
    warped, valid = warp_by_homography(before, H_prev_to_cur)
    shown = warped[0].round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()
    residual = np.abs(shown.astype(int) - current).mean(-1)
    residual[~valid[0, 0].numpy()] = np.nan
    picture, axes = _grid(current, 1, 3)
    axes[0][0].imshow(current)
    if registration.matches:
        points, inlier = registration.current_points, registration.inlier_mask
        axes[0][0].scatter(*points[~inlier].T, s=6, color=VERMILION, label="outlier")
        axes[0][0].scatter(*points[inlier].T, s=6, color=GREEN, label="inlier")
        axes[0][0].legend(loc="lower left", fontsize=8, frameon=True)
    axes[0][0].set_title(f"{registration.inliers} inliers of {registration.matches} matches")
    axes[0][1].imshow(overlay(shown, ~valid[0, 0].numpy()))
    axes[0][1].set_title("k-1 warped by H; no past in magenta")
    drawn = axes[0][2].imshow(residual, cmap="magma", vmin=0, vmax=80)
    axes[0][2].set_title("absolute difference to k")
    picture.colorbar(drawn, ax=axes[0][2], shrink=0.7)
    for cell in axes.flat:
        hide_axes(cell)
    return picture


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image, dimmed, with the mask in magenta."""
    shown = (0.6 * image + 50).astype(np.uint8)
    shown[mask] = (255, 0, 255)
    return shown


def _grid(image: np.ndarray, rows: int, columns: int):
    panel = 11.0 / columns
    height = panel * image.shape[0] / image.shape[1]
    return figure(11.2, rows * (height + 0.28) + 0.2, rows, columns, squeeze=False)
