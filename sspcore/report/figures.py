"""The pictures: every function takes data that a stage made and returns a matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sspcore.core.classes import IGNORE, colourise
from sspcore.data.datasets import DatasetSpec
from sspcore.metrics.records import warp_labels
from sspcore.report.style import CYCLE, class_legend, figure, show_image

Row = dict[str, Any]
DASHES = ("-", "--", ":")
FLICKER = np.array([255, 0, 255], np.uint8)  # magenta: in no palette, visible on all


def training_curves(histories: dict[str, list[dict[str, float]]], title: str) -> Figure:
    """Losses by epoch, one panel a loss, one line a system."""
    names = list(dict.fromkeys(
        name for history in histories.values() for name in history[0] if name not in ("lr", "seconds", "total")
    ))
    columns = min(len(names), 2)
    lines = -(-len(names) // columns)
    picture, axes = figure(8.4, 2.9 * lines + 0.5 + 0.2 * -(-len(histories) // 4), lines, columns, squeeze=False)
    for spare in axes.flat[len(names):]:
        spare.remove()
    labels = {
        "ce": "cross entropy", "auxiliary": "auxiliary cross entropy",
        "tc": "temporal consistency loss $L_{tc}$", "kl": "KL to the teacher",
    }
    looks = {
        system: {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k // len(CYCLE) % len(DASHES)]}
        for k, system in enumerate(histories)
    }
    for panel, name in zip(axes.flat, names, strict=False):  # an odd number of losses leaves a panel over
        for system, history in histories.items():
            if name in history[0]:
                panel.plot(range(1, len(history) + 1), [entry[name] for entry in history], label=system, **looks[system])
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(xlabel="epoch", ylabel=labels.get(name, name), xlim=(1, None), ylim=(0, None))
    handles = [Line2D([], [], label=system, **look) for system, look in looks.items()]
    picture.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    picture.suptitle(title)
    return picture


def flicker_mask(labels: np.ndarray, previous: np.ndarray, flow_to_prev: np.ndarray) -> np.ndarray:
    """(H, W) bool: the label differs from the label of the same point in the frame before, where that is in view."""
    warped = warp_labels(previous, flow_to_prev)
    return (warped != labels) & (warped != IGNORE)


def consecutive_strip(
    frames: list[np.ndarray], predictions: dict[str, list[np.ndarray]], flows_to_prev: list[np.ndarray],
    truth: list[np.ndarray | None], spec: DatasetSpec, title: str,
) -> Figure:
    """Consecutive frames: the image, the truth where known, and each system's labels with flicker in magenta.

    Args:
        frames: n + 1 images (H, W, 3); the first only serves to tell flicker in the second.
        predictions: system -> n + 1 label maps (H, W).
        flows_to_prev: n flows (2, H, W), frame k + 1 -> k.
        truth: n + 1 label maps or None.
    """
    shown = range(1, len(frames))
    has_truth = any(truth[k] is not None for k in shown)
    rows = ["frame", *(["truth"] if has_truth else []), *predictions]
    height, width = frames[0].shape[:2]
    panel = 10.0 / len(shown)
    picture, axes = figure(10.4, panel * height / width * len(rows) * 1.03 + 0.95, len(rows), len(shown), squeeze=False)
    for column, k in enumerate(shown):
        for row, name in enumerate(rows):
            cell = axes[row][column]
            if name == "frame":
                image, note = frames[k], None
            elif name == "truth":
                image, note = (np.full((height, width, 3), 255, np.uint8) if truth[k] is None
                               else colourise(truth[k], spec)), None
            else:
                labels = predictions[name]
                flicker = flicker_mask(labels[k], labels[k - 1], flows_to_prev[k - 1])
                image, note = colourise(labels[k], spec), f"{100 * flicker.mean():.1f} % changed"
                image[flicker] = FLICKER
            show_image(cell, image)
            if column == 0:
                cell.set_ylabel(name, fontsize=11)
            if row == 0:
                cell.set_title("k" if k == 1 else f"k + {k - 1}")
            if note:
                cell.text(0.02, 0.04, note, transform=cell.transAxes, fontsize=8, color="white",
                          bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0})
    class_legend(picture, spec, columns=7, more={"changed along the flow": "magenta"} | (
        {"not scored": "black"} if has_truth else {}
    ))
    picture.suptitle(title)
    return picture


def alpha_strip(frames: list[np.ndarray], alphas: list[np.ndarray], title: str) -> Figure:
    """Frames above, alpha (weight of the past, 0..1) below, on one colour scale."""
    height, width = frames[0].shape[:2]
    panel = 9.6 / len(frames)
    picture, axes = figure(10.4, 2 * panel * height / width + 0.7, 2, len(frames), squeeze=False)
    for column, (frame, alpha) in enumerate(zip(frames, alphas, strict=True)):
        show_image(axes[0][column], frame)
        drawn = show_image(axes[1][column], alpha, cmap="viridis", vmin=0, vmax=1)
        axes[1][column].set_xlabel(f"mean {alpha.mean():.2f}", fontsize=9)
    axes[0][0].set_ylabel("frame")
    axes[1][0].set_ylabel("alpha")
    picture.colorbar(drawn, ax=axes, label="weight of the past", shrink=0.6)
    picture.suptitle(title)
    return picture


def per_class(rows: list[Row], title: str, column: str = "per_class_iou") -> Figure:
    """IoU (or TC) in percent by class, one line a system: a table in colours; a dash where there was nothing to score."""
    classes = list(rows[0][column])
    values = np.array([[np.nan if row[column][name] is None else 100 * row[column][name] for name in classes] for row in rows])
    picture, axes = figure(8.4, 0.3 * len(rows) + 1.7)
    axes.set_facecolor("#dddddd")
    drawn = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        text, colour = ("–", "black") if np.isnan(value) else (f"{value:.0f}", "white" if value < 55 else "black")
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", fontsize=9)
    axes.set_yticks(range(len(rows)), [row["system"] for row in rows], fontsize=9)
    axes.set_title(title)
    axes.grid(False)
    picture.colorbar(drawn, ax=axes, label="IoU (%)" if column == "per_class_iou" else "TC (%)")
    return picture
