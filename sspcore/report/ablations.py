"""The ablation table and its pictures (notebook 09); every sentence and cell is read from the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sspcore.core.files import atomic_file, write_json
from sspcore.data.datasets import SPECS
from sspcore.report.labels import Label, place_labels
from sspcore.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, figure, save
from sspcore.report.tables import percent, to_csv

Row = dict[str, Any]
Results = dict[str, Any]
GROUPS = (
    ("reference", "References"), ("method", "The method"), ("lambda", "Weight of the consistency loss"),
    ("part", "One part changed"), ("teacher", "Teacher labels"),
)
COLUMNS: tuple[tuple[str, str], ...] = (
    ("miou", "mIoU"), ("tc", "TC"), ("tc_exact_flow", "TC, exact flow"), ("miou_moving", "mIoU moving"),
)
GAINS = ("miou", "tc", "miou_moving")
PANELS = (("miou", "mIoU (%)"), ("miou_moving", "mIoU of moving classes (%)"))
PATHS: dict[str, dict[str, Any]] = {
    "reference": {"label": "Base, constant alpha", "color": BLACK, "linestyle": "--", "linewidth": 1, "markersize": 4},
    "lambda": {"label": r"SSP, $\lambda$ varied", "color": BLUE, "linewidth": 1.2, "markersize": 5},
}
MARKERS, COLOURS = "vD^PXs<>", (GREEN, ORANGE, PURPLE, SKY, BLACK, VERMILION)


def write_tables(results: Results, folder: Path, name: str = "ablations") -> list[Path]:
    """Write `name`.json, .csv, .md and .tex into `folder`, each atomically; returns their paths."""
    path = folder / f"{name}.json"
    write_json(path, results)
    written = [path]
    for suffix, render in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as temporary:
            temporary.write_text(render(results), encoding="utf-8")
        written.append(path)
    return written


def caption(results: Results) -> str:
    """What the numbers are and where they are from."""
    origin, method = results["provenance"], results["method"]
    against = "SSP (unfused labels: against KD-SSP)" if method == "SSP" else method
    return (
        f"Ablations of {method}: {origin['data']}, profile {origin['profile']}, training seed {origin['seed']}, commit "
        f"{origin['commit']}. All figures in percent; differences in points, against {against}. One training seed: small "
        "differences are not decided. TC is to be read together with mIoU."
    )


def gain(rows: list[Row], row: Row, column: str) -> float | None:
    """By how much a row exceeds the one that it is compared with, as a fraction; None where either is unknown."""
    origin = next((other for other in _of(rows, row["dataset"]) if other["variant"] == row["compared_with"]), None)
    if origin is None or row.get(column) is None or origin.get(column) is None:
        return None
    return row[column] - origin[column]


def to_markdown(results: Results) -> str:
    """One table a data set, with the differences; what failed is named below."""
    rows = results["rows"]
    head = ["Variant", "Question", *(title for _, title in COLUMNS)]
    head += [f"Δ {dict(COLUMNS)[name]}" for name in GAINS] + ["Steps"]
    parts = [f"{caption(results)}\n"]
    for dataset in datasets(results):
        parts.append(f"\n### {SPECS[dataset].title} ({results['provenance']['data']})\n")
        parts.append("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
        for group, title in GROUPS:
            section = [row for row in _of(rows, dataset) if row["group"] == group]
            if section:
                parts.append(f"| **{title}** |" + " |" * (len(head) - 1) + "\n")
            for row in section:
                cells = [_name(rows, row), row["question"], *(percent(row.get(name)) for name, _ in COLUMNS)]
                cells += [points(gain(rows, row, name)) for name in GAINS] + [str(row["training_steps"])]
                parts.append("| " + " | ".join(cells) + " |\n")
    parts += [f"\nFailed: {f['variant']} on {f['dataset']} ({f['error']})\n" for f in results["failed"]]
    return "".join(parts)


def to_latex(results: Results) -> str:
    """A booktabs table over all data sets; needs \\usepackage{booktabs}."""
    shown, found = (COLUMNS[0], COLUMNS[1], COLUMNS[3]), datasets(results)
    lines = [
        "% " + caption(results),
        r"\begin{tabular}{l" + "r" * len(shown) * len(found) + "}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{len(shown)}}}{{c}}{{{SPECS[name].title}}}" for name in found)]) + r" \\",
        " & ".join(["Variant", *(title for _ in found for _, title in shown)]) + r" \\",
    ]
    for group, _ in GROUPS:
        section: dict[str, dict[str, Row]] = {}
        for row in results["rows"]:
            if row["group"] == group:
                section.setdefault(row["variant"], {})[row["dataset"]] = row
        if section:
            lines.append(r"\midrule")
        for variant, by_dataset in section.items():
            cells = [
                percent(by_dataset.get(dataset, {}).get(name)).replace("–", "--") for dataset in found for name, _ in shown
            ]
            name = variant.replace("lambda", r"$\lambda$")
            lines.append(" & ".join([name, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def ablation_map(results: Results, dataset: str) -> Figure:
    """Accuracy over consistency: left all classes, right those that move.

    The path of lambda is joined, the constant-alpha control is the dashed curve from Base.
    """
    rows = _of(results["rows"], dataset)
    picture, axes = figure(11.2, 4.4, 1, len(PANELS), squeeze=False)
    panels = list(zip(axes[0], [column for column, _ in PANELS], strict=True))
    handles: dict[str, Line2D] = {}
    for cell, column in panels:
        handles |= _draw(cell, rows, column)
        cell.set(xlabel="TC (%)", ylabel=dict(PANELS)[column])
        cell.margins(0.12)
    picture.legend(handles=list(handles.values()), loc="outside right center", fontsize=9)
    picture.suptitle(f"{SPECS[dataset].title}: one thing changed at a time\n{results['provenance']['data']}", fontsize=12)
    for cell, column in panels:  # labels last: their places depend on the finished layout
        place_labels(cell, _labels(rows, column), [line.get_xydata() for line in cell.lines if len(line.get_xydata()) > 1])
    return picture


def _draw(axes: Axes, rows: list[Row], column: str) -> dict[str, Line2D]:
    """Paths and points of one panel; returns the legend's entries by name."""
    handles = {}
    for group, style in PATHS.items():
        places = [_place(row, column) for row in _drawn(rows, column) if row["group"] == group]
        if places:
            handles[group] = axes.plot(*zip(*places, strict=True), marker="o", zorder=2, **style)[0]
    styles = _styles(rows)
    for row in _drawn(rows, column):
        if row["group"] not in PATHS:
            name = row["variant"]
            handles[name] = axes.plot(*_place(row, column), linestyle="", zorder=3, label=name, **styles[name])[0]
    return handles


def _labels(rows: list[Row], column: str) -> list[Label]:
    """What is written beside the paths' points; the other points are told by the legend."""
    labels = []
    for row in _drawn(rows, column):
        text, style = "", PATHS.get(row["group"])
        if style is not None:
            text = row["variant"].replace("Constant alpha ", r"$\alpha$=").replace("lambda ", r"$\lambda$=")
        labels.append(Label(text, *_place(row, column), radius=4, colour=style["color"] if style else BLACK, size=7.5))
    return labels


def _styles(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Marker and colour of each variant that is a point of its own, the same in all panels: the methods are stars."""
    single = [row for row in rows if row["group"] not in PATHS]
    methods = {"SSP": BLUE, "KD-SSP": VERMILION, "SSP-R": VERMILION}
    others = [row["variant"] for row in single if row["variant"] not in methods]
    styles = {name: {"marker": "*", "color": colour, "markersize": 14} for name, colour in methods.items()}
    for i, name in enumerate(others):
        styles[name] = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)], "markersize": 8}
    return styles


def _drawn(rows: list[Row], column: str) -> list[Row]:
    return [row for row in rows if row["tc"] is not None and row.get(column) is not None]


def _place(row: Row, column: str) -> tuple[float, float]:
    return 100 * row["tc"], 100 * row[column]


def findings(results: Results) -> str:
    """What the rows say, a list in Markdown: worked out from the numbers, in words that hold for any of them."""
    lines = []
    for dataset in datasets(results):
        rows = _of(results["rows"], dataset)
        lines.append(f"**{SPECS[dataset].title}**\n")
        path = sorted((row for row in rows if row["group"] == "lambda"), key=lambda row: row["weight"])
        if len(path) > 1:
            first, final = path[0], path[-1]
            best = max(path, key=lambda row: row["miou"])
            lines.append(
                f"* λ from {first['weight']:g} to {final['weight']:g}: TC {percent(first['tc'])} → {percent(final['tc'])}, "
                f"mIoU {percent(first['miou'])} → {percent(final['miou'])}; most mIoU at λ = {best['weight']:g}."
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
    lines += [f"* Failed: {f['variant']} on {f['dataset']}: {f['error']}" for f in results["failed"]]
    return "\n".join(lines)


def points(difference: float | None) -> str:
    """A difference of fractions in signed percentage points, a dash where there is none."""
    return "–" if difference is None else f"{100 * difference:+.2f}".replace("-", "−")


def datasets(results: Results) -> list[str]:
    """Data sets of the rows, in their order."""
    return list(dict.fromkeys(row["dataset"] for row in results["rows"]))


def _of(rows: list[Row], dataset: str) -> list[Row]:
    return [row for row in rows if row["dataset"] == dataset]


def _name(rows: list[Row], row: Row) -> str:
    """The variant's name; says so where it is the very run that it is compared with."""
    same = any(
        other["variant"] == row["compared_with"] and other["train_key"] == row["train_key"]
        for other in _of(rows, row["dataset"])
    )
    return f"{row['variant']} (the run of {row['compared_with']})" if same else row["variant"]


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """Tables (`tables/ablations.*`) and one picture a data set into `folder`; returns the paths written.

    Those of another method than SSP carry its name.
    """
    name = "ablations" if results["method"] == "SSP" else f"ablations_{results['method'].lower()}"
    written = write_tables(results, folder / "tables", name)
    for dataset in dict.fromkeys(row["dataset"] for row in results["rows"]):
        written.append(save(ablation_map(results, dataset), folder, f"{dataset}_{name}", results["provenance"]))
    return written
