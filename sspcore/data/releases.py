"""The files of a data set, found by the layouts that its description gives (data/README.md), and its split."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sspcore.core.errors import ReleaseError
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.footage import WHOLE, Sequence
from sspcore.data.layouts import SPLITS, matches
from sspcore.data.placing import Fields, Files, Name, Pictures, place_files, still_name

END_BYTES = 2**20  # of a video that are hashed at each end
IMAGE_END_BYTES = 2**12  # of an image among many

Found = dict[str, list[tuple[Path, Fields]]]  # files by kind


def folder_of(spec: DatasetSpec, data: Path | None) -> Path:
    """The folder of a data set's files: its own, or `<name>` below the folder of the real releases.

    Raises: ReleaseError if it is a published data set and no such folder is given.
    """
    if spec.root is None and data is None:
        raise ReleaseError(f"{spec.title} needs its release: pass --data DIR with DIR/{spec.name} (layouts in data/README.md)")
    return spec.root or data / spec.name


def deeper_folders(release: Path, data: Path | None, spec: DatasetSpec) -> list[Path]:
    """Folders that a release lies in below one or two more, as unpacking it may leave it; also beside or in place of `release`.

    In one's own data nothing is looked for: its description says where files lie.
    """
    if spec.root or data is None:
        return []
    copies = set(re.findall(r"\[(.*?)/\]", " ".join(spec.files.values())))  # of other kinds of files: not taken
    starts = [data] if data.is_dir() else []
    starts += [each for each in _folders(data) if each == release or re.search(spec.archives, each.name, re.IGNORECASE)]
    candidates = [*starts, *(inner for each in starts if each != data for inner in _folders(each, 2))]
    return [
        each for each in candidates
        if each != release and each.name not in copies
        and any(next(matches(each, kind, spec), None) is not None for kind in spec.files)
    ]


def _folders(folder: Path, levels: int = 1) -> Iterator[Path]:
    """Those in a folder, down to a number of levels; hidden ones and what macOS adds to archives are passed over."""
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.is_dir() and not each.name.startswith((".", "__")):
            yield each
            if levels > 1:
                yield from _folders(each, levels - 1)


def find_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """The sequences of a data set in its layout; upper and lower case of file names are taken alike.

    Raises: ReleaseError naming the folder if none is found or a split is empty.
    """
    sequences = [found for found in list_sequences(release, spec) if found.is_there or found.labels]
    require_splits(sequences, release, spec)
    return sequences


def list_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """What is there of a data set: of some sequences it may be the VDD labels alone, or all but the video.

    Other files are passed over: thumbnails, copies ("000100 (1).png"), "._000100.png". Of two label files of a frame the
    first by name counts (000100.png comes before 100.png).

    Raises: ReleaseError if two files claim to be one video, or it is unclear which video a label is of.
    """
    return survey((release,), spec)[0]


def survey(roots: tuple[Path, ...], spec: DatasetSpec) -> tuple[list[Sequence], list[str]]:
    """`list_sequences` over several folders, of which the first one that has a file counts; a line for each label file whose
    picture is not there, and for each name under `validation` that nothing has.
    """
    found: Found = {kind: [each for root in roots for each in matches(root, kind, spec)] for kind in spec.files}
    label_files = {path for kind in ("labels", "still_labels", "vdd") for path, _ in found.get(kind, ())}
    for kind in ("frames", "stills"):  # labels may lie beside their pictures
        found[kind] = [each for each in found.get(kind, ()) if each[0] not in label_files]
    videos, stills = _videos(found, spec), _stills(found, spec)
    lines = [
        line for kind in ("labels", "vdd", "still_labels") if kind in found
        for line in place_files(found[kind], kind, videos, stills, spec)
    ]
    lines += [
        f"{stills.pop(name)['labels'][0]}: is the label of no still that is there"
        for name in [name for name, files in stills.items() if not files["still"]]
    ]
    if spec.root:
        lines += _absent(spec, [name.name for name in (*videos, *stills)])
    made = [
        each for name, files in videos.items() for each in _halves(name, files, roots[0], spec)
    ] + list(_split_stills(stills, {name.name for name in videos}, spec))
    return sorted(made, key=lambda each: (each.split, natural_order(each.name))), lines


def _absent(spec: DatasetSpec, names: list[str]) -> Iterator[str]:
    for each in spec.validation:
        if not any(replace(spec, validation=(each,)).is_validation(name) for name in names):
            known = ", ".join(sorted(names, key=natural_order)[:10])
            yield f"validation: {each}: no video or still of {spec.title} is called so; there are {known}"


def _videos(found: Found, spec: DatasetSpec) -> Pictures:
    """The videos, as files and as folders of images."""
    videos = Pictures()
    for path, fields in found.get("video", ()):
        files = videos[Name(fields.get("split", "").lower(), fields.get("sequence", path.stem))]
        if spec.root and files["video"]:
            raise _two_of_one(files["video"][0], path, "video", spec)
        files["video"].setdefault(0, path)
    for path, fields in found["frames"]:
        files = videos[Name(fields.get("split", "").lower(), fields.get("sequence", path.parent.name))]
        number = int(fields["frame"])
        if other := files["video"].get(0, files["frames"].get(number)):
            raise _two_of_one(other, path, "frames", spec)
        files["frames"][number] = path
    return videos


def _stills(found: Found, spec: DatasetSpec) -> Pictures:
    stills = Pictures()
    for path, fields in found["stills"]:
        files = stills[Name(fields.get("split", "").lower(), still_name(fields))]
        if files["still"]:
            raise _two_of_one(files["still"][0], path, "stills", spec)
        files["still"][0] = path
    return stills


def _two_of_one(first: Path, second: Path, kind: str, spec: DatasetSpec) -> ReleaseError:
    return ReleaseError(f"{second}: goes by the same name as {first}; tell them apart under files: {kind}: of {spec.title}")


def _halves(name: Name, files: Files, release: Path, spec: DatasetSpec) -> Iterator[Sequence]:
    """A video as one sequence, or as the part to train on and the part to validate on."""
    frames = dict(sorted(files["frames"].items()))
    if frames:
        video = next(iter(frames.values())).parent
    else:
        kind = "video" if "video" in spec.files else "frames"
        video = files["video"].get(0, release / spec.path(kind, name.split, name.name))
    share = spec.validation_share
    if name.split or spec.is_validation(name.name) or not share:
        split = name.split or ("val" if spec.is_validation(name.name) else "train")
        spans = {split: WHOLE}
    else:
        spans = {"train": (0.0, 1 - share), "val": (1 - share, 1.0)}
    for split, span in spans.items():
        yield Sequence(name.name, split, video, files["labels"], files["vdd"], frames, False, span, files["entries"])


def _split_stills(stills: Pictures, taken: set[str], spec: DatasetSpec) -> Iterator[Sequence]:
    """The stills; one with the name of a video (`taken`) gets another name."""
    names = sorted(stills, key=lambda name: natural_order(name.name))
    chosen = {name for name in names if spec.is_validation(name.name)}
    if not chosen and spec.validation_share and len(names) > 1:
        chosen = set(names[-max(1, round(spec.validation_share * len(names))):])
    for name in names:
        files, split = stills[name], name.split or ("val" if name in chosen else "train")
        yield Sequence(
            f"{name.name} (still)" if name.name in taken else name.name, split, files["still"][0], files["labels"], {},
            files["still"], True, entries=files["entries"],
        )


def require_splits(sequences: list[Sequence], release: Path, spec: DatasetSpec) -> None:
    """Raises ReleaseError unless there is a sequence of either split."""
    for split in SPLITS:
        if not any(sequence.split == split for sequence in sequences):
            advice = "see data/README.md for the layout"
            if spec.root:
                empty = [f"{kind}: {spec.files[kind]}" for kind in spec.files if not any(matches(release, kind, spec))]
                advice = f"nothing there fits {', '.join(empty)}; correct files:" if empty else "correct validation:"
            raise ReleaseError(f"{release}: no {split} sequence of {spec.title} found; {advice}")


def natural_order(name: str) -> list[str | int]:
    """Sort key that puts "2" before "10", whatever stands around the numbers."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))]


def release_key_of(release: Path, dataset: str) -> list[object]:
    """What clips depend on of a release whose files are all in order; see `files_key`."""
    return files_key(find_sequences(release, SPECS[dataset]), (release,), SPECS[dataset])


def files_key(sequences: Iterable[Sequence], roots: tuple[Path, ...], spec: DatasetSpec) -> list[object]:
    """The fingerprint of a data set in artefact keys: its description, and name, size and hash of each file.

    Names are relative to that of the roots in which a file lies. Labels are hashed as a whole: they are few, and a
    corrected one may be as large as before. Of a video the two ends are: its index, which holds the size and place of every
    frame, lies at one of them, and reading gigabytes before each run would take minutes. So are those of images, which are
    many. Times do not count.
    """
    ends: dict[Path, int | None] = {}
    for sequence in sequences:
        ends |= dict.fromkeys(sequence.files)
        ends |= dict.fromkeys(sequence.frames.values(), IMAGE_END_BYTES) if sequence.frames else {sequence.video: END_BYTES}
    files = []
    for path, end in ends.items():
        root = max((root for root in roots if path.is_relative_to(root)), key=lambda root: len(root.parts))
        files.append((path.relative_to(root).as_posix(), *_size_and_hash(path, end)))
    return [spec.key, sorted(files)]


def _size_and_hash(path: Path, end: int | None) -> tuple[int, str]:
    """Size, and hash of all bytes or of `end` bytes at both ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        content = hashlib.blake2b(file.read(-1 if end is None else end), digest_size=16)
        if end is not None and size > end:
            file.seek(-end, os.SEEK_END)
            content.update(file.read())
    return size, content.hexdigest()
