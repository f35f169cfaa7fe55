"""What is there of a data set, what is damaged, and what can go on without it (`sspcore check`).

Its folder and archives are read (layouts in data/README.md): every archive member by member, every video to
its last frame, every label in its colours and size. The user's files are opened for reading only; archives are unpacked into
the artefacts. What was found is remembered by the files' names, sizes and times, so that a second check takes seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

from pydantic import TypeAdapter

from sspcore.core.code import code_key
from sspcore.core.errors import ArtefactError, ReleaseError
from sspcore.core.files import read_json, write_json
from sspcore.core.parallel import run_jobs
from sspcore.core.paths import Workspace
from sspcore.core.progress import tqdm
from sspcore.core.store import stable_hash
from sspcore.data.archives import find_archives, is_archive, unpack
from sspcore.data.check_table import Row, conclusion, table_rows
from sspcore.data.check_table import findings as findings
from sspcore.data.check_table import report as report
from sspcore.data.datasets import DatasetSpec, file_of
from sspcore.data.footage import WHOLE, Sequence, middle_shape, shape_givers
from sspcore.data.layouts import SPLITS, target_of
from sspcore.data.releases import deeper_folders, files_key, folder_of, require_splits, survey
from sspcore.data.verdicts import Verdict, examine

log = logging.getLogger(__name__)

RECORD_SECONDS = 2.0  # between two notes of what was found; a check that is cut off goes on from there
STRETCHED = 1.25  # times that height to width is of another ratio from which it is said
_NAMED = 5  # of many sequences of which a line tells
_VERDICT = TypeAdapter(Verdict)  # lists of JSON become tuples


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
        return conclusion(self.spec, self.sequences, self.stops)


def check_release(data: Path | None, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """Look at all files of a data set under `data`, or in its own folder, unpacking archives below `data/`.

    Args:
        data: holds `<name>/`, or archives of it, or both; a file in the folder goes before one in an archive.
        workers: processes that read videos and labels.
    Raises: ReleaseError if the disk has no room for what is packed, or the layouts of one's own data are not clear.
    """
    release, base = folder_of(spec, data), workspace.base
    if spec.root:  # of one's own data: one place for all profiles, so that a run goes on from a check
        base = workspace.root / "own" / f"{spec.name}-{stable_hash(str(spec.root.resolve()))[:8]}"
    archives, deeper = find_archives(data, spec), deeper_folders(release, data, spec)
    if archives:
        files = _files(survey((release, *deeper), spec)[0])
        there = frozenset(target_of(path.relative_to(data).as_posix(), spec) or "" for path in files)
        into = base / "unpacked" / spec.name
        archives = [unpack(path, spec, into, there) for path in archives]
    roots = (release, *deeper, *(archive.folder for archive in archives))
    found, strays = survey(roots, spec)
    sequences = [each for each in found if each.is_there or each.labels]
    verdicts = _judge(sequences, spec, base / "checked" / f"{spec.name}.json", workers)
    pairs = [*zip(sequences, verdicts, strict=True)]
    usable = tuple(verdict.usable(sequence) for sequence, verdict in pairs if verdict.video == "found")
    # a video that is split is judged once and listed twice
    problems = tuple(dict.fromkeys([*(line for each in (*archives, *verdicts) for line in each.problems), *strays]))
    problems += tuple(_of_own_folder(spec, pairs)) if spec.root else ()
    rows = tuple(table_rows(spec, pairs, archives))
    stops = _stops(release, spec, sequences, usable)
    if sealed := [f"{each.archive}: {each.sealed}" for each in archives if each.sealed]:
        stops = stops and sealed[0]  # the rest is in there
    return Checked(spec, release, roots, usable, rows, problems, stops)


def require_release(data: Path, spec: DatasetSpec, workspace: Workspace, workers: int = 1) -> Checked:
    """`check_release` before a run; logs what it found in one line.

    Raises: ReleaseError if the data set cannot go on.
    """
    checked = check_release(data, spec, workspace, workers)
    if checked.stops:
        raise ReleaseError(checked.stops)
    if count := len(checked.problems):
        where = f"--dataset {quote(str(file_of(spec)))}" if spec.root else f"--data {quote(str(data))}"
        log.warning("%s; files not in order: %d, listed by: sspcore check %s", checked.conclusion, count, where)
    else:
        log.info("%s", checked.conclusion)
    return checked


def source_files(data: Path | None, spec: DatasetSpec) -> list[Path]:
    """The user's files of a data set, packed and unpacked: what a run depends on, in the order of their names."""
    release = folder_of(spec, data)
    files = _files(survey((release, *deeper_folders(release, data, spec)), spec)[0])
    return sorted({*files, *find_archives(data, spec)})


def _judge(sequences: list[Sequence], spec: DatasetSpec, record: Path, workers: int) -> list[Verdict]:
    """Verdicts of all sequences; those whose files have the names, sizes and times of the record come from there."""
    try:
        known = read_json(record)
    except ArtefactError:
        known = {}
    keys = []
    for each in sequences:
        marks = [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in _files([each])]
        split = each.split if each.span == WHOLE else ""  # a video that is split is read once
        keys.append(stable_hash([code_key(__name__), spec.key, each.name, split, each.still, marks]))
    known = {key: known[key] for key in keys if key in known}
    jobs = {key: (sequence, spec) for key, sequence in zip(keys, sequences, strict=True) if key not in known}
    written = 0.0
    with tqdm(desc=f"checking {spec.title}", unit="sequence", total=len(jobs), disable=not jobs) as bar:
        for key, verdict in zip(jobs, run_jobs(examine, [*jobs.values()], workers), strict=True):
            known[key] = asdict(verdict)
            if bar.n + 1 == len(jobs) or time.monotonic() - written > RECORD_SECONDS:
                write_json(record, known)
                written = time.monotonic()
            bar.update(1)
    return [_VERDICT.validate_python(known[key]) for key in keys]


def _of_own_folder(spec: DatasetSpec, pairs: list[tuple[Sequence, Verdict]]) -> Iterator[str]:
    """Lines for archives, and for pictures of another shape than those that the frame size is taken from."""
    for path in sorted(spec.root.glob("*")):
        if path.is_file() and is_archive(path):
            yield f"{path}: archives are not read here; unpack it"
    sizes = {each.video: verdict.size for each, verdict in pairs if verdict.size is not None}
    if sizes:
        looked_at = shape_givers(each for each, _ in pairs if each.video in sizes)
        height, width = spec.input_size or middle_shape(sizes[each.video] for each in looked_at)
        other = dict.fromkeys(
            each.name for each, _ in pairs if each.video in sizes
            and not 1 / STRETCHED < sizes[each.video][0] * width / sizes[each.video][1] / height < STRETCHED
        )
        if other:
            names = ", ".join([*other][:_NAMED]) + (f" and {len(other) - _NAMED} more" if len(other) > _NAMED else "")
            yield (
                f"{spec.root}: {names}: of another shape than {width}x{height}, so training stretches them to that one; crop "
                "them and their labels to that shape, or train on them apart, by a data set file of their own"
            )


def _files(sequences: Iterable[Sequence]) -> list[Path]:
    """The files of sequences that are there."""
    return [path for sequence in sequences for path in sequence.files if path.is_file()]


def _stops(release: Path, spec: DatasetSpec, sequences: list[Sequence], usable: tuple[Sequence, ...]) -> str:
    """Why a data set cannot go on, "" if it can."""
    try:
        require_splits(sequences, release, spec)
    except ReleaseError as error:
        return str(error)
    for split in SPLITS:
        of_split = [sequence for sequence in usable if sequence.split == split]
        if not any(sequence.labels for sequence in of_split) and not (spec.root and of_split and split == "val"):
            what = f"no {split} sequence of {spec.title} can be used with its labels"
            advice = "fetch again what is missing or damaged"
            if spec.root:
                advice = "label some frames of it, or change validation: or validation_share: (sspcore check says more)"
            return f"{release}: {what}; {advice}"
    return ""
