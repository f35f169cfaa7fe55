"""One static page of a whole run: tables, pictures, notebooks and where they are from. Reads files, runs nothing.

All that the page shows or links to lies in its folder, which opens without a server and can be sent as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError
from sspcore.core.files import atomic_folder, read_json
from sspcore.core.paths import Workspace, shown
from sspcore.report import ablations, results, seeds
from sspcore.report.captions import PICTURES, find_pictures
from sspcore.report.spread import seeds_text
from sspcore.report.tables import Document, Row, datasets_of, origin_rows, points, template, titles_of
from sspcore.study.profiles import Profile

PAGE = "index.html"
MORE_TABLES = {"seeds": seeds.document, "ablations": ablations.document, "ablations_ssp-r": ablations.document}
PAIRS = (("SSP", "Base"), ("KD-SSP", "KD Base"), ("KD-SSP", "Base"))
GAINS = {"miou": "mIoU", "tc": "TC", "miou_moving": "mIoU of moving classes"}


def write_page(profile: Profile, workspace: Workspace, folder: Path) -> Path:
    """Write the page of a profile's run and all that it links to into `folder`, which is replaced as a whole.

    Args:
        workspace: of the profile: where executed notebooks, tables and pictures lie.
    Returns: the page's path.
    Raises: ArtefactError if nothing was run.
    """
    notebooks = sorted(workspace.notebooks.glob("[0-9][0-9]_*.html"))
    if not notebooks and not (workspace.base / "runs").is_dir():
        raise ArtefactError(
            f"{shown(workspace.base)}: no run of profile {profile.name} here; start one with "
            f"./reproduce.sh --profile {profile.name}{' --dataset FILE' if profile.described else ''}"
        )
    figures = workspace.figures
    found = _tables(figures / "tables")
    main = found.get("results")
    datasets = [] if main is None else datasets_of(main)
    titles = {} if main is None else titles_of(main)
    pictures = [(name, titles[dataset], path) for name in PICTURES
                for dataset, path in find_pictures(figures, datasets, name).items()]
    files = [path for name in found for path in sorted((figures / "tables").glob(f"{name}.*"))]
    with atomic_folder(folder, PAGE) as temporary:
        _copy(notebooks, temporary / "notebooks")
        _copy(files, temporary / "tables")
        _copy([path.with_suffix(suffix) for *_, path in pictures for suffix in (".png", ".pdf")], temporary / "figures")
        (temporary / PAGE).write_text(template("page.html.jinja").render(
            profile=profile, titles=[titles[name] for name in datasets], main=main,
            seeds=seeds_text(main["provenance"]) if main else "", files=files, pictures=pictures,
            captions=PICTURES, documents=_documents(found), gains=_gains(main["rows"], titles) if main else [],
            origin=origin_rows(main["provenance"]) if main else [], notebooks=[_notebook(page) for page in notebooks],
        ), encoding="utf-8")
    return folder / PAGE


def _tables(folder: Path) -> dict[str, Row]:
    """Name -> content of the tables; none without results."""
    names = [name for name in ("results", *MORE_TABLES, "metrics") if (folder / f"{name}.json").is_file()]
    found = {name: read_json(folder / f"{name}.json") for name in names}
    return found if "results" in found else {}


def _documents(found: dict[str, Row]) -> list[Document]:
    """The results, then the tables that chapters of their own have written."""
    documents = {"results": results.document, **MORE_TABLES}
    return [make(found[name]) for name, make in documents.items() if name in found]


def _gains(rows: list[Row], titles: Mapping[str, str]) -> list[str]:
    """What propagation and distillation change, one sentence for each pair of systems that the run has."""
    lines = []
    for dataset in datasets_of({"rows": rows}):
        by_name = {row["system"]: row for row in rows if row["dataset"] == dataset}
        for name, origin in PAIRS:
            new, old = by_name.get(name, {}), by_name.get(origin, {})
            known = {column: title for column, title in GAINS.items() if None not in (new.get(column), old.get(column))}
            if known:
                changes = ", ".join(f"{points(new[column] - old[column])} {title}" for column, title in known.items())
                lines.append(f"{titles[dataset]}, {name} against {origin}: {changes} (points)")
    return lines


def _notebook(page: Path) -> dict[str, Any]:
    """An executed notebook by its page: file name, heading, minutes; the source and its stamp lie beside the page."""
    source, stamp = page.with_suffix(".ipynb"), page.with_suffix(".json")
    first = read_json(source)["cells"][0]["source"] if source.is_file() else []
    heading = next((line.lstrip("# ") for line in "".join(first).splitlines() if line.startswith("# ")), page.stem)
    seconds = read_json(stamp).get("seconds") if stamp.is_file() else None
    return {"page": page.name, "title": heading, "minutes": None if seconds is None else seconds / 60}


def _copy(paths: Sequence[Path], folder: Path) -> None:
    for path in filter(Path.is_file, paths):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)
