"""Pictures of motion: flow, warps, occlusion, registration (notebook 02)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import flow_to_image

from sspcore.core.images import to_tensor
from sspcore.motion import lightglue
from sspcore.motion.geometry import (
    occlusion_mask,
    occlusion_mask_same_pixel,
    soft_occlusion,
    warp_by_flow,
    warp_by_homography,
)
from sspcore.motion.registration import Registration, build_registrator
from sspcore.report.figures import overlay
from sspcore.report.grids import Panel, image_grid, in_rows
from sspcore.report.style import GREEN, VERMILION, hide_axes

WIDTH = 11.2  # inches
BRIGHTEST = 80  # grey levels of difference


def flow_picture(flow: Tensor) -> np.ndarray:
    """(2, H, W) flow as RGB by the usual colour wheel; the largest vector has full saturation."""
    return flow_to_image(flow).movedim(0, -1).numpy()


def flow_wheel(size: int = 101) -> np.ndarray:
    """The legend: colour of the vector that points from the centre to a pixel, up to the largest vector."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    wheel = flow_picture(torch.stack([x, y]))
    wheel[(x * x + y * y > 1).numpy()] = 255
    return wheel


def warp_panels(previous: np.ndarray, current: np.ndarray, flow_to_prev: Tensor) -> Figure:
    """Frame before, frame, flow, the frame before warped into the frame, their difference, and the soft mask O."""
    frame, before = to_tensor(current)[None], to_tensor(previous)[None]
    warped, valid = warp_by_flow(before, flow_to_prev[None])
    weight = (soft_occlusion(frame, warped) * valid)[0, 0].numpy()
    shown = _image(warp_by_flow(rgb_values(previous), flow_to_prev[None])[0])
    longest = float(flow_to_prev.norm(dim=0).max())
    panels = [
        Panel(previous, "frame k−1"), Panel(current, "frame k"),
        Panel(flow_picture(flow_to_prev), f"flow k to k−1 (longest {longest:.1f} px)"),
        Panel(shown, "k−1 warped into k"),
        Panel(_difference(shown, current, valid), "difference to k, grey levels", colours="magma", top=BRIGHTEST, scale=True),
        Panel(weight, "soft mask O (1 = same place)", scale=True),
    ]
    picture, axes = image_grid(in_rows(panels, 3), width=WIDTH)
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
    current: np.ndarray, flow_to_prev: Tensor, flow_from_prev: Tensor, exact: np.ndarray | None
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
    panels = [] if exact is None else [Panel(overlay(current, exact), f"exact\n{100 * exact.mean():.1f} % of pixels")]
    for name, mask in masks.items():
        title = f"{name}\n{100 * mask.mean():.1f} % of pixels"
        if exact is not None:
            precision, recall = precision_recall(mask, exact)
            title += f", precision {precision:.2f}, recall {recall:.2f}"
        panels.append(Panel(overlay(current, mask), title))
    return image_grid([panels], width=WIDTH)[0]


def registration_panels(previous: np.ndarray, current: np.ndarray, registration: Registration) -> Figure:
    """Matched points on the frame (inliers and outliers), and the frame before brought in by the homography."""
    H_prev_to_cur = torch.from_numpy(registration.H_prev_to_cur)[None]
    warped, valid = warp_by_homography(rgb_values(previous), H_prev_to_cur)
    shown, no_past = _image(warped), ~valid[0, 0].numpy()
    residual = _difference(shown, current, valid)
    picture, axes = image_grid([[
        Panel(current, f"{registration.inliers} inliers of {registration.matches} matches"),
        Panel(overlay(shown, no_past), "k−1 warped by H; no past in magenta"),
        Panel(residual, "difference to k, grey levels", colours="magma", top=BRIGHTEST, scale=True),
    ]], width=WIDTH)
    if registration.matches:
        points, inlier = registration.current_points, registration.inlier_mask
        axes[0][0].scatter(*points[~inlier].T, s=6, color=VERMILION, label="outlier")
        axes[0][0].scatter(*points[inlier].T, s=6, color=GREEN, label="inlier")
        axes[0][0].legend(loc="lower left", fontsize=8, frameon=True)
    return picture


def compare_matchers(previous: np.ndarray, current: np.ndarray) -> dict[str, dict[str, Any]]:
    """How each matcher registers two frames: model of motion, inliers, what is left of the difference, time.

    LightGlue is among them where its extra is installed.
    """
    rows = {}
    for name in ("lk", "sift", "akaze", "orb", *(("lightglue",) if lightglue.is_installed() else ())):
        registrator, began = build_registrator(name), perf_counter()
        found = registrator(previous, current)
        rows[name] = {
            "model": found.model, "ok": found.ok, "inliers": found.inliers, "matches": found.matches,
            "left (grey levels)": found.residual, "time (ms)": 1e3 * (perf_counter() - began),
        }
    return rows


def rgb_values(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (1, 3, H, W) float in 0..255."""
    return torch.from_numpy(image.copy()).movedim(-1, 0)[None].float()


def _image(values: Tensor) -> np.ndarray:
    """The opposite of `rgb_values`."""
    return values[0].round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()


def _difference(image: np.ndarray, other: np.ndarray, valid: Tensor) -> np.ndarray:
    """Mean absolute difference over the channels, (H, W), in grey levels; NaN where `valid` (1, 1, H, W) says no past."""
    return np.where(valid[0, 0].numpy(), np.abs(image.astype(int) - other).mean(-1), np.nan)
