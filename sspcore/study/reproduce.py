"""`python -m sspcore.study.reproduce`: run the numbered notebooks in order by papermill (what `./reproduce.sh` calls).

Each notebook is executed with the chosen profile, data sets, systems and seed as parameters; the executed copy and an
HTML of it go to the run's folder. A notebook is skipped if its parameters, text, library, profile and real data are
unchanged and what it wrote or built on is still there and whole.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
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
from sspcore.core.errors import ArtefactError, ReleaseError, SspError
from sspcore.core.files import OUTPUTS_FILE, atomic_file, read_json, remove_leftovers, write_json
from sspcore.core.lock import exclusive
from sspcore.core.machine import worker_count
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.provenance import RUN_BEGAN, provenance
from sspcore.core.store import changed_file, stable_hash
from sspcore.data.check import check_release, report, source_files
from sspcore.data.datasets import SPECS
from sspcore.study import Study
from sspcore.study.kernel import KERNEL_ARGUMENTS
from sspcore.study.notebook import configure_logging
from sspcore.study.profiles import CONTROL_IMAGE, Profile, available_profiles, choose_datasets, choose_systems
from sspcore.study.run_times import timed

log = logging.getLogger("sspcore.study.reproduce")
NOTEBOOKS = REPOSITORY / "notebooks"
ABLATIONS = "09"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked as far as it can be without running anything."""
    parser = argparse.ArgumentParser("sspcore.study.reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help=f"one of {', '.join(available_profiles())} (default: demo)")
    parser.add_argument("--datasets", type=_names, help="comma-separated: uavid,ruralscapes (default: the profile's)")
    parser.add_argument("--systems", type=_names, help="comma-separated systems of the table (default: the profile's)")
    parser.add_argument("--only", type=_names, help="comma-separated numbers of notebooks, e.g. 03 or 07,08")
    parser.add_argument("--seed", type=int, help="training seed (default: the profile's)")
    parser.add_argument("--data", help="folder of the real releases, for --profile paper")
    parser.add_argument("--ablations", action="store_true", help=f"run notebook {ABLATIONS} after the others")
    parser.add_argument("--force", action="store_true", help="make everything anew")
    parser.add_argument("--times", type=Path, metavar="FILE", help="of a run from nothing: note its times in this JSON file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks; returns the exit status: 0 done, 1 a notebook failed, 2 wrong usage."""
    options = parse_arguments(arguments)
    configure_logging()
    os.environ.setdefault("SSPCORE_PROGRESS", "plain")  # both are inherited by the kernels
    os.environ[RUN_BEGAN] = str(time.time())
    try:
        profile = Study.open(options.profile, options.seed, options.data).profile
        datasets = choose_datasets(profile, _or(options.datasets, profile.datasets), "--datasets")
        parameters = {
            # kernels run in notebooks/: what is relative to the caller's folder must not stay so
            "profile": options.profile if options.profile in available_profiles() else str(Path(options.profile).resolve()),
            "seed": profile.seed if options.seed is None else options.seed,
            "datasets": datasets,
            "systems": _systems(profile, _or(options.systems, profile.systems), datasets),
            "data": None if options.data is None else str(Path(options.data).resolve()),
            "force": options.force,
        }
        notebooks = choose_notebooks(options.only, parameters["systems"], options.ablations)
        workspace = Workspace(profile.name)
        with exclusive(workspace.base):
            for folder in (workspace.base, REPOSITORY / profile.figures):
                remove_leftovers(folder)
            show_check(parameters["data"], datasets, workspace)
            inputs_key = stable_hash([profile.model_dump(mode="json"), releases_key(parameters["data"], datasets)])
            print(f"profile {profile.name}: {profile.description}", flush=True)
            began, seconds = time.perf_counter(), {}
            chosen = {"profile": profile.name, "datasets": datasets, "systems": parameters["systems"]}
            entry = chosen | {"provenance": provenance(profile.name, parameters["seed"], inputs_key)}
            with timed(options.times, workspace.base, entry, seconds):
                for notebook in notebooks:
                    seconds[notebook.stem] = run_notebook(notebook, workspace, parameters, inputs_key)
            print(f"done in {(time.perf_counter() - began) / 60:.1f} min; tables and pictures: {profile.figures}/, "
                  f"executed notebooks: {_relative(workspace.notebooks)}/", flush=True)
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, DeadKernelError) as error:
        print(f"error: {type(error).__name__}: {error}; check disk space and memory, then run again", file=sys.stderr)
        return 1
    return 0


def find_notebooks(only: tuple[str, ...] | None) -> list[Path]:
    """The numbered notebooks in order, or those whose numbers are asked for."""
    found = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if only is None:
        return list(found.values())
    unknown = [number for number in only if number.zfill(2) not in found]
    if unknown or not only:
        raise SspError(f"--only {','.join(unknown)}: no such notebook; there are {', '.join(found)}")
    return [found[number.zfill(2)] for number in only]


def choose_notebooks(only: tuple[str, ...] | None, systems: list[str], ablations: bool) -> list[Path]:
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
                extra_arguments=list(KERNEL_ARGUMENTS),
            )
        except PapermillExecutionError as error:
            failed = executed.with_suffix(".failed.ipynb")
            os.replace(temporary, failed)
            problem = f"{notebook.name}, cell {error.exec_count}: {error.ename}: {' '.join(error.evalue.split())}"
            raise SspError(f"{problem} (executed so far: {_relative(failed)})") from error
        # text bars rewrite their line: keep what a reader of the terminal sees at the end
        copy, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(temporary, as_version=4), {})
        nbformat.write(copy, temporary)
        html, _ = HTMLExporter().from_notebook_node(copy)
        outputs = _lasting(noted, workspace)
    page = executed.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    seconds = round(time.perf_counter() - began, 1)
    made = {_relative(path): path for path in (executed, page, *outputs)}
    checksums = {name: crc32(path) for name, path in made.items() if path.is_file()}
    write_json(stamp, {"key": key, "seconds": seconds, "outputs": list(made), "checksums": checksums})
    print(f"{notebook.stem}: done in {seconds / 60:.1f} min", flush=True)
    return seconds


def why_run(stamp: Path, key: str) -> str | None:
    """Why a notebook has to be executed, in a few words; None if it is up to date.

    Args:
        stamp: what its last run left: its key, and the files and folders that it wrote or built on.
        key: what it depends on now.
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
    """Look at real releases before anything runs and print what is there.

    Raises: ReleaseError if a data set cannot go on.
    """
    if data is None:
        return
    workers = max(1, worker_count("auto"))
    checked = [check_release(Path(data), SPECS[name], workspace, workers) for name in datasets]
    print(report(checked), flush=True)
    for each in checked:
        if each.stops:
            raise ReleaseError(each.stops)


def library_key() -> str:
    """Hash of the library's source: executed notebooks of other code are stale."""
    sources = sorted((REPOSITORY / "sspcore").rglob("*.py"))
    return stable_hash([(path.name, path.read_text(encoding="utf-8")) for path in sources])


def _accepted(notebook: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those parameters that the notebook's parameters cell names."""
    cells = nbformat.read(notebook, as_version=4).cells
    text = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    return {name: value for name, value in parameters.items() if re.search(rf"^{name}\s*=", text, re.MULTILINE)}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _or(asked: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if asked is None else asked


def _systems(profile: Profile, asked: tuple[str, ...], datasets: list[str]) -> list[str]:
    chosen = choose_systems(profile, asked, datasets, "--systems")
    if CONTROL_IMAGE not in asked:
        log.info("%s is added: the controls are built on it, tables and pictures compare with it", CONTROL_IMAGE)
    return chosen


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


def _relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


if __name__ == "__main__":
    sys.exit(main())
