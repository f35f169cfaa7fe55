"""A first dataset.yaml for a folder of videos, pictures and labels (`sspcore init-dataset`).

What lies there is sorted by names and by looking into the files; what labels are of follows from names, numbers and, where both
may be, from looking at a frame. Nothing is changed but the file that is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from sspcore.core.errors import ReleaseError
from sspcore.core.files import atomic_file, require_output
from sspcore.data.check_table import NO_VIDEO_LABEL, labels_stills_alone
from sspcore.data.datasets import SPECS, DatasetSpec, open_dataset
from sspcore.data.datasets.reading import slug, title_of
from sspcore.data.draft.files import look_through
from sspcore.data.draft.labels import contents
from sspcore.data.draft.plan import planned
from sspcore.data.draft.text import written
from sspcore.data.footage import Sequence
from sspcore.data.layouts import SPLITS
from sspcore.data.releases import survey

_PURPOSES = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Draft:
    """What was written, and what could not be known.

    Attributes:
        path: the file.
        spec: the data set that it describes.
        summary: what it finds there, in one line.
        notes: a line each: what was passed over, what to do about it.
    """

    path: Path
    spec: DatasetSpec
    summary: str
    notes: tuple[str, ...]


def draft_dataset(folder: Path, out: Path | None = None, overwrite: bool = False) -> Draft:
    """Write a first description of the data set in a folder.

    Args:
        out: the file; default: dataset.yaml in the folder. It lies in the folder or above it, since its paths lead downwards.
        overwrite: whether a file that is there may be replaced.
    Raises: ReleaseError if the folder holds no labelled pictures that can be read, or the file lies elsewhere; SspError if
        there is one already.
    """
    path = out or folder / "dataset.yaml"
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ReleaseError(f"{path}: not a .yaml file; name one")
    require_output(path, overwrite=overwrite)
    if (name := slug(title_of(path))) in SPECS:
        other = quote(str(path.with_name("flight.yaml")))
        raise ReleaseError(f"{path}: {name} is the name of a data set that comes with sspcore; name another: --out {other}")
    found = look_through(folder)
    place, above = folder.resolve(), path.resolve().parent
    if not place.is_relative_to(above):
        raise ReleaseError(f"{path}: its paths lead downwards, so it must lie in {folder} or above it; name another --out")
    prefix = "".join(f"{part}/" for part in place.relative_to(above).parts)
    plan = planned(found)
    text = written(plan, contents(plan.images, plan.shapes, plan.collections, found), found, prefix)
    _require_valid(text, path)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    spec = open_dataset(path)
    sequences, lost = survey((above,), spec)
    absent = [
        f"no label is for {_PURPOSES[split]}: label more, or change the lines about validation"
        for split in SPLITS if not any(each.split == split and _has_labels(each) for each in sequences)
    ]
    no_video = [NO_VIDEO_LABEL] if labels_stills_alone(sequences) else []
    return Draft(path, spec, _summary(spec, sequences), (*found.notes, *lost, *absent, *no_video))


def _require_valid(text: str, path: Path) -> None:
    """Raise ReleaseError if `text` were no description at `path`, where a former one may lie: nothing is written there."""
    with TemporaryDirectory() as folder:
        trial = Path(folder) / path.resolve().parent.name / path.name
        trial.parent.mkdir(exist_ok=True)
        trial.write_text(text, encoding="utf-8")
        try:
            open_dataset(trial)
        except ReleaseError as error:
            raise ReleaseError(str(error).replace(str(trial), str(path))) from error


def _has_labels(sequence: Sequence) -> bool:
    """Whether a label lies in the part of a video that is of its split."""
    try:
        return bool(sequence.labels) and not sequence.labels.keys().isdisjoint(sequence.numbers())
    except ReleaseError:  # a video that cannot be opened
        return False


def _summary(spec: DatasetSpec, sequences: list[Sequence]) -> str:
    """How many pictures of each kind the description finds, and how many are labelled."""
    videos = {each.name: len(each.labels) for each in sequences if not each.still}
    stills = [each for each in sequences if each.still]
    parts = [f"classes: {spec.n_classes}"]
    if videos:
        parts.append(f"videos: {len(videos)}, labelled frames of them: {sum(videos.values())}")
    if stills:
        held = sum(each.split == "val" for each in stills)
        parts.append(f"labelled stills: {sum(bool(each.labels) for each in stills)}, for validation: {held}")
    return "; ".join(parts)
