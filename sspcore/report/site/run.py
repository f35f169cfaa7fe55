"""What a run has left for its site: tables, pictures, executed notebooks. Reads files, runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError
from sspcore.core.files import read_json
from sspcore.core.paths import Workspace, shown
from sspcore.report.paired import comparison, verdict
from sspcore.report.tables import datasets_of, points
from sspcore.study.profiles import Profile

GAINS = {"miou": "mIoU", "tc": "TC", "miou_moving": "mIoU of moving classes"}
PAIRS = (("SSP", "Base"), ("KD-SSP", "KD Base"), ("KD-SSP", "Base"))


@dataclass(frozen=True)
class Run:
    """A run by its files.

    Attributes:
        figures: pictures, and its tables in the folder `tables`.
        notebooks: as executed, in order.
    """

    profile: Profile
    figures: Path
    notebooks: tuple[Path, ...]

    def minutes(self) -> dict[str, float]:
        """Name of a notebook -> how long it took, of those that say so."""
        stamps = {path.name: path.with_suffix(".json") for path in self.notebooks}
        seconds = {name: read_json(stamp).get("seconds") for name, stamp in stamps.items() if stamp.is_file()}
        return {name: value / 60 for name, value in seconds.items() if value is not None}


def find_run(profile: Profile, workspace: Workspace) -> Run:
    """The run of a profile in its workspace.

    Raises: ArtefactError if nothing was run.
    """
    notebooks = tuple(sorted(workspace.notebooks.glob("[0-9][0-9]_*.ipynb")))
    if not notebooks and not (workspace.base / "runs").is_dir():
        raise ArtefactError(
            f"{shown(workspace.base)}: no run of profile {profile.name} here; start one with "
            f"./reproduce.sh --profile {profile.name}{' --dataset FILE' if profile.described else ''}"
        )
    return Run(profile, workspace.figures, notebooks)


def gains(results: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """What propagation and distillation change, one sentence for each pair of systems that the run has, with its verdicts."""
    rows, lines = results["rows"], []
    for dataset in datasets_of(results):
        by_name = {row["system"]: row for row in rows if row["dataset"] == dataset}
        for name, origin in PAIRS:
            new, old = by_name.get(name, {}), by_name.get(origin, {})
            paired = comparison(results.get("differences", []), dataset, name, origin) or {}
            known = {column: title for column, title in GAINS.items() if None not in (new.get(column), old.get(column))}
            if known:
                words = {column: f" ({word})" if (word := verdict(paired.get(column))) else "" for column in known}
                changes = ", ".join(
                    f"{points(new[column] - old[column])} {title}{words[column]}" for column, title in known.items()
                )
                lines.append(f"{titles[dataset]}, {name} against {origin}: {changes} (points)")
    return lines
