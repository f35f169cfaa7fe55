"""What is there of the real releases, what is damaged, and what can go on without it (`sspcore check`).

Looked at are the folders and the archives under DIR (layouts in data/README.md): every archive member by member, every
video to its last frame, every label in its colours and size. The user's files are opened for reading only; archives are
unpacked into the workspace. What was found is remembered by the files' names, sizes and times, so that a second look
takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2

from sspcore.core.code import code_key
from sspcore.core.errors import ArtefactError, ReleaseError
from sspcore.core.files import read_json, write_json
from sspcore.core.parallel import run_jobs
from sspcore.core.paths import Workspace
from sspcore.core.progress import tqdm
from sspcore.core.store import stable_hash
from sspcore.data.archives import Unpacked, find_archives, target_of, unpack
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.prepare import (
    Sequence,
    files_key,
    list_sequences,
    natural_key,
    open_video,
    read_label,
    require_splits,
)

log = logging.getLogger(__name__)

LEFT_OUT = "goes on without that sequence"
SOURCES = {
    "uavid": "uavid.nl: release v1.5 with videos",
    "vdd": "project page of VDD: extension of UAVid",
    "ruralscapes": "project page of RuralScapes",
}
WITHOUT_VDD = "goes on: roofs count as building, water is not labelled"


@dataclass(frozen=True)
class Verdict:
    """What one sequence's files are like.

    Attributes:
        frames: that can be read of the video; 0 if it is missing or cannot be opened.
        video, labels, vdd: "found", "missing" or "damaged" (labels, vdd: at least one file).
        bad_labels, bad_vdd: frame numbers of files that cannot be used.
        problems: a line each.
    """

    frames: int
    video: str
    labels: str
    vdd: str
    bad_labels: tuple[int, ...] = ()
    bad_vdd: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of the table: counts of sequences, or of an archive's members."""

    dataset: str
    what: str
    found: int
    missing: int
    damaged: int
    source: str
    without: str


@dataclass(frozen=True)
class Checked:
    """What a data set has that is sound.

    Attributes:
        spec: the data set.
        release: the folder of the release as the user has it.
        roots: where files may lie: the release, then the folders of unpacked archives.
        sequences: with a sound video and at least one sound label; of their files the sound ones alone.
        rows: of the table.
        problems: a line each: the file, what is wrong with it, what becomes of it.
        stops: why it cannot go on, in one line; "" if it can.
    """

    spec: DatasetSpec
    release: Path
    roots: tuple[Path, ...]
    sequences: tuple[Sequence, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    stops: str

    def key(self) -> list[tuple[str, int]]:
        """Names and sizes of the sound files: their fingerprint in artefact keys, the same packed or unpacked."""
        return files_key(self.sequences, self.roots)

    @property
    def conclusion(self) -> str:
        """Whether it goes on, in one line."""
        if self.stops:
            return f"{self.spec.title} stops: {self.stops}"
        train = sum(sequence.split == "train" for sequence in self.sequences)
        known = {sequence.name for sequence in self.sequences if sequence.split == "val"}
        absent = [name for name in self.spec.validation if name not in known]
        line = f"{self.spec.title} goes on: {train} train and {len(known)} val sequences"
        if absent:
            line += f" (without {', '.join(absent)} of the published split: scores are not comparable)"
        return line


def check_release(data: Path, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """Look at all files of a data set under `data`, unpacking archives into the workspace.

    Args:
        data: holds `<name>/`, or archives of it, or both; a file in the folder goes before one in an archive.
        workers: processes that read videos and labels.
    Raises: ReleaseError if the disk has no room for what is packed.
    """
    release = data / spec.name
    there = frozenset(
        target_of(path.relative_to(release).as_posix(), spec.name) or "" for path in _files(list_sequences(release, spec))
    )
    into = workspace.base / "unpacked" / spec.name
    archives = [unpack(path, spec.name, into, there) for path in find_archives(data, spec.name)]
    roots = (release, *(archive.folder for archive in archives))
    sequences = _united([list_sequences(root, spec) for root in roots])
    verdicts = _judge(sequences, spec, workspace.base / "checked" / f"{spec.name}.json", workers)
    sound = tuple(
        _sound_part(sequence, verdict) for sequence, verdict in zip(sequences, verdicts, strict=True)
        if verdict.video == "found" and len(sequence.labels) > len(verdict.bad_labels)
    )
    problems = [line for archive in archives for line in _archive_problems(archive)]
    problems += [line for verdict in verdicts for line in verdict.problems]
    return Checked(
        spec, release, roots, sound, tuple(_rows(spec, sequences, verdicts, archives)), tuple(problems),
        _stops(release, spec, sequences, sound),
    )


def require_release(data: Path, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """`check_release` before a run; what it found is told in one line.

    Raises: ReleaseError if the data set cannot go on.
    """
    checked = check_release(data, spec, workspace, workers)
    if checked.stops:
        raise ReleaseError(checked.stops)
    if checked.problems:
        log.warning(
            "%s; files not in order: %d, listed by: python -m sspcore.data.check --data %s", checked.conclusion,
            len(checked.problems), data,
        )
    else:
        log.info("%s", checked.conclusion)
    return checked


def source_files(data: Path, dataset: str) -> list[Path]:
    """The user's files of a data set, packed and unpacked: what a run depends on, in the order of their names."""
    return sorted({*_files(list_sequences(data / dataset, SPECS[dataset])), *find_archives(data, dataset)})


def examine(job: tuple[Sequence, DatasetSpec]) -> Verdict:
    """Read one sequence's video to its end and all its labels; for another process."""
    sequence, spec = job
    problems: list[str] = []
    frames, size, video = 0, None, "found"
    try:
        frames, size = _read_through(sequence.video)
    except ReleaseError as error:
        video = "damaged" if sequence.video.is_file() else "missing"
        problems.append(f"{error} ({sequence.name} is left out)")
    bad_labels, bad_vdd = [], []
    for number in sorted(sequence.labels) if size is not None else ():
        try:
            read_label(replace(sequence, vdd={}), number, spec, size)
        except ReleaseError as error:
            bad_labels.append(number)
            problems.append(f"{error} (the label is left out)")
            continue
        try:
            read_label(sequence, number, spec, size)
        except ReleaseError as error:
            bad_vdd.append(number)
            problems.append(f"{error} (the label is used without it)")
    beyond = [number for number in sequence.labels if number >= frames]
    if size is not None and beyond:
        problems.append(
            f"{sequence.video}: has {frames} frames, but labels up to frame {max(beyond)}; it may have been shortened: "
            f"fetch it again ({len(beyond)} labels are not used)"
        )
        bad_labels = sorted({*bad_labels, *beyond})
    if not sequence.labels:
        problems.append(f"{sequence.video}: has no labels ({sequence.name} is left out)")
    if spec.name == "uavid" and sequence.labels and not sequence.vdd:
        problems.append(f"{sequence.video.parent}: no VDD labels (roofs count as building, water is not labelled)")
    return Verdict(
        frames, video, _state(sequence.labels, bad_labels), _state(sequence.vdd, bad_vdd),
        tuple(bad_labels), tuple(bad_vdd), tuple(problems),
    )


def _read_through(video: Path) -> tuple[int, tuple[int, int]]:
    """Number of frames and (H, W). Raises ReleaseError if fewer can be decoded than are announced."""
    capture = open_video(video)
    try:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        decoded, image = capture.read()
        frames = int(decoded)
        while frames < announced and capture.grab():
            frames += 1
        if frames < max(1, announced):
            raise ReleaseError(f"{video}: ends at frame {frames} though {announced} are announced; fetch it again")
        return frames, image.shape[:2]
    finally:
        capture.release()


def _state(files: dict[int, Path], bad: list[int]) -> str:
    return "missing" if not files else "damaged" if bad else "found"


def _judge(sequences: list[Sequence], spec: DatasetSpec, record: Path, workers: int) -> list[Verdict]:
    """Verdicts of all sequences; those whose files are as they were come from the record."""
    try:
        known = read_json(record)
    except ArtefactError:
        known = {}
    keys = [_fingerprint(sequence) for sequence in sequences]
    known = {key: known[key] for key in keys if key in known}
    new = [(key, sequence) for key, sequence in zip(keys, sequences, strict=True) if key not in known]
    with tqdm(desc=f"checking {spec.title}", unit="video", total=len(new), disable=not new) as bar:
        jobs = [(sequence, spec) for _, sequence in new]
        for (key, _), verdict in zip(new, run_jobs(examine, jobs, workers), strict=True):
            known[key] = asdict(verdict)
            write_json(record, known)  # after each: a check that is cut off goes on
            bar.update(1)
    return [
        Verdict(**{name: tuple(value) if isinstance(value, list) else value for name, value in known[key].items()})
        for key in keys
    ]


def _fingerprint(sequence: Sequence) -> str:
    """Hash of the names, sizes and times of a sequence's files."""
    marks = [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in _files([sequence])]
    return stable_hash([code_key(__name__), sequence.name, sequence.split, marks])


def _files(sequences: Iterable[Sequence]) -> list[Path]:
    """The files of sequences that are there."""
    paths = (path for each in sequences for path in (each.video, *each.labels.values(), *each.vdd.values()))
    return [path for path in paths if path.is_file()]


def _united(found: Iterable[list[Sequence]]) -> list[Sequence]:
    """One list of several roots' sequences: of each file the first that is there."""
    united: dict[tuple[str, str], Sequence] = {}
    for sequence in (sequence for sequences in found for sequence in sequences):
        key = (sequence.split, sequence.name)
        if key in united:
            first = united[key]
            video = first.video if first.video.is_file() or not sequence.video.is_file() else sequence.video
            sequence = replace(
                first, video=video, labels={**sequence.labels, **first.labels}, vdd={**sequence.vdd, **first.vdd}
            )
        united[key] = sequence
    there = (sequence for sequence in united.values() if sequence.video.is_file() or sequence.labels)
    return sorted(there, key=lambda sequence: (sequence.split, natural_key(sequence.name)))


def _stops(release: Path, spec: DatasetSpec, sequences: Iterable[Sequence], sound: Iterable[Sequence]) -> str:
    """Why a data set cannot go on, "" if it can."""
    try:
        require_splits(sequences, release, spec)
    except ReleaseError as error:
        return str(error)
    for split in ("train", "val"):
        if not any(sequence.split == split for sequence in sound):
            return f"{release}: no {split} sequence of {spec.title} is sound; fetch again what is missing or damaged"
    return ""


def _sound_part(sequence: Sequence, verdict: Verdict) -> Sequence:
    return replace(
        sequence,
        labels={number: path for number, path in sequence.labels.items() if number not in verdict.bad_labels},
        vdd={number: path for number, path in sequence.vdd.items() if number not in verdict.bad_vdd},
    )


def _archive_problems(archive: Unpacked) -> list[str]:
    kept = f"{archive.kept} files of it are kept"
    lines = [f"{archive.archive}: {archive.problem}; fetch it again ({kept})"] if archive.problem else []
    return lines + [f"{archive.archive}: {line}" for line in archive.lost]


def _rows(
    spec: DatasetSpec, sequences: list[Sequence], verdicts: list[Verdict], archives: list[Unpacked]
) -> Iterable[Row]:
    title, source = spec.title, SOURCES[spec.name]
    for archive in archives:
        problems = len(archive.lost) + bool(archive.problem)
        if archive.kept or problems:  # else the user has unpacked it all
            name = f"{archive.archive.name} (files)"
            yield Row(title, name, archive.kept, 0, problems, source, "goes on with its sound files")
    absent = set(spec.validation) - {sequence.name for sequence in sequences}
    kinds = [("videos", "video", source), ("labels", "labels", source)]
    if spec.name == "uavid":
        kinds.append(("VDD labels", "vdd", SOURCES["vdd"]))
    for what, field, origin in kinds:
        states = [getattr(verdict, field) for verdict in verdicts] + ["missing"] * len(absent)
        counts = [states.count(state) for state in ("found", "missing", "damaged")]
        yield Row(title, what, *counts, origin, WITHOUT_VDD if field == "vdd" else LEFT_OUT)


def report(checked: Iterable[Checked]) -> str:
    """The table, the problems beneath it, and what goes on."""
    checked = list(checked)
    header = ("data set", "what, in sequences", "found", "missing", "damaged", "where to get it", "without it")
    cells = [header] + [tuple(str(value) for value in asdict(row).values()) for each in checked for row in each.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines += ["", *(line for each in checked for line in each.problems)] if any(each.problems for each in checked) else []
    return "\n".join([*lines, "", *(each.conclusion for each in checked)])
