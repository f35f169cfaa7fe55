"""Tables in five formats from frames of text cells: JSON and CSV for machines, Markdown, LaTeX and HTML for people.

A cell is written in Markdown (**best**, <ins>second best</ins>); LaTeX and HTML are translated from that. The index of a
frame names the section that a row belongs to ("" for none); sections get a heading row.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from sspcore.core.files import atomic_file, write_json
from sspcore.data.datasets import SPECS
from sspcore.models.systems import TEACHER
from sspcore.report.spread import STD, spread

Row = dict[str, Any]
T = TypeVar("T")
NONE = "–"
SHIPPED = {name: spec.title for name, spec in SPECS.items()}
BEST, SECOND = "**{}**", "<ins>{}</ins>"  # Markdown viewers let <ins> pass
LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "–": "--", "−": "$-$", "±": r"$\pm$", "Δ": r"$\Delta$",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "∗": r"$^\ast$", "lambda": r"$\lambda$",
}
ORIGIN_NOTES = {
    "commit": "of the code; + where the work tree differed from it",
    "seed": "of training",
    "data": "which data the figures are from",
    "data_key": "hash of the prepared data",
    "metric_flow": "estimator of the flow that TC is computed under",
    "metric_flow_epe_px": "its mean end-point error in pixels against the exact flow",
    "minutes": "from the last start of the run until this table; what an earlier start had finished is not counted",
}


@dataclass(frozen=True)
class Document:
    """What is written of a run's results.

    Attributes:
        title: of the HTML page.
        notes: paragraphs above the tables.
        tables: heading -> cells.
        wide: one table over all data sets, for LaTeX (see `side_by_side`).
        lines: of the CSV file; values that are no scalars are left out.
        origin: provenance, for the HTML page.
        after: paragraphs below the tables.
        hidden: "md" or "html" -> columns that this format leaves out.
        latex_note: what the signs of the LaTeX table mean.
    """

    title: str
    notes: Sequence[str]
    tables: Mapping[str, pd.DataFrame]
    wide: pd.DataFrame
    lines: Sequence[Row]
    origin: Row
    after: Sequence[str] = ()
    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict)
    latex_note: str = ""

    def to_markdown(self) -> str:
        """Notes, a table under each heading, what follows."""
        parts = ["\n\n".join(self.notes) + "\n"]
        for heading, frame in self.tables.items():
            parts.append(f"### {heading}\n{markdown(frame.drop(columns=list(self.hidden.get('md', ())), errors='ignore'))}")
        return "\n".join([*parts, *(f"{text}\n" for text in self.after)])

    def to_latex(self) -> str:
        """Needs \\usepackage{booktabs}."""
        notes = [*self.notes, *filter(None, [self.latex_note])]
        return "".join(f"% {note}\n" for note in notes) + latex(self.wide)

    def to_html(self) -> str:
        """One page without links: notes, tables, provenance."""
        return template("tables.html.jinja").render(document=self, origin=origin_rows(self.origin))

    def html_tables(self) -> dict[str, str]:
        """Heading -> table in HTML with its cells escaped, for pages."""
        hidden = list(self.hidden.get("html", ()))
        return {heading: html_table(frame.drop(columns=hidden, errors="ignore")) for heading, frame in self.tables.items()}

    def to_csv(self) -> str:
        """Fractions in 0..1 as they were computed."""
        rows = [{key: value for key, value in row.items() if not isinstance(value, dict | list)} for row in self.lines]
        return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")

    def write(self, results: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Write `name`.json (`results` as they are), .csv, .md, .tex and .html, each atomically; returns the paths."""
        paths = [folder / f"{name}.{suffix}" for suffix in ("json", "csv", "md", "tex", "html")]
        write_json(paths[0], results)
        renderers = (self.to_csv, self.to_markdown, self.to_latex, self.to_html)
        for path, render in zip(paths[1:], renderers, strict=True):
            with atomic_file(path) as temporary:
                temporary.write_text(render(), encoding="utf-8")
        return paths


def datasets_of(results: Mapping[str, Any]) -> list[str]:
    """Data sets of the rows, in their order."""
    return list(dict.fromkeys(row["dataset"] for row in results["rows"]))


def by_dataset(results: Mapping[str, Any], make: Callable[[list[Row]], T]) -> dict[str, T]:
    """Data set -> the frame, or what else `make` makes of its rows."""
    return {name: make([row for row in results["rows"] if row["dataset"] == name]) for name in datasets_of(results)}


def titles_of(results: Mapping[str, Any]) -> dict[str, str]:
    """Data set -> its title, as the results say; those that ship with the package are known without."""
    return SHIPPED | results.get("titles", {})


def headings(frames: Mapping[str, pd.DataFrame], results: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The same frames under "<title of the data set> (<which data>)"."""
    titles, note = titles_of(results), results["provenance"]["data"]
    return {f"{titles[name]} ({note})": frame for name, frame in frames.items()}


def side_by_side(
    frames: Mapping[str, pd.DataFrame], columns: Mapping[str, str], titles: Mapping[str, str] = SHIPPED
) -> pd.DataFrame:
    """One frame of several data sets: the named columns (old -> new name) under each title, a row for each first cell."""
    parts = {
        titles[name]: frame.set_index(frame.columns[0], append=True)[list(columns)].rename(columns=columns)
        for name, frame in frames.items()
    }
    wide = pd.concat(parts, axis=1).fillna(NONE)
    sections = list(dict.fromkeys(wide.index.get_level_values(0)))
    wide = wide.loc[sorted(wide.index, key=lambda place: sections.index(place[0]))]
    wide.insert(0, ("", next(iter(frames.values())).columns[0]), wide.index.get_level_values(1))
    return wide.set_axis(wide.index.get_level_values(0))


def markdown(frame: pd.DataFrame) -> str:
    """A pipe table with a bold line above each section."""
    lines = [list(frame.columns), *_with_sections(frame)]
    texts = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|\n" for line in lines]
    return "".join([texts[0], "|" + "---|" * len(frame.columns) + "\n", *texts[1:]])


def html_table(frame: pd.DataFrame) -> str:
    """The frame as an HTML table."""
    def translated(cell: str) -> str:
        text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(cell))
        return text.replace("&lt;ins&gt;", "<ins>").replace("&lt;/ins&gt;", "</ins>")

    cells = pd.DataFrame(_with_sections(frame), columns=frame.columns).map(translated)
    return cells.rename(columns=html.escape).to_html(index=False, escape=False, border=0)


def latex(frame: pd.DataFrame) -> str:
    """The frame as a booktabs table, with a rule between sections."""
    def translated(text: str) -> str:
        text = re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found[0]], text)
        return re.sub(r"<ins>(.+?)</ins>", r"\\underline{\1}", re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text))

    columns = pd.MultiIndex.from_tuples([tuple(map(translated, names)) for names in frame.columns])
    cells = frame.map(translated).set_axis(columns, axis=1)
    lines = cells.to_latex(
        index=False, escape=False, column_format="l" + "r" * (len(columns) - 1), multicolumn_format="c"
    ).splitlines()
    body = lines.index(r"\midrule") + 1
    ends = [k for k in range(1, len(frame)) if frame.index[k] != frame.index[k - 1]]
    for k in reversed(ends):
        lines.insert(body + k, r"\midrule")
    return "\n".join([*lines, ""])


def origin_rows(origin: Mapping[str, Any], titles: Mapping[str, str] = SHIPPED) -> list[tuple[str, str, str]]:
    """(entry, value, what it means) of a provenance. `titles`: of data sets."""
    texts = {key: _plain(value) for key, value in origin.items()}
    if "metric_flow_epe_px" in texts:
        texts["metric_flow_epe_px"] = flow_errors(origin, titles)
    return [(key, text, ORIGIN_NOTES.get(key, "")) for key, text in texts.items()]


def flow_errors(origin: Mapping[str, Any], titles: Mapping[str, str] = SHIPPED) -> str:
    """The error of the flow that TC is worked out under: "UAVid 0.46 px, RuralScapes –" where it is not known."""
    errors = origin["metric_flow_epe_px"].items()
    return ", ".join(f"{titles.get(name, name)} {NONE if error is None else f'{error:.2f} px'}" for name, error in errors)


def _plain(value: Any) -> str:
    """A provenance's value without the marks of a program: "torch 2.15.0, numpy 2.4.1"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else text(value)


def template(name: str) -> Any:
    """A page's template from this package; values are escaped in those of HTML, not in those of Markdown."""
    pages = Environment(
        loader=PackageLoader("sspcore.report"), autoescape=select_autoescape(["html.jinja"]), trim_blocks=True
    )
    return pages.get_template(name)


def size_text(size: Sequence[int]) -> str:
    """(H, W) as "1440x2560"."""
    return f"{size[0]}x{size[1]}"


def own_sizes(rows: Iterable[Row]) -> dict[str, str]:
    """System -> the size that it was scored at, "1440x2560", of those scored at none of the students' sizes: a teacher.

    Rows that do not say their size were scored at that of the students.
    """
    sizes = {row["system"]: size_text(row["scored_size"]) for row in rows if row.get("scored_size")}
    students = {size for name, size in sizes.items() if name != TEACHER}
    return {name: size for name, size in sizes.items() if students and size not in students}


def needs_flow(row: Row) -> bool:
    """Whether a system's multiply-adds are known, and optical flow that is not among them comes on top."""
    return bool(row.get("gmacs")) and row.get("flow_counted") is False


def shown_names(rows: Sequence[Row]) -> list[str]:
    """Names of the rows' systems, each with its size where it was scored at another one than the students."""
    sizes = own_sizes(rows)
    names = (row["system"] for row in rows)
    return [f"{name} (scored at {sizes[name]})" if name in sizes else name for name in names]


def ranked(rows: Sequence[Row], column: str, counts: Callable[[Row], bool]) -> list[str]:
    """Cells in percent; of the rows that count the largest value is marked as best, the next one as second best."""
    values = sorted({row[column] for row in rows if counts(row) and row.get(column) is not None}, reverse=True)
    marks = dict(zip(values, (BEST, SECOND), strict=False)) if len(values) > 1 else {}
    return [
        (marks.get(row.get(column), "{}") if counts(row) else "{}").format(percent(row.get(column), row.get(column + STD)))
        for row in rows
    ]


def percent(value: float | None, std: float | None = None) -> str:
    """A fraction in percent, 77.72; with its deviation over seeds, 77.7 ± 0.5; a dash for what was not measured."""
    return NONE if value is None else spread(value, std, digits=2 if std is None else 1)


def points(difference: float | None, std: float | None = None) -> str:
    """A difference of fractions in signed percentage points, see `percent`; a dash where there is none."""
    return NONE if difference is None else spread(difference, std, "+", 2 if std is None else 1)


def text(value: Any, form: str = "") -> str:
    """A value as it is formatted, a dash for None."""
    return NONE if value is None else format(value, form)


def _with_sections(frame: pd.DataFrame) -> list[list[str]]:
    """The frame's lines, with a heading line where a section begins."""
    lines: list[list[str]] = []
    before = ""
    for section, line in zip(frame.index, frame.to_numpy().tolist(), strict=True):
        if section and section != before:
            lines.append([f"**{section}**", *[""] * (len(line) - 1)])
        lines.append(line)
        before = section
    return lines


def sectioned(rows: Iterable[Row], key: str, titles: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """The rows whose `key` has a title, in the order of the titles, and the title of each."""
    order = list(titles)
    found = sorted((row for row in rows if row[key] in titles), key=lambda row: order.index(row[key]))
    return found, [titles[row[key]] for row in found]
