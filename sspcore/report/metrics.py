"""Pictures and tables of the metrics themselves (notebook 11); rows come from `sspcore.study.measures`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash
from sspcore.evaluation.controls import FAMILIES, advantage
from sspcore.metrics import METRICS
from sspcore.report.frontier import draw, legend_handles, name_points, points_of
from sspcore.report.grids import coloured_table, group_lines
from sspcore.report.scores import in_percent
from sspcore.report.style import GREEN, figure, legend_below, origin_line, save_set
from sspcore.report.tables import Document, titles_of
from sspcore.report.verdicts import ORDER, TRIVIAL, Correlations, Matrices, Row, value_text
from sspcore.study import Study

PLAIN, NOT_FOOLED, FOOLED, UNKNOWN = range(4)
COLOURS = ("#ffffff", "#cfe8dc", "#f4b183", "#d9d9d9")
MEANINGS = {
    FOOLED: "at least as good as the best trained student: fooled", NOT_FOOLED: "worse: not fooled",
    UNKNOWN: "cannot be scored",
}
SIZES = [len(family) for family in FAMILIES.values()]
KINDS = {"image": "Image systems", "video": "Video systems", "control": "Controls", "truth": "Ground truth"}


def control_map(rows: list[Row], title: str) -> Figure:
    """All values, one line a system or control; a control's cell shows whether it scores as well as the best student."""
    gains = advantage(rows)

    def verdict(row: Row, metric: str) -> int:
        gain = gains.get(row["system"], {}).get(metric)
        return PLAIN if gain is None else UNKNOWN if math.isnan(gain) else FOOLED if gain >= 0 else NOT_FOOLED

    picture, axes = figure(9.4, 0.3 * len(rows) + 1.5)
    values = np.array([[verdict(row, metric) for metric in ORDER] for row in rows], float)
    texts = np.array([[value_text(metric, row[metric]) for metric in ORDER] for row in rows])
    columns = [f"{name} {'↓' if name in ('flicker', 'lag') else '↑'}" for name in ORDER]
    coloured_table(axes, values, texts, [row["system"] for row in rows], columns, cmap=ListedColormap(COLOURS), vmin=0, vmax=3)
    for text, value in zip(axes.texts, values.flat, strict=True):
        text.set_weight("bold" if value == FOOLED else "normal")
    for edge in range(1, max(values.shape)):
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
    axes.set(title=title, xlim=(-0.5, len(ORDER) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    group_lines(axes, SIZES)
    legend_below(picture, [Patch(color=COLOURS[value], label=label) for value, label in MEANINGS.items()], 3)
    return picture


def correlation_map(matrix: np.ndarray, n_rows: int, title: str) -> Figure:
    """Rank correlation of metrics (see `rank_correlation` over METRICS), grouped by family; unknown cells grey."""
    place = [list(METRICS).index(name) for name in ORDER]
    shown = matrix[np.ix_(place, place)]
    picture, axes = figure(7.6, 6.4)
    texts = np.array([["" if math.isnan(value) else f"{value:.2f}".replace("-", "−") for value in line] for line in shown])
    drawn = coloured_table(
        axes, shown, texts, ORDER, ORDER, np.abs(shown) > 0.65, cmap="RdBu", vmin=-1, vmax=1, aspect="equal"
    )
    group_lines(axes, SIZES, rows=True)
    picture.colorbar(drawn, ax=axes, label="Spearman's rank correlation (better with better = 1)", shrink=0.85)
    axes.set_title(f"{title}\n{n_rows} systems and controls; grey: no spread or not scored")
    return picture


def seed_frontier(rows_by_seed: Mapping[int, list[Row]], title: str, consistency: str = "tc", accuracy: str = "miou") -> Figure:
    """Accuracy over consistency with everything that was scored; bars span the seeds. Below: without the trivial controls."""
    rows = [row for rows in rows_by_seed.values() for row in rows]
    points = points_of((row for row in rows if row["kind"] != "truth"), consistency, accuracy)
    honest = {name: point for name, point in points.items() if name not in TRIVIAL}
    ceiling = [row[consistency] for row in rows if row["kind"] == "truth" and row[consistency] is not None]
    picture, panels = figure(8.4, 9.6, 2, 1, height_ratios=(1, 1.7))
    for panel, drawn in zip(panels, (points, honest), strict=True):
        draw(panel, drawn)
        if ceiling:
            panel.axvline(100 * ceiling[0], color=GREEN, linewidth=1.2, linestyle=":")
        panel.set(xlabel=in_percent(consistency), ylabel=in_percent(accuracy))
    panels[0].set_title("everything (trivial controls named)", fontsize=10)
    panels[1].set_title("without the trivial controls", fontsize=10)
    handles = legend_handles(points)
    if ceiling:
        handles.append(Line2D([], [], color=GREEN, linestyle=":", label=f"ground truth's own {consistency}"))
    if handles:
        legend_below(picture, handles, 3, fontsize=8.5)
    seeds = f"seed {next(iter(rows_by_seed))}"
    if len(rows_by_seed) > 1:
        seeds = f"seeds {', '.join(map(str, rows_by_seed))}: mean, bars from least to most"
    picture.suptitle(f"{title}; {seeds}", fontsize=11)
    name_points(panels[0], points, only=[name for name in points if name in TRIVIAL])
    name_points(panels[1], honest)
    return picture


def document(results: Row) -> Document:
    """The metric matrix, a table for each data set and flow; `results` is the content of metrics.json."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in results["rows"]:
        groups.setdefault((row["dataset"], row["estimator"]), []).append(row)
    tables = {
        f"{titles_of(results)[dataset]}, {flow} flow": pd.DataFrame(
            [[row["system"], *(value_text(metric, row[metric]) for metric in ORDER)] for row in rows],
            columns=["System", *ORDER], index=[KINDS[row["kind"]] for row in rows],
        ) for (dataset, flow), rows in groups.items()
    }
    wide = pd.concat([frame.assign(System=frame["System"] + f" ({heading})") for heading, frame in tables.items()])
    wide.columns = pd.MultiIndex.from_tuples([("", name) for name in wide.columns])
    origin = results["provenance"]
    notes = f"{origin_line(origin)} All metrics in percent, `lag` in frames; `flicker` and `lag`: less is better.",
    return Document("All metrics", notes, tables, wide, results["rows"], origin)


def truth_scores(matrices: Matrices) -> dict[str, dict[str, Row]]:
    """Data set -> flow -> metric -> the ground truth's own score, its ceiling; nothing for real data, which has no such row."""
    return {
        dataset: {
            flow: {metric: row[metric] for metric in METRICS}
            for flow, rows in flows.items() for row in rows if row["kind"] == "truth"
        }
        for dataset, flows in matrices.items()
    }


def write_measures(
    study: Study, matrices: Matrices, correlations: Correlations, maps: Mapping[tuple[str, str], Figure],
    frontiers: Mapping[str, Figure],
) -> list[Path]:
    """Write tables/metrics.* (ceilings, rank correlations, rows) and the pictures; returns the paths.

    Pictures of this set that belong to other data sets or flows are removed.

    Args:
        correlations: of all rows but the truth's, under the first flow.
        maps: (data set, flow) -> `control_map`. frontiers: data set -> `seed_frontier`.
    """
    origin = provenance(study.profile.name, study.seed, stable_hash([study.clips_key(name) for name in matrices]))
    results = {
        "provenance": origin | {"data": study.data_origin},
        "titles": study.titles(matrices),
        "metrics": list(METRICS),
        "ceilings": truth_scores(matrices),
        "rank_correlation": {
            name: {
                "flow": next(iter(matrices[name])),
                "rows": [row["system"] for row in next(iter(matrices[name].values())) if row["kind"] != "truth"],
                "matrix": [[None if math.isnan(value) else value for value in line] for line in matrix.tolist()],
            }
            for name, matrix in correlations.items()
        },
        "rows": [row | {"data": study.data_origin} for flows in matrices.values() for rows in flows.values() for row in rows],
    }
    pictures = {f"{dataset}_controls_{flow}": picture for (dataset, flow), picture in maps.items()}
    pictures |= {f"{name}_frontier_all": picture for name, picture in frontiers.items()}
    written = document(results).write(results, study.figures / "tables", "metrics")
    return [*written, *save_set(pictures, study.figures, results["provenance"], ("controls_*", "frontier_all"), matrices)]
