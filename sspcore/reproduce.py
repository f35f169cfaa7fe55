"""`python -m sspcore.reproduce`: run the numbered notebooks in order by papermill (what `./reproduce.sh` calls).

Each notebook is executed with the chosen profile, data sets, systems and seed as parameters; the executed copy and an
HTML of it go to the run's folder. A notebook whose parameters, text, library and profile are unchanged is skipped.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from sspcore.errors import SspError
from sspcore.models.registry import SYSTEMS
from sspcore.notebook import configure_logging
from sspcore.profiles import available_profiles, load_profile, stable_hash
from sspcore.runs import REPOSITORY, RUN_BEGAN, Workspace, atomic_file, read_json, write_json

log = logging.getLogger("sspcore.reproduce")
NOTEBOOKS = REPOSITORY / "notebooks"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked as far as it can be without running anything."""
    parser = argparse.ArgumentParser("sspcore.reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help=f"one of {', '.join(available_profiles())} (default: demo)")
    parser.add_argument("--datasets", type=_names, help="comma-separated: uavid,ruralscapes (default: the profile's)")
    parser.add_argument("--systems", type=_names, help="comma-separated systems of the table (default: the profile's)")
    parser.add_argument("--only", type=_names, help="comma-separated numbers of notebooks, e.g. 03 or 07,08")
    parser.add_argument("--seed", type=int, help="training seed (default: the profile's)")
    parser.add_argument("--data", help="folder of the real releases, for --profile paper")
    parser.add_argument("--force", action="store_true", help="make everything anew")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks; returns the exit status: 0 done, 1 a notebook failed, 2 wrong usage."""
    options = parse_arguments(arguments)
    configure_logging()
    os.environ.setdefault("SSPCORE_PROGRESS", "plain")  # both are inherited by the kernels
    os.environ[RUN_BEGAN] = str(time.time())
    try:
        profile = load_profile(options.profile)
        parameters = {
            # kernels run in notebooks/: what is relative to the caller's folder must not stay so
            "profile": options.profile if options.profile in available_profiles() else str(Path(options.profile).resolve()),
            "seed": profile.seed if options.seed is None else options.seed,
            "datasets": _chosen(options.datasets, profile.datasets, tuple(profile.clips), "--datasets"),
            "systems": _chosen(options.systems, profile.systems, tuple(SYSTEMS), "--systems"),
            "data": None if options.data is None else str(Path(options.data).resolve()),
            "force": options.force,
        }
        notebooks = find_notebooks(options.only)
        workspace = Workspace(profile.name)
        print(f"profile {profile.name}: {profile.description}", flush=True)
        began = time.perf_counter()
        for notebook in notebooks:
            if options.only is None and not concerns(notebook, parameters["systems"]):
                continue
            run_notebook(notebook, workspace, parameters, stable_hash(profile.model_dump(mode="json")))
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
    """The numbered notebooks in order, or those whose numbers are asked for. 00 is a guide and not part of a run."""
    found = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if only is None:
        return [path for number, path in found.items() if number != "00"]
    unknown = [number for number in only if number.zfill(2) not in found]
    if unknown:
        raise SspError(f"--only {','.join(unknown)}: no such notebook; there are {', '.join(found)}")
    return [found[number.zfill(2)] for number in only]


def concerns(notebook: Path, systems: list[str]) -> bool:
    """Whether a notebook is part of a run of these systems.

    Its metadata may name the systems that it is only for, or say that it is optional: run by `--only`.
    """
    metadata = nbformat.read(notebook, as_version=4).metadata.get("sspcore", {})
    named = metadata.get("only_for_systems")
    return not metadata.get("optional", False) and (named is None or bool(set(named) & set(systems)))


def run_notebook(notebook: Path, workspace: Workspace, parameters: dict[str, Any], profile_key: str) -> None:
    """Execute one notebook unless its executed copy is up to date."""
    executed = workspace.notebooks / notebook.name
    stamp = executed.with_suffix(".json")
    key = stable_hash([notebook.read_text(encoding="utf-8"), parameters, profile_key, library_key()])
    if not parameters["force"] and executed.is_file() and stamp.is_file() and read_json(stamp).get("key") == key:
        print(f"{notebook.stem}: up to date, skipped", flush=True)
        return
    print(f"{notebook.stem}: running", flush=True)
    began = time.perf_counter()
    executed.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(executed) as temporary:
        try:
            papermill.execute_notebook(
                str(notebook), str(temporary), parameters=_accepted(notebook, parameters), cwd=str(NOTEBOOKS),
                progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr, kernel_name="python3",
            )
        except PapermillExecutionError as error:
            failed = executed.with_suffix(".failed.ipynb")
            os.replace(temporary, failed)
            problem = f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
            raise SspError(f"{problem} (executed so far: {_relative(failed)})") from error
        # text bars rewrite their line: keep what a reader of the terminal sees at the end
        copy, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(temporary, as_version=4), {})
        nbformat.write(copy, temporary)
        html, _ = HTMLExporter().from_notebook_node(copy)
    executed.with_suffix(".html").write_text(html, encoding="utf-8")
    seconds = time.perf_counter() - began
    write_json(stamp, {"key": key, "seconds": round(seconds, 1)})
    print(f"{notebook.stem}: done in {seconds / 60:.1f} min", flush=True)


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


def _chosen(asked: tuple[str, ...] | None, default: tuple[str, ...], known: tuple[str, ...], option: str) -> list[str]:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise SspError(f"{option} {','.join(unknown)}: unknown; choose from {', '.join(known)}")
    return list(asked or default)


def _relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


if __name__ == "__main__":
    sys.exit(main())
