"""Pages that are written for the site: tables that sort, pictures, a run, how to cite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sspcore.core.files import read_json
from sspcore.report import ablations, metrics, results, seeds
from sspcore.report.captions import PICTURES, find_pictures
from sspcore.report.site.run import Run, gains
from sspcore.report.spread import seeds_text
from sspcore.report.tables import Row, datasets_of, origin_rows, template, titles_of

TABLES = {  # in the order of the site
    "results": results.document, "seeds": seeds.document, "ablations": ablations.document,
    "ablations_ssp-r": ablations.document, "metrics": metrics.document,
}


def write_tables(folder: Path, results_folder: Path) -> dict[str, str]:
    """Write a page for each table among `results_folder` into `folder`; the tables' other files lie there already.

    Returns: name -> title; none without results.
    """
    found = {name: read_json(results_folder / f"{name}.json") for name in TABLES if (results_folder / f"{name}.json").is_file()}
    if "results" not in found:
        return {}
    titles = {}
    for name, content in found.items():
        document = TABLES[name](content)
        files = sorted(path.name for path in folder.glob(f"{name}.*") if path.suffix in (".csv", ".json", ".tex"))
        write_page(folder / f"{name}.md", "table.md.jinja", document=document, origin=origin_rows(document.origin), files=files)
        titles[name] = document.title
    return titles


def write_pictures(folder: Path, title: str) -> int:
    """Write the gallery of the pictures that lie in `folder`; returns how many it shows."""
    main = _results(folder / "tables")
    datasets, titles = ([], {}) if main is None else (datasets_of(main), titles_of(main))
    shown = {name: {titles[key]: path.name for key, path in find_pictures(folder, datasets, name).items()} for name in PICTURES}
    known = {picture for found in shown.values() for picture in found.values()}
    others = sorted(path.name for path in folder.glob("*.png") if path.name not in known)
    pdf = {path.stem for path in folder.glob("*.pdf")}
    write_page(folder / "index.md", "gallery.md.jinja", title=title, pictures=shown, captions=PICTURES, others=others, pdf=pdf)
    return len(known) + len(others)


def write_run(site: Path, run: Run, committed: Iterable[str]) -> None:
    """Write the first page of a run's own site, its tables and pictures into `site`/run."""
    folder = site / "run"
    tables = write_tables(folder / "tables", run.figures / "tables")
    pictures = write_pictures(folder, "Pictures of this run") if tables else 0
    main = _results(run.figures / "tables")
    titles = {} if main is None else titles_of(main)
    write_page(
        site / "index.md", "run.md.jinja", profile=run.profile, main=main, tables=tables, pictures=pictures,
        committed=committed,
        document=None if main is None else results.document(main), seeds="" if main is None else seeds_text(main["provenance"]),
        titles=[] if main is None else [titles[name] for name in datasets_of(main)],
        gains=[] if main is None else gains(main, titles), minutes=run.minutes(),
        notebooks={path.name: heading(path) for path in run.notebooks},
    )


def write_citation(page: Path, source: Path) -> None:
    """Write how to cite: CITATION.cff as text and as BibTeX."""
    cited = yaml.safe_load(source.read_text(encoding="utf-8"))
    write_page(page, "cite.md.jinja", software=cited, paper=cited["preferred-citation"])


def heading(notebook: Path) -> str:
    """The first heading of a notebook."""
    first = read_json(notebook)["cells"][0]["source"]
    return next((line.lstrip("# ") for line in "".join(first).splitlines() if line.startswith("# ")), notebook.stem)


def write_page(path: Path, template_name: str, /, **values: Any) -> None:
    """Write a page from a template of Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template(template_name).render(**values), encoding="utf-8")


def _results(folder: Path) -> Mapping[str, Any] | Row | None:
    path = folder / "results.json"
    return read_json(path) if path.is_file() else None
