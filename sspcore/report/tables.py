"""The results table: JSON and CSV for machines, Markdown and LaTeX (booktabs) for people.

Every cell is read from `results.json`; the published figure stands beside ours, and the caption says which data ours
is from.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sspcore.data.specs import SPECS
from sspcore.report.published import published
from sspcore.runs import atomic_file, write_json

Row = dict[str, Any]
SECTIONS = (("image", "Image systems"), ("video", "Video systems"), ("control", "Controls (no training)"))
COLUMNS: tuple[tuple[str, str], ...] = (
    ("miou", "mIoU"), ("tc", "TC"), ("tc_exact_flow", "TC, exact flow"), ("tc_reference", "TC, reference's warp"),
    ("miou_moving", "mIoU moving"),
)


def write_tables(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write results.json, .csv, .md and .tex into `folder`; returns their paths."""
    write_json(folder / "results.json", results)
    written = [folder / "results.json"]
    for suffix, render in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
        path = folder / f"results.{suffix}"
        with atomic_file(path) as temporary:
            temporary.write_text(render(results), encoding="utf-8")
        written.append(path)
    return written


def caption(results: dict[str, Any]) -> str:
    """What the numbers are and where they are from."""
    origin = results["provenance"]
    return (
        f"Ours: {origin['data']}, profile {origin['profile']}, training seed {origin['seed']}, commit {origin['commit']}. "
        "Published: the paper's figures on the real data sets; they are not comparable with figures on rendered data. "
        "All figures in percent. TC is to be read together with mIoU: constant predictions are perfectly consistent."
    )


def to_csv(results: dict[str, Any]) -> str:
    """One line a row, fractions in 0..1, per-class IoU left to the JSON."""
    rows = [{key: value for key, value in row.items() if not isinstance(value, (dict, list))} for row in results["rows"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(results: dict[str, Any]) -> str:
    """One table a data set; best trained student bold, second best in italics."""
    parts = [f"{caption(results)}\n"]
    for dataset in _datasets(results):
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        mark = _marks(rows, lambda text: f"**{text}**", lambda text: f"*{text}*")
        parts.append(f"\n### {SPECS[dataset].title} ({results['provenance']['data']})\n")
        head = ["System", "Encoder start", *(title for _, title in COLUMNS), "Params (M)", "mIoU / TC published"]
        parts.append("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
        for kind, title in SECTIONS:
            section = [row for row in rows if row["kind"] == kind]
            if section:
                parts.append(f"| **{title}** |" + " |" * (len(head) - 1) + "\n")
            for row in section:
                cells = [row["system"], row["encoder_start"], *(mark(row, name) for name, _ in COLUMNS)]
                cells += [f"{row['params_m']:.2f}", _published_pair(row["system"], dataset)]
                parts.append("| " + " | ".join(cells) + " |\n")
    return "".join(parts)


def to_latex(results: dict[str, Any]) -> str:
    """A booktabs table over all data sets; needs \\usepackage{booktabs}."""
    datasets = _datasets(results)
    shown = COLUMNS[:2] + COLUMNS[4:]
    lines = [
        "% " + caption(results),
        r"\begin{tabular}{l" + "r" * len(shown) * len(datasets) + "}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{len(shown)}}}{{c}}{{{SPECS[name].title}}}" for name in datasets)]) + r" \\",
        " & ".join(["System", *(title for _ in datasets for _, title in shown)]) + r" \\",
    ]
    marks = {
        dataset: _marks(
            [row for row in results["rows"] if row["dataset"] == dataset],
            lambda text: rf"\textbf{{{text}}}", lambda text: rf"\underline{{{text}}}",
        )
        for dataset in datasets
    }
    by_system: dict[str, dict[str, Row]] = {}
    for row in results["rows"]:
        by_system.setdefault(row["system"], {})[row["dataset"]] = row
    for kind, _ in SECTIONS:
        section = {name: rows for name, rows in by_system.items() if next(iter(rows.values()))["kind"] == kind}
        if section:
            lines.append(r"\midrule")
        for system, rows in section.items():
            cells = [
                marks[dataset](rows[dataset], column) if dataset in rows else "--"
                for dataset in datasets for column, _ in shown
            ]
            lines.append(" & ".join([system.replace("_", r"\_"), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _datasets(results: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["dataset"] for row in results["rows"]))


def percent(value: float | None) -> str:
    """A fraction as a percentage with two digits, a dash for what was not measured."""
    return "–" if value is None else f"{100 * value:.2f}"


def _published_pair(system: str, dataset: str) -> str:
    pair = [published(system, f"{dataset}_{name}") for name in ("miou", "tc")]
    return "–" if None in pair else " / ".join(percent(value) for value in pair)


def _marks(rows: list[Row], best: Callable[[str], str], second: Callable[[str], str]) -> Callable[[Row, str], str]:
    """A cell's text: marked if it is the best or second best of the trained students (no teacher, no control)."""
    ranked: dict[str, list[float]] = {}
    for name, _ in COLUMNS:
        values = {row[name] for row in rows if _is_student(row) and row.get(name) is not None}
        ranked[name] = sorted(values, reverse=True)

    def text(row: Row, name: str) -> str:
        value = row.get(name)
        if not _is_student(row) or value is None or len(ranked[name]) < 2:
            return percent(value)
        rank = ranked[name].index(value)
        return best(percent(value)) if rank == 0 else second(percent(value)) if rank == 1 else percent(value)

    return text


def _is_student(row: Row) -> bool:
    return row["kind"] != "control" and row["system"] != "Teacher"
