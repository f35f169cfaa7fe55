"""The files of a release, found by the layout that the data set's description gives (data/README.md)."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Formatter

from sspcore.core.errors import ReleaseError
from sspcore.data.datasets import SPECS, DatasetSpec

SPLITS = ("train", "val")
END_BYTES = 2**20  # of a video that are hashed at each end


@dataclass(frozen=True)
class Sequence:
    """One video of a release: its file, its split, and its label files by source frame number."""

    name: str
    split: str
    video: Path
    labels: dict[int, Path]
    vdd: dict[int, Path]

    @property
    def files(self) -> list[Path]:
        """All its files, there or not."""
        return [self.video, *self.labels.values(), *self.vdd.values()]


def find_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """The sequences of a release in its published layout; upper and lower case of file names are taken alike.

    Raises: ReleaseError naming the folder if none is found or a split is empty.
    """
    sequences = [found for found in list_sequences(release, spec) if found.video.is_file() or found.labels]
    require_splits(sequences, release, spec)
    return sequences


def list_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """What is there of a release: of some sequences it may be the VDD labels alone, or all but the video.

    Other files are passed over: thumbnails, copies ("000100 (1).png"), "._000100.png". Of two label files of a frame the
    first by name counts (000100.png comes before 100.png).
    """
    found: defaultdict[tuple[str, str], dict[str, dict[int, Path]]] = defaultdict(lambda: defaultdict(dict))
    for kind, layout in spec.files.items():
        for path, names in _matches(release, layout.replace("[", "").replace("]", "").split("/"), {}, spec):
            name = names["sequence"]
            split = names.get("split", "val" if name in spec.validation else "train").lower()
            found[split, name][kind].setdefault(int(names.get("frame", 0)), path)
    return [
        Sequence(name, split, files["video"].get(0, release / spec.path("video", split, name)), files["labels"], files["vdd"])
        for (split, name), files in sorted(found.items(), key=lambda item: (item[0][0], natural_order(item[0][1])))
    ]


def _matches(
    folder: Path, layout: list[str], names: dict[str, str], spec: DatasetSpec
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Entries below `folder` whose path fits a layout, with what stands for its {split}, {sequence} and {frame}."""
    if not layout:
        yield folder, names
    elif folder.is_dir():
        pattern = re.compile(_expression(layout[0], spec, names), re.IGNORECASE)
        for path in sorted(folder.iterdir()):
            if match := pattern.fullmatch(path.name):
                yield from _matches(path, layout[1:], names | match.groupdict(), spec)


def _expression(layout: str, spec: DatasetSpec, names: dict[str, str]) -> str:
    """Regular expression of a layout; a field that `names` holds, or that comes again, must be the same."""
    fields = {"split": "|".join(SPLITS), "sequence": f"(?-i:{spec.sequence})", "frame": r"\d+"}
    fields = {name: f"(?P<{name}>{pattern})" for name, pattern in fields.items()} | {
        name: re.escape(value) for name, value in names.items()
    }
    expression = ""
    for text, field, _, _ in Formatter().parse(layout):
        expression += re.escape(text)
        if field is not None:
            expression += fields[field]
            fields[field] = f"(?P={field})" if field not in names else fields[field]
    return expression


def target_of(name: str, spec: DatasetSpec) -> str | None:
    """Path in the release's layout of an archive's member, None if preparation does not read it.

    Any folders may come before the layout. A folder in brackets holds copies of the other kinds of files (UAVid7), which
    are not taken.
    """
    above = {part.lower() for part in PurePosixPath(name).parts[:-1]}
    for kind, layout in spec.files.items():
        end = _expression(re.sub(r"\[.*?\]", "", layout), spec, {})
        match = re.fullmatch(f"(?:.*/)?{end}", name, re.IGNORECASE)
        others = "".join(other for each, other in spec.files.items() if each != kind)
        if match and not above.intersection(re.findall(r"\[(.*?)/\]", others.lower())):
            names = match.groupdict()
            return spec.path(kind, names.get("split", "").lower(), names["sequence"], names.get("frame", ""))
    return None


def require_splits(sequences: list[Sequence], release: Path, spec: DatasetSpec) -> None:
    """Raises ReleaseError unless there is a sequence of either split."""
    for split in SPLITS:
        if not any(sequence.split == split for sequence in sequences):
            raise ReleaseError(f"{release}: no {split} sequence of {spec.title} found; see data/README.md for the layout")


def natural_order(name: str) -> list[str | int]:
    """Sort key that puts "2" before "10", whatever stands around the numbers."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))]


def release_key_of(release: Path, dataset: str) -> list[object]:
    """What clips depend on of a release whose files are all in order; see `files_key`."""
    return files_key(find_sequences(release, SPECS[dataset]), (release,), SPECS[dataset])


def files_key(sequences: Iterable[Sequence], roots: tuple[Path, ...], spec: DatasetSpec) -> list[object]:
    """The fingerprint of a release in artefact keys: its description, and name, size and hash of each file.

    Names are relative to that of the roots in which a file lies. Labels are hashed as a whole: they are few, and a
    corrected one may be as large as before. Of a video the two ends are: its index, which holds the size and place of every
    frame, lies at one of them, and reading gigabytes before each run would take minutes. Times do not count.
    """
    files = []
    for sequence in sequences:
        for path in sequence.files:
            root = next(root for root in roots if path.is_relative_to(root))
            files.append((path.relative_to(root).as_posix(), *_size_and_hash(path, whole=path != sequence.video)))
    return [spec.key, sorted(files)]


def _size_and_hash(path: Path, whole: bool) -> tuple[int, str]:
    """Size, and hash of all bytes or of END_BYTES at both ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        content = hashlib.blake2b(file.read(-1 if whole else END_BYTES), digest_size=16)
        if not whole and size > END_BYTES:
            file.seek(-END_BYTES, os.SEEK_END)
            content.update(file.read())
    return size, content.hexdigest()
