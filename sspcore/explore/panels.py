"""A panel: one picture of an explorer as plain pixels, with the words and the colour scale that belong to it.

Both faces of an explorer show the same panels: the live one sends their PNG bytes to the browser, the static one draws
them into one figure. Nothing here knows a widget.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sspcore.report.style import figure, hide_axes

NOTHING = np.array([225, 225, 225], np.uint8)  # grey: there is nothing to show here

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


@dataclass(frozen=True)
class Scale:
    """Colours of values: a matplotlib colour map from `low` to `high`, and what the ends mean."""

    colours: str
    low: float
    high: float
    meaning: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: a few words.
        image: (h, w, 3) uint8 RGB; any size, but the whole of it is the whole frame.
        note: what was measured on it, one short line.
        scale: of the values that the colours stand for; None for pictures.
        wide: takes a whole row (curves), and is no frame: no pixel of it can be chosen.
    """

    title: str
    image: np.ndarray
    note: str = ""
    scale: Scale | None = None
    wide: bool = False


def paint(values: np.ndarray, scale: Scale) -> np.ndarray:
    """(H, W) values -> (H, W, 3) uint8 RGB; NaN is grey."""
    share = (values - scale.low) / (scale.high - scale.low)
    steps = (np.nan_to_num(share).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    image = _table(scale.colours)[steps]
    image[np.isnan(share)] = NOTHING
    return image


def encode(panel: Panel) -> bytes:
    """The panel's image as the browser takes it: JPEG with full colour resolution, PNG for curves and their letters.

    JPEG at this quality packs a noisy picture in a fifth of PNG's time; exact values are what a click shows.
    """
    kind, options = (".png", _PNG) if panel.wide else (".jpg", _JPEG)
    _, data = cv2.imencode(kind, cv2.cvtColor(panel.image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def inset(image: np.ndarray, legend: np.ndarray, share: float = 0.3) -> np.ndarray:
    """The image with a square legend in its lower right corner, `share` of the height wide."""
    side = round(share * image.shape[0])
    shown = image.copy()
    shown[-side:, -side:] = cv2.resize(legend, (side, side), interpolation=cv2.INTER_AREA)
    return shown


def rgb(colour: str) -> tuple[int, int, int]:
    """"#0072B2" -> (0, 114, 178)."""
    return tuple(int(colour[i:i + 2], 16) for i in (1, 3, 5))


def nothing(size: tuple[int, int]) -> np.ndarray:
    """An empty picture (H, W, 3) for what is not known."""
    return np.broadcast_to(NOTHING, (*size, 3)).copy()


def contact_sheet(panels: list[Panel], columns: int, title: str) -> Figure:
    """All panels in one figure: the explorer where nobody can move a slider."""
    rows = _rows(panels, columns)
    width = 11.2
    heights = [max(_height(panel, width if panel.wide else 0.88 * width / columns) for panel in row) for row in rows]
    picture, _ = figure(width, sum(heights) + 0.4)
    picture.clear()
    grid = picture.add_gridspec(len(rows), columns, height_ratios=heights)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            axes = picture.add_subplot(grid[i, :] if panel.wide else grid[i, j])
            axes.imshow(panel.image, interpolation="antialiased" if panel.wide else "nearest")
            hide_axes(axes)
            axes.set_title(f"{panel.title}\n{panel.note}" if panel.note else panel.title, fontsize=9)
            if panel.scale is not None:
                colours = ScalarMappable(Normalize(panel.scale.low, panel.scale.high), panel.scale.colours)
                picture.colorbar(colours, ax=axes, shrink=0.75, aspect=14, pad=0.02).ax.tick_params(labelsize=7)
    picture.suptitle(title, fontsize=11)
    return picture


def gradient(scale: Scale, steps: int = 9) -> str:
    """The scale's colours as a CSS gradient, for a caption in the browser."""
    colours = _table(scale.colours)[np.linspace(0, 255, steps).round().astype(int)]
    return "linear-gradient(90deg," + ",".join(f"rgb({r},{g},{b})" for r, g, b in colours) + ")"


@lru_cache(maxsize=8)
def _table(colours: str) -> np.ndarray:
    return (matplotlib.colormaps[colours](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def _rows(panels: list[Panel], columns: int) -> list[list[Panel]]:
    rows: list[list[Panel]] = []
    for panel in panels:
        if panel.wide or not rows or rows[-1][0].wide or len(rows[-1]) == columns:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _height(panel: Panel, width: float) -> float:
    lines = 2 if panel.note else 1
    return width * panel.image.shape[0] / panel.image.shape[1] + 0.16 * lines + 0.12
