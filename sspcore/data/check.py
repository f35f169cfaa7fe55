"""What is there of the real releases, what is damaged, and what can go on without it (`sspcore check`).

The folders and the archives under DIR are read (layouts in data/README.md): every archive member by member, every video to
its last frame, every label in its colours and size. The user's files are opened for reading only; archives are unpacked into
the workspace. What was found is remembered by the files' names, sizes and times, so that a second check takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from sspcore.core.code import code_key
from sspcore.core.errors import ArtefactError, ReleaseError
from sspcore.core.files import read_json, write_json
from sspcore.core.parallel import run_jobs
from sspcore.core.paths import Workspace
from sspcore.core.progress import tqdm
from sspcore.core.store import stable_hash
from sspcore.data.archives import Unpacked, find_archives, unpack
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.prepare import read_label
from sspcore.data.releases import SPLITS, Sequence, files_key, list_sequences, natural_order, require_splits, target_of
from sspcore.data.video import read_through

log = logging.getLogger(__name__)

_KINDS = {  # name of a kind of file, and what becomes of a run without it
    "video": ("videos", "goes on without that sequence"),
    "labels": ("labels", "goes on: distillation and TC alone can use that sequence"),
    "vdd": ("VDD labels", "goes on: roofs count as building, water is not labelled"),
}


@dataclass(frozen=True)
class Verdict:
    """State of one sequence's files.

    Attributes:
        video, labels, vdd: "found", "missing" or "damaged" (labels, vdd: at least one file).
        bad_labels, bad_vdd: frame numbers of files that cannot be used.
        problems: a line each.
    """

    video: str
    labels: str
    vdd: str
    bad_labels: tuple[int, ...] = ()
    bad_vdd: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


_VERDICT = TypeAdapter(Verdict)  # lists of JSON become tuples


class Row(NamedTuple):
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
    """The part of a data set that can be used, and what is wrong with the rest.

    Attributes:
        spec: the data set.
        release: the folder of the release as the user has it.
        roots: where files may lie: the release, then the folders of unpacked archives.
        sequences: with a whole video; of their files only those that can be used. Clips of those without a label are
            left to the clip rules (`require_label`).
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

    def key(self) -> list[object]:
        """Fingerprint of the usable files in artefact keys (see `files_key`), the same packed or unpacked."""
        return files_key(self.sequences, self.roots, self.spec)

    @property
    def conclusion(self) -> str:
        """Whether it goes on, in one line."""
        if self.stops:
            return f"{self.spec.title} stops: {self.stops}"
        labelled = [sequence for sequence in self.sequences if sequence.labels]
        train = sum(sequence.split == "train" for sequence in labelled)
        known = {sequence.name for sequence in labelled if sequence.split == "val"}
        absent = [name for name in self.spec.validation if name not in known]
        without = f" (without {', '.join(absent)} of the published split: scores are not comparable)" if absent else ""
        more = len(self.sequences) - len(labelled)
        unlabelled = f", {more} without labels" if more else ""
        return f"{self.spec.title} goes on: {train} train and {len(known)} val sequences{unlabelled}{without}"


def check_release(data: Path, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """Look at all files of a data set under `data`, unpacking archives into the workspace.

    Args:
        data: holds `<name>/`, or archives of it, or both; a file in the folder goes before one in an archive.
        workers: processes that read videos and labels.
    Raises: ReleaseError if the disk has no room for what is packed.
    """
    release = data / spec.name
    files = _files(list_sequences(release, spec))
    there = frozenset(target_of(path.relative_to(release).as_posix(), spec) or "" for path in files)
    into = workspace.base / "unpacked" / spec.name
    archives = [unpack(path, spec, into, there) for path in find_archives(data, spec)]
    roots = (release, *(archive.folder for archive in archives))
    sequences = _united(sequence for root in roots for sequence in list_sequences(root, spec))
    verdicts = _judge(sequences, spec, workspace.base / "checked" / f"{spec.name}.json", workers)
    usable = tuple(
        replace(
            sequence, labels={n: path for n, path in sequence.labels.items() if n not in verdict.bad_labels},
            vdd={n: path for n, path in sequence.vdd.items() if n not in verdict.bad_vdd},
        )
        for sequence, verdict in zip(sequences, verdicts, strict=True) if verdict.video == "found"
    )
    problems = tuple(line for each in (*archives, *verdicts) for line in each.problems)
    rows = tuple(_rows(spec, sequences, verdicts, archives))
    return Checked(spec, release, roots, usable, rows, problems, _stops(release, spec, sequences, usable))


def require_release(data: Path, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """`check_release` before a run; logs what it found in one line.

    Raises: ReleaseError if the data set cannot go on.
    """
    checked = check_release(data, spec, workspace, workers)
    if checked.stops:
        raise ReleaseError(checked.stops)
    if count := len(checked.problems):
        log.warning("%s; files not in order: %d, listed by: sspcore check --data %s", checked.conclusion, count, data)
    else:
        log.info("%s", checked.conclusion)
    return checked


def source_files(data: Path, dataset: str) -> list[Path]:
    """The user's files of a data set, packed and unpacked: what a run depends on, in the order of their names."""
    spec = SPECS[dataset]
    return sorted({*_files(list_sequences(data / dataset, spec)), *find_archives(data, spec)})


def examine(job: tuple[Sequence, DatasetSpec]) -> Verdict:
    """Read one sequence's video to its end and all its labels; for another process."""
    sequence, spec = job
    problems: list[str] = []
    bad_labels, bad_vdd = set(), set()
    frames, size, video = 0, None, "found"
    try:
        frames, size = read_through(sequence.video)
    except ReleaseError as error:
        video = "damaged" if sequence.video.is_file() else "missing"
        problems.append(f"{error} ({sequence.name} is left out)")
    without_vdd = replace(sequence, vdd={})
    steps = (without_vdd, bad_labels, "the label is left out"), (sequence, bad_vdd, "the label is used without it")
    for number in sorted(sequence.labels) if size is not None else ():
        for files, bad, effect in steps:
            try:
                read_label(files, number, spec, size)
            except ReleaseError as error:
                bad.add(number)
                problems.append(f"{error} ({effect})")
                break
    beyond = [number for number in sequence.labels if number >= frames]
    if size is not None and beyond:
        problems.append(
            f"{sequence.video}: has {frames} frames, but labels up to frame {max(beyond)}; it may have been shortened: "
            f"fetch it again ({len(beyond)} labels are not used)"
        )
        bad_labels.update(beyond)
    if not sequence.labels:
        problems.append(f"{sequence.video}: has no labels (distillation and TC alone can use {sequence.name})")
    if "vdd" in spec.files and sequence.labels and not sequence.vdd:
        problems.append(f"{sequence.video.parent}: no VDD labels (roofs count as building, water is not labelled)")
    return Verdict(
        video, _state(sequence.labels, bad_labels), _state(sequence.vdd, bad_vdd),
        tuple(sorted(bad_labels)), tuple(sorted(bad_vdd)), tuple(problems),
    )


def _state(files: dict[int, Path], bad: set[int]) -> str:
    return "missing" if not files else "damaged" if bad else "found"


def _judge(sequences: list[Sequence], spec: DatasetSpec, record: Path, workers: int) -> list[Verdict]:
    """Verdicts of all sequences; those whose files have the names, sizes and times of the record come from there."""
    try:
        known = read_json(record)
    except ArtefactError:
        known = {}
    keys = []
    for each in sequences:
        marks = [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in _files([each])]
        keys.append(stable_hash([code_key(__name__), spec.key, each.name, each.split, marks]))
    known = {key: known[key] for key in keys if key in known}
    jobs = {key: (sequence, spec) for key, sequence in zip(keys, sequences, strict=True) if key not in known}
    with tqdm(desc=f"checking {spec.title}", unit="video", total=len(jobs), disable=not jobs) as bar:
        for key, verdict in zip(jobs, run_jobs(examine, [*jobs.values()], workers), strict=True):
            known[key] = asdict(verdict)
            write_json(record, known)  # after each: a check that is cut off goes on
            bar.update(1)
    return [_VERDICT.validate_python(known[key]) for key in keys]


def _files(sequences: Iterable[Sequence]) -> list[Path]:
    """The files of sequences that are there."""
    return [path for sequence in sequences for path in sequence.files if path.is_file()]


def _united(sequences: Iterable[Sequence]) -> list[Sequence]:
    """One list of several roots' sequences, in the order of the roots: of each file the first that is there."""
    united: dict[tuple[str, str], Sequence] = {}
    for other in sequences:
        first = united.setdefault((other.split, other.name), other)
        united[other.split, other.name] = replace(
            first, video=other.video if other.video.is_file() and not first.video.is_file() else first.video,
            labels=other.labels | first.labels, vdd=other.vdd | first.vdd,
        )
    there = (sequence for sequence in united.values() if sequence.video.is_file() or sequence.labels)
    return sorted(there, key=lambda sequence: (sequence.split, natural_order(sequence.name)))


def _stops(release: Path, spec: DatasetSpec, sequences: list[Sequence], usable: tuple[Sequence, ...]) -> str:
    """Why a data set cannot go on, "" if it can."""
    try:
        require_splits(sequences, release, spec)
    except ReleaseError as error:
        return str(error)
    for split in SPLITS:
        if not any(sequence.split == split and sequence.labels for sequence in usable):
            what = f"no {split} sequence of {spec.title} can be used with its labels"
            return f"{release}: {what}; fetch again what is missing or damaged"
    return ""


def _rows(spec: DatasetSpec, sequences: list[Sequence], verdicts: list[Verdict], archives: list[Unpacked]) -> Iterator[Row]:
    for archive in archives:
        if archive.kept or archive.problems:  # else the user has unpacked it all
            name, source = f"{archive.archive.name} (files)", spec.sources.get("video", "")
            without = "goes on with the files that are whole"
            yield Row(spec.title, name, archive.kept, 0, len(archive.problems), source, without)
    absent = set(spec.validation) - {sequence.name for sequence in sequences}
    for kind in spec.files:
        states = [getattr(verdict, kind) for verdict in verdicts] + ["missing"] * len(absent)
        counts = [states.count(state) for state in ("found", "missing", "damaged")]
        what, without = _KINDS[kind]
        yield Row(spec.title, what, *counts, spec.sources.get(kind, ""), without)


def report(checked: Iterable[Checked]) -> str:
    """The table, the problems beneath it, and what goes on."""
    checked = list(checked)
    header = ("data set", "what, in sequences", "found", "missing", "damaged", "where to get it", "without it")
    cells = [header, *(row for each in checked for row in each.rows)]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*cells, strict=True)]
    shape = "  ".join(f"{{:{'>' if 2 <= k <= 4 else '<'}{width}}}" for k, width in enumerate(widths))
    lines = [shape.format(*row).rstrip() for row in cells]
    problems = [line for each in checked for line in each.problems]
    return "\n".join([*lines, *([""] if problems else []), *problems, "", *(each.conclusion for each in checked)])
