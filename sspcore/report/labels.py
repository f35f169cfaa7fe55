"""Names beside the points of a scatter plot, placed by adjustText so that none covers a point or another name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from adjustText import adjust_text
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

ROUNDS = 200  # of adjustText: a number, since a time limit would give another picture on another machine
# tried in turn until all names are well placed, else the best: the force off what is there, the force apart at the
# start, and how far a name starts off its point towards the middle of the axes, in halves of its width
ATTEMPTS = ((0.1, 0.3, 0.0), (0.1, 0.1, 1.0), (0.2, 0.3, 0.0), (0.1, 0.0, 1.4), (0.4, 0.3, 0.0), (0.15, 0.6, 0.0),
            (0.6, 0.6, -0.5))
GAP = 2.0  # points between a marker and a name
ASIDE = 4.0  # points on both sides of a name: two names with less between them read as one
STEP = 6.0  # points between the places of a line that names keep off
LEADER_FROM = 11.0  # points: nearer names need no line to their point


@dataclass(frozen=True)
class Label:
    """A text for a point.

    Attributes:
        text: what is written; without text the point is only kept free.
        x, y: of the point, in data coordinates.
        radius: of its marker, in points.
        colour, size: of the text.
    """

    text: str
    x: float
    y: float
    radius: float
    colour: str = "#000000"
    size: float = 8.0


def place_labels(axes: Axes, labels: Sequence[Label], lines: Iterable[np.ndarray] = ()) -> list[Text]:
    """Write all labels into the axes. Call it last: everything else must be drawn and the axes' limits be final.

    Args:
        axes: of the points.
        labels: one a point.
        lines: (n, 2) polylines in data coordinates that names keep off where they can.
    Returns: one text a label with text.
    """
    axes.figure.draw_without_rendering()
    unit, to_data = axes.figure.dpi / 72, axes.transData.inverted()
    markers = [_marker(axes, label, unit) for label in labels]
    free = [box.padded(GAP * unit).transformed(to_data) for box in markers]
    dots = np.concatenate([np.empty((0, 2)), *(_dots(axes, line, STEP * unit) for line in lines)])
    named = [label for label in labels if label.text]
    owners = [k for k, label in enumerate(labels) if label.text]
    texts = [axes.text(0, 0, label.text, fontsize=label.size, color=label.colour, zorder=4, ha="center", va="center")
             for label in named]
    targets = np.array([(label.x, label.y) for label in named]).reshape(-1, 2).T
    arrows: list[Artist] = []

    def attempt(force: float, explode: float, lean: float) -> tuple[int, int]:
        """Place all names; returns how many cover a marker or another name, and how many lie nearer to another's marker."""
        while arrows:
            arrows.pop().remove()
        for text, label in zip(texts, named, strict=True):
            text.set_in_layout(False)  # else the layout would move the axes that the places are worked out for
            x, y = axes.transData.transform((label.x, label.y))
            half = text.get_window_extent().width / 2 + label.radius * unit
            towards = np.sign(0.5 - axes.transAxes.inverted().transform((x, y))[0])
            text.set_position(to_data.transform((x + lean * towards * half, y)))
        arrows.extend(adjust_text(
            texts, *dots.T, objects=free, ax=axes, target_x=targets[0], target_y=targets[1], avoid_self=False, iter_lim=ROUNDS,
            expand=(1.04, 1.15), force_explode=(explode, 3 * explode), force_static=(force, 2 * force), force_text=(0.1, 0.2),
            min_arrow_len=LEADER_FROM * unit,
            arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.6},
        )[1])
        boxes = [text.get_window_extent() for text in texts]
        wide = [Bbox.from_extents(box.x0 - ASIDE * unit, box.y0, box.x1 + ASIDE * unit, box.y1) for box in boxes]
        frame = axes.get_window_extent()
        covering = sum(box.count_overlaps([*markers, *wide]) > 1 for box in boxes)  # each overlaps itself
        covering += sum(not (frame.x0 <= box.x0 and box.x1 <= frame.x1) for box in wide)
        gaps = [[max(m.x0 - b.x1, b.x0 - m.x1, m.y0 - b.y1, b.y0 - m.y1) for m in markers] for b in boxes]
        return covering, sum(min(line) < line[own] for line, own in zip(gaps, owners, strict=True))

    found = {}
    for settings in ATTEMPTS if texts else ():
        found[settings] = attempt(*settings)
        if not any(found[settings]):
            break
    if found and any(found[settings]):
        attempt(*min(found, key=found.__getitem__))
    return texts


def _marker(axes: Axes, label: Label, unit: float) -> Bbox:
    """The square around a marker, in pixels."""
    x, y = axes.transData.transform((label.x, label.y))
    return Bbox.from_extents(x, y, x, y).padded(label.radius * unit)


def _dots(axes: Axes, line: np.ndarray, step: float) -> np.ndarray:
    """(m, 2) points along a polyline in data coordinates, `step` pixels apart."""
    ends = axes.transData.transform(line)
    places = [ends[:1]]
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        places.append(np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / step))))
    return axes.transData.inverted().transform(np.concatenate(places))
