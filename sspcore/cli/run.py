"""Commands of the study: reproduce, plan and ablations train; the others read what runs have left."""

from __future__ import annotations

import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sspcore.cli.common import (
    Data,
    DatasetFiles,
    Datasets,
    Names,
    Numbers,
    Overwrite,
    Profile,
    Root,
    Seed,
    Systems,
    Workers,
    listed,
    own_files,
)
from sspcore.core.errors import SspError

if TYPE_CHECKING:
    from sspcore.core.paths import Workspace
    from sspcore.study.profiles import Profile as LoadedProfile


def reproduce(
    profile: Profile = "demo",
    datasets: Datasets = None,
    systems: Systems = None,
    only: Annotated[Names | None, listed(Names, "Numbers of notebooks, such as 03 or 07,08.")] = None,
    seed: Seed = None,
    seeds: Annotated[Numbers | None, listed(Numbers, "Seeds of training, such as 0,1,2: tables with their spread.")] = None,
    data: Data = None,
    dataset: DatasetFiles = None,
    ablations: Annotated[bool, typer.Option("--ablations", help="Run notebook 09 too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do everything again, also what is up to date.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Copy tables and pictures to figures/, if the run is whole and of one commit.")
    ] = False,
    workers: Workers = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Dask cluster to run on: tcp://host:8786 (docs/cluster.md).")
    ] = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Run nothing, say what the run would take: sspcore plan.")] = False,
) -> None:
    """Train, evaluate, write all tables and figures.

    On all cores; what is up to date is skipped, a killed run goes on where it was.
    """
    if only_plan:
        if seeds or only or ablations or force or publish or workers or scheduler:
            raise SspError("--plan: takes --profile, --systems, --datasets, --data and --dataset alone; leave out the others")
        plan(profile, datasets, systems, data, dataset)
        return
    if seed is not None and seeds is not None:
        raise SspError("--seed and --seeds: give one of them")
    if workers is not None and scheduler is not None:
        raise SspError("--workers and --scheduler: the cluster of a scheduler has workers of its own; give one of them")
    from sspcore.report.compare import after_run
    from sspcore.report.pictures import draw_videos
    from sspcore.report.progress import write_progress_results
    from sspcore.study.reproduce import Request
    from sspcore.study.reproduce import reproduce as run

    run(
        Request(
            profile, datasets, systems, only, seeds if seed is None else (seed,), data,
            own_files(dataset), ablations, force, workers, scheduler, publish,
        ),
        lambda studies, *chosen: write_progress_results(studies, *chosen, studies[0].figures),
        draw_videos,
    )
    if publish or dataset:  # committed by now, or not on the committed data
        return
    loaded, workspace = _run_of(profile)
    if note := after_run(loaded, workspace.figures):
        print(note, flush=True)


def plan(
    profile: Profile = "demo", datasets: Datasets = None, systems: Systems = None, data: Data = None,
    dataset: DatasetFiles = None,
) -> None:
    """Say what a run will take: hours, GPU memory, disk.

    From a few timed steps on this machine; nothing is trained or fetched.
    """
    from sspcore.study.plan import describe_run

    for line in describe_run(profile, datasets, systems, data, own_files(dataset)):
        print(line, flush=True)


def ablations(
    profile: Profile = "demo",
    seed: Seed = None,
    datasets: Datasets = None,
    data: Data = None,
    dataset: DatasetFiles = None,
    only: Annotated[Names | None, listed(Names, "Names of variants; the tables then hold these alone.")] = None,
    workers: Workers = None,
) -> int:
    """Train SSP with one thing changed at a time.

    Status 1 if a variant failed; the others are in the tables.
    """
    from sspcore.report.ablations import write
    from sspcore.study import Study
    from sspcore.study.ablations import run
    from sspcore.study.engine.make import make

    maker = partial(make, workers=workers)
    study = Study.open(profile, seed, data, maker=maker, dataset=own_files(dataset))
    results = run(study, datasets, only)
    for path in write(results, study.figures):
        print(path)
    for failure in results["failed"]:
        print(f"failed: {failure['dataset']}, {failure['variant']}: {failure['error']}", file=sys.stderr)
    return int(bool(results["failed"]))


def seeds(
    seeds: Annotated[Numbers, listed(Numbers, "Seeds of training, such as 0,1,2.")],
    profile: Profile = "demo",
    systems: Systems = None,
    datasets: Datasets = None,
    data: Data = None,
    dataset: DatasetFiles = None,
    root: Root = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write (default: the figures of the run).")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write mean and spread over the seeds of finished runs.

    Trains nothing: a missing run is an error.
    """
    from sspcore.core.files import require_output
    from sspcore.report.seeds import write_seeds
    from sspcore.study import Study

    if out is not None:
        require_output(out, (data,), overwrite)
    files = own_files(dataset)
    studies = [Study.open(profile, seed=seed, data=data, root=root, read_only=True, dataset=files) for seed in seeds]
    named = studies[0].profile
    for path in write_seeds(studies, systems or named.systems, datasets or named.datasets, out or studies[0].figures):
        print(path)


def compare(
    profile: Profile = "demo",
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all that was found to this file.")] = None,
    overwrite: Overwrite = False,
) -> int:
    """Compare a run's scores with the committed ones, row by row.

    Of those that differ in any digit: by how much, beside the spread over seeds. Status 1 if one does.
    """
    from sspcore.core.files import read_json, require_output, write_json
    from sspcore.report.compare import compare as compare_tables
    from sspcore.report.compare import details, summary, tables_of

    loaded, workspace = _run_of(profile)
    tables = tables_of(loaded, workspace.figures)
    if json is not None:
        require_output(json, tables, overwrite)
    found = compare_tables(*map(read_json, tables))
    if json is not None:
        write_json(json, found)
    print("\n".join(filter(None, (details(found), summary(found)))))
    return int(found["identical"] < len(found["rows"]))


def report(
    profile: Profile = "demo",
    dataset: DatasetFiles = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open it in a browser.")] = False,
) -> None:
    """Build the site of a run: tables, pictures, notebooks.

    Needs the extra docs (requirements-docs.lock).
    """
    from sspcore.report.site import build_site, find_run

    loaded, workspace = _run_of(profile, dataset)
    _show_page("report", build_site(workspace.base / "report", find_run(loaded, workspace)), no_open)


def docs(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write (default: data/site).")] = None,
    links: Annotated[bool, typer.Option("--links", help="Only ask for every link to other sites; needs the network.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open it in a browser.")] = False,
) -> int:
    """Build the site of this repository: chapters, results.

    Needs the extra docs (requirements-docs.lock). Status 1 if a link is broken.
    """
    from sspcore.core.paths import HOME
    from sspcore.report.site import build_site, check_links

    if links:
        broken = check_links()
        print(broken or "docs: no link to another site is broken")
        return int(bool(broken))
    _show_page("docs", build_site(out or HOME / "site"), no_open)
    return 0


def _run_of(profile: str, dataset: list[str] | None = None) -> tuple[LoadedProfile, Workspace]:
    """The profile that --profile and --dataset name, and where its run lies."""
    from sspcore.core.paths import Workspace
    from sspcore.study.own import with_own
    from sspcore.study.profiles import load_profile

    loaded, files = load_profile(profile), own_files(dataset)
    if files is not None:
        loaded = with_own(loaded, files)
    return loaded, Workspace(loaded.folder)


def _show_page(command: str, page: Path, no_open: bool) -> None:
    from sspcore.core.paths import shown

    opened = not no_open and sys.stdout.isatty() and webbrowser.open(page.as_uri())
    print(f"{command}: {shown(page)}{'' if opened else ' (open it in a browser)'}")


def sample(
    profile: Profile = "demo",
    seed: Seed = None,
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Data set.")] = "uavid",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write (default: data/sample).")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make the packaged checkpoint and clip from a demo run."""
    from sspcore.core.files import require_output
    from sspcore.report.sample import MANIFEST, SAMPLE, make_sample
    from sspcore.study import Study

    require_output(out or SAMPLE, overwrite=overwrite, mark=MANIFEST)
    made = make_sample(Study.open(profile, seed), dataset, out or SAMPLE)
    size = sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())
    print(f"{made.folder}: clip {made.clip.name}, {size / 1e6:.1f} MB")
