"""Pictures made of equal cells: images in rows and columns, tables in colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from sspcore.report.style import BLACK, figure, show_image

LINE = 0.3  # inches for a line of text


@dataclass(frozen=True)
class Panel:
    """One image of a grid.

    Attributes:
        image: (H, W, 3) uint8, or values (H, W).
        title: above it. note: in its lower left corner. below: under it.
        colours, top: colour map of values, which runs from 0 to `top`.
        scale: whether a colour bar stands beside it.
    """

    image: np.ndarray
    title: str = ""
    note: str = ""
    below: str = ""
    colours: str = "viridis"
    top: float = 1.0
    scale: bool = False


def in_rows(panels: Sequence[Panel], columns: int) -> list[Sequence[Panel]]:
    """The panels in rows of so many columns; the last row may be shorter."""
    return [panels[k:k + columns] for k in range(0, len(panels), columns)]


def image_grid(
    rows: Sequence[Sequence[Panel]], title: str = "", names: Sequence[str] = (), width: float = 10.4, extra: float = 0.0,
    bar: str = "",
) -> tuple[Figure, np.ndarray]:
    """Draw panels of one shape in rows; places of shorter rows stay empty.

    Args:
        title: of the whole.
        names: of the rows, left of them.
        width: of the picture, in inches.
        extra: height for what else the picture holds (a legend), in inches.
        bar: label of one colour bar for all values; "" for none.
    Returns: the picture and its axes (rows, columns).
    """
    columns = max(map(len, rows))
    height, length = rows[0][0].image.shape[:2]
    panel = (width - 0.4 - (0.8 if bar else 0.0)) / columns * height / length
    lines = sum(max(p.title.count("\n") + 1 if p.title else 0 for p in row) + any(p.below for p in row) for row in rows)
    total = len(rows) * (panel * 1.03 + 0.04) + LINE * lines + (0.35 if title else 0.0) + extra
    picture, axes = figure(width, total, len(rows), columns, squeeze=False)
    drawn: AxesImage | None = None
    for cells, row in zip(axes, rows, strict=True):
        for cell in cells[len(row):]:
            cell.set_axis_off()
        for cell, panel in zip(cells, row, strict=False):
            drawn = draw_panel(picture, cell, panel) or drawn
    for cell, name in zip(axes[:, 0], names, strict=False):
        cell.set_ylabel(name, fontsize=11)
    if bar and drawn is not None:
        picture.colorbar(drawn, ax=axes, label=bar, shrink=0.7)
    if title:
        picture.suptitle(title)
    return picture, axes


def draw_panel(picture: Figure, cell: Axes, panel: Panel) -> AxesImage | None:
    """Draw a panel into its axes; returns what a colour bar is made from if it shows values."""
    values = panel.image.ndim == 2
    options: dict[str, Any] = {"cmap": panel.colours, "vmin": 0, "vmax": panel.top} if values else {}
    height, length = panel.image.shape[:2]
    drawn = show_image(cell, panel.image, extent=(-0.5, length - 0.5, height - 0.5, -0.5), **options)
    if panel.title:
        cell.set_title(panel.title, fontsize=10)
    cell.set_xlabel(panel.below, fontsize=9)
    if panel.note:
        cell.text(0.02, 0.04, panel.note, transform=cell.transAxes, fontsize=8, color="white",
                  bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0})
    if panel.scale:
        picture.colorbar(drawn, ax=cell, shrink=0.7)
    return drawn if values else None


def coloured_table(
    axes: Axes, values: np.ndarray, texts: np.ndarray, rows: Sequence[str], columns: Sequence[str],
    white: np.ndarray | bool = False, **image: Any,
) -> AxesImage:
    """Cells (R, C) in the colours of their values, with a text in each; NaN is grey.

    Args:
        texts: (R, C) of str.
        white: (R, C) bool, where the text is white rather than black.
        image: of `imshow`: cmap, vmin, vmax, aspect.
    """
    axes.set_facecolor("#dddddd")
    drawn = axes.imshow(np.ma.masked_invalid(values), **{"aspect": "auto"} | image)
    white = np.broadcast_to(white, values.shape)
    for (y, x), text in np.ndenumerate(texts):
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if white[y, x] else BLACK)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.grid(False)
    return drawn


def group_lines(axes: Axes, sizes: Sequence[int], rows: bool = False) -> None:
    """Lines between groups of columns, and of rows, of a coloured table."""
    for edge in np.cumsum(sizes)[:-1]:
        axes.axvline(edge - 0.5, color=BLACK, linewidth=1.2)
        if rows:
            axes.axhline(edge - 0.5, color=BLACK, linewidth=1.2)


def percent_texts(values: Mapping[str, Any] | np.ndarray) -> np.ndarray:
    """Whole percents of (R, C) values in 0..100, a dash for NaN."""
    return np.array([["–" if np.isnan(value) else f"{value:.0f}" for value in line] for line in values])
