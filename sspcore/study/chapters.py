"""The numbered notebooks: which a run executes, whether one is up to date, and how papermill executes it.

An executed copy and an HTML of it go to the run's folder. A notebook is up to date if its parameters, text, library, profile
and real data are unchanged and what it wrote or built on is still there and whole.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from sspcore.core.checksums import crc32
from sspcore.core.code import library_key
from sspcore.core.errors import ArtefactError, SspError, reason
from sspcore.core.files import OUTPUTS_FILE, atomic_file, read_json, write_json
from sspcore.core.lock import WORKERS
from sspcore.core.paths import REPOSITORY, Workspace, shown
from sspcore.core.provenance import RUN_BEGAN
from sspcore.core.store import changed_file, stable_hash
from sspcore.study.kernel import OwnKernelManager, jupyter_path

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
    def executed(self) -> Path:
        """The executed copy."""
        return Workspace(self.profile, Path(self.root)).notebooks / self.name

    @property
    def stamp(self) -> Path:
        """What its last run has left: its key, and the files and folders that it wrote or built on."""
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
    """What a notebook's metadata say: `only_for_systems`, `optional`, `own_data`, `pictures`, `shows` (`study.reproduce`)."""
    return nbformat.read(notebook, as_version=4).metadata.get("sspcore", {})


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
    """What an executed copy depends on. `inputs_key`: of profile and real data."""
    return stable_hash([notebook.read_text(encoding="utf-8"), parameters, inputs_key, library_key()])


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


def execute(chapter: Chapter) -> None:
    """Execute a notebook in a kernel of its own. Raises: SspError naming the cell that failed."""
    executed, stamp, source = chapter.executed, chapter.stamp, NOTEBOOKS / chapter.name
    began = time.perf_counter()
    stamp.unlink(missing_ok=True)  # a run that fails half-way leaves nothing that counts as up to date
    with _kernel_settings(chapter) as noted, atomic_file(executed) as temporary:
        try:
            papermill.execute_notebook(
                str(source), str(temporary), parameters=_accepted(source, chapter.parameters), cwd=str(NOTEBOOKS),
                progress_bar=False, kernel_name=NATIVE_KERNEL_NAME, kernel_manager_class=OwnKernelManager,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # nobody can act on what it says of its transport
            )
        except PapermillExecutionError as error:
            failed = executed.with_suffix(".failed.ipynb")
            os.replace(temporary, failed)
            problem = f"{chapter.name}, cell {error.exec_count}: {error.ename}: {' '.join(error.evalue.split())}"
            raise SspError(f"{problem} (executed so far: {shown(failed)})") from error
        except RuntimeError as error:  # nbclient's, at the start and later
            raise SspError(f"{chapter.name}: its kernel died ({reason(error)}); check memory, then run again") from error
        # text bars rewrite their line: keep what a reader of the terminal sees at the end
        copy, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(temporary, as_version=4), {})
        nbformat.write(copy, temporary)
        html, _ = HTMLExporter().from_notebook_node(copy)
        outputs = _lasting(noted, Path(chapter.root) / chapter.profile / "motion")
    page = executed.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    made = {shown(path): path for path in (executed, page, *outputs)}
    checksums = {name: crc32(path) for name, path in made.items() if path.is_file()}
    seconds = round(time.perf_counter() - began, 1)
    write_json(stamp, {"key": chapter.key, "seconds": seconds, "outputs": list(made), "checksums": checksums})


def _accepted(notebook: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those parameters that the notebook's parameters cell names."""
    cells = nbformat.read(notebook, as_version=4).cells
    text = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    return {name: value for name, value in parameters.items() if re.search(rf"^{name}\s*=", text, re.MULTILINE)}


@contextmanager
def _kernel_settings(chapter: Chapter) -> Iterator[Path]:
    """The environment that kernels started in this block inherit.

    Yields: a file to which they write what they make or build on (`sspcore.core.files.note_output`).
    """
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "outputs.txt"
        noted.touch()
        values = {
            OUTPUTS_FILE: str(noted), RUN_BEGAN: str(chapter.began), WORKERS: "0", "SSPCORE_HOME": chapter.root,
            "SSPCORE_PROGRESS": "plain", "JUPYTER_PATH": jupyter_path(),
            # the user's own may not be writable, and what starts IPython there is not part of the run
            "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder,
        } | ONE_THREAD
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield noted
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _lasting(noted: Path, cache: Path) -> list[Path]:
    """What a finished notebook needs to find again: all that it noted, without parts of noted folders and cached motion."""
    paths = {Path(line) for line in noted.read_text(encoding="utf-8").splitlines()}
    return sorted(
        path for path in paths
        if path.exists() and not paths.intersection(path.parents) and not (path.is_file() and path.is_relative_to(cache))
    )
