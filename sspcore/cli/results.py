"""Commands that read what finished runs have left: seeds, report, sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sspcore.cli.common import Data, Datasets, Numbers, Overwrite, Profile, Seed, Systems


def seeds(
    seeds: Annotated[Numbers, typer.Option(parser=Numbers, metavar="LIST", help="Seeds of training, such as 0,1,2.")],
    profile: Profile = "demo",
    systems: Systems = None,
    datasets: Datasets = None,
    data: Data = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of artefacts (default: data).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write (default: the profile's figures).")] = None,
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
    studies = [Study.open(profile, seed=seed, data=data, root=root, read_only=True) for seed in seeds]
    named = studies[0].profile
    for path in write_seeds(studies, systems or named.systems, datasets or named.datasets, out or studies[0].figures):
        print(path)


def report(profile: Profile = "demo") -> None:
    """Write one page of a run: tables, pictures, notebooks."""
    from sspcore.core.paths import REPOSITORY, Workspace, shown
    from sspcore.report.page import write_page
    from sspcore.study.profiles import load_profile

    loaded = load_profile(profile)
    workspace = Workspace(loaded.name)
    page = write_page(loaded, workspace, REPOSITORY / loaded.figures, workspace.base / "report")
    print(f"report: {shown(page)} (open it in a browser)")


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
