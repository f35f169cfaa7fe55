"""The ablation table, its pictures and what its numbers say (notebooks 09 and 12); all is read from the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sspcore.report.labels import Label, place_labels
from sspcore.report.scores import COMPARED, in_percent
from sspcore.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, figure, save
from sspcore.report.tables import (
    Document,
    Row,
    by_dataset,
    datasets_of,
    headings,
    percent,
    points,
    sectioned,
    side_by_side,
    titles_of,
)

Results = Mapping[str, Any]
GROUPS = {
    "reference": "References", "method": "The method", "lambda": "Weight of the consistency loss", "part": "One part changed",
    "teacher": "Teacher labels",
}
GAINS = ("miou", "tc", "miou_moving")
PANELS = ("miou", "miou_moving")
PATHS: dict[str, dict[str, Any]] = {
    "reference": {"label": "Base, constant alpha", "color": BLACK, "linestyle": "--", "linewidth": 1, "markersize": 4},
    "lambda": {"label": r"SSP, $\lambda$ varied", "color": BLUE, "linewidth": 1.2, "markersize": 5},
}
METHODS = {"SSP": BLUE, "KD-SSP": VERMILION, "SSP-R": VERMILION}  # drawn as stars
MARKERS, COLOURS = "vD^PXs<>", (GREEN, ORANGE, PURPLE, SKY, BLACK, VERMILION)


def write(results: Results, folder: Path) -> list[Path]:
    """Write the tables (`tables/ablations.*`) and one picture a data set into `folder`; returns the paths.

    Those of another method than SSP carry its name.
    """
    name = "ablations" if results["method"] == "SSP" else f"ablations_{results['method'].lower()}"
    written = document(results).write(results, folder / "tables", name)
    for dataset in datasets_of(results):
        written.append(save(ablation_map(results, dataset), folder, f"{dataset}_{name}", results["provenance"]))
    return written


def document(results: Results) -> Document:
    """The tables, with the differences; what failed is named below."""
    origin, method = results["provenance"], results["method"]
    against = "SSP (unfused labels: against KD-SSP)" if method == "SSP" else method
    caption = (
        f"Ablations of {method}: {origin['data']}, profile {origin['profile']}, training seed {origin['seed']}, commit "
        f"{origin['commit']}. All figures in percent; differences in points, against {against}. One training seed: small "
        "differences are not decided. TC is to be read together with mIoU."
    )
    frames = by_dataset(results, _frame)
    wide = side_by_side(frames, {title: title for name, title in COMPARED.items() if name in GAINS}, titles_of(results))
    failed = [f"Failed: {entry['variant']} on {entry['dataset']} ({entry['error']})" for entry in results["failed"]]
    return Document(
        f"Ablations of {method}", (caption,), headings(frames, results), wide, results["rows"], origin, failed
    )


def _frame(rows: list[Row]) -> pd.DataFrame:
    shown, sections = sectioned(rows, "group", GROUPS)
    cells = {
        "Variant": [_name(rows, row) for row in shown],
        "Question": [row["question"] for row in shown],
        **{title: [percent(row.get(name)) for row in shown] for name, title in COMPARED.items()},
        **{f"Δ {COMPARED[name]}": [points(gain(rows, row, name)) for row in shown] for name in GAINS},
        "Steps": [str(row["training_steps"]) for row in shown],
    }
    return pd.DataFrame(cells, index=sections)


def _name(rows: list[Row], row: Row) -> str:
    """The variant's name; says so where it is the very run that it is compared with."""
    same = _compared_with(rows, row).get("train_key") == row["train_key"]
    return f"{row['variant']} (the run of {row['compared_with']})" if same else row["variant"]


def _compared_with(rows: list[Row], row: Row) -> Row:
    """The row of the same data set that a row is compared with; empty where there is none."""
    key = row["dataset"], row["compared_with"]
    return next((other for other in rows if (other["dataset"], other["variant"]) == key), {})


def gain(rows: list[Row], row: Row, column: str) -> float | None:
    """By how much a row exceeds the one that it is compared with, as a fraction; None where either is unknown."""
    values = row.get(column), _compared_with(rows, row).get(column)
    return None if None in values else values[0] - values[1]


def ablation_map(results: Results, dataset: str) -> Figure:
    """Accuracy over consistency: left all classes, right those that move.

    The path of lambda is joined, the constant-alpha control is the dashed curve from Base.
    """
    rows = [row for row in results["rows"] if row["dataset"] == dataset]
    picture, axes = figure(11.2, 4.4, 1, len(PANELS))
    styles = _styles(rows)
    handles: dict[str, Line2D] = {}
    for cell, column in zip(axes, PANELS, strict=True):
        shown = [row for row in rows if None not in (row["tc"], row.get(column))]
        for group, style in PATHS.items():
            places = [_place(row, column) for row in shown if row["group"] == group]
            if places:
                handles[group] = cell.plot(*zip(*places, strict=True), marker="o", zorder=2, **style)[0]
        for name, style in styles.items():
            places = [_place(row, column) for row in shown if row["group"] not in PATHS and row["variant"] == name]
            if places:
                handles[name] = cell.plot(*zip(*places, strict=True), linestyle="", zorder=3, label=name, **style)[0]
        cell.set(xlabel=in_percent("tc"), ylabel=in_percent(column))
        cell.margins(0.12)
    picture.legend(handles=list(handles.values()), loc="outside right center", fontsize=9)
    title, data = titles_of(results)[dataset], results["provenance"]["data"]
    picture.suptitle(f"{title}: one thing changed at a time\n{data}", fontsize=12)
    for cell, column in zip(axes, PANELS, strict=True):  # names last: their places depend on the finished layout
        _write_names(cell, [row for row in rows if None not in (row["tc"], row.get(column))], column)
    return picture


def _styles(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Marker and colour of each variant that is a point of its own, the same in all panels."""
    names = [row["variant"] for row in rows if row["group"] not in PATHS]
    styles = {name: {"marker": "*", "color": METHODS[name], "markersize": 14} for name in names if name in METHODS}
    for i, name in enumerate(name for name in names if name not in METHODS):
        styles[name] = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)], "markersize": 8}
    return styles


def _write_names(axes: Axes, rows: list[Row], column: str) -> None:
    """Names beside the points of the paths; the legend names the other points."""
    labels = []
    for row in rows:
        style = PATHS.get(row["group"], {})
        text = row["variant"].replace("Constant alpha ", r"$\alpha$=").replace("lambda ", r"$\lambda$=") if style else ""
        labels.append(Label(text, *_place(row, column), radius=4, colour=style.get("color", BLACK), size=7.5))
    place_labels(axes, labels, [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 1])


def _place(row: Row, column: str) -> tuple[float, float]:
    return 100 * row["tc"], 100 * row[column]


def findings(results: Results) -> str:
    """What the rows say, a list in Markdown: worked out from the numbers, in words that hold for any of them."""
    lines = []
    for dataset in datasets_of(results):
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        lines.append(f"**{titles_of(results)[dataset]}**\n")
        path = sorted((row for row in rows if row["group"] == "lambda"), key=lambda row: row["weight"])
        if len(path) > 1:
            first, final = path[0], path[-1]
            scored = [row for row in path if row["miou"] is not None]
            best = f"; most mIoU at λ = {max(scored, key=lambda row: row['miou'])['weight']:g}" if scored else ""
            lines.append(
                f"* λ from {first['weight']:g} to {final['weight']:g}: TC {percent(first['tc'])} → {percent(final['tc'])}, "
                f"mIoU {percent(first['miou'])} → {percent(final['miou'])}{best}."
            )
        for row in rows:
            changes = [gain(rows, row, name) for name in GAINS]
            if row["group"] in ("part", "teacher") and None not in changes[:2]:
                miou, tc, moving = map(points, changes)
                lines.append(
                    f"* {row['variant'].capitalize()}: {miou} mIoU, {tc} TC, {moving} mIoU of moving classes against "
                    f"{row['compared_with']}."
                )
        lines.append("")
    lines += [f"* Failed: {entry['variant']} on {entry['dataset']}: {entry['error']}" for entry in results["failed"]]
    return "\n".join(lines)
