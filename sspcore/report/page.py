"""One static page of a whole run: tables, pictures, notebooks and where they are from. Reads files, runs nothing.

The page's folder is complete in itself: pictures are inlined, executed notebooks, PDFs and tables lie beside the page, so
that the folder opens without a server and can be sent as it is.
"""

from __future__ import annotations

import base64
import html
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbconvert.filters import markdown2html

from sspcore.core.errors import ArtefactError
from sspcore.core.files import atomic_folder, read_json
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.data.datasets import SPECS
from sspcore.report.captions import PICTURES, find_pictures
from sspcore.report.tables import STYLE, VIEWPORT, datasets_of, html_provenance, html_tables
from sspcore.study.profiles import Profile

Row = dict[str, Any]
PAGE = "index.html"
TABLES_STAMP = "08_tables_and_figures.json"
MORE_TABLES = {"seeds.md": "Over training seeds", "ablations.md": "Ablations"}  # written by chapters of their own
PAIRS = (("SSP", "Base"), ("KD-SSP", "KD Base"), ("KD-SSP", "Base"))
PAGE_STYLE = (
    "h1{line-height:1.2}h2{margin-top:2.2em;border-bottom:1px solid var(--line)}"
    "nav{display:flex;flex-wrap:wrap;gap:.3em 1.2em;margin:1em 0}"
    "figure{margin:1.2em 0 2em}"
    "figure img{width:100%;max-width:60em;height:auto;background:#fff;border-radius:4px;display:block}"
    "figcaption{max-width:60em;margin-top:.4em}p,ul,ol{max-width:60em}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}dt{font-weight:bold}dd{margin:0;overflow-wrap:anywhere}"
    "@media(max-width:40em){body{margin:1em auto}h1{font-size:1.5em}}"
)


@dataclass(frozen=True)
class Notebook:
    """An executed notebook: its page, its heading, and the minutes that it took (None unknown)."""

    page: Path
    title: str
    minutes: float | None


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        profile, description: of the profile.
        notebooks: executed ones, in order.
        results: content of results.json; None without tables of this profile.
        figures: folder of the tables and pictures.
        own: whether the tables were written by a run on this machine rather than found in the repository.
    """

    profile: str
    description: str
    notebooks: list[Notebook]
    results: dict[str, Any] | None
    figures: Path
    own: bool

    @property
    def datasets(self) -> list[str]:
        return [] if self.results is None else datasets_of(self.results)


def find_run(profile: Profile, workspace: Workspace, figures: Path) -> Run:
    """What lies in the workspace of a profile.

    Args:
        figures: the profile's folder of tables and pictures.
    Raises: ArtefactError if nothing was run there.
    """
    notebooks = [_notebook(page) for page in sorted(workspace.notebooks.glob("[0-9][0-9]_*.html"))]
    if not notebooks and not (workspace.base / "runs").is_dir():
        raise ArtefactError(
            f"{shown(workspace.base)}: no run of profile {profile.name} here; start one with "
            f"./reproduce.sh --profile {profile.name}"
        )
    table, stamp = figures / "tables" / "results.json", workspace.notebooks / TABLES_STAMP
    results = read_json(table) if table.is_file() else None
    if results is not None and results["provenance"]["profile"] != profile.name:
        results = None  # a folder that two profiles share, and the other's run was the last
    outputs = read_json(stamp).get("outputs", []) if stamp.is_file() else []
    own = any(Path(output).name == table.name for output in outputs)
    return Run(profile.name, profile.description, notebooks, results, figures, own)


def write_page(run: Run, folder: Path) -> Path:
    """Write the page and all that it links to into `folder`, which is replaced as a whole; returns the page's path."""
    with atomic_folder(folder, PAGE) as temporary:
        for notebook in run.notebooks:
            _copy(notebook.page, temporary / "notebooks")
        for path in _tables(run):
            _copy(path, temporary / "tables")
        for _, _, path in _pictures(run):
            _copy(path.with_suffix(".pdf"), temporary / "figures")
        (temporary / PAGE).write_text(render(run), encoding="utf-8")
    return folder / PAGE


def render(run: Run) -> str:
    """The page."""
    sections = {
        "results": ("Results", _results_section(run)),
        "pictures": ("Pictures", _picture_section(run)),
        "more": ("More tables", _more_section(run)),
        "notebooks": ("Notebooks", _notebook_section(run)),
        "origin": ("Where these numbers are from", _origin_section(run)),
    }
    sections = {key: section for key, section in sections.items() if section[1]}
    title = f"Run report, profile {html.escape(run.profile)}"
    head = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>{VIEWPORT}<title>{title}</title>"
        f"<style>{STYLE}{PAGE_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    )
    links = "".join(f"<a href='#{key}'>{name}</a>" for key, (name, _) in sections.items())
    body = "".join(f"<section id='{key}'><h2>{name}</h2>\n{text}</section>\n" for key, (name, text) in sections.items())
    return f"{head}{_summary(run)}<nav>{links}</nav>\n{body}</body></html>\n"


def _summary(run: Run) -> str:
    """Data, profile, commit and seed at a glance."""
    if run.results is None:
        return (
            f"<p>{html.escape(run.description)}</p>\n<p class='data'><strong>No tables of this profile yet:</strong> "
            "chapter 08 writes them (<code>./reproduce.sh "
            f"--profile {html.escape(run.profile)} --only 08</code>).</p>\n"
        )
    origin = run.results["provenance"]
    systems = list(dict.fromkeys(row["system"] for row in run.results["rows"] if row["kind"] != "control"))
    facts = {
        "Data sets": ", ".join(SPECS[name].title for name in run.datasets),
        "Profile": f"{run.profile}: {run.description}", "Systems": ", ".join(systems),
        "Commit": origin["commit"], "Seed": origin["seed"],
    }
    lines = "".join(f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts.items())
    foreign = "" if run.own else (
        "<p class='data'>The tables and pictures below were <strong>not written by a run on this machine</strong>: "
        "chapter 08 has not been run here, they are those found in the repository.</p>\n"
    )
    return f"<p class='data'><strong>{html.escape(origin['data'])}</strong></p>\n{foreign}<dl>{lines}</dl>\n"


def _results_section(run: Run) -> str:
    if run.results is None:
        return ""
    gains = _gains(run.results["rows"])
    listed = f"<ul>{''.join(f'<li>{line}</li>' for line in gains)}</ul>\n" if gains else ""
    return f"{listed}{html_tables(run.results, level=3)}"


def _gains(rows: list[Row]) -> list[str]:
    """What propagation and distillation change, one sentence a pair of systems that the run has."""
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        by_name = {row["system"]: row for row in rows if row["dataset"] == dataset}
        for name, origin in PAIRS:
            if name in by_name and origin in by_name:
                differences = [
                    f"{_points(by_name[name][column] - by_name[origin][column])} {title}"
                    for column, title in (("miou", "mIoU"), ("tc", "TC"), ("miou_moving", "mIoU of moving classes"))
                    if by_name[name].get(column) is not None and by_name[origin].get(column) is not None
                ]
                lines.append(f"{SPECS[dataset].title}, {name} against {origin}: {', '.join(differences)} (points)")
    return lines


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")


def _pictures(run: Run) -> list[tuple[str, str, Path]]:
    """(picture, data set, PNG), in the order of the captions."""
    return [
        (name, dataset, path) for name in PICTURES for dataset, path in find_pictures(run.figures, run.datasets, name).items()
    ]


def _picture_section(run: Run) -> str:
    parts, last = [], None
    for name, dataset, path in _pictures(run):
        if name != last:
            parts.append(f"<h3>{html.escape(PICTURES[name].title)}</h3>\n<p>{html.escape(PICTURES[name].text)}</p>\n")
            last = name
        alt = f"{PICTURES[name].title}, {SPECS[dataset].title}"
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        note = SPECS[dataset].title
        if path.with_suffix(".pdf").is_file():
            note += f" · <a href='figures/{path.stem}.pdf'>PDF</a>"
        parts.append(
            f"<figure><img alt='{html.escape(alt, quote=True)}' loading='lazy' src='data:image/png;base64,{data}'>"
            f"<figcaption>{note}</figcaption></figure>\n"
        )
    return "".join(parts)


def _more_section(run: Run) -> str:
    parts = []
    for name, title in MORE_TABLES.items():
        path = run.figures / "tables" / name
        if run.results is not None and path.is_file():
            text = markdown2html(path.read_text(encoding="utf-8"))
            parts.append(f"<h3>{title}</h3>\n<div class='scroll'>{text}</div>\n")
    return "".join(parts)


def _notebook_section(run: Run) -> str:
    lines = []
    for notebook in run.notebooks:
        took = "" if notebook.minutes is None else f", {notebook.minutes:.1f} min"
        lines.append(f"<li><a href='notebooks/{notebook.page.name}'>{html.escape(notebook.title)}</a>{took}</li>")
    return f"<p>As executed, with all outputs.</p>\n<ul>{''.join(lines)}</ul>\n" if lines else ""


def _origin_section(run: Run) -> str:
    if run.results is None:
        return ""
    files = "".join(f"<li><a href='tables/{path.name}'>{path.name}</a></li>" for path in _tables(run))
    return f"{html_provenance(run.results['provenance'])}<p>The tables as files:</p>\n<ul>{files}</ul>\n"


def _tables(run: Run) -> list[Path]:
    names = ["results.*", *(name.replace(".md", ".*") for name in MORE_TABLES), "metrics.json"]
    return [] if run.results is None else _found(run.figures / "tables", names)


def _found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def _notebook(page: Path) -> Notebook:
    """An executed notebook by its page; the source and the stamp lie beside it."""
    source, stamp = page.with_suffix(".ipynb"), page.with_suffix(".json")
    cells = read_json(source)["cells"] if source.is_file() else []
    lines = "".join(cells[0]["source"]).splitlines() if cells else []
    heading = next((line.lstrip("# ") for line in lines if line.startswith("# ")), page.stem)
    seconds = read_json(stamp).get("seconds") if stamp.is_file() else None
    return Notebook(page, heading, None if seconds is None else seconds / 60)


def _copy(path: Path, folder: Path) -> None:
    if path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def shown(path: Path) -> str:
    """A path for people: relative to the repository where it lies in it."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)
