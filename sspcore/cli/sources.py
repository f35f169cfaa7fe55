"""Commands about what a run starts from: check and prepare (data sets) and weights (pretrained networks)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sspcore.cli.common import Data, DatasetFiles, Datasets, Profile, Root, fail, own_files
from sspcore.core.errors import ReleaseError, SspError

if TYPE_CHECKING:
    from sspcore.data.datasets import DatasetSpec
    from sspcore.models.pretrained import Weights
    from sspcore.study import Study


def check(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Holds uavid/ and ruralscapes/, or their archives.")] = None,
    datasets: Datasets = None,
    dataset: DatasetFiles = None,
    profile: Annotated[str, typer.Option(metavar="NAME", help="Whose folder archives are unpacked into.")] = "paper",
    root: Root = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes (default, and 0: by the cores).")] = None,
) -> int:
    """Check a release, or your own data: what is missing or damaged.

    File by file, folders and archives alike. Status 1 if a data set cannot go on.
    """
    from sspcore.core.machine import worker_count
    from sspcore.core.parallel import quiet_decoder
    from sspcore.core.paths import Workspace
    from sspcore.data.check import check_release, report

    specs = _described(data, datasets, own_files(dataset))
    quiet_decoder()
    workspace = Workspace(profile) if root is None else Workspace(profile, root)
    processes = workers or max(1, worker_count("auto"))
    checked = [check_release(data, spec, workspace, processes) for spec in specs]
    print(report(checked))
    return int(any(each.stops for each in checked))


def _described(data: Path | None, datasets: tuple[str, ...] | None, files: tuple[Path, ...] | None) -> list[DatasetSpec]:
    """The data sets of --dataset, or of --data and --datasets. Raises: ReleaseError if one is unknown or both are given."""
    from sspcore.data.datasets import SPECS, open_dataset

    if (data is None) == (files is None) or (files and datasets):
        raise ReleaseError("--dataset FILE for a data set of your own, or --data DIR for the releases: give one of the two")
    if files is not None:
        return [open_dataset(path) for path in files]
    names = datasets or tuple(SPECS)
    if unknown := [name for name in names if name not in SPECS]:
        raise ReleaseError(f"--datasets {','.join(unknown)}: unknown; choose from {', '.join(SPECS)}")
    if not data.is_dir():
        raise ReleaseError(f"{data}: no such folder; --data names the one that holds the releases or archives")
    return [SPECS[name] for name in names]


def prepare(
    profile: Profile = "demo",
    datasets: Datasets = None,
    data: Data = None,
    dataset: DatasetFiles = None,
    root: Root = None,
) -> None:
    """Cut data sets into the clips that training reads.

    Says where they lie, how many there are and which classes they hold. A run does this by itself; what is up to date is
    skipped.
    """
    from sspcore.core.parallel import quiet_decoder
    from sspcore.core.paths import shown
    from sspcore.study import Study
    from sspcore.study.profiles import choose_datasets

    quiet_decoder()
    study = Study.open(profile, data=data, root=root, dataset=own_files(dataset))
    for name in choose_datasets(study.profile, datasets or study.profile.datasets, "--datasets"):
        folder = study.prepare(name)
        print("\n".join([f"{study.spec(name).title}: {shown(folder)}", *_contents(study, name)]))


def _contents(study: Study, dataset: str) -> Iterator[str]:
    """Tables of what the prepared clips of a data set hold."""
    from sspcore.data.clips import class_shares, load_clips, summary
    from sspcore.study.text_table import text_table

    spec, clips = study.spec(dataset), {split: load_clips(study.prepare(dataset), split) for split in ("train", "val")}
    yield text_table([{"split": split, **summary(of_split)} for split, of_split in clips.items()])
    shares = {
        split: class_shares(of_split, spec, study.profile.input_size)
        for split, of_split in clips.items() if any(clip.labelled for clip in of_split)
    }
    yield text_table([
        {"share of labelled pixels": name} | {split: f"{100 * of_split[name]:.1f} %" for split, of_split in shares.items()}
        for name in spec.classes
    ])


def weights(
    profile: Profile = "paper",
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what is missing into data/weights/.")] = False,
    lightglue: Annotated[
        bool, typer.Option("--lightglue", help="DISK and LightGlue too, whatever the profile registers with.")
    ] = False,
) -> int:
    """List or fetch the pretrained weights of a profile.

    Status 2 if a file is damaged or cannot be fetched.
    """
    from sspcore.models.pretrained import LightGlueWeights
    from sspcore.study.profiles import load_profile
    from sspcore.study.requirements import needed

    wanted, status = list(needed(load_profile(profile))), 0
    if lightglue and LightGlueWeights() not in wanted:
        wanted.append(LightGlueWeights())
    for each in wanted:
        try:
            each.check()
            if fetch and not each.in_place():
                each.fetch()
        except SspError as error:  # the others are listed all the same
            status = fail(str(error), 2)
        print("\n".join(_describe(each)), flush=True)
    return status


def _describe(weights: Weights) -> Iterator[str]:
    from sspcore.core.checksums import sha256

    files = weights.found()
    if not files:
        yield f"missing  {weights.name:<34} {weights.role:<14} {weights.source}"
    for path in files:
        yield f"there    {weights.name:<34} {weights.role:<14} {path} ({path.stat().st_size / 1e6:.1f} MB)"
        yield f"         sha256 {sha256(path)}"
