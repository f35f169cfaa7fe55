"""Labels beside the points of a scatter plot, none over another: greedy placement, improved in a few sweeps.

For every point a fixed set of places around it is tried, near ones first; a place costs its distance and what it covers
(labels, points, lines, the axes' border). Each label takes the cheapest place, the crowded points first, and all are
placed again until nothing changes. No random numbers: the same points give the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation

DISTANCES = (2.0, 8.0, 15.0, 24.0, 36.0, 50.0, 68.0, 90.0)  # points between the rim of a marker and its label
ANGLES = np.arange(0, 360, 20.0)
SWEEPS = 4
LEADER_FROM = 8.0  # points: nearer labels need no line to their point
PADDING = 1.5
# costs, in points of distance
OVER_LABEL, OVER_POINT, OVER_LINE, CROSSING, OUTSIDE = 2000.0, 1200.0, 25.0, 250.0, 5000.0


@dataclass(frozen=True)
class Label:
    """A text for a point.

    Attributes:
        text: what is written.
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


def place_labels(axes: Axes, labels: Sequence[Label], lines: Iterable[np.ndarray] = ()) -> list[Annotation]:
    """Write all labels into the axes. Everything else must have been drawn and the layout's parts be in place.

    Args:
        axes: of the points.
        labels: one a point; a point without text is an obstacle only.
        lines: (n, 2) polylines in data coordinates, which labels keep off where they can.
    Returns: one annotation a label with text.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    points = axes.transData.transform([(label.x, label.y) for label in labels]) / unit if labels else np.empty((0, 2))
    frame = axes.get_window_extent()
    border = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) / unit
    marks = _dots([axes.transData.transform(line) / unit for line in lines])
    radii = np.array([label.radius for label in labels])
    named = [k for k, label in enumerate(labels) if label.text]
    sizes = {k: _size(axes, labels[k]) / unit + 2 * PADDING for k in named}
    order = sorted(named, key=lambda k: -(np.exp(-np.linalg.norm(points - points[k], axis=1) / 40)).sum())
    chosen: dict[int, tuple[np.ndarray, float]] = {}
    for _ in range(SWEEPS):
        before = {k: centre.tolist() for k, (centre, _) in chosen.items()}
        for k in order:
            others = [(points[j], chosen[j][0], sizes[j]) for j in chosen if j != k]
            places = _places(points[k], radii[k], sizes[k])
            costs = [
                gap + _cost(points, radii, k, centre, sizes[k], others, marks, border) for centre, gap in places
            ]
            chosen[k] = places[int(np.argmin(costs))]
        if before == {k: centre.tolist() for k, (centre, _) in chosen.items()}:
            break
    return [_annotate(axes, labels[k], chosen[k][0] - points[k], chosen[k][1]) for k in named]


def _size(axes: Axes, label: Label) -> np.ndarray:
    text = axes.text(0, 0, label.text, fontsize=label.size)
    extent = text.get_window_extent()
    text.remove()
    return np.array([extent.width, extent.height])


def _places(point: np.ndarray, radius: float, size: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Centres of label boxes around a point, with the gap between marker and box."""
    found = []
    for gap in DISTANCES:
        for angle in np.deg2rad(ANGLES):
            direction = np.array([math.cos(angle), math.sin(angle)])
            # the box touches the circle of radius + gap: half its extent along each axis is added
            found.append((point + direction * (radius + gap) + np.clip(direction * 1.6, -1, 1) * size / 2, gap))
    return found


def _cost(points, radii, own, centre, size, others, marks, border) -> float:
    low, high = centre - size / 2, centre + size / 2
    cost = OUTSIDE * float(np.maximum(border[:2] - low, 0).sum() + np.maximum(high - border[2:], 0).sum() > 0)
    nearest = np.clip(points, low, high)
    cost += OVER_POINT * float((np.linalg.norm(points - nearest, axis=1) < radii + 1).sum())
    if len(marks):
        cost += OVER_LINE * float(((marks > low) & (marks < high)).all(1).sum())
    for point, other_centre, other_size in others:
        apart = np.abs(centre - other_centre) - (size + other_size) / 2
        if (apart < 0).all():
            cost += OVER_LABEL
        if _cross(points[own], centre, point, other_centre):
            cost += CROSSING
        cost += CROSSING * float(_hits(points[own], centre, other_centre, other_size))
        cost += CROSSING * float(_hits(point, other_centre, centre, size))
    way = np.linspace(points[own], centre, 24)
    others_points = np.delete(points, own, 0)
    if len(others_points):
        gaps = np.linalg.norm(way[:, None] - others_points[None], axis=-1).min(0)
        cost += CROSSING * float((gaps < np.delete(radii, own)).sum())
    return cost


def _hits(start: np.ndarray, end: np.ndarray, centre: np.ndarray, size: np.ndarray) -> bool:
    """Whether a leader runs through a label's box."""
    way = np.linspace(start, end, 24)
    return bool((np.abs(way - centre) < size / 2).all(1).any())


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    def side(p, q, r) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _dots(lines: Iterable[np.ndarray]) -> np.ndarray:
    """Points along polylines, about 4 points apart."""
    dots = [np.empty((0, 2))]
    for line in lines:
        for start, end in zip(line[:-1], line[1:], strict=True):
            dots.append(np.linspace(start, end, max(2, int(np.linalg.norm(end - start) / 4))))
    return np.concatenate(dots)


def _annotate(axes: Axes, label: Label, offset: np.ndarray, gap: float) -> Annotation:
    leader = {"arrowstyle": "-", "color": "#777777", "linewidth": 0.6, "shrinkA": 0, "shrinkB": label.radius}
    written = axes.annotate(
        label.text, (label.x, label.y), xytext=tuple(offset), textcoords="offset points", ha="center", va="center",
        fontsize=label.size, color=label.colour, arrowprops=leader if gap >= LEADER_FROM else None, zorder=4,
    )
    written.set_in_layout(False)  # else the layout would move the axes that the place was worked out for
    return written
