"""One look for all pictures: readable at README width, safe for colour-blind readers, PNG and PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sspcore.data.specs import DatasetSpec
from sspcore.runs import atomic_file

# Okabe and Ito's colours, distinguishable with every common colour-vision deficiency
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000",
)
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)

SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "image.interpolation": "nearest",
}


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **subplots: Any) -> tuple[Figure, Any]:
    """`plt.subplots` of the given size in inches in the house style, with constrained layout."""
    with plt.rc_context(SETTINGS):
        picture, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **subplots)
    plt.close(picture)  # out of pyplot's hands: a notebook would show it a second time at the end of the cell
    return picture, axes


def save(picture: Figure, folder: Path, name: str) -> Path:
    """Write `<name>.png` and `<name>.pdf` into `folder`, atomically; returns the PNG's path."""
    for suffix in ("pdf", "png"):
        path = folder / f"{name}.{suffix}"
        # dates in the file would make every run's pictures differ
        metadata = {"CreationDate": None} if suffix == "pdf" else {}
        with atomic_file(path) as temporary, plt.rc_context(SETTINGS):
            picture.savefig(temporary, metadata=metadata)
    return path


def class_legend(picture: Figure, spec: DatasetSpec, columns: int | None = None) -> None:
    """The data set's palette as a legend below the picture."""
    handles = [
        Patch(color=[c / 255 for c in colour], label=name) for name, colour in zip(spec.classes, spec.palette, strict=True)
    ]
    picture.legend(
        handles=handles, loc="outside lower center", ncols=columns or min(len(handles), 8), fontsize=9,
        handlelength=1.0, columnspacing=1.0,
    )


def hide_axes(axes: Axes) -> None:
    """No ticks and no frame: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
