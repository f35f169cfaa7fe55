"""Data sets of one's own in a study: their files, the shape of their frames, and whose artefacts a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sspcore.core.errors import ArtefactError, ProfileError, ReleaseError
from sspcore.core.files import read_json, write_json
from sspcore.core.paths import Workspace, shown
from sspcore.core.types import Size
from sspcore.data.datasets import DatasetSpec, open_dataset
from sspcore.data.footage import middle_shape, shape_givers
from sspcore.data.releases import list_sequences
from sspcore.study.profiles import Profile, described_by
from sspcore.study.profiles.own import OWN

Sources = str | Path | Sequence[str | Path]  # of data sets: YAML files, or folders that hold a dataset.yaml
CLAIM = "own.json"


def with_own(profile: Profile, sources: Sources) -> Profile:
    """The profile on the data sets that some files describe, in place of its own.

    Raises: ReleaseError or ProfileError naming the file and what is wrong with it.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    if not paths:
        raise ProfileError("--dataset: none is named; give the YAML file that describes a data set")
    specs: dict[str, DatasetSpec] = {}
    for path in paths:
        spec = open_dataset(path)
        if spec.root is None:
            raise ProfileError(f"--dataset {path}: comes with the profile; name it with --datasets, or give a YAML file")
        if spec.name == OWN:
            raise ProfileError(f"--dataset {path}: {OWN} is a name that profiles use; rename the file, or its folder")
        if spec.name in specs:
            raise ProfileError(f"--dataset {path}: another data set is called {spec.name} too; rename one of the files")
        specs[spec.name] = spec
    return described_by(profile, list(specs.values()), frame_shape(list(specs.values())))


def frame_shape(specs: Sequence[DatasetSpec]) -> Size:
    """(H, W) of the typical frame: the middle one by its shape of some videos, or of stills where there is no video.

    Raises: ReleaseError if there is neither, or a file cannot be read.
    """
    found = [each for spec in specs for each in list_sequences(spec.root, spec) if each.is_there]
    shapes = [image.shape[:2] for each in shape_givers(found) for _, image in each.read({min(each.frames, default=0)})]
    if not shapes:
        raise ReleaseError(f"{specs[0].root}: no picture of {specs[0].title} is found there; check the paths under files")
    return middle_shape(shapes)


def claim(workspace: Workspace, profile: Profile) -> None:
    """Note whose artefacts lie in the folder of a profile on data of one's own.

    Raises: ArtefactError if they are those of other files of the same names, which a run would replace.
    """
    path, roots = workspace.base / CLAIM, {name: str(spec.root) for name, spec in profile.described.items()}
    if path.is_file() and (known := read_json(path)) != roots and all(Path(root).is_dir() for root in known.values()):
        raise ArtefactError(
            f"{shown(workspace.base)}: holds what was made of a data set of the same name in {', '.join(known.values())}; "
            "rename one of the two files, or delete that folder"
        )
    write_json(path, roots)
