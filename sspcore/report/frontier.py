"""Accuracy, consistency and cost in one picture: every system a labelled point, plain averaging a curve.

Rows are those of results.json of one data set, of one training seed or of several: a system that comes more than once is
drawn at its mean, with bars from its least to its greatest value. What a row is follows from its kind and the registry,
never from which systems happen to be there; rows without a value are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sspcore.core.errors import ProfileError
from sspcore.models.controls import AVERAGING
from sspcore.models.systems import SYSTEMS, SystemSpec, system
from sspcore.report.labels import Label, place_labels
from sspcore.report.scores import in_percent
from sspcore.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, figure, legend_below
from sspcore.report.tables import needs_flow, own_sizes

Row = dict[str, Any]
LARGEST_AREA, SMALLEST_AREA, PLAIN_AREA = 380.0, 6.0, 60.0  # square points of a marker
CURVE_DASHES = ((0, (5, 3)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


@dataclass(frozen=True)
class Group:
    """How a group of systems is drawn.

    Attributes:
        fill: share of a marker's square that its shape covers, to make areas equal.
        reach: from the marker's centre to its outermost point, in sides of that square.
    """

    title: str
    marker: str
    colour: str
    fill: float
    reach: float = 0.5


GROUPS = {
    "teacher": Group("teacher (larger image)", "D", ORANGE, 1.0, math.sqrt(0.5)),
    "image": Group("image systems", "s", BLUE, 1.0),
    "video": Group("other video systems", "o", GREEN, math.pi / 4),
    "ssp": Group("SSP variants", "^", VERMILION, 0.5),
    "control": Group("other controls", "v", PURPLE, 0.5),
}


@dataclass(frozen=True)
class Point:
    """A system or control: its values in percent over the seeds, and what is known of it.

    Attributes:
        name, kind: as in the row.
        x, y: consistency and accuracy, (seeds,).
        gmacs: multiply-adds a frame in billions, None where unknown.
        scratch: whether its encoder began without pretrained weights.
        scored_at: the size that it was scored at, where that is another than the students'; else "".
        flow_apart: whether it needs optical flow that is not in its multiply-adds.
    """

    name: str
    kind: str
    x: np.ndarray
    y: np.ndarray
    gmacs: float | None
    scratch: bool
    scored_at: str = ""
    flow_apart: bool = False

    @property
    def centre(self) -> tuple[float, float]:
        return float(self.x.mean()), float(self.y.mean())

    @property
    def group(self) -> Group:
        spec = spec_of(self.name)
        if self.kind == "control":
            return GROUPS["control"]
        if spec is not None and spec.image_model == "teacher":
            return GROUPS["teacher"]
        return GROUPS["ssp" if spec is not None and spec.options is not None else "video" if self.kind == "video" else "image"]


def spec_of(name: str) -> SystemSpec | None:
    """The registry's entry, None for what it does not know (controls without a model, the ground truth)."""
    try:
        return system(name)
    except ProfileError:
        return None


def averaging(name: str) -> tuple[str, float] | None:
    """(image system, alpha) of a constant-alpha control; None for anything else."""
    spec = spec_of(name)
    if spec is None or not spec.name.startswith(AVERAGING):
        return None
    return spec.starts_from, spec.options.alpha


def image_of(name: str) -> str | None:
    """The image system that a system is built on: KD-SSP on KD Base, SSP on Base, an image system on itself; or None.

    What is not built on a trained one (a hidden start, SSP on an untrained image model) counts as built on the first of its
    kind.
    """
    spec = spec_of(name)
    while spec is not None and not (spec.kind == "image" and not spec.hidden):
        if spec.starts_from is None:
            spec = next((s for s in SYSTEMS.values() if s.image_model == spec.image_model and not s.hidden), None)
        else:
            spec = spec_of(spec.starts_from)
    return None if spec is None else spec.name


def curve_names(names: Iterable[str]) -> dict[str, list[str]]:
    """Image system -> names along its constant-alpha curve: the image system itself (alpha 0) if there, then by alpha."""
    names = list(names)
    found: dict[str, list[tuple[float, str]]] = {}
    for name in names:
        control = averaging(name)
        if control is not None:
            found.setdefault(control[0], []).append((control[1], name))
    return {
        image: [*([image] if image in names else []), *(name for _, name in sorted(controls))]
        for image, controls in found.items()
    }


def points_of(rows: Iterable[Row], consistency: str, accuracy: str) -> dict[str, Point]:
    """Name -> point, of the rows that have both values; several rows of a name are several seeds."""
    groups: dict[str, list[Row]] = {}
    rows = list(rows)
    sizes = own_sizes(rows)
    for row in rows:
        if row.get(consistency) is not None and row.get(accuracy) is not None:
            groups.setdefault(row["system"], []).append(row)
    return {
        name: Point(
            name, group[0]["kind"], *(100 * np.array([row[metric] for row in group]) for metric in (consistency, accuracy)),
            group[0].get("gmacs"), group[0].get("encoder_start") == "scratch", sizes.get(name, ""), needs_flow(group[0]),
        )
        for name, group in groups.items()
    }


def frontier(rows: list[Row], title: str, consistency: str = "tc", accuracy: str = "miou") -> Figure:
    """Accuracy over consistency; a marker's area is the multiply-adds of a frame, hollow ones began from scratch.

    A constant-alpha curve begins at the image system that it averages, which is alpha 0. A system above the curve of its
    image system has earned its consistency.
    """
    points = points_of(rows, consistency, accuracy)
    picture, axes = figure(8.4, 6.2)
    draw(axes, points)
    axes.set(xlabel=in_percent(consistency), ylabel=in_percent(accuracy))
    handles = legend_handles(points)
    if handles:
        legend_below(picture, handles, 3, fontsize=8.5, labelspacing=0.9)
    seeds = max((len(point.x) for point in points.values()), default=1)
    axes.set_title(title + (f"\nmean of {seeds} seeds, bars from least to most" if seeds > 1 else ""))
    name_points(axes, points)
    return picture


def draw(axes: Axes, points: Mapping[str, Point]) -> None:
    """Curves and markers of all points, without their names."""
    for number, curve in enumerate(curve_names(points).values()):
        line = np.array([points[name].centre for name in curve])
        axes.plot(*line.T, linestyle=CURVE_DASHES[number % len(CURVE_DASHES)], color=BLACK, linewidth=1, zorder=1)
    scale = _area_scale(points)
    for point in points.values():
        x, y = point.centre
        colour = BLACK if averaging(point.name) else point.group.colour
        if len(point.x) > 1:
            axes.errorbar(
                x, y, xerr=[[x - point.x.min()], [point.x.max() - x]], yerr=[[y - point.y.min()], [point.y.max() - y]],
                linestyle="", elinewidth=0.9, color=BLACK, zorder=3.5,
            )
        if averaging(point.name):
            axes.scatter(x, y, s=14, marker="o", color=BLACK, zorder=2)
            continue
        axes.scatter(
            x, y, s=_area(point, scale) / point.group.fill, marker=point.group.marker, linewidths=1.3, edgecolors=colour,
            facecolors="white" if point.scratch else colour, alpha=0.9, zorder=3,
        )
    axes.margins(0.2, 0.12)


def name_points(axes: Axes, points: Mapping[str, Point], only: Iterable[str] | None = None) -> None:
    """Write the names beside the points (call last: the layout must be in place). `only`: the points to name."""
    scale, chosen = _area_scale(points), set(points if only is None else only)
    labels = []
    for name, point in points.items():
        control = averaging(name)
        radius = 2.2 if control else math.sqrt(_area(point, scale) / point.group.fill) * point.group.reach
        text = "" if name not in chosen else rf"$\alpha$={control[1]:g}" if control else name + "+" * point.flow_apart
        colour = "#444444" if control else BLACK
        labels.append(Label(text, *point.centre, radius, colour, 7.0 if control else 8.5))
    lines = [np.array([points[name].centre for name in curve]) for curve in curve_names(points).values()]
    for point in points.values():
        (x, y), spread = point.centre, len(point.x) > 1
        if spread:
            lines += [np.array([[point.x.min(), y], [point.x.max(), y]]), np.array([[x, point.y.min()], [x, point.y.max()]])]
    place_labels(axes, labels, lines)


def legend_handles(points: Mapping[str, Point]) -> list[Line2D]:
    """What shapes, fillings, areas and lines mean, as far as they are in the picture."""
    systems = [point for point in points.values() if not averaging(point.name)]
    handles = [
        Line2D([], [], linestyle="", marker=group.marker, color=group.colour, markersize=7, label=group.title)
        for group in GROUPS.values() if any(point.group is group and not point.scored_at for point in systems)
    ]
    handles += [
        Line2D([], [], linestyle="", marker=point.group.marker, color=point.group.colour, markersize=7,
               label=f"{point.name.lower()}, scored at {point.scored_at}")
        for point in systems if point.scored_at
    ]
    if any(point.scratch for point in systems):
        handles.append(Line2D([], [], linestyle="", marker="s", markerfacecolor="white", color="#777777", markersize=7,
                              label="hollow: encoder from scratch"))
    for number, image in enumerate(curve_names(points)):
        dashes = CURVE_DASHES[number % len(CURVE_DASHES)]
        handles.append(Line2D([], [], linestyle=dashes, color=BLACK, marker="o", markersize=3.5,
                              label=f"constant alpha on {image} (control)"))
    scale = _area_scale(points)
    if scale is not None:
        for gmacs in _sizes([point.gmacs for point in systems if point.gmacs]):
            handles.append(Line2D(
                [], [], linestyle="", marker="s", color="#bbbbbb", markersize=math.sqrt(max(gmacs * scale, SMALLEST_AREA)),
                label=f"area: {gmacs:g} G multiply-adds a frame",
            ))
        if any(point.flow_apart for point in systems):
            handles.append(Line2D([], [], linestyle="", marker="+", color=BLACK, markersize=5,
                                  label="name+: optical flow comes on top of the area"))
    return handles


def _sizes(gmacs: list[float]) -> list[float]:
    """Two round numbers within the range of the costs: one near the least, one near the middle of the largest."""
    def rounded(value: float) -> float:
        step = 10 ** math.floor(math.log10(value))
        return round(math.floor(value / step) * step, 6)

    return sorted({rounded(float(np.median(gmacs))), rounded(max(gmacs))})


def _area_scale(points: Mapping[str, Point]) -> float | None:
    """Square points of marker for one G; None where no cost is known."""
    costs = [point.gmacs for point in points.values() if point.gmacs and not averaging(point.name)]
    return LARGEST_AREA / max(costs) if costs else None


def _area(point: Point, scale: float | None) -> float:
    return PLAIN_AREA if scale is None or not point.gmacs else max(SMALLEST_AREA, point.gmacs * scale)
