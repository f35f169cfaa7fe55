"""Pictures of a prepared data set (notebook 01)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sspcore.core.classes import IGNORE, ClassSpec, colourise
from sspcore.core.types import Size
from sspcore.data.clips import Clip, class_shares
from sspcore.report.grids import Panel, image_grid
from sspcore.report.style import BLUE, VERMILION, class_legend, figure, whole_numbers

DENSITY, FAINT = "Blues", 0.15  # colours of the frames of a clip: those without a label are faint
UNLABELLED = 225  # grey of a frame that has no label


def label_gallery(clips: Sequence[Clip], spec: ClassSpec, size: Size, title: str, columns: int = 4) -> Figure:
    """A labelled frame of up to `columns` sequences, the label below it; of few sequences, several of each.

    Videos come before stills; where stills alone are labelled, the last column is a frame of a video.
    """
    labelled = defaultdict(list)
    for clip in sorted(clips, key=_is_still):
        labelled[clip.sequence] += [(clip, k) for k in clip.labelled]
    videos = [clip for clip in clips if not _is_still(clip)]
    without = videos[:1] if not any(clip.labelled for clip in videos) else []
    chosen = list(filter(None, labelled.values()))[:max(1, columns - len(without))]
    places = [place for found in chosen for place in _spread(found, (columns - len(without)) // len(chosen))]
    places += [(clip, len(clip) // 2) for clip in without]
    frames = [Panel(clip.frame(k, size), f"{clip.sequence}, frame {clip.numbers[k]}") for clip, k in places]
    ids = [clip.label(k, size) if k in clip.labelled else None for clip, k in places]
    labels = [
        Panel(np.full((*size, 3), UNLABELLED, np.uint8), note="no label") if each is None else Panel(colourise(each, spec))
        for each in ids
    ]
    picture, _ = image_grid([frames, labels], title, width=11.2, extra=0.5)
    ignored = any(each is not None and (each == IGNORE).any() for each in ids)
    class_legend(picture, spec, more={"ignored": "black"} if ignored else None)
    return picture


def _is_still(clip: Clip) -> bool:
    return len(clip) == 1


def _spread(values: list[Any], most: int) -> list[Any]:
    """At most so many values, evenly spread up to the last."""
    return [values[k] for k in sorted({round(k) for k in np.linspace(len(values) - 1, 0, min(most, len(values)))})]


def label_density(splits: Mapping[str, Sequence[Clip]], spec: ClassSpec, size: Size) -> Figure:
    """Left: labelled frames (dark) of every clip; right: class shares of both splits."""
    picture, (left, right) = figure(11.2, 3.6, 1, 2)
    clips = [clip for split in splits.values() for clip in split]
    mask = np.zeros((len(clips), max(map(len, clips))))
    for row, clip in enumerate(clips):
        mask[row, : len(clip)] = FAINT
        mask[row, list(clip.labelled)] = 1.0
    left.imshow(mask, aspect="auto", cmap=DENSITY, vmin=0, vmax=1)
    shades = {"labelled": 1.0, "not labelled": FAINT}
    handles = [Patch(color=colormaps[DENSITY](shade), label=name) for name, shade in shades.items()]
    left.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize=9, frameon=False)
    left.axhline(len(splits["train"]) - 0.5, color=VERMILION, linewidth=1)
    whole_numbers(left)
    left.set(xlabel="frame of the clip", ylabel="clip", title=f"{spec.title}: labelled frames (train above the line)")
    left.grid(False)
    positions = np.arange(spec.n_classes)
    for shift, colour, (name, split) in zip((-0.2, 0.2), (BLUE, VERMILION), splits.items(), strict=True):
        shares = class_shares(list(split), spec, size)
        right.bar(positions + shift, [100 * shares[c] for c in spec.classes], 0.4, color=colour, label=name)
    right.set_xticks(positions, spec.classes, rotation=35, ha="right")
    right.set(ylabel="labelled pixels (%)", title="class shares")
    right.legend()
    return picture
