"""Pictures and words about the metrics themselves (notebook 11); rows come from `sspcore.study.measures`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from sspcore.core.files import write_json
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash
from sspcore.data.datasets import SPECS
from sspcore.evaluation.controls import CARRIED, CONSTANT, FAMILIES, HELD, advantage, flow_sensitivity, oriented
from sspcore.metrics import METRICS, build_metric
from sspcore.report.frontier import AXES, draw, legend_handles, name_points, points_of
from sspcore.report.style import BLACK, GREEN, figure, save_set
from sspcore.study import Study

Row = dict[str, Any]
Matrices = Mapping[str, Mapping[str, list[Row]]]  # data set -> flow -> rows

TRIVIAL = (CONSTANT, HELD, CARRIED)
ORDER = tuple(metric for family in FAMILIES.values() for metric in family)
FOOLED, NOT_FOOLED, UNKNOWN, PLAIN = "#f4b183", "#cfe8dc", "#d9d9d9", "#ffffff"
_LEFT_OUT = ("tc_reference",)  # never recommended: it repeats known slips, to stand beside printed figures only

REASONS = (
    "* The constant-alpha curve and the truth's own scores belong into every table: averaging is the cheapest way to "
    "consistency, and without a ceiling nobody can tell what is left to gain.",
    "* `tc_reference` serves to stand beside printed figures only: it repeats the published code's slips.",
    "* A ranking holds for these data, these flows and these systems; with few systems a rank correlation says little.",
)


def value_text(metric: str, value: float | None) -> str:
    """A metric's value as it is printed: percent, `lag` in frames, a dash for what could not be scored."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2f}" if metric == "lag" else f"{100 * value:.1f}"


def control_map(rows: list[Row], title: str) -> Figure:
    """All values, one line a system or control; a control's cell tells whether it scores as well as the best student."""
    gains = advantage(rows)
    picture, axes = figure(9.4, 0.3 * len(rows) + 1.5)
    for y, row in enumerate(rows):
        for x, metric in enumerate(ORDER):
            gain = gains.get(row["system"], {}).get(metric)
            colour = PLAIN if gain is None else UNKNOWN if math.isnan(gain) else FOOLED if gain >= 0 else NOT_FOOLED
            axes.add_patch(_cell(x, y, colour))
            weight = "bold" if colour == FOOLED else "normal"
            axes.text(x, y, value_text(metric, row[metric]), ha="center", va="center", fontsize=8, weight=weight)
    axes.set(xlim=(-0.5, len(ORDER) - 0.5), ylim=(len(rows) - 0.5, -0.5), title=title)
    axes.set_xticks(
        range(len(ORDER)),
        [f"{name} {'↓' if name in ('flicker', 'lag') else '↑'}" for name in ORDER],
        rotation=30,
        ha="right",
        fontsize=9,
    )
    axes.set_yticks(range(len(rows)), [row["system"] for row in rows], fontsize=9)
    axes.grid(False)
    for x in np.cumsum([len(family) for family in FAMILIES.values()])[:-1]:
        axes.axvline(x - 0.5, color=BLACK, linewidth=1.2)
    legend = (
        (FOOLED, "at least as good as the best trained student: fooled"),
        (NOT_FOOLED, "worse: not fooled"),
        (UNKNOWN, "cannot be scored"),
    )
    picture.legend(
        handles=[Patch(color=colour, label=label) for colour, label in legend], loc="outside lower center", ncols=3, fontsize=9,
        frameon=False,
    )
    return picture


def _cell(x: int, y: int, colour: str) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="#ffffff", linewidth=1.5)


def correlation_map(matrix: np.ndarray, n_rows: int, title: str) -> Figure:
    """Rank correlation of metrics (see `rank_correlation` over METRICS), grouped by family; unknown cells grey."""
    place = [list(METRICS).index(name) for name in ORDER]
    shown = matrix[np.ix_(place, place)]
    picture, axes = figure(7.6, 6.4)
    axes.set_facecolor(UNKNOWN)
    drawn = axes.imshow(np.ma.masked_invalid(shown), cmap="RdBu", vmin=-1, vmax=1)
    for (y, x), value in np.ndenumerate(shown):
        if not math.isnan(value):
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if abs(value) > 0.65 else BLACK)
    for axis in (axes.set_xticks, axes.set_yticks):
        axis(range(len(ORDER)), ORDER, fontsize=9)
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set_ha("right")
    axes.grid(False)
    for edge in np.cumsum([len(family) for family in FAMILIES.values()])[:-1]:
        axes.axhline(edge - 0.5, color=BLACK, linewidth=1.2)
        axes.axvline(edge - 0.5, color=BLACK, linewidth=1.2)
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
        panel.set(xlabel=AXES.get(consistency, consistency), ylabel=AXES.get(accuracy, accuracy))
    panels[0].set_title("everything (trivial controls named)", fontsize=10)
    panels[1].set_title("without the trivial controls", fontsize=10)
    handles = legend_handles(points)
    if ceiling:
        handles.append(Line2D([], [], color=GREEN, linestyle=":", label=f"ground truth's own {consistency}"))
    if handles:
        picture.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    seeds = f"seed {next(iter(rows_by_seed))}"
    if len(rows_by_seed) > 1:
        seeds = f"seeds {', '.join(map(str, rows_by_seed))}: mean, bars from least to most"
    picture.suptitle(f"{title}; {seeds}", fontsize=11)
    name_points(panels[0], points, only=[name for name in points if name in TRIVIAL])
    name_points(panels[1], honest)
    return picture


@dataclass
class Cases:
    """In how many of all cases something holds; NaN and a dash where there is none."""

    hits: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        self.hits += bool(hit)
        self.of += 1

    @property
    def share(self) -> float:
        return self.hits / self.of if self.of else math.nan

    def __str__(self) -> str:
        return f"{self.hits} of {self.of}" if self.of else "–"


@dataclass(frozen=True)
class Verdict:
    """How a metric stood the controls, over all data sets and flows.

    Attributes:
        metric: its name.
        trivial, averaging: cases (control x data set x flow) in which it prized a trivial control, or averaging with a
            constant alpha, as highly as the best trained student.
        above_truth: cases in which a system or control scores better than the truth.
        truth: lowest and highest value of the truth, None where there is no truth.
        flow: largest difference that the choice of flow makes for one system; NaN unknown.
    """

    metric: str
    trivial: Cases
    averaging: Cases
    above_truth: Cases
    truth: tuple[float, float] | None
    flow: float

    def columns(self) -> dict[str, str]:
        """As a line of a table."""
        low, high = self.truth or (None, None)
        return {
            "fooled by trivial controls": str(self.trivial),
            "fooled by averaging": str(self.averaging),
            "scored above the truth": str(self.above_truth),
            "truth, lowest": value_text(self.metric, low),
            "truth, highest": value_text(self.metric, high),
            "change with the flow": value_text(self.metric, self.flow),
        }


def verdicts(matrices: Matrices) -> dict[str, Verdict]:
    """Metric -> how it stood the controls. `matrices`: data set -> flow -> rows."""
    return {metric: _verdict(metric, matrices) for metric in ORDER}


def _verdict(metric: str, matrices: Matrices) -> Verdict:
    trivial, averaging, above, truths = Cases(), Cases(), Cases(), []
    for rows in (rows for flows in matrices.values() for rows in _independent(metric, flows)):
        for control, gains in advantage(rows).items():
            if not math.isnan(gains[metric]):
                (trivial if control in TRIVIAL else averaging).add(gains[metric] >= 0)
        for truth in (row[metric] for row in rows if row["kind"] == "truth" and row[metric] is not None):
            truths.append(truth)
            for value in (row[metric] for row in rows if row["kind"] != "truth" and row[metric] is not None):
                above.add(oriented(metric, value) > oriented(metric, truth))
    spans = [flow_sensitivity(flows)[metric] for flows in matrices.values()]
    flow = max((span for span in spans if not math.isnan(span)), default=math.nan)
    return Verdict(metric, trivial, averaging, above, (min(truths), max(truths)) if truths else None, flow)


def _independent(metric: str, flows: Mapping[str, list[Row]]) -> list[list[Row]]:
    """The rows of every flow; of one flow where the metric reads none, lest a case count several times."""
    reads_flow = bool(build_metric(metric, 1, (0,)).needs & {"flow_to_next", "flow_to_previous"})
    return list(flows.values())[: None if reads_flow else 1]


def recommendation(matrices: Matrices, correlations: Mapping[str, np.ndarray]) -> str:
    """Markdown: which figures to print; what the numbers say and what holds whatever they say stand apart.

    Args:
        matrices: data set -> flow -> rows of `metric_matrix`.
        correlations: data set -> `rank_correlation` over METRICS.
    """
    scored = {metric: verdict for metric, verdict in verdicts(matrices).items() if verdict.trivial.of}
    if not scored:
        return "No trained system has been scored: nothing can be recommended."
    flows = list(dict.fromkeys(flow for by_flow in matrices.values() for flow in by_flow))
    titles = " and ".join(SPECS[name].title for name in matrices)
    lines = [f"On {titles}, under {', '.join(flows)} flow (cases in brackets):", ""]
    fooled = _named(scored, "trivial")
    if fooled:
        lines.append(f"* **Fooled by trivial controls**: {fooled}. None of these may stand alone.")
    sound = [metric for metric, verdict in scored.items() if not verdict.trivial.hits]
    lines.append(f"* **Never fooled by trivial controls**: {', '.join(f'`{m}`' for m in sound) or 'none of the metrics'}.")
    averaged = _named(scored, "averaging")
    if averaged:
        lines.append(
            f"* **Averaging without training does as well as the best student** by {averaged}: "
            "there a claim has to beat the constant-alpha curve, not Base."
        )
    above = _named(scored, "above_truth")
    if above:
        lines.append(f"* **Scores above the truth's own**: {above}. Beyond its ceiling a higher score is no merit.")
    advice = _advice(scored, sound, correlations)
    return "\n".join([
        *lines, "", "**Print, by these numbers**", "", *advice, "", "**Reasons that no number here decides**", "", *REASONS
    ])


def _named(verdicts: Mapping[str, Verdict], field: str) -> str:
    """The metrics with cases in a field, with their number."""
    cases = {metric: getattr(verdict, field) for metric, verdict in verdicts.items()}
    return ", ".join(f"`{metric}` ({count})" for metric, count in cases.items() if count.hits)


def _advice(scored: Mapping[str, Verdict], sound: list[str], correlations: Mapping[str, np.ndarray]) -> list[str]:
    lines = []
    accuracy, consistency, both = ([m for m in members if m in scored and m not in _LEFT_OUT] for members in FAMILIES.values())
    if accuracy:
        best = min(accuracy, key=lambda metric: _demerit(scored[metric]))
        standing = "never fooled by a trivial control" if best in sound else "the least fooled of its family"
        lines.append(f"1. `{best}` for accuracy: {standing}.")
    if consistency:
        best = min(consistency, key=lambda metric: _demerit(scored[metric]))
        columns = scored[best].columns()
        ceiling, moved = "", ""
        if not math.isnan(scored[best].flow):
            moved = f", and the choice of flow moves it by {columns['change with the flow']} at most"
        if scored[best].truth is not None:
            ceiling = (
                f" and together with the truth's own value ({columns['truth, lowest']} to {columns['truth, highest']} here)"
            )
        lines.append(
            f"1. `{best}` for consistency, only beside the accuracy{ceiling}: no other of its family is fooled in a smaller "
            f"share of cases ({columns['fooled by trivial controls']}){moved}."
        )
    agreement = {metric: _agreement(metric, consistency, correlations) for metric in (*both, *accuracy) if metric in sound}
    agreement = {metric: value for metric, value in agreement.items() if not math.isnan(value)}
    if agreement:
        best = max(agreement, key=agreement.__getitem__)
        lines.append(
            f"1. `{best}` where one figure must do: never fooled by a trivial control, and of such metrics the nearest in rank "
            f"to the consistency family (mean rank correlation {agreement[best]:.2f})."
        )
    return lines


def _demerit(verdict: Verdict) -> tuple[float, ...]:
    """Sorts metrics, best first: least fooled, then fewest scores above the truth, then least fooled by averaging."""
    shares = (verdict.trivial.share, verdict.above_truth.share, verdict.averaging.share, verdict.flow)
    return tuple(0.0 if math.isnan(share) else share for share in shares)


def _agreement(metric: str, others: list[str], correlations: Mapping[str, np.ndarray]) -> float:
    """Mean rank correlation with other metrics over all data sets; NaN where none is known."""
    names = list(METRICS)
    values = [matrix[names.index(metric), names.index(other)] for matrix in correlations.values() for other in others]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


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
    study: Study,
    matrices: Matrices,
    correlations: Mapping[str, np.ndarray],
    maps: Mapping[tuple[str, str], Figure],
    frontiers: Mapping[str, Figure],
) -> list[Path]:
    """Write tables/metrics.json (ceilings, rank correlations, rows) and the pictures; returns the paths.

    Pictures of this set that belong to other data sets or flows are removed.

    Args:
        correlations: data set -> `rank_correlation` over METRICS of all rows but the truth's, under its first flow.
    """
    origin = provenance(study.profile.name, study.seed, stable_hash([study.clips_key(name) for name in matrices]))
    origin |= {"data": study.data_origin}
    path = study.figures / "tables" / "metrics.json"
    write_json(path, {
        "provenance": origin,
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
    })
    pictures = {f"{dataset}_controls_{flow}": picture for (dataset, flow), picture in maps.items()}
    pictures |= {f"{name}_frontier_all": picture for name, picture in frontiers.items()}
    return [path, *save_set(pictures, study.figures, origin, ("controls_*", "frontier_all"))]
