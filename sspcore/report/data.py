"""Pictures of a prepared data set (notebook 01)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from sspcore.core.classes import colourise
from sspcore.data.clips import Clip
from sspcore.data.datasets import DatasetSpec
from sspcore.data.statistics import class_shares
from sspcore.report.style import BLUE, VERMILION, class_legend, figure, hide_axes


def label_gallery(clips: list[Clip], spec: DatasetSpec, size: tuple[int, int], title: str, columns: int = 4) -> Figure:
    """One labelled frame of up to `columns` sequences, the label below it."""
    chosen = list({clip.sequence: clip for clip in clips if clip.labelled}.values())[:columns]
    panel = 11.0 / len(chosen)
    picture, axes = figure(11.2, 2 * panel * size[0] / size[1] + 1.1, 2, len(chosen), squeeze=False)
    for column, clip in enumerate(chosen):
        position = clip.labelled[-1]
        axes[0][column].imshow(clip.frame(position, size))
        axes[1][column].imshow(colourise(clip.label(position, size), spec))
        axes[0][column].set_title(f"{clip.sequence}, frame {clip.numbers[position]}", fontsize=9)
        for row in range(2):
            hide_axes(axes[row][column])
    class_legend(picture, spec)
    picture.suptitle(title)
    return picture


def label_density(splits: dict[str, list[Clip]], spec: DatasetSpec, size: tuple[int, int]) -> Figure:
    """Left: labelled frames (dark) of every clip; right: class shares of both splits."""
    picture, (left, right) = figure(11.2, 3.6, 1, 2)
    clips = [clip for split in splits.values() for clip in split]
    mask = np.zeros((len(clips), max(map(len, clips))))
    for row, clip in enumerate(clips):
        mask[row, : len(clip)] = 0.15
        mask[row, list(clip.labelled)] = 1.0
    left.imshow(mask, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    left.axhline(len(splits["train"]) - 0.5, color=VERMILION, linewidth=1)
    left.set(xlabel="frame of the clip", ylabel="clip", title=f"{spec.title}: labelled frames (train above the line)")
    left.grid(False)
    positions = np.arange(spec.n_classes)
    for shift, (colour, (name, split)) in zip((-0.2, 0.2), zip((BLUE, VERMILION), splits.items(), strict=True), strict=True):
        shares = class_shares(split, spec, size)
        right.bar(positions + shift, [100 * shares[c] for c in spec.classes], 0.4, color=colour, label=name)
    right.set_xticks(positions, spec.classes, rotation=35, ha="right")
    right.set(ylabel="labelled pixels (%)", title="class shares")
    right.legend()
    return picture
