"""One look for all pictures: readable at README width, safe for colour-blind readers, PNG and PDF."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from sspcore.core.classes import ClassSpec
from sspcore.core.files import atomic_file
from sspcore.data.datasets import SPECS
from sspcore.report.spread import seeds_text

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
}
SUFFIXES = ("pdf", "png")
MANY_IMAGES, IMAGES_DPI = 12, 120
WIDEST_IMAGE = 640  # pixels: more than a panel shows, and a PDF holds images at their own size
_FOOTNOTE = "footnote"
_FOOTNOTE_POINTS, _POINTS_PER_INCH = 8, 72


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **subplots: Any) -> tuple[Figure, Any]:
    """`plt.subplots` of the given size in inches in the common style, with constrained layout."""
    with plt.rc_context(SETTINGS):
        picture, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **subplots)
    plt.close(picture)  # out of pyplot's hands: a notebook would show it a second time at the end of the cell
    return picture, axes


def footnote(picture: Figure, text: str) -> Figure:
    """Small text below the finished picture, outside its layout (`save` enlarges the page); a second call replaces it.

    Returns: the picture.
    """
    for old in [artist for artist in picture.texts if artist.get_gid() == _FOOTNOTE]:
        old.remove()
    width, height = picture.get_size_inches()
    lines = "\n".join(textwrap.wrap(text, int(width * _POINTS_PER_INCH / (0.52 * _FOOTNOTE_POINTS))))
    picture.text(
        0.08 / width, -0.04 / height, lines, va="top", fontsize=_FOOTNOTE_POINTS, color="#444444", gid=_FOOTNOTE,
    )
    if picture.legends:  # the layout is held: else a larger page would pull the legends down over the footnote
        picture.draw_without_rendering()
        picture.set_layout_engine("none")
        for legend in picture.legends:
            legend.set_bbox_to_anchor((0, 0, 1, 1), picture.transFigure)
    return picture


def origin_line(origin: Mapping[str, Any]) -> str:
    """A result's provenance in one line: which data, profile, seed or seeds, commit."""
    commit = origin["commit"] + (" (+: with changes that were not committed)" if origin["commit"].endswith("+") else "")
    return f"{_sentence(origin['data'])}; profile {origin['profile']}, {seeds_text(origin)}, commit {commit}."


def save(picture: Figure, folder: Path, name: str, origin: Mapping[str, Any] | None = None) -> Path:
    """Write `<name>.png` and `<name>.pdf` into `folder`, atomically.

    Args:
        origin: provenance of what is shown (results.json: commit, profile, seed, data); it becomes the footnote and the
            metadata of both files.
    Returns: the PNG's path.
    """
    if origin is not None:
        footnote(picture, origin_line(origin))
    for suffix in SUFFIXES:
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as temporary, plt.rc_context(SETTINGS):
            picture.savefig(
                temporary, metadata=_metadata(suffix, name, origin), bbox_inches=_page(picture), dpi=_resolution(picture)
            )
    return path


def save_set(
    pictures: Mapping[str, Figure], folder: Path, origin: Mapping[str, Any], names: Iterable[str], datasets: Iterable[str],
    kept: Collection[str] = (),
) -> list[Path]:
    """Save pictures by name and delete what an earlier run left of the same set, `<data set>_<one of names>`.

    Args:
        names: of the whole set without the data set; * stands for any text.
        datasets: of the run; what is left of those that ship with the package is looked for too.
        kept: pictures of the set that are there and stay.
    Returns: the paths of the PNGs.
    """
    written = [save(picture, folder, name, origin) for name, picture in pictures.items()]
    for dataset, name, suffix in itertools.product({*SPECS, *datasets}, names, SUFFIXES):
        for path in folder.glob(f"{dataset}_{name}.{suffix}"):
            if path.stem not in pictures and path.stem not in kept:
                path.unlink()
    return written


def drawn_since(folder: Path, name: str, moment: float, suffixes: Iterable[str] = SUFFIXES) -> bool:
    """Whether a picture was written after `moment` (seconds since the epoch)."""
    paths = [folder / f"{name}.{suffix}" for suffix in suffixes]
    return all(path.is_file() and path.stat().st_mtime >= moment for path in paths)


def _resolution(picture: Figure) -> int:
    """Dots an inch: fewer for pictures full of images, whose pixels a PNG cannot squeeze."""
    images = sum(len(axes.images) for axes in picture.axes)
    return IMAGES_DPI if images > MANY_IMAGES else SETTINGS["savefig.dpi"]


def _metadata(suffix: str, name: str, origin: Mapping[str, Any] | None) -> dict[str, str | None]:
    # dates in the file would make every run's pictures differ
    metadata: dict[str, str | None] = {"CreationDate": None} if suffix == "pdf" else {}
    if origin is None:
        return metadata
    facts = {key: str(origin[key]) for key in ("commit", "profile", "seed", "seeds", "data", "data_key") if key in origin}
    metadata |= {"Title": name}
    if suffix == "pdf":  # knows a fixed set of fields only
        return metadata | {
            "Subject": origin_line(origin), "Keywords": "; ".join(f"{key}={value}" for key, value in facts.items())
        }
    return metadata | {"Description": origin_line(origin)} | {f"sspcore.{key}": value for key, value in facts.items()}


def _page(picture: Figure) -> Bbox | None:
    """The picture with its footnote, in inches; None without one."""
    notes = [artist for artist in picture.texts if artist.get_gid() == _FOOTNOTE]
    if not notes:
        return None
    width, height = picture.get_size_inches()
    lines = notes[0].get_text().count("\n") + 1
    return Bbox([[0, -0.1 - lines * 1.35 * _FOOTNOTE_POINTS / _POINTS_PER_INCH], [width, height]])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def legend_below(picture: Figure, handles: Sequence[Any], columns: int, **options: Any) -> None:
    """A legend below the whole picture. `options`: of `Figure.legend`."""
    options = {"fontsize": 9, "frameon": False} | options
    picture.legend(handles=handles, loc="outside lower center", ncols=columns, **options)


def class_legend(
    picture: Figure, spec: ClassSpec, columns: int | None = None, more: Mapping[str, str] | None = None
) -> None:
    """The classes' palette as a legend below the picture. `more`: further entries, name -> colour."""
    handles = [
        Patch(color=[c / 255 for c in colour], label=name) for name, colour in zip(spec.classes, spec.palette, strict=True)
    ]
    handles += [Patch(facecolor=colour, edgecolor="#777777", label=name) for name, colour in (more or {}).items()]
    legend_below(picture, handles, columns or min(len(handles), 8), handlelength=1.0, columnspacing=1.0)


def show_image(axes: Axes, image: np.ndarray, **options: Any) -> AxesImage:
    """An image (H, W) or (H, W, 3) without axes, pixel by pixel: labels must not blend into colours of no class.

    Images wider than WIDEST_IMAGE are thinned to every second, third, ... pixel. `options`: of `imshow`.
    """
    step = -(-image.shape[1] // WIDEST_IMAGE)
    drawn = axes.imshow(image[::step, ::step], interpolation="none", **options)
    hide_axes(axes)
    return drawn


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers alone: for frames and epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def hide_axes(axes: Axes) -> None:
    """No ticks and no frame: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
