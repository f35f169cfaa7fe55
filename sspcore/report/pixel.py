"""One pixel: which one is worth a look, where it lies, and what several predictions say of it (notebooks 04, 05)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sspcore.core.classes import ClassSpec
from sspcore.core.images import resize_labels
from sspcore.report.style import class_legend, figure, show_image

HESITATION = 0.3  # probability of the second class at a pixel that is worth a look
RIM = 0.08  # share of each side in which no pixel is chosen: its ring would be cut off
WRITTEN_FROM = 0.06  # narrower parts of a bar have no room for their percents
PANEL, ROW = 3.1, 0.42  # inches: width of a view, height of a bar


@dataclass(frozen=True)
class View:
    """Where the pixel lies in a frame.

    Attributes:
        image: (H, W, 3) uint8.
        point: (x, y) in pixels of the image.
        title: above it.
        share: how much of each side is shown, around the point; 1: the whole frame.
    """

    image: np.ndarray
    point: tuple[float, float]
    title: str
    share: float = 1.0


def hesitant_pixel(logits: Tensor) -> tuple[int, int]:
    """(y, x) of the pixel off the rim whose second class has a probability nearest to HESITATION. `logits`: (1, C, h, w)."""
    second = logits[0].softmax(0).topk(2, dim=0).values[1]
    return _place((second - HESITATION).abs().neg())


def misled_pixel(own: Tensor, other: Tensor, hidden: Tensor, truth: np.ndarray | None = None) -> tuple[int, int]:
    """(y, x) of the hidden pixel off the rim that a plain average of two predictions would mislead most.

    Args:
        own, other: (1, C, h, w) logits of this frame, and of the other frame brought into it.
        hidden: (1, 1, h, w), 0..1, how far the pixel is hidden in the other frame; 0 where that has no such point.
        truth: labels (H, W) of this frame; where they are known, pixels that `own` is right about come first.
    """
    apart = 0.5 * (own.softmax(1) - other.softmax(1)).abs().sum(1, keepdim=True)
    turned = (own + other).argmax(1, keepdim=True) != own.argmax(1, keepdim=True)
    score = (hidden * (apart + turned.float()))[0, 0]
    if truth is not None:
        small = torch.from_numpy(resize_labels(truth, tuple(score.shape)))
        score = score * (1 + (small == own[0].argmax(0)))
    return _place(score)


def pixel_picture(views: list[View], probabilities: Mapping[str, Tensor], spec: ClassSpec, title: str) -> Figure:
    """Views of the frames with the pixel ringed, and one bar a prediction: its probabilities (C,) in the classes' colours."""
    height = PANEL * views[0].image.shape[0] / views[0].image.shape[1] + 0.35
    bars = 0.6 + ROW * len(probabilities)
    picture, spare = figure(max(PANEL * len(views), 8.0), height + bars + 0.9)
    spare.remove()
    grid = picture.add_gridspec(2, len(views), height_ratios=(height, bars))
    for k, view in enumerate(views):
        _view(picture.add_subplot(grid[0, k]), view)
    _bars(picture.add_subplot(grid[1, :]), {name: values.double().numpy() for name, values in probabilities.items()}, spec)
    class_legend(picture, spec)
    picture.suptitle(title)
    return picture


def full_size(pixel: tuple[int, int], stride: int = 4) -> tuple[float, float]:
    """(x, y) in the frame of the centre of a pixel (y, x) of a grid of that stride."""
    y, x = pixel
    return stride * (x + 0.5) - 0.5, stride * (y + 0.5) - 0.5


def _place(score: Tensor) -> tuple[int, int]:
    """(y, x) of the largest score off the rim."""
    rows, columns = (round(RIM * side) for side in score.shape)
    inner = score[rows:score.shape[0] - rows, columns:score.shape[1] - columns]
    y, x = divmod(int(inner.argmax()), inner.shape[1])
    return y + rows, x + columns


def _view(axes: Axes, view: View) -> None:
    height, width = view.image.shape[:2]
    show_image(axes, view.image, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    for colour, size in (("black", 15), ("white", 12)):  # seen on light and on dark ground
        axes.plot(*view.point, "o", markersize=size, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.8)
    axes.set_xlim(_around(view.point[0], width, view.share))
    axes.set_ylim(_around(view.point[1], height, view.share)[::-1])
    axes.set_title(view.title, fontsize=10)


def _around(centre: float, side: int, share: float) -> tuple[float, float]:
    """Limits of a share of a side around a point, inside the image."""
    half = share * side / 2
    middle = float(np.clip(centre, half - 0.5, side - 0.5 - half))
    return middle - half, middle + half


def _bars(axes: Axes, probabilities: Mapping[str, np.ndarray], spec: ClassSpec) -> None:
    for row, values in enumerate(probabilities.values()):
        start = 0.0
        for value, colour in zip(values, spec.palette, strict=True):
            axes.barh(row, 100 * value, left=100 * start, height=0.7, color=[c / 255 for c in colour], edgecolor="white",
                      linewidth=0.5)
            if value >= WRITTEN_FROM:
                dark = np.dot(colour, (0.299, 0.587, 0.114)) < 140
                axes.text(100 * (start + value / 2), row, f"{100 * value:.0f}", ha="center", va="center", fontsize=9,
                          color="white" if dark else "black")
            start += value
    axes.set_yticks(range(len(probabilities)), probabilities)
    axes.set(xlabel="probability of each class (%)", xlim=(0, 100), ylim=(len(probabilities) - 0.5, -0.5))
    axes.grid(False)
