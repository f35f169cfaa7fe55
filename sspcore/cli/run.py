"""Commands that train and predict, or say what that would take: reproduce, plan, ablations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sspcore.cli.common import Data, Datasets, Names, Profile, Seed, Systems


def reproduce(
    profile: Profile = "demo",
    datasets: Datasets = None,
    systems: Systems = None,
    only: Annotated[
        Names | None, typer.Option(parser=Names, metavar="LIST", help="Numbers of notebooks, such as 03 or 07,08.")
    ] = None,
    seed: Seed = None,
    data: Data = None,
    ablations: Annotated[bool, typer.Option("--ablations", help="Run notebook 09 after the others.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do everything again, also what is up to date.")] = False,
    times: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a run that starts from nothing: note its times in this JSON file.")
    ] = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Run nothing, say what the run would take: sspcore plan.")] = False,
) -> None:
    """Train, evaluate, write all tables and figures.

    Runs the notebooks in order; what is up to date is skipped, a killed run goes on where it was.
    """
    if only_plan:
        return plan(profile, datasets, systems, data)
    from sspcore.study.reproduce import reproduce as run

    return run(profile, datasets, systems, only, seed, data, ablations, force, times)


def plan(profile: Profile = "demo", datasets: Datasets = None, systems: Systems = None, data: Data = None) -> None:
    """Say what a run will take: hours, GPU memory, disk.

    From a few timed steps on this machine; nothing is trained or fetched.
    """
    from sspcore.study.plan import describe_run

    for line in describe_run(profile, datasets, systems, data):
        print(line, flush=True)


def ablations(
    profile: Profile = "demo",
    seed: Seed = None,
    datasets: Datasets = None,
    data: Data = None,
    only: Annotated[
        Names | None,
        typer.Option(parser=Names, metavar="LIST", help="Names of variants; the tables then hold these alone."),
    ] = None,
) -> int:
    """Train SSP with one thing changed at a time.

    Status 1 if a variant failed; the others are in the tables.
    """
    from sspcore.core.lock import exclusive
    from sspcore.report.ablations import write
    from sspcore.study import Study
    from sspcore.study.ablations import run

    study = Study.open(profile, data=data)
    with exclusive(study.workspace.base):
        results = run(profile, seed, data, datasets, only)
        for path in write(results, study.figures):
            print(path)
    for failure in results["failed"]:
        print(f"failed: {failure['dataset']}, {failure['variant']}: {failure['error']}", file=sys.stderr)
    return int(bool(results["failed"]))
