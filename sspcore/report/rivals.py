"""SSP among what steadies without learning: a table, the frontier of all, and what the numbers say (notebook 12).

All of it is worked out from a report of `sspcore.study.rivals`, or from the file that `benchmarks/rivals.py` wrote of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from sspcore.models.controls import RIVALS
from sspcore.report.curve import above_curve
from sspcore.report.frontier import averaging, curve_names, draw, legend_handles, name_points, points_of
from sspcore.report.scores import in_percent
from sspcore.report.style import figure, legend_below
from sspcore.study.rivals import IMAGE, LEARNED

Row = dict[str, Any]
ACCURACIES = {"miou": "all classes", "miou_moving": "moving classes"}


def rows_of(report: Mapping[str, Any], dataset: str) -> list[Row]:
    """The rows of a data set, with "above_curve": points of mIoU above the constant-alpha curve at equal TC.

    None for that curve's own systems; "above_curve_end" says "below" or "beyond" where the curve does not reach so far.
    """
    rows = [row for row in report["rows"] if row["dataset"] == dataset]
    known = {row["system"]: row for row in rows if None not in (row["miou"], row["tc"])}
    names = curve_names(known).get(IMAGE, [])
    curve = [(known[name]["tc"], known[name]["miou"]) for name in names]
    found = []
    for row in rows:
        distance, end = None, ""
        if len(curve) > 1 and row["system"] in known and row["system"] not in names:
            distance, end = above_curve(curve, row["tc"], row["miou"])
        found.append(row | {"above_curve": None if distance is None else 100 * distance, "above_curve_end": end})
    return found


def comparison(rows: Iterable[Row]) -> dict[str, Row]:
    """System -> heading -> value, for `show_table`."""
    percent = ("miou", "miou_moving", "tc", "tc_exact_flow", "flicker")
    return {
        row["system"]: {in_percent(name): None if row[name] is None else 100 * row[name] for name in percent}
        | {
            "lag (frames)": row["lag"], "above the curve (points)": row["above_curve"], "curve": row["above_curve_end"],
            "network (ms)": row["network_ms"], "motion (ms)": row["motion_ms"],
        }
        for row in rows
    }


def frontier_of_all(rows: Sequence[Row], title: str) -> Figure:
    """TC and mIoU of all systems, of all classes and below of moving ones, if they are scored."""
    shown = {accuracy: points_of(rows, "tc", accuracy) for accuracy in ACCURACIES}
    if not shown["miou_moving"]:
        del shown["miou_moving"]
    drawn, panels = figure(10.5, 0.8 + 5.6 * len(shown), len(shown), squeeze=False)
    for axes, (accuracy, points) in zip(panels[:, 0], shown.items(), strict=True):
        draw(axes, points)
        axes.set(xlabel=in_percent("tc"), ylabel=in_percent(accuracy), title=ACCURACIES[accuracy])
    legend_below(drawn, legend_handles(shown["miou"]), 3)
    drawn.suptitle(title)
    for axes, points in zip(panels[:, 0], shown.values(), strict=True):
        name_points(axes, points)
    return drawn


def discussion(rows: Sequence[Row]) -> str:
    """What the rows say, as Markdown; each sentence is worked out from them, and left out where they cannot tell."""
    known = {row["system"]: row for row in rows if None not in (row["miou"], row["tc"])}
    rivals, learned = ([name for name in names if name in known] for names in (RIVALS, LEARNED))
    lines = []
    if len(known) > 1:
        front = [name for name in known if not any(_beats(other, known[name]) for other in known.values())]
        lines.append(f"**On the frontier** (no other has as much mIoU and TC, and more of one): {_listed(front)}.")
    for name in learned:
        better = [other for other in (*rivals, *filter(averaging, known)) if _beats(known[other], known[name])]
        lines.append(f"**{name}**: as much mIoU and TC, and more of one, without learning: {_listed(better)}.")
    placed = [name for name in rivals if known[name]["above_curve"] is not None]
    if placed:
        best = max(placed, key=lambda name: known[name]["above_curve"])
        distances = ", ".join(_distance(known[name]) for name in (best, *learned) if known[name]["above_curve"] is not None)
        lines.append(f"**Above the constant-alpha curve at equal TC**, points of mIoU, the best rival first: {distances}.")
    moving = {name: row["miou_moving"] for name, row in known.items() if row["miou_moving"] is not None}
    if IMAGE in moving and (steadied := [name for name in (*rivals, *learned) if name in moving]):
        kept = [name for name in steadied if moving[name] >= moving[IMAGE]]
        lines.append(f"**Moving classes**, no worse than {IMAGE}: {_listed(kept)} (of {_listed(steadied)}).")
    cost = {name: known[name]["network_ms"] + known[name]["motion_ms"] for name in known}
    if IMAGE in cost and len(cost) > 1:
        slowest = max(cost, key=cost.__getitem__)
        quickest = min((name for name in cost if name != IMAGE), key=cost.__getitem__)
        between = "".join(f", {name} {cost[name]:.1f} ms" for name in learned if name not in (quickest, slowest))
        lines.append(
            f"**A frame**, motion included: {IMAGE} {cost[IMAGE]:.1f} ms, {quickest} {cost[quickest]:.1f} ms (the least of the "
            f"others){between}, {slowest} {cost[slowest]:.1f} ms (the most)."
        )
    if lines:
        lines.append("One training seed, no interval: small differences are not decided.")
    return "\n".join(f"* {line}" for line in lines)


def _distance(row: Row) -> str:
    end = f" ({row['above_curve_end']} the curve)" if row["above_curve_end"] else ""
    height = f"{row['above_curve']:+.1f}".replace("-", "−")
    return f"{row['system']} {height}{end}"


def _beats(one: Row, other: Row) -> bool:
    """Whether one has no less mIoU and no less TC, and more of one of them."""
    pairs = [(one[score], other[score]) for score in ("miou", "tc")]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
