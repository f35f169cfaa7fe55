"""Run the numbered notebooks in order by papermill: `sspcore reproduce`, which `./reproduce.sh` calls.

Each notebook is executed with the chosen profile, data sets, systems and seed as parameters; the executed copy and an
HTML of it go to the run's folder. A notebook is skipped if its parameters, text, library, profile and real data are
unchanged and what it wrote or built on is still there and whole.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from sspcore.core.checksums import crc32
from sspcore.core.code import library_key
from sspcore.core.errors import ArtefactError, ReleaseError, SspError
from sspcore.core.files import OUTPUTS_FILE, atomic_file, read_json, remove_leftovers, write_json
from sspcore.core.lock import exclusive
from sspcore.core.machine import worker_count
from sspcore.core.paths import REPOSITORY, Workspace, shown
from sspcore.core.provenance import RUN_BEGAN, provenance
from sspcore.core.store import changed_file, stable_hash
from sspcore.data.check import check_release, report, source_files
from sspcore.data.datasets import SPECS
from sspcore.study import Study
from sspcore.study.profiles import CONTROL_IMAGE, available_profiles, choose_datasets, choose_systems

log = logging.getLogger("sspcore.study.reproduce")
NOTEBOOKS = REPOSITORY / "notebooks"
ABLATIONS = "09"


def reproduce(
    profile_name: str = "demo", datasets: Iterable[str] | None = None, systems: Iterable[str] | None = None,
    only: Sequence[str] | None = None, seed: int | None = None, data: Path | None = None, ablations: bool = False,
    force: bool = False, times: Path | None = None,
) -> None:
    """Run the notebooks; each parameter is an option of the command `sspcore reproduce`.

    Raises: SspError for wrong usage and for a notebook that fails.
    """
    os.environ.setdefault("SSPCORE_PROGRESS", "plain")  # both are inherited by the kernels
    os.environ[RUN_BEGAN] = str(time.time())
    profile = Study.open(profile_name, seed, data).profile
    datasets = choose_datasets(profile, profile.datasets if datasets is None else datasets, "--datasets")
    systems = profile.systems if systems is None else systems
    chosen = choose_systems(profile, systems, datasets, "--systems")
    if CONTROL_IMAGE not in systems:
        log.info("%s is added: the controls are built on it, tables and pictures compare with it", CONTROL_IMAGE)
    parameters = {
        # kernels run in notebooks/: what is relative to the caller's folder must not stay so
        "profile": profile_name if profile_name in available_profiles() else str(Path(profile_name).resolve()),
        "seed": profile.seed if seed is None else seed,
        "datasets": datasets,
        "systems": chosen,
        "data": None if data is None else str(Path(data).resolve()),
        "force": force,
    }
    notebooks = choose_notebooks(only, chosen, ablations)
    workspace = Workspace(profile.name)
    if times is not None and workspace.base.exists():
        raise SspError(f"--times {times}: {workspace.base} is there already, so not all would be done; use a fresh clone")
    others = read_json(times) if times is not None and times.exists() else []
    with exclusive(workspace.base):
        remove_leftovers(workspace.base)
        show_check(parameters["data"], datasets, workspace)
        inputs_key = stable_hash([profile.model_dump(mode="json"), releases_key(parameters["data"], datasets)])
        print(f"profile {profile.name}: {profile.description}", flush=True)
        began, seconds = time.perf_counter(), {}
        origin = provenance(profile.name, parameters["seed"], inputs_key)
        run = {"profile": profile.name, "datasets": datasets, "systems": chosen, "provenance": origin}
        for notebook in notebooks:
            seconds[notebook.stem] = run_notebook(notebook, workspace, parameters, inputs_key)
        minutes = (time.perf_counter() - began) / 60
        if times is not None:
            others = [other for other in others if any(other[name] != run[name] for name in ("profile", "datasets", "systems"))]
            write_json(times, [*others, run | {"minutes": round(minutes, 2), "peak_mib": _peak_mib(), "notebooks": seconds}])
        print(f"done in {minutes:.1f} min; tables and pictures: {shown(workspace.figures)}/, "
              f"executed notebooks: {shown(workspace.notebooks)}/", flush=True)


def find_notebooks(only: Sequence[str] | None) -> list[Path]:
    """The numbered notebooks in order, or those whose numbers are asked for."""
    found = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if only is None:
        return list(found.values())
    unknown = [number for number in only if number.zfill(2) not in found]
    if unknown or not only:
        raise SspError(f"--only {','.join(unknown)}: no such notebook; there are {', '.join(found)}")
    return [found[number.zfill(2)] for number in only]


def choose_notebooks(only: Sequence[str] | None, systems: list[str], ablations: bool) -> list[Path]:
    """What a run executes: the notebooks asked for, or those that concern its systems; the ablations' last, if wanted."""
    chosen = [path for path in find_notebooks(only) if only is not None or concerns(path, systems)]
    if not ablations:
        return chosen
    last = find_notebooks((ABLATIONS,))
    return [path for path in chosen if path not in last] + last


def concerns(notebook: Path, systems: list[str]) -> bool:
    """Whether a notebook is part of a run of these systems.

    Its metadata may name the systems that it is only for, or say that it is optional: run by `--only` or `--ablations`.
    """
    metadata = nbformat.read(notebook, as_version=4).metadata.get("sspcore", {})
    named = metadata.get("only_for_systems")
    return not metadata.get("optional", False) and (named is None or bool(set(named) & set(systems)))


def run_notebook(notebook: Path, workspace: Workspace, parameters: dict[str, Any], inputs_key: str) -> float:
    """Execute one notebook unless its executed copy is up to date; returns the seconds that it took."""
    executed = workspace.notebooks / notebook.name
    stamp = executed.with_suffix(".json")
    settings = {name: value for name, value in parameters.items() if name != "force"}  # how it is made, not what
    key = stable_hash([notebook.read_text(encoding="utf-8"), settings, inputs_key, library_key()])
    reason = "--force" if parameters["force"] else why_run(stamp, key)
    if reason is None:
        print(f"{notebook.stem}: up to date, skipped", flush=True)
        return 0.0
    print(f"{notebook.stem}: running ({reason})", flush=True)
    began = time.perf_counter()
    stamp.unlink(missing_ok=True)  # a run that fails half-way leaves nothing that counts as up to date
    with _outputs_noted() as noted, atomic_file(executed) as temporary:
        try:
            papermill.execute_notebook(
                str(notebook), str(temporary), parameters=_accepted(notebook, parameters), cwd=str(NOTEBOOKS),
                progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr, kernel_name="python3",
                extra_arguments=["--IPKernelApp.log_level=ERROR"],  # nobody can act on its notice about its transport
            )
        except PapermillExecutionError as error:
            failed = executed.with_suffix(".failed.ipynb")
            os.replace(temporary, failed)
            problem = f"{notebook.name}, cell {error.exec_count}: {error.ename}: {' '.join(error.evalue.split())}"
            raise SspError(f"{problem} (executed so far: {shown(failed)})") from error
        except DeadKernelError as error:
            raise SspError(f"{notebook.name}: its kernel died; check memory, then run again") from error
        # text bars rewrite their line: keep what a reader of the terminal sees at the end
        copy, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(temporary, as_version=4), {})
        nbformat.write(copy, temporary)
        html, _ = HTMLExporter().from_notebook_node(copy)
        outputs = _lasting(noted, workspace)
    page = executed.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    seconds = round(time.perf_counter() - began, 1)
    made = {shown(path): path for path in (executed, page, *outputs)}
    checksums = {name: crc32(path) for name, path in made.items() if path.is_file()}
    write_json(stamp, {"key": key, "seconds": seconds, "outputs": list(made), "checksums": checksums})
    print(f"{notebook.stem}: done in {seconds / 60:.1f} min", flush=True)
    return seconds


def why_run(stamp: Path, key: str) -> str | None:
    """Why a notebook has to be executed, in a few words; None if it is up to date.

    `stamp` is what its last run left: its key, and the files and folders that it wrote or built on.
    """
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


def releases_key(data: str | None, datasets: list[str]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files of real releases, so that a changed release is noticed; empty without any."""
    files = [] if data is None else [path for name in datasets for path in source_files(Path(data), name)]
    return [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in files]


def show_check(data: str | None, datasets: list[str], workspace: Workspace) -> None:
    """Look at real releases and print what is there. Raises: ReleaseError if a data set cannot go on."""
    if data is None:
        return
    checked = [check_release(Path(data), SPECS[name], workspace, max(1, worker_count("auto"))) for name in datasets]
    print(report(checked), flush=True)
    if stops := [each.stops for each in checked if each.stops]:
        raise ReleaseError(stops[0])


def _accepted(notebook: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those parameters that the notebook's parameters cell names."""
    cells = nbformat.read(notebook, as_version=4).cells
    text = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    return {name: value for name, value in parameters.items() if re.search(rf"^{name}\s*=", text, re.MULTILINE)}


def _peak_mib() -> int:
    """Size of the largest process among those of this run that have ended."""
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(largest / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there, KiB elsewhere


@contextmanager
def _outputs_noted() -> Iterator[Path]:
    """A file to which notebooks executed in this block write what they make or build on (`sspcore.core.store.note_output`)."""
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "outputs.txt"
        noted.touch()
        os.environ[OUTPUTS_FILE] = str(noted)
        try:
            yield noted
        finally:
            del os.environ[OUTPUTS_FILE]


def _lasting(noted: Path, workspace: Workspace) -> list[Path]:
    """What a finished notebook needs to find again: all that it noted, without parts of noted folders and cached motion."""
    paths = {Path(line) for line in noted.read_text(encoding="utf-8").splitlines()}
    cache = workspace.base / "motion"
    return sorted(
        path for path in paths
        if path.exists() and not paths.intersection(path.parents) and not (path.is_file() and path.is_relative_to(cache))
    )
