"""Pictures and words about the metrics themselves (notebook 11); rows come from `sspcore.measure`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sspcore.data.specs import SPECS
from sspcore.measure import CARRIED, CONSTANT, FAMILIES, HELD, TRUTH, advantage, flow_sensitivity, is_student, oriented
from sspcore.metrics import METRICS
from sspcore.profiles import stable_hash
from sspcore.report.style import BLACK, CYCLE, GREEN, ORANGE, VERMILION, figure, save
from sspcore.runs import provenance, write_json
from sspcore.study import Study

Row = dict[str, Any]
Matrices = Mapping[str, Mapping[str, list[Row]]]  # data set -> flow -> rows

TRIVIAL = (CONSTANT, HELD, CARRIED)
ORDER = tuple(metric for family in FAMILIES.values() for metric in family)
FOOLED, NOT_FOOLED, UNKNOWN, PLAIN = "#f4b183", "#cfe8dc", "#d9d9d9", "#ffffff"
MARKERS = {CONSTANT: "v", HELD: "<", CARRIED: ">"}
_LEFT_OUT = ("tc_reference",)  # never recommended: it repeats known slips, to stand beside printed figures only


def value_text(metric: str, value: float | None) -> str:
    """A metric's value as it is printed: percent, `lag` in frames, a dash for what could not be scored."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2f}" if metric == "lag" else f"{100 * value:.1f}"


def control_map(rows: list[Row], title: str) -> Figure:
    """All values, one line a system or control; a control's cell tells whether it scores as well as the best student."""
    gains = advantage(rows)
    picture, axes = figure(11.2, 0.32 * len(rows) + 1.5)
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
        handles=[Patch(color=colour, label=label) for colour, label in legend], loc="outside lower center", ncols=3, fontsize=9
    )
    return picture


def _cell(x: int, y: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

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
    """Accuracy over consistency with everything that was scored; bars span the seeds. Right: students and averaging only."""
    points: dict[str, list[Row]] = {}
    for rows in rows_by_seed.values():
        for row in rows:
            if row[consistency] is not None and row[accuracy] is not None:
                points.setdefault(row["system"], []).append(row)
    picture, panels = figure(11.2, 4.8, 1, 2)
    ceiling = points.pop(TRUTH, None)
    handles = []
    averaging = sorted(name for name, group in points.items() if group[0]["kind"] == "control" and name not in TRIVIAL)
    curve = [name for name in ("Base", *averaging) if name in points]  # Base is alpha 0
    for panel, names in zip(panels, (list(points), [name for name in points if name not in TRIVIAL]), strict=True):
        if averaging:
            panel.plot(
                *zip(*(_centre(points[name], consistency, accuracy) for name in curve), strict=True),
                "--",
                color=BLACK,
                linewidth=1,
                zorder=1,
            )
        for name in names:
            _draw(panel, points, name, consistency, accuracy)
        if ceiling:
            x = 100 * ceiling[0][consistency]
            panel.axvline(x, color=GREEN, linewidth=1.2, linestyle=":")
        panel.set(xlabel=f"{consistency} (%)", ylabel=f"{accuracy} (%)")
        panel.margins(0.12)
    panels[0].set_title("everything", fontsize=10)
    panels[1].set_title("without the trivial controls", fontsize=10)
    handles = [_handle(points, name) for name in points]
    if averaging:
        handles.append(Line2D([], [], color=BLACK, linestyle="--", label="constant alpha, from 0 (Base)"))
    if ceiling:
        handles.append(Line2D([], [], color=GREEN, linestyle=":", label=f"ground truth's {consistency}"))
    picture.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9)
    picture.suptitle(
        f"{title}; seeds {', '.join(map(str, rows_by_seed))}" + (": bars from least to most" * (len(rows_by_seed) > 1))
    )
    return picture


def _look(points: Mapping[str, list[Row]], name: str) -> dict[str, Any]:
    kind = points[name][0]["kind"]
    if name in TRIVIAL:
        return {"marker": MARKERS[name], "color": VERMILION, "markerfacecolor": "white", "markersize": 9}
    if kind == "control":
        return {"marker": "o", "color": BLACK, "markersize": 4}
    trained = [other for other in points if points[other][0]["kind"] != "control" and other != "Teacher"]
    if name == "Teacher":
        return {"marker": "D", "color": ORANGE, "markersize": 7}
    cycle = [colour for colour in CYCLE if colour not in (BLACK, ORANGE)]
    k = trained.index(name)
    shape = "s" if kind == "image" else ("*", "P", "X", "p", "h")[k // len(cycle) % 5]
    return {"marker": shape, "color": cycle[k % len(cycle)], "markersize": 7 if shape == "s" else 11}


def _draw(panel: Any, points: Mapping[str, list[Row]], name: str, consistency: str, accuracy: str) -> None:
    x, y = (100 * np.array([row[metric] for row in points[name]]) for metric in (consistency, accuracy))
    spread = (
        {"xerr": [[x.mean() - x.min()], [x.max() - x.mean()]], "yerr": [[y.mean() - y.min()], [y.max() - y.mean()]]}
        if len(x) > 1
        else {}
    )
    panel.errorbar(x.mean(), y.mean(), linestyle="", elinewidth=1, zorder=2, **spread, **_look(points, name))
    if name.startswith("Constant alpha"):
        label = name.removeprefix("Constant alpha ")
        panel.annotate(rf"$\alpha$={label}", (x.mean(), y.mean()), xytext=(5, -11), textcoords="offset points", fontsize=8)


def _handle(points: Mapping[str, list[Row]], name: str) -> Line2D:
    return Line2D([], [], linestyle="", label=name, **_look(points, name))


def _centre(group: list[Row], consistency: str, accuracy: str) -> tuple[float, float]:
    return 100 * float(np.mean([row[consistency] for row in group])), 100 * float(np.mean([row[accuracy] for row in group]))


def verdicts(matrices: Matrices) -> dict[str, dict[str, Any]]:
    """Metric -> how it stood the controls, over all data sets and flows.

    Columns: trivial, averaging: "a of b" cases (control x data set x flow) in which it was fooled by the trivial controls,
    and by averaging with a constant alpha; above truth: systems and controls scoring better than the truth; lowest and
    highest value of the truth; flow: largest difference that the choice of flow makes for one system.
    """
    return {metric: _verdict(metric, matrices) for metric in ORDER}


def _verdict(metric: str, matrices: Matrices) -> dict[str, Any]:
    trivial, averaging, above, truths = [0, 0], [0, 0], [0, 0], []
    for rows in (rows for flows in matrices.values() for rows in flows.values()):
        for control, gains in advantage(rows).items():
            if not math.isnan(gains[metric]):
                counts = trivial if control in TRIVIAL else averaging
                counts[0] += gains[metric] >= 0
                counts[1] += 1
        truth = next((row[metric] for row in rows if row["kind"] == "truth"), None)
        if truth is not None:
            truths.append(truth)
            others = [row[metric] for row in rows if row["kind"] != "truth" and row[metric] is not None]
            above[0] += sum(oriented(metric, value) > oriented(metric, truth) for value in others)
            above[1] += len(others)
    flow = [flow_sensitivity(flows)[metric] for flows in matrices.values()]
    known = [value for value in flow if not math.isnan(value)]
    return {
        "fooled by trivial controls": _of(trivial),
        "fooled by averaging": _of(averaging),
        "above the truth": _of(above),
        "truth, lowest": value_text(metric, min(truths, default=None)),
        "truth, highest": value_text(metric, max(truths, default=None)),
        "change with the flow": value_text(metric, max(known, default=None)),
    }


def _of(counts: list[int]) -> str:
    return f"{counts[0]} of {counts[1]}" if counts[1] else "–"


def recommendation(matrices: Matrices, correlations: Mapping[str, np.ndarray]) -> str:
    """Markdown: which figures to print, with the reasons, worked out from the matrices and nothing else.

    Args:
        matrices: data set -> flow -> rows.
        correlations: data set -> `rank_correlation` over METRICS.
    """
    table = verdicts(matrices)
    scored = [metric for metric in ORDER if _share(table[metric]["fooled by trivial controls"]) is not None]
    if not scored or not any(is_student(row) for flows in matrices.values() for rows in flows.values() for row in rows):
        return "No trained system has been scored: nothing can be recommended."
    sound = [metric for metric in scored if not _share(table[metric]["fooled by trivial controls"])]
    fooled = [metric for metric in scored if metric not in sound]
    titles = " and ".join(SPECS[name].title for name in matrices)
    flows = list(dict.fromkeys(flow for by_flow in matrices.values() for flow in by_flow))
    lines = [f"On {titles}, under {', '.join(flows)} flow:", ""]
    if fooled:
        named = ", ".join(f"{_code(m)} ({table[m]['fooled by trivial controls']})" for m in fooled)
        lines.append(
            f"* **Fooled by label maps that know nothing of the frame** (cases): {named}. None of them may stand alone."
        )
    lines.append(f"* **Never fooled by these**: {', '.join(map(_code, sound)) or 'none of the metrics'}.")
    averaged = [m for m in sound if _share(table[m]["fooled by averaging"])]
    if averaged:
        named = ", ".join(f"{_code(m)} ({table[m]['fooled by averaging']})" for m in averaged)
        lines.append(
            f"* **Plain averaging without training does as well as the best student** by {named}: "
            "a claim has to beat the constant-alpha curve, not Base."
        )
    above = [m for m in scored if _share(table[m]["above the truth"])]
    if above:
        named = ", ".join(f"{_code(m)} ({table[m]['above the truth']})" for m in above)
        lines.append(f"* **Scores above the truth's own**: {named}. Beyond its ceiling a higher score is no merit.")
    return "\n".join([*lines, "", *_advice(table, scored, sound, correlations)])


def _advice(
    table: dict[str, dict[str, Any]], scored: list[str], sound: list[str], correlations: Mapping[str, np.ndarray]
) -> list[str]:
    def merit(metric: str) -> tuple[float, float, float]:
        columns = ("fooled by trivial controls", "above the truth", "fooled by averaging")
        return tuple(_share(table[metric][column]) or 0.0 for column in columns)

    lines, family = ["**Print**", ""], {name: [m for m in members if m in scored] for name, members in FAMILIES.items()}
    if family["accuracy"]:
        best = min(family["accuracy"], key=merit)
        standing = "never fooled by a trivial control" if best in sound else "the least fooled of its family"
        lines.append(f"1. {_code(best)} for accuracy: {standing}.")
    consistent = [m for m in family["consistency"] if m not in _LEFT_OUT]
    if consistent:
        best = min(consistent, key=merit)
        row = table[best]
        lines.append(
            f"1. {_code(best)} for consistency, only beside the accuracy and together with the truth's value "
            f"({row['truth, lowest']} to {row['truth, highest']} here): of its family it is fooled in the smallest share of cases "
            f"({row['fooled by trivial controls']}), and the choice of flow moves it by {row['change with the flow']} at most."
        )
    single = [m for m in (*family["both"], *family["accuracy"]) if m in sound]
    agreement = {m: _agreement(m, consistent, correlations) for m in single}
    agreement = {m: value for m, value in agreement.items() if not math.isnan(value)}
    if agreement:
        best = max(agreement, key=agreement.__getitem__)
        lines.append(
            f"1. {_code(best)} where one figure must do: never fooled by a trivial control, and of such metrics nearest "
            f"in rank to the consistency family (mean rank correlation {agreement[best]:.2f})."
        )
    lines.append(
        "1. The constant-alpha curve and the truth's own scores in every table: without them a high consistency "
        "says nothing about a method."
    )
    if "tc_reference" in scored:
        lines.append("1. `tc_reference` only to stand beside printed figures: it repeats the published code's slips.")
    return lines


def _agreement(metric: str, others: list[str], correlations: Mapping[str, np.ndarray]) -> float:
    names = list(METRICS)
    values = [matrix[names.index(metric), names.index(other)] for matrix in correlations.values() for other in others]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _share(text: str) -> float | None:
    """The fraction that `_of` wrote."""
    if text == "–":
        return None
    part, whole = map(int, text.split(" of "))
    return part / whole


def _code(metric: str) -> str:
    return f"`{metric}`"


def write_measures(
    study: Study, matrices: Matrices, correlations: Mapping[str, np.ndarray], maps: Mapping[tuple[str, str], Figure],
    frontiers: Mapping[str, Figure],
) -> list[Path]:
    """Write metrics.json (rows, correlations, provenance) and the pictures into the study's figures; returns the paths."""
    origin = provenance(study.profile.name, study.seed, stable_hash([study.clips_key(name) for name in matrices]))
    path = study.figures / "metrics.json"
    write_json(path, {
        "provenance": origin | {"data": study.data_origin},
        "rows": [row for flows in matrices.values() for rows in flows.values() for row in rows],
        "metrics": list(METRICS),
        "rank_correlation": {
            name: [[None if math.isnan(value) else value for value in line] for line in matrix.tolist()]
            for name, matrix in correlations.items()
        },
    })
    written = [save(picture, study.figures, f"{dataset}_controls_{flow}") for (dataset, flow), picture in maps.items()]
    return [path, *written, *(save(picture, study.figures, f"{name}_frontier_all") for name, picture in frontiers.items())]
