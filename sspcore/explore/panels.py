"""A panel: one picture of an explorer as plain pixels, with the words and the colour scale that belong to it.

With sliders the panels go to the browser as bytes; without a browser they are drawn into one figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sspcore.core.classes import ClassSpec
from sspcore.report.style import class_legend, figure, hide_axes

MAGENTA = (255, 0, 255)
NOTHING = np.array([225, 225, 225], np.uint8)  # grey: there is nothing to show here

_PNG = (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
_JPEG = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])


@dataclass(frozen=True)
class Scale:
    """Colours of values: a matplotlib colour map from `low` to `high`, and what the ends mean."""

    colours: str
    low: float
    high: float
    meaning: str = ""

    @cached_property
    def mappable(self) -> ScalarMappable:
        """Values to colours, NaN to grey."""
        return ScalarMappable(Normalize(self.low, self.high), colormaps[self.colours].with_extremes(bad=NOTHING / 255))

    def paint(self, values: np.ndarray) -> np.ndarray:
        """(H, W) values -> (H, W, 3) uint8 RGB."""
        return np.ascontiguousarray(self.mappable.to_rgba(values, bytes=True)[..., :3])


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


class Explorer:
    """Pictures of clips for a choice of clip, frame and some settings; it knows no widget.

    A subclass has
        clips       sequence of what has a `name` and `frames`
        origin      where they are from, for the heading
        first()     the choice to begin with, by name: clip, frame, and its settings
        controls(**choice)      setting -> (low, high) or (low, high, step) of a number, list of names of one of them
        panels(**choice)        the pictures
        values(x, y, **choice)  what is known of pixel (x, y): rows (name, value)
    Attributes:
        compared: the two panels that are compared at first.
        classes: for a legend, None where no labels are shown.
        columns: panels a row.
        labels: setting -> words beside its control, where they are not its name.
    """

    clips: Sequence[Any]
    origin: str
    compared: ClassVar[tuple[int, int]]
    classes: ClassSpec | None = None
    columns: ClassVar[int] = 3
    labels: ClassVar[dict[str, str]] = {}

    def frame_at(self, panel: int, share: float, **choice: Any) -> int | None:
        """The frame that a click at a share of a panel's width means, None if it means a pixel."""
        return None

    def figure(self, note: str = "") -> Figure:
        """The first choice as one picture."""
        picture = contact_sheet(self.panels(**self.first()), self.columns, f"{self.origin}{note}")
        if self.classes is not None:
            class_legend(picture, self.classes, more={"not scored": "black"})
        return picture


def encode(panel: Panel) -> bytes:
    """The panel's image as the browser takes it: JPEG with full colour resolution, PNG for curves and their letters.

    JPEG at this quality packs a noisy picture in a fifth of PNG's time; exact values are what a click shows.
    """
    suffix, options = _PNG if panel.wide else _JPEG
    return cv2.imencode(suffix, cv2.cvtColor(panel.image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def marked(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = MAGENTA) -> np.ndarray:
    """The image (H, W, 3) with a mask (H, W) in one colour."""
    shown = image.copy()
    shown[mask] = colour
    return shown


def numbers(pixel: np.ndarray) -> str:
    """The values of a pixel, in words."""
    return ", ".join(map(str, pixel.tolist()))


def percent(mask: np.ndarray) -> str:
    """How much of the picture a mask covers, in words."""
    return f"{100 * mask.mean():.1f} % of pixels"


def nothing(size: tuple[int, int]) -> np.ndarray:
    """An empty picture (H, W, 3) for what is not known."""
    return np.broadcast_to(NOTHING, (*size, 3)).copy()


def contact_sheet(panels: list[Panel], columns: int, title: str) -> Figure:
    """All panels in one figure, the wide ones last."""
    narrow, width = [k for k, panel in enumerate(panels) if not panel.wide], 11.2
    rows = [narrow[i:i + columns] for i in range(0, len(narrow), columns)]
    rows[-1] += ["."] * (columns - len(rows[-1]))
    rows += [[k] * columns for k, panel in enumerate(panels) if panel.wide]
    heights = [max(_height(panels[k], width, columns) for k in row if k != ".") for row in rows]
    picture, _ = figure(width, sum(heights) + 0.4)
    picture.clear()
    for k, axes in picture.subplot_mosaic(rows, height_ratios=heights).items():
        panel = panels[k]
        axes.imshow(panel.image, interpolation="antialiased" if panel.wide else "nearest")
        hide_axes(axes)
        axes.set_title(f"{panel.title}\n{panel.note}" if panel.note else panel.title, fontsize=9)
        if panel.scale is not None:
            bar = picture.colorbar(panel.scale.mappable, ax=axes, shrink=0.75, aspect=14, pad=0.02)
            bar.ax.tick_params(labelsize=7)
    picture.suptitle(title, fontsize=11)
    return picture


def _height(panel: Panel, width: float, columns: int) -> float:
    """Inches of a panel with its title, in a figure `width` inches wide."""
    width = width if panel.wide else 0.88 * width / columns
    return width * panel.image.shape[0] / panel.image.shape[1] + 0.16 * (2 if panel.note else 1) + 0.12
