"""The method in one picture: a step of SSP, every panel a tensor of a trained system on a real frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from sspcore.core.classes import IGNORE, ClassSpec, colourise
from sspcore.report.style import BLACK, class_legend, figure, show_image

# inches
WIDTH, PANEL, GAP = 10.4, 2.15, 0.5  # of the picture, of a panel, and the space for an arrow between two panels
TOP, TITLE, BOTTOM = 0.62, 0.28, 0.7  # above the first row, between rows, for the legend
ROWS = 4
ALPHA = r"$\alpha$, weight of the past"
NO_PAST = np.array([225, 225, 225], np.uint8)
EQUATION = (
    r"$P_k = \alpha \cdot \mathrm{warp}(P_{k-1}) + (1 - \alpha) \cdot S_k$" "\n"
    r"$\alpha = \mathrm{similarity}\,(\mathrm{warp}(F_{k-1}),\, F_k)$"
)


@dataclass(frozen=True)
class Step:
    """The tensors of one step, on the CPU.

    Attributes:
        frames: previous and current, (H, W, 3) uint8.
        features: of both, (F, H/4, W/4); past_features: the previous ones registered to the current frame, zeros without past.
        present: S_k, labels (H, W). previous: P_{k-1}. past: P_{k-1} registered, IGNORE without past. output: P_k.
        alpha: (H, W) in 0..1.
        truth: (H, W) labels of frame k, None where unknown.
    """

    frames: tuple[np.ndarray, np.ndarray]
    features: tuple[Tensor, Tensor]
    past_features: Tensor
    previous: np.ndarray
    past: np.ndarray
    present: np.ndarray
    output: np.ndarray
    alpha: np.ndarray
    truth: np.ndarray | None

    @property
    def corrected(self) -> float:
        """Share of pixels that the past gives another label."""
        return float((self.output != self.present).mean())


def feature_colours(features: list[Tensor]) -> list[np.ndarray]:
    """Features (F, h, w) as RGB (h, w, 3) by their first three principal components, one basis and scale for all.

    Places whose features are all zero (no past) are grey.
    """
    n_channels = features[0].shape[0]
    pixels = torch.cat([f.reshape(n_channels, -1).T for f in features]).double()
    there = pixels.abs().sum(1) > 0
    centred = pixels - pixels[there].mean(0)
    basis = torch.linalg.svd(centred[there].T @ centred[there])[0][:, :3]
    basis = basis * torch.sign(basis[basis.abs().argmax(0), torch.arange(3)])  # a sign of its own would differ by machine
    scores = centred @ basis
    low, high = torch.quantile(scores[there][:: max(1, len(scores) // 20000)], torch.tensor([0.02, 0.98]).double(), dim=0)
    colours = (255 * ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)).to(torch.uint8)
    colours[~there] = torch.from_numpy(NO_PAST)
    ends = np.cumsum([f[0].numel() for f in features])[:-1]
    parts = np.split(colours.numpy(), ends)
    return [part.reshape(*f.shape[1:], 3) for part, f in zip(parts, features, strict=True)]


def method_picture(step: Step, spec: ClassSpec, title: str) -> Figure:
    """Frames, features, registered past, alpha, and what they add up to; arrows show what is made from what."""
    height = PANEL * step.frames[0].shape[0] / step.frames[0].shape[1]
    picture, spare = figure(WIDTH, TOP + ROWS * (height + TITLE) - TITLE + BOTTOM)
    spare.remove()
    picture.set_layout_engine("none")  # places are worked out here: arrows must meet their panels
    before, current, registered = feature_colours([*step.features, step.past_features])
    panels = {
        (0, 0): ("frame k−1", step.frames[0]), (0, 1): ("features $F_{k-1}$", before),
        (0, 2): ("warp($F_{k-1}$)", registered),
        (1, 0): ("frame k", step.frames[1]), (1, 1): ("features $F_k$", current), (1, 2): (ALPHA, None),
        (2, 2): ("$S_k$, this frame alone", colourise(step.present, spec)),
        (3, 0): ("$P_{k-1}$, previous output", colourise(step.previous, spec)),
        (3, 2): ("warp($P_{k-1}$)", _with_past(step.past, spec)), (2, 3): ("$P_k$, output", colourise(step.output, spec)),
    }
    if step.truth is not None:
        panels[0, 3] = ("truth, frame k", colourise(step.truth, spec))
    axes = {place: _panel(picture, place, height) for place in panels}
    for place, (name, image) in panels.items():
        if image is None:
            drawn = show_image(axes[place], step.alpha, cmap="viridis", vmin=0, vmax=1)
            _alpha_scale(picture, axes[place], drawn)
        else:
            show_image(axes[place], image)
        axes[place].set_title(name, fontsize=10, pad=3, loc="left" if image is None else "center")
    for start, end, note in (
        ((0, 0), (0, 1), "encoder"), ((0, 1), (0, 2), "H"), ((1, 0), (1, 1), "encoder"), ((1, 1), (1, 2), ""),
        ((3, 0), (3, 2), "H: homography that registers frame k−1 to frame k"),
        ((1, 2), (2, 3), ""), ((2, 2), (2, 3), ""), ((3, 2), (2, 3), ""),
    ):
        _arrow(picture, axes[start], axes[end], note)
    _bracket(picture, axes[0, 2], axes[1, 2])
    _elbow(picture, axes[1, 1], axes[2, 2], "decoder")
    left = axes[1, 0].get_position()
    picture.text(left.x0, axes[2, 2].get_position().y0 + 0.03, EQUATION, fontsize=12, va="bottom", linespacing=1.7)
    more = {"no past": "#e1e1e1"} | ({} if step.truth is None else {"not scored": "black"})
    class_legend(picture, spec, columns=7, more=more)
    picture.suptitle(title, y=0.99)
    return picture


def _with_past(labels: np.ndarray, spec: ClassSpec) -> np.ndarray:
    image = colourise(labels, spec)
    image[labels == IGNORE] = NO_PAST
    return image


def _panel(picture: Figure, place: tuple[int, int], height: float) -> Axes:
    """Axes of the panel in (row, column), sizes in inches turned into parts of the picture."""
    (row, column), whole = place, picture.get_size_inches()[1]
    bottom = whole - TOP - row * (height + TITLE) - height
    left = 0.15 + column * (PANEL + GAP)
    return picture.add_axes((left / WIDTH, bottom / whole, PANEL / WIDTH, height / whole))


def _alpha_scale(picture: Figure, axes: Axes, drawn: AxesImage) -> None:
    """The colours of alpha, to the right of its title."""
    box = axes.get_position()
    scale = picture.add_axes((box.x0 + 0.74 * box.width, box.y1 + 0.009, 0.19 * box.width, 0.012))
    bar = picture.colorbar(drawn, cax=scale, orientation="horizontal", ticks=[])
    bar.outline.set_visible(False)
    for x, align, text in ((-0.06, "right", "0"), (1.06, "left", "1")):
        scale.text(x, 0.5, text, ha=align, va="center", fontsize=8, transform=scale.transAxes)


def _arrow(picture: Figure, start: Axes, end: Axes, note: str) -> None:
    a, b = start.get_position(), end.get_position()
    from_point, to_point = (a.x1 + 0.005, (a.y0 + a.y1) / 2), (b.x0 - 0.005, (b.y0 + b.y1) / 2)
    if abs(a.y0 - b.y0) > 0.5 * a.height:  # another row: several arrows meet here and keep apart at their end
        to_point = to_point[0], to_point[1] + (0.3 if a.y0 > b.y0 else -0.3) * b.height
    _line(picture, from_point, to_point)
    if note:
        x = (from_point[0] + to_point[0]) / 2
        picture.text(x, from_point[1] + 0.006, note, ha="center", va="bottom", fontsize=8)


def _bracket(picture: Figure, start: Axes, end: Axes) -> None:
    """Out of the start's right side, down, and into the end's right side."""
    a, b = start.get_position(), end.get_position()
    x, from_y, to_y = a.x1 + 0.018, (a.y0 + a.y1) / 2, b.y0 + 0.8 * b.height
    _line(picture, (a.x1 + 0.004, from_y), (x, from_y), (x, to_y), (b.x1 + 0.003, to_y))


def _elbow(picture: Figure, start: Axes, end: Axes, note: str) -> None:
    """Down from the start's middle, then right to the end."""
    a, b = start.get_position(), end.get_position()
    x, y = (a.x0 + a.x1) / 2, (b.y0 + b.y1) / 2
    _line(picture, (x, a.y0 - 0.005), (x, y), (b.x0 - 0.005, y))
    picture.text(x + 0.008, y + 0.006, note, ha="left", va="bottom", fontsize=8)


def _line(picture: Figure, *corners: tuple[float, float]) -> None:
    """A line through corners in parts of the picture, with an arrow's head at its end."""
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        picture.add_artist(FancyArrowPatch(
            start, end, transform=picture.transFigure, arrowstyle="-|>" if end is corners[-1] else "-", mutation_scale=11,
            color=BLACK, linewidth=1.1, shrinkA=0, shrinkB=0,
        ))
