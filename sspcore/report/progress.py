"""The results table while a run goes on, written again after each scored system, and what is new in it in one line.

It holds the rows that are scored under the keys of now. What costs seconds or is not known yet (multiply-adds, the error of the
flow) comes with the final table, see `sspcore.report.results`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError
from sspcore.core.files import read_json
from sspcore.core.provenance import provenance, run_began
from sspcore.core.store import stable_hash
from sspcore.report.results import SCORES, write_tables
from sspcore.report.spread import keyed_rows, over_seeds
from sspcore.report.tables import NONE, Row
from sspcore.study import Study
from sspcore.study.profiles import CONTROL_IMAGE
from sspcore.study.results import scored_rows

Key = tuple[str, int, str]  # data set, seed, system
LISTED = 4  # new rows that a line lists, more are only counted: a run that goes on finds many


def write_progress_results(studies: Sequence[Study], datasets: Sequence[str], systems: Sequence[str], folder: Path) -> str:
    """Write `folder`/tables/results.* from the rows that are scored already; makes nothing.

    Nothing is written where the tables hold these very rows already.

    Args:
        studies: one a training seed.
        folder: of the run's figures.
    Returns: what is new against the tables that were there, in one line for people; "" if nothing is.
    """
    titles = studies[0].titles(datasets)
    found = [
        {"provenance": _origin(study, datasets), "titles": titles, "rows": scored_rows(study, datasets, systems)}
        for study in studies
    ]
    rows = {
        (row["dataset"], study.seed, row["system"]): row
        for study, results in zip(studies, found, strict=True) for row in results["rows"]
    }
    before = _rows_before(folder / "tables" / "results.json")
    if not rows or {key: _scores(row) for key, row in rows.items()} == before:
        return ""
    so_far = _so_far(rows, [study.seed for study in studies], titles, systems)
    write_tables(over_seeds(found) | {"so_far": so_far}, folder / "tables")
    return _news(rows, [key for key, row in rows.items() if before.get(key) != _scores(row)], titles, len(studies) > 1)


def _origin(study: Study, datasets: Sequence[str]) -> Row:
    return provenance(study.profile.name, study.seed, stable_hash([study.clips_key(name) for name in datasets])) | {
        "data": study.data_origin, "metric_flow": study.profile.metric_flow,
        "minutes": round((time.time() - run_began()) / 60, 1),
    }


def _scores(row: Mapping[str, Any]) -> list[float | None]:
    return [row.get(name) for name in SCORES]


def _rows_before(path: Path) -> dict[Key, list[float | None]]:
    """Scores in the tables that are there; nothing where there are none."""
    try:
        results = read_json(path)
    except ArtefactError:
        return {}
    return {key: _scores(row) for key, row in keyed_rows(results).items()}


def _so_far(rows: Mapping[Key, Row], seeds: Sequence[int], titles: Mapping[str, str], systems: Sequence[str]) -> str:
    """How many systems are scored, under all seeds."""
    counts = {
        dataset: sum(all((dataset, seed, name) in rows for seed in seeds) for name in systems) for dataset in titles
    }
    parts = (f"{titles[dataset]} {count} of {len(systems)}" for dataset, count in counts.items())
    return f"**This run is not finished.** Systems so far: {', '.join(parts)}."


def _news(rows: Mapping[Key, Row], new: Sequence[Key], titles: Mapping[str, str], several: bool) -> str:
    groups: dict[tuple[str, int], list[str]] = {}
    for dataset, seed, name in new:
        groups.setdefault((dataset, seed), []).append(name)
    parts = []
    for (dataset, seed), names in groups.items():
        base = rows.get((dataset, seed, CONTROL_IMAGE))
        texts = [_row_text(rows[dataset, seed, name], base) for name in names]
        where = titles[dataset] + (f", seed {seed}" if several else "")
        listed = "; ".join(texts) if len(new) <= LISTED else f"{len(texts)} systems and controls are scored"
        parts.append(f"{where}: {listed}")
    return "; ".join(parts)


def _row_text(row: Row, base: Row | None) -> str:
    compared = "" if base is None or base is row else f" ({CONTROL_IMAGE} {_percent(base, 'miou')}, {_percent(base, 'tc')})"
    return f"{row['system']} mIoU {_percent(row, 'miou')}, TC {_percent(row, 'tc')}{compared}"


def _percent(row: Row, column: str) -> str:
    return NONE if row[column] is None else f"{100 * row[column]:.1f}"
