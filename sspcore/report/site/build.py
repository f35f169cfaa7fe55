"""Gather the pages of the site in a folder, and have Sphinx build them, without a network."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.files import atomic_folder, read_json
from sspcore.core.paths import REPOSITORY
from sspcore.report.site.links import find_problems
from sspcore.report.site.markdown import linked, linked_notebook
from sspcore.report.site.pages import heading, write_citation, write_page, write_pictures, write_run, write_tables
from sspcore.report.site.reference import write_reference
from sspcore.report.site.run import Run

PAGE = "index.html"
SETTINGS = REPOSITORY / "docs"  # conf.py and its static files
TABLE_FILES = (".json", ".csv", ".tex")


def build_site(out: Path, run: Run | None = None) -> Path:
    """Build the site into `out`, which is replaced as a whole, and return its first page.

    Args:
        run: shown in front, with its notebooks in place of the committed ones and without the library's reference; without a
            run, README is in front, and a warning of Sphinx, a broken link or a file loaded from another host is an error.
    Raises: SspError where the extra `docs` is not installed, ArtefactError if the site cannot be built.
    """
    _require_sphinx()
    with tempfile.TemporaryDirectory() as folder, atomic_folder(out, PAGE) as built:
        gather(Path(folder) / "pages", run)
        _sphinx("html", Path(folder), built, [] if run else ["--fail-on-warning", "--keep-going"])
        if run is None and (wrong := find_problems(built)):
            raise ArtefactError(f"site: {wrong[0]} leads nowhere or to another host (and {len(wrong) - 1} more)")
        for name in (".buildinfo", "objects.inv"):
            (built / name).unlink(missing_ok=True)
        (built / ".nojekyll").touch()
    return out / PAGE


def check_links() -> str:
    """Ask for every link to other sites; needs the network. Returns a line for each that is broken."""
    _require_sphinx()
    with tempfile.TemporaryDirectory() as folder:
        gather(Path(folder) / "pages", None)
        done = _run_sphinx("linkcheck", Path(folder), Path(folder) / "links", [])
        lines = (Path(folder) / "links" / "output.txt").read_text(encoding="utf-8").splitlines()
        if done.returncode and not lines:
            raise ArtefactError(f"site: {_complaint(done.stderr)}")
    return "\n".join(line for line in lines if "[broken]" in line)


def gather(site: Path, run: Run | None) -> None:
    """Write all pages into the new folder `site`, in the places that they have in the repository."""
    figures = site / "figures"
    shutil.copytree(REPOSITORY / "figures", figures, ignore=shutil.ignore_patterns("*.html", "*.md"))
    shutil.copyfile(REPOSITORY / "CITATION.cff", site / "CITATION.cff")
    committed = write_tables(figures / "tables", figures / "tables")
    write_pictures(figures, "Pictures")
    notebooks = {path.name: path for path in sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    executed = None if run is None else {path.name: path for path in run.notebooks}
    notebooks |= executed or {}
    write_page(
        site / "notebooks" / "index.md", "notebooks.md.jinja", executed=executed,
        notebooks={name: heading(path) for name, path in notebooks.items()},
    )
    write_citation(site / "cite.md", REPOSITORY / "CITATION.cff")
    if run is None:
        write_reference(site / "api")
    documents = ("README.md", "data/README.md", *(f"docs/{path.name}" for path in sorted(SETTINGS.glob("*.md"))))
    texts = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in documents}
    for name in (*texts, *(f"notebooks/{name}" for name in notebooks)):  # first all, so that links see that they are pages
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    start = linked(opening(texts["README.md"]), REPOSITORY / "README.md", REPOSITORY, site)
    for name, text in texts.items():
        (site / name).write_text(linked(text, REPOSITORY / name, REPOSITORY, site), encoding="utf-8")
    for name, path in notebooks.items():
        place = REPOSITORY / "notebooks" / name
        changed = linked_notebook(read_json(path), lambda text, place=place: linked(text, place, REPOSITORY, site))
        (site / "notebooks" / name).write_text(json.dumps(changed), encoding="utf-8")
    if run is None:
        write_page(site / "index.md", "front.md.jinja", text=start, committed=committed, reference=True)
        return
    _copy_run(run.figures, site / "run")
    write_run(site, run, committed)


def opening(readme: str) -> str:
    """README up to its second section."""
    parts = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    return "".join(parts[:2])


def _copy_run(figures: Path, folder: Path) -> None:
    (folder / "tables").mkdir(parents=True)
    for path in (*figures.glob("*.png"), *figures.glob("*.pdf")):
        shutil.copyfile(path, folder / path.name)
    for path in (figures / "tables").glob("*"):
        if path.suffix in TABLE_FILES:
            shutil.copyfile(path, folder / "tables" / path.name)


def _require_sphinx() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_nb", "furo", "mathjax", "sphinx_copybutton")):
        if sys.version_info < (3, 11):
            raise SspError("the site: Sphinx needs Python 3.11 or newer, this is 3.10; set it up with a newer one (PYTHON=...)")
        raise SspError("the site: Sphinx and its parts are not installed; run ./reproduce.sh setup --extra docs")


def _sphinx(builder: str, folder: Path, out: Path, options: list[str]) -> None:
    done = _run_sphinx(builder, folder, out, options)
    if done.returncode:
        raise ArtefactError(f"site: {_complaint(done.stderr)}")


def _run_sphinx(builder: str, folder: Path, out: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    """In a process of its own: docutils keeps what extensions register."""
    command = [sys.executable, "-m", "sphinx", "--quiet", "--jobs", "2", "--builder", builder, "--conf-dir", str(SETTINGS)]
    command += ["--doctree-dir", str(folder / "doctrees"), *options, str(folder / "pages"), str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def _complaint(text: str) -> str:
    """What Sphinx complains of, first its first line, and how many lines there are more."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f"Sphinx: {lines[0] if lines else 'failed'}{f' (and {len(lines) - 1} lines more)' if len(lines) > 1 else ''}"
