"""The numbered notebooks: which a run executes, and whether one is up to date. `sspcore.study.executing` executes them.

A notebook is up to date if its parameters, text, library, profile and real data are unchanged and what it wrote or built on is
still there and whole.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sspcore.core.checksums import crc32
from sspcore.core.code import library_key
from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.files import read_json
from sspcore.core.notebooks import source_of, tags
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.store import changed_file, stable_hash

NOTEBOOKS = REPOSITORY / "notebooks"
# The environment of a process that is to count with one thread, so that what it makes is the same on any machine.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
ABLATIONS = "09"


@dataclass(frozen=True)
class Chapter:
    """A notebook to be executed.

    Attributes:
        name: its file name.
        parameters: values by name; those that its parameters cell does not name are left out.
        root: folder of artefacts.
        profile: name of the profile, below `root`.
        key: see `chapter_key`.
        began: when the run began, seconds since the epoch.
    """

    name: str
    parameters: dict[str, Any]
    root: str
    profile: str
    key: str
    began: float

    @property
    def source(self) -> Path:
        """The notebook itself."""
        return NOTEBOOKS / self.name

    @property
    def executed(self) -> Path:
        """The executed copy."""
        return Workspace(self.profile, Path(self.root)).notebooks / self.name

    @property
    def stamp(self) -> Path:
        """What its last run has left: its key, its commit, and the files and folders that it wrote or built on."""
        return self.executed.with_suffix(".json")


def find_notebooks(only: Sequence[str] | None) -> list[Path]:
    """The numbered notebooks in order, or those whose numbers are asked for."""
    found = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if only is None:
        return list(found.values())
    unknown = [number for number in only if number.zfill(2) not in found]
    if unknown or not only:
        raise SspError(f"--only {','.join(unknown)}: no such notebook; there are {', '.join(found)}")
    return [found[number.zfill(2)] for number in only]


def choose_notebooks(only: Sequence[str] | None, systems: list[str], ablations: bool, own_data: bool = False) -> list[Path]:
    """What a run executes: the notebooks asked for, or those that concern its systems; the ablations' last, if wanted.

    Raises: SspError if one is asked for on data of one's own that is only for the project's data sets.
    """
    found = find_notebooks(only)
    if only is not None and own_data and (others := [path for path in found if "own_data" not in settings(path)]):
        possible = ", ".join(path.name[:2] for path in find_notebooks(None) if "own_data" in settings(path))
        raise SspError(f"--only {others[0].name[:2]}: is about the project's own data sets; with --dataset take {possible}")
    chosen = [path for path in found if only is not None or concerns(path, systems, own_data)]
    if not ablations:
        return chosen
    last = find_notebooks((ABLATIONS,))
    return [path for path in chosen if path not in last] + last


def settings(notebook: Path) -> dict[str, Any]:
    """What a notebook's metadata say: `optional` and others (`concerns`); `pictures`, `shows`, `flight` (`study.reproduce`)."""
    return read_json(notebook)["metadata"].get("sspcore", {})


def concerns(notebook: Path, systems: list[str], own_data: bool = False) -> bool:
    """Whether a notebook is part of a run of these systems, on data sets of one's own or on the project's.

    Its metadata may name the systems that it is only for, or say that it is optional: run by `--only` or `--ablations`. Those
    that `own_data` is said of need neither exact truth nor published figures.
    """
    metadata = settings(notebook)
    if own_data and not metadata.get("own_data", False):
        return False
    named = metadata.get("only_for_systems")
    return not metadata.get("optional", False) and (named is None or bool(set(named) & set(systems)))


def chapter_key(notebook: Path, parameters: dict[str, Any], inputs_key: str) -> str:
    """What an executed copy depends on, outputs in the notebook not among it. `inputs_key`: of profile and real data."""
    return stable_hash([source_of(read_json(notebook)), parameters, inputs_key, library_key()])


def why_run(stamp: Path, key: str) -> str | None:
    """Why a notebook has to be executed, in a few words; None if it is up to date. `stamp`: see `Chapter`."""
    try:
        last = read_json(stamp)
    except ArtefactError:
        return "not run yet"
    if last.get("key") != key:
        return "what it depends on has changed"
    checksums = last.get("checksums", {})
    for name in last.get("outputs", []):
        path = REPOSITORY / name
        if not path.exists():
            return f"{name} is missing"
        changed = path.is_file() and name in checksums and crc32(path) != checksums[name]
        if changed or path.is_dir() and changed_file(path):
            return f"{name} was changed or damaged"
    return None


def defaults(notebook: Path) -> dict[str, Any]:
    """The constants that the notebook's parameters cell sets, by name."""
    cells = read_json(notebook)["cells"]
    text = next(("".join(cell["source"]) for cell in cells if "parameters" in tags(cell)), "")
    return {
        target.id: node.value.value for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets if isinstance(target, ast.Name)
    }


def accepted(notebook: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those parameters that the notebook's parameters cell names."""
    cells = read_json(notebook)["cells"]
    text = next(("".join(cell["source"]) for cell in cells if "parameters" in tags(cell)), "")
    return {name: value for name, value in parameters.items() if re.search(rf"^{name}\s*=", text, re.MULTILINE)}
