"""Names beside the points of a scatter plot, placed so that none covers a point, a line or another name.

Each name may stand at some places around its point. Which ones are taken is searched for from several random beginnings (of
a fixed seed): one name after the other moves to where it costs least, until none moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text

DIRECTIONS = 24  # places of a name around its point
DISTANCES = (0.0, 4.0, 9.0, 16.0, 26.0, 40.0)  # points between its nearest place and further ones
GAP = 2.5  # points between a marker and a name
APART = np.array([5.0, 1.0])  # points across and down between two names: side by side they would read as one
STEP = 5.0  # points between the places of a line that names keep off
LEADER_FROM = 13.0  # points: nearer names need no line to their point
BEGINNINGS, SWEEPS = 40, 20
# what is worse than how much: a marker, a name or the rim is touched; a leader crosses a marker or a name; a name lies nearer
# to the marker of another; a piece of a line is covered; for each point nearer than ROOM to another's marker, and further off
TOUCH, CROSS, ASTRAY, COVER, CLOSE, AWAY = 1000.0, 300.0, 40.0, 8.0, 2.0, 0.6
ROOM = 7.0  # points


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
    unit = axes.figure.dpi / 72
    texts = [axes.text(0, 0, label.text, fontsize=label.size, color=label.colour, zorder=4, ha="center", va="center")
             for label in labels if label.text]
    if not texts:
        return []
    for text in texts:
        text.set_in_layout(False)  # else the layout would move the axes that the places are worked out for
    spots = axes.transData.transform([(label.x, label.y) for label in labels]) / unit  # from here on in points
    radii = np.array([label.radius for label in labels])
    own = np.array([k for k, label in enumerate(labels) if label.text])
    halves = np.array([text.get_window_extent().size for text in texts]) / unit / 2
    dots = np.concatenate([np.empty((0, 2)), *(_dots(axes.transData.transform(line) / unit) for line in lines)])
    centres = spots[own, None] + _offsets(halves, radii[own])  # (names, places, 2)
    alone = _alone(centres, halves, spots, radii, own, dots, axes.get_window_extent().get_points() / unit)
    pairs = _pairs(centres, halves, spots[own], radii[own])
    chosen = centres[np.arange(len(texts)), _search(alone, pairs)]
    for text, centre, half, spot, radius in zip(texts, chosen, halves, spots[own], radii[own], strict=True):
        text.set_position(axes.transData.inverted().transform(unit * centre))
        start, end = _leader(centre, half, spot, radius)
        if np.linalg.norm(end - start) > LEADER_FROM - GAP:
            ends = axes.transData.inverted().transform(unit * np.array([start, end]))
            line = FancyArrowPatch(*ends, arrowstyle="-", color="#777777", linewidth=0.6, shrinkA=0, shrinkB=1, zorder=2.5)
            line.set_in_layout(False)
            axes.add_artist(line)
    return texts


def _offsets(halves: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(names, places, 2): from a point to the centre of its name, places that are near first."""
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    ways = np.stack([np.cos(angles), np.sin(angles)], -1)
    beside = np.clip(1.5 * ways, -1, 1)  # which point of the name lies towards the marker
    return np.concatenate([
        (radii[:, None, None] + GAP + distance) * ways + halves[:, None] * beside for distance in DISTANCES
    ], axis=1)


def _leader(centre: np.ndarray, half: np.ndarray, spot: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the point of a name's box that is nearest to its marker to the marker's edge; arrays of them alike."""
    start = np.clip(spot, centre - half, centre + half)
    way = start - spot
    length = np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-9)
    return start, spot + way * np.minimum(1, np.expand_dims(radius, -1) / length)


def _alone(
    centres: np.ndarray, halves: np.ndarray, spots: np.ndarray, radii: np.ndarray, own: np.ndarray, dots: np.ndarray,
    frame: np.ndarray,
) -> np.ndarray:
    """(names, places): what each place costs, whatever the other names do."""
    half = halves[:, None, None]
    gaps = (np.abs(centres[:, :, None] - spots) - half - radii[:, None]).max(-1)  # to the square around each marker
    mine = np.take_along_axis(gaps, own[:, None, None], axis=2)[..., 0]
    cost = TOUCH * (gaps < 0.5).sum(-1) + ASTRAY * (gaps.min(-1) < mine - 0.5) + AWAY * mine
    others = np.arange(len(spots)) != own[:, None, None]
    cost += CLOSE * (np.clip(ROOM - gaps, 0, ROOM) * others).sum(-1)
    reach = halves[:, None] + APART
    cost += TOUCH * ((centres - reach < frame[0]) | (centres + reach > frame[1])).any(-1)
    cost += COVER * (np.abs(centres[:, :, None] - dots) < half + 2).all(-1).sum(-1)
    leaders = _along(centres, halves, spots[own], radii[own])
    for part in np.moveaxis(leaders, 2, 0):
        cost += CROSS / 4 * ((np.abs(part[:, :, None] - spots) < radii[:, None]).all(-1) & others).any(-1)
    return cost


def _pairs(centres: np.ndarray, halves: np.ndarray, spots: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(names, places, names, places): what two names cost each other."""
    count, places = centres.shape[:2]
    cost = np.zeros((count, places, count, places), np.float32)
    leaders = _along(centres, halves, spots, radii)
    for a, b in itertools.permutations(range(count), 2):
        if a < b:
            apart = np.abs(centres[a, :, None] - centres[b, None])
            cost[a, :, b] += TOUCH * (apart < halves[a] + halves[b] + APART).all(-1)
            cost[b, :, a] = cost[a, :, b].T
    for a, b in itertools.permutations(range(count), 2):
        crossed = sum((np.abs(part[:, None] - centres[b]) < halves[b]).all(-1) for part in np.moveaxis(leaders[a], 1, 0))
        cost[a, :, b] += CROSS / 4 * crossed
        cost[b, :, a] += CROSS / 4 * crossed.T
    return cost


def _along(centres: np.ndarray, halves: np.ndarray, spots: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(names, places, 6, 2): places along every leader."""
    start, end = _leader(centres, halves[:, None], spots[:, None], radii[:, None])
    return start[:, :, None] + np.linspace(0, 1, 6)[:, None] * (end - start)[:, :, None]


def _search(alone: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(names,): the places that together cost least, of those found."""
    rng, names = np.random.default_rng(0), np.arange(len(alone))
    best, least = alone.argmin(1), np.inf
    for beginning in range(BEGINNINGS):
        taken = alone.argmin(1) if beginning == 0 else rng.integers(0, alone.shape[1], len(alone))
        for _ in range(SWEEPS):
            before = taken.copy()
            for name in rng.permutation(names):
                taken[name] = (alone[name] + pairs[name][:, names, taken].sum(1)).argmin()
            if np.array_equal(before, taken):
                break
        total = alone[names, taken].sum() + pairs[names[:, None], taken[:, None], names, taken].sum() / 2
        if total < least:
            best, least = taken, total
    return best


def _dots(ends: np.ndarray) -> np.ndarray:
    """(m, 2) places along a polyline (n, 2), STEP apart."""
    places = [ends[:1]]
    for a, b in itertools.pairwise(ends):
        places.append(np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / STEP) + 1)))
    return np.concatenate(places)
