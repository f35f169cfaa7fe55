"""The results table: JSON and CSV for machines, Markdown, LaTeX (booktabs) and HTML for people.

Every cell is read from `results.json`; the published figure stands beside ours, and the caption says which data ours
is from.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sspcore.core.files import atomic_file, write_json
from sspcore.data.datasets import SPECS
from sspcore.study.published import published

Row = dict[str, Any]
SECTIONS = (("image", "Image systems"), ("video", "Video systems"), ("control", "Controls (no training)"))
COLUMNS: tuple[tuple[str, str], ...] = (
    ("miou", "mIoU"), ("tc", "TC"), ("tc_exact_flow", "TC, exact flow"), ("tc_reference", "TC, reference's warp"),
    ("miou_moving", "mIoU moving"),
)
FACTS = ("Ours for the paper's encoder", "Encoder start", "Steps")
COST_NOTE = (
    "Multiply-adds: billions for one streamed frame at the size that a system sees, by the convention of the published table "
    "(convolutions and linear layers; attention's products are in the JSON). "
    "Registration is in no figure; +: needs optical flow that runs on the CPU and is not counted either."
)
START_NOTE = (
    "Encoder start: an encoder that began from scratch does not compare with one that began from ImageNet weights, even where "
    "it trained for more steps. Steps: optimiser steps in all, those of the weights started from included."
)
PROVENANCE_NOTES = {
    "commit": "of the code; + where the work tree differed from it",
    "seed": "of training",
    "data": "which data the figures are from",
    "data_key": "hash of the prepared data",
    "metric_flow": "estimator of the flow that TC is computed under",
    "metric_flow_epe_px": "its mean end-point error in pixels against the exact flow",
    "minutes": "from the start of the run until this table; the pictures are drawn after it",
}
STYLE = (
    ":root{color-scheme:light dark;--text:#222;--page:#fff;--line:#ddd;--band:#f3f3f3;--note:#fff3d6;--link:#0062a3}"
    "@media(prefers-color-scheme:dark){"
    ":root{--text:#e4e4e4;--page:#16181b;--line:#3a3d42;--band:#24272b;--note:#43381d;--link:#6fb9ea}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:78em;margin:2em auto;padding:0 1em;color:var(--text);"
    "background:var(--page)}a{color:var(--link)}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid var(--line)}"
    "th:first-child,td:first-child,td.fact,th.fact{text-align:left}"
    "tr.section td{font-weight:bold;background:var(--band);text-align:left}thead th{border-bottom:2px solid var(--text)}"
    ".best{font-weight:bold}.second{text-decoration:underline}.scroll{overflow-x:auto}"
    ".data{background:var(--note);padding:.4em .8em}td.fact{font-size:11px}"
    ".scroll th:first-child,.scroll td:first-child{white-space:nowrap;position:sticky;left:0;background:var(--page)}"
    ".scroll tr.section td:first-child{background:var(--band)}"
)
VIEWPORT = "<meta name='viewport' content='width=device-width,initial-scale=1'>"


def write_tables(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write results.json, .csv, .md, .tex and .html into `folder`; returns their paths."""
    write_json(folder / "results.json", results)
    written = [folder / "results.json"]
    for suffix, render in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex), ("html", to_html)):
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
        "Scores in percent, best trained student bold, second best underlined. "
        "TC is to be read together with mIoU: constant predictions are perfectly consistent."
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
    """One table a data set; best trained student bold, second best underlined (by <ins>, which Markdown viewers let pass)."""
    parts = [f"{caption(results)}\n\n{START_NOTE}\n\n{COST_NOTE}\n"]
    for dataset in datasets_of(results):
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        mark = _marks(rows, lambda text: f"**{text}**", lambda text: f"<ins>{text}</ins>")
        parts.append(f"\n### {SPECS[dataset].title} ({results['provenance']['data']})\n")
        scores = [title for _, title in COLUMNS]
        head = ["System", *FACTS, *scores, "Params (M)", "Multiply-adds (G)", "mIoU / TC published"]
        parts.append("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
        for title, section in _sections(rows):
            parts.append(f"| **{title}** |" + " |" * (len(head) - 1) + "\n")
            for row in section:
                cells = [row["system"], *facts(row), *(mark(row, name) for name, _ in COLUMNS)]
                cells += [f"{row['params_m']:.2f}", gmacs_text(row), _published_pair(row["system"], dataset)]
                parts.append("| " + " | ".join(cells) + " |\n")
    return "".join(parts)


def to_latex(results: dict[str, Any]) -> str:
    """A booktabs table over all data sets, the published scores beside ours; needs \\usepackage{booktabs}."""
    datasets = datasets_of(results)
    shown = COLUMNS[:2] + COLUMNS[4:]
    heads = [*(title for _, title in shown), "G", *(rf"{title}$^\ast$" for _, title in COLUMNS[:2])]
    span = len(heads)
    rules = (rf"\cmidrule(lr){{{2 + k * span}-{1 + (k + 1) * span}}}" for k in range(len(datasets)))
    lines = [
        "% " + caption(results),
        "% An asterisk marks the published scores. "
        "A dagger marks encoders that began from scratch. G: multiply-adds. " + COST_NOTE,
        r"\begin{tabular}{l" + "r" * span * len(datasets) + "}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{span}}}{{c}}{{{SPECS[name].title}}}" for name in datasets)]) + r" \\",
        " ".join(rules),
        " & ".join(["System", *(heads * len(datasets))]) + r" \\",
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
            cells = []
            for dataset in datasets:
                row = rows.get(dataset)
                ours = len(shown) + 1
                cells += ["--"] * ours if row is None else [*(marks[dataset](row, name) for name, _ in shown), gmacs_text(row)]
                cells += [percent(published(system, f"{dataset}_{name}")) for name, _ in COLUMNS[:2]]
            scratch = next(iter(rows.values()))["encoder_start"] == "scratch"
            lines.append(" & ".join([system.replace("_", r"\_") + (r"$^\dagger$" if scratch else ""), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""]).replace("–", "--")


def to_html(results: dict[str, Any]) -> str:
    """One static page: a table a data set with the published figures beside ours, and the provenance with its meaning."""
    origin = results["provenance"]
    parts = [
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>{VIEWPORT}<title>Results</title>"
        f"<style>{STYLE}</style></head><body>\n<h1>Results</h1>\n",
        f"<p class='data'><strong>{html.escape(origin['data'])}</strong></p>\n",
        html_tables(results), "<h2>Where these numbers are from</h2>\n", html_provenance(origin), "</body></html>\n",
    ]
    return "".join(parts)


def html_tables(results: dict[str, Any], level: int = 2) -> str:
    """What the numbers are, and a table a data set under a heading of the given level: a part of a page."""
    parts = [f"<p>{html.escape(text)}</p>\n" for text in (caption(results), START_NOTE, COST_NOTE)]
    for dataset in datasets_of(results):
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        parts.append(f"<h{level}>{SPECS[dataset].title} ({html.escape(results['provenance']['data'])})</h{level}>\n")
        parts.append(f"<div class='scroll'>{_html_table(rows, dataset)}</div>\n")
    return "".join(parts)


def html_provenance(origin: dict[str, Any]) -> str:
    """The provenance as a table with what each entry means: a part of a page."""
    parts = ["<div class='scroll'><table>\n"]
    for key, value in origin.items():
        text = value if isinstance(value, str) else json.dumps(value)
        cells = f"<td class='fact'>{html.escape(text)}</td><td class='fact'>{html.escape(PROVENANCE_NOTES.get(key, ''))}</td>"
        parts.append(f"<tr><th>{html.escape(key)}</th>{cells}</tr>\n")
    return "".join([*parts, "</table></div>\n"])


def _html_table(rows: list[Row], dataset: str) -> str:
    mark = _marks(rows, lambda text: f"<span class='best'>{text}</span>", lambda text: f"<span class='second'>{text}</span>")
    theirs = (
        ("published mIoU", f"{dataset}_miou", percent), ("published TC", f"{dataset}_tc", percent),
        ("published params (M)", "params_m", _two_digits), ("published multiply-adds (G)", "gflops", _two_digits),
    )
    ours = [*(title for _, title in COLUMNS), "Params (M)", "Multiply-adds (G)"]
    head = ["System", *FACTS, *ours, *(title for title, *_ in theirs)]
    lines = ["<table><thead><tr>", *(f"<th{_fact(name)}>{html.escape(name)}</th>" for name in head), "</tr></thead>\n<tbody>\n"]
    for title, section in _sections(rows):
        lines.append(f"<tr class='section'><td colspan='{len(head)}'>{title}</td></tr>\n")
        for row in section:
            plain = [row["system"], *facts(row)]
            cells = [f"<td{_fact(name)}>{html.escape(text)}</td>" for name, text in zip(head, plain, strict=False)]
            numbers = [*(mark(row, name) for name, _ in COLUMNS), f"{row['params_m']:.2f}", gmacs_text(row)]
            numbers += [form(published(row["system"], column)) for _, column, form in theirs]
            lines.append("<tr>" + "".join([*cells, *(f"<td>{number}</td>" for number in numbers)]) + "</tr>\n")
    return "".join([*lines, "</tbody></table>"])


def _fact(name: str) -> str:
    return " class='fact'" if name in FACTS else ""


def facts(row: Row) -> list[str]:
    """Cells under FACTS: what stood in for the paper's encoder, what it began from, and the training steps."""
    return [row.get("stand_in") or "the paper's own", row["encoder_start"], _text(row.get("training_steps"))]


def gmacs_text(row: Row) -> str:
    """Multiply-adds in billions; + where a flow on the CPU comes on top."""
    value = row.get("gmacs")
    return "–" if value is None else f"{value:.2f}" + ("+" if row.get("flow_counted") is False else "")


def percent(value: float | None) -> str:
    """A fraction as a percentage with two digits, a dash for what was not measured."""
    return "–" if value is None else f"{100 * value:.2f}"


def _two_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def datasets_of(results: dict[str, Any]) -> list[str]:
    """Data sets of the rows, in their order."""
    return list(dict.fromkeys(row["dataset"] for row in results["rows"]))


def _sections(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    sections = [(title, [row for row in rows if row["kind"] == kind]) for kind, title in SECTIONS]
    return [(title, section) for title, section in sections if section]


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
