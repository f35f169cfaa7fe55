"""Preparation: a raw release, rendered or real, becomes clips (METHOD section 8).

The rules and the code are the same for both; only the numbers in `ClipRules` differ between profiles. Videos are read
as a stream, one decoded frame in memory at a time, one process a video. A clip's folder appears when the clip is
complete, so that a preparation that was killed goes on with the clip that it was at.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.core.files import atomic_folder, write_json
from sspcore.core.images import read_grey, read_rgb, resize_frame, resize_labels, write_jpg, write_png
from sspcore.core.parallel import run_jobs
from sspcore.core.progress import tqdm
from sspcore.data.datasets import SPECS, UAVID_COLOURS, DatasetSpec, colours_to_ids, merge_vdd
from sspcore.data.rules import ClipRules

log = logging.getLogger(__name__)

SAMPLED_VIDEOS = 3  # whose first frame is encoded to estimate the disk that clips need
REPEATED = 0.2  # mean difference in grey levels below which a frame is a copy of the one before; codecs touch up copies
MARGIN = 1.2  # on that estimate: frames of one video differ in size


@dataclass(frozen=True)
class Sequence:
    """One video of a release: its file, its split, and its label files by source frame number."""

    name: str
    split: str
    video: Path
    labels: dict[int, Path]
    vdd: dict[int, Path]


@dataclass(frozen=True)
class Job:
    """The preparation of one sequence, as it is handed to a process: `clips` are those to be written."""

    sequence: Sequence
    spec: DatasetSpec
    rules: ClipRules
    out: Path
    clips: list[list[int]]

    @property
    def frames(self) -> int:
        return sum(map(len, self.clips))


def find_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """The sequences of a release in its published layout; upper and lower case of file names are taken alike.

    Raises: ReleaseError naming the folder if none is found or a split is empty.
    """
    sequences = [found for found in list_sequences(release, spec) if found.video.is_file() or found.labels]
    require_splits(sequences, release, spec)
    return sequences


def list_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """What is there of a release: of some sequences it may be the VDD labels alone, or all but the video."""
    return _FINDERS[spec.name](release, spec)


def require_splits(sequences: Iterable[Sequence], release: Path, spec: DatasetSpec) -> None:
    """Raises ReleaseError unless there is a sequence of either split."""
    splits = {sequence.split for sequence in sequences}
    for split in ("train", "val"):
        if split not in splits:
            raise ReleaseError(f"{release}: no {split} sequence of {spec.title} found; see data/README.md for the layout")


def prepare_clips(
    release: Path, spec: DatasetSpec, rules: ClipRules, out: Path, workers: int = 1,
    sequences: Iterable[Sequence] | None = None,
) -> None:
    """Write the clips of every sequence under `out`/<split>/<clip>, with a progress bar over frames taken.

    Args:
        out: clips that are complete there are kept; they must come from the same release and rules.
        workers: processes; the files are the same for any number.
        sequences: those to take (see `sspcore.data.check`); default: all of the release, every one sound.
    Raises: ReleaseError naming the file that is missing, unreadable or of another size or colour, or the disk if it has
        too little room.
    """
    sequences = find_sequences(release, spec) if sequences is None else list(sequences)
    if spec.name == "uavid" and not any(sequence.vdd for sequence in sequences):
        log.warning("%s: no VDD labels: roofs count as building, water is not labelled", spec.title)
    jobs, total = [], 0
    for sequence in sequences:
        plan = plan_clips(count_frames(sequence.video), set(sequence.labels), rules)
        total += sum(map(len, plan))
        clips = [clip for clip in plan if not clip_folder(out, sequence, clip).exists()]
        if clips:
            jobs.append(Job(sequence, spec, rules, out, clips))
    jobs.sort(key=lambda job: -job.frames)  # the longest first, so that no process is left with one at the end
    frames = sum(job.frames for job in jobs)
    if jobs:
        sampled = jobs[:: -(-len(jobs) // SAMPLED_VIDEOS)]
        needed = int(MARGIN * frames * max(map(_stored_bytes, sampled)))
        require_room(out, needed, f"{spec.title}: {frames} frames of clips")
    with tqdm(desc=f"preparing {spec.title}", unit="frame", total=total, initial=total - frames) as bar:
        if workers <= 1:
            repeated = [prepare_sequence(job, bar.update) for job in jobs]
        else:
            repeated = []
            for job, numbers in zip(jobs, run_jobs(prepare_sequence, jobs, workers), strict=True):
                repeated.append(numbers)
                bar.update(job.frames)
    for job, numbers in zip(jobs, repeated, strict=True):
        if numbers:
            log.warning(
                "%s: %d frames taken are copies of the frame before (the first: %06d); metrics see no motion there",
                job.sequence.video, len(numbers), numbers[0],
            )
    for split in ("train", "val"):
        if not any((out / split).glob("*/clip.json")):
            raise ReleaseError(
                f"{release}: no {split} clip is left after the clip rules (at least {rules.min_clip_length} frames"
                f"{' and a label' if rules.require_label else ''}); check the videos or the profile's clips section"
            )


def plan_clips(n_frames: int, labelled: set[int], rules: ClipRules) -> list[list[int]]:
    """Source frame numbers of every clip of a video with `n_frames` frames."""
    taken = list(range(0, n_frames, rules.frame_step))
    if rules.drop_last and taken and taken[-1] != n_frames - 1:
        taken.append(n_frames - 1)  # RuralScapes: every n-th frame "and the last", which is then dropped
    taken = taken[int(rules.drop_first): len(taken) - int(rules.drop_last)]
    chunks = [taken[i: i + rules.clip_length] for i in range(0, len(taken), rules.clip_length)]
    return [
        chunk for chunk in chunks
        if len(chunk) >= rules.min_clip_length and (not rules.require_label or labelled.intersection(chunk))
    ]


def clip_folder(out: Path, sequence: Sequence, clip: list[int]) -> Path:
    """Where a clip goes; it is complete if it is there."""
    return out / sequence.split / f"{sequence.name}_{clip[0]:06d}"


def prepare_sequence(job: Job, progress: Callable[[int], object] = lambda frames: None) -> list[int]:
    """Write the clips of one job.

    Returns: numbers of the frames taken that repeat the frame taken before them.
    """
    rules, sequence = job.rules, job.sequence
    suffix, write = (".png", write_png) if rules.image_format == "png" else (".jpg", write_jpg)
    frames = read_video(sequence.video, set(chain.from_iterable(job.clips)))
    repeated: list[int] = []
    before = None
    for clip in job.clips:
        with atomic_folder(clip_folder(job.out, sequence, clip), "clip.json") as folder:
            (folder / "frames").mkdir()
            (folder / "labels").mkdir()
            size = rules.store_size
            for number, image in islice(frames, len(clip)):
                size = rules.store_size or image.shape[:2]
                write(folder / "frames" / f"{number:06d}{suffix}", resize_frame(image, size))
                if number in sequence.labels:
                    ids = read_label(sequence, number, job.spec, image.shape[:2])
                    write_png(folder / "labels" / f"{number:06d}.png", resize_labels(ids, size))
                now = _thinned(image)
                if before is not None and float(np.abs(now - before).mean()) < REPEATED:
                    repeated.append(number)
                before = now
                progress(1)
            write_json(folder / "clip.json", {
                "dataset": job.spec.name, "split": sequence.split, "sequence": sequence.name, "suffix": suffix,
                "size": list(size), "frames": clip,
                "labelled": [i for i, number in enumerate(clip) if number in sequence.labels],
            })
    return repeated


def _thinned(image: np.ndarray) -> np.ndarray:
    """Pixels of a grid of about 90 rows, which tell a copy of a frame from the next one at a hundredth of the time."""
    step = max(1, min(image.shape[:2]) // 90)
    return image[::step, ::step].astype(np.int16)


def _stored_bytes(job: Job) -> int:
    """Bytes that the first frame taken of a video has when stored."""
    first = job.clips[0][0]
    for _, image in read_video(job.sequence.video, {first}):
        stored = resize_frame(image, job.rules.store_size or image.shape[:2])
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if job.rules.image_format == "png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
        return cv2.imencode(f".{job.rules.image_format}", stored, options)[1].nbytes
    return 0


def require_room(folder: Path, needed: int, what: str) -> None:
    """Tell how many bytes `what` needs. Raises ReleaseError if the disk of `folder` has fewer free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    log.info("%s: about %s are needed, %s are free", what, in_words(needed), in_words(free))
    if needed > free:
        raise ReleaseError(
            f"{folder}: {what} need about {in_words(needed)} and {in_words(free)} are free; make room on that disk, or "
            "let the folder be a link to a larger one"
        )


def in_words(n_bytes: float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
    return f"{n_bytes / 1000:.3g} TB"


def read_label(sequence: Sequence, number: int, spec: DatasetSpec, frame_size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 class ids of one labelled frame, VDD layer merged where the sequence has one.

    Raises: ReleaseError if the label has another size than the frame, an unknown colour, or cannot be read.
    """
    path = sequence.labels[number]
    colours = read_rgb(path)
    if colours.shape[:2] != tuple(frame_size):
        raise ReleaseError(
            f"{path}: label is {colours.shape[1]}x{colours.shape[0]} but the video frame is "
            f"{frame_size[1]}x{frame_size[0]}; they must be from the same release"
        )
    ids = colours_to_ids(colours, spec, str(path))
    if number in sequence.vdd:
        vdd = read_grey(sequence.vdd[number])
        if vdd.shape != ids.shape:
            raise ReleaseError(f"{sequence.vdd[number]}: VDD label is {vdd.shape}, the UAVid label {ids.shape}")
        ids = merge_vdd(ids, (colours == UAVID_COLOURS["clutter"]).all(-1), vdd)
    return ids


def count_frames(video: Path) -> int:
    """Number of frames that the container announces. Raises ReleaseError if the video cannot be opened or lies."""
    capture = open_video(video)
    try:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    size = video.stat().st_size
    if not 0 <= frames <= size:  # a damaged header; no codec has frames of less than a byte
        raise ReleaseError(f"{video}: announces {frames} frames in {size} bytes; the file is damaged, fetch it again")
    return frames


def read_video(video: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, RGB uint8 frame) for the wanted frames, in order, decoding as a stream.

    Raises: ReleaseError if the video ends before the last wanted frame.
    """
    capture = open_video(video)
    try:
        for number in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise ReleaseError(
                    f"{video}: ends at frame {number} though {max(wanted) + 1} are announced; the file is truncated, "
                    "fetch it again"
                )
            if number in wanted:
                done, image = capture.retrieve()
                if not done:
                    raise ReleaseError(f"{video}: frame {number} cannot be decoded; fetch the file again")
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def open_video(video: Path) -> cv2.VideoCapture:
    """A video at its first frame. Raises ReleaseError if it is missing or no video."""
    if not video.is_file():
        raise ReleaseError(f"{video}: file is missing; restore it from the release")
    # as many decoder threads as OpenCV has here: one in a worker process, which has neighbours
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, max(1, cv2.getNumThreads())])
    if not capture.isOpened():
        raise ReleaseError(f"{video}: not a readable video ({video.stat().st_size} bytes); fetch it again")
    return capture


def _find_uavid(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """`uavid_{train,val}/seqN/{Labels,images.mp4}` and, beside them, `UAVid7/uavid_{train,val}/seqN/VDD_Labels`."""
    found = []
    for split in ("train", "val"):
        base, vdd = _child(release, f"uavid_{split}"), _child(_child(release, "UAVid7"), f"uavid_{split}")
        names = {path.name for path in (*_entries(base), *_entries(vdd)) if re.fullmatch(r"seq\d+", path.name)}
        for name in sorted(names, key=natural_key):
            found.append(Sequence(
                name, split, _child(base / name, "images.mp4"),
                _by_number(_child(base / name, "Labels"), r"(\d+)\.png"),
                _by_number(_child(vdd / name, "VDD_Labels"), r"(\d+)\.png"),
            ))
    return found


def _find_ruralscapes(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """`videos/DJI_NNNN.mp4` and `labels/manual_labels/DJI_NNNN/segfull_DJI_NNNN_NNNNNN.png`."""
    videos, labels = _child(release, "videos"), _child(_child(release, "labels"), "manual_labels")
    files = {path.stem: path for path in _entries(videos) if re.fullmatch(r"DJI_\d+\.mp4", path.name, re.IGNORECASE)}
    names = files.keys() | {path.name for path in _entries(labels) if re.fullmatch(r"DJI_\d+", path.name)}
    return [
        Sequence(
            name, "val" if name in spec.validation else "train", files.get(name, videos / f"{name}.mp4"),
            _by_number(labels / name, rf"segfull_{name}_(\d+)\.png"), {},
        )
        for name in sorted(names)
    ]


_FINDERS: dict[str, Callable[[Path, DatasetSpec], list[Sequence]]] = {
    "uavid": _find_uavid,
    "ruralscapes": _find_ruralscapes,
}


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _child(folder: Path, name: str) -> Path:
    """The entry of that name, else one that differs in upper and lower case only, else the path where it should be."""
    if (folder / name).exists():
        return folder / name
    return next((path for path in _entries(folder) if path.name.lower() == name.lower()), folder / name)


def _by_number(folder: Path, pattern: str) -> dict[int, Path]:
    """Label files by frame number. Other files are passed over: thumbnails, copies ("000100 (1).png"), "._000100.png"."""
    numbered: dict[int, Path] = {}
    for path in _entries(folder):
        if match := re.fullmatch(pattern, path.name, re.IGNORECASE):
            numbered.setdefault(int(match[1]), path)  # 000100.png comes before 100.png
    return numbered


def natural_key(name: str) -> tuple[str, int]:
    """Sort key that puts seq2 before seq10."""
    digits = re.findall(r"\d+", name)
    return re.sub(r"\d+", "", name), int(digits[-1]) if digits else -1


def release_key_of(release: Path, dataset: str) -> list[tuple[str, int]]:
    """Names and sizes of all files of a release that preparation reads: its fingerprint in artefact keys."""
    return files_key(find_sequences(release, SPECS[dataset]), (release,))


def files_key(sequences: Iterable[Sequence], roots: tuple[Path, ...]) -> list[tuple[str, int]]:
    """Names, relative to that of the roots in which they lie, and sizes of the sequences' files."""
    files = [
        path for sequence in sequences for path in (sequence.video, *sequence.labels.values(), *sequence.vdd.values())
    ]
    within = {path: next(root for root in roots if path.is_relative_to(root)) for path in files}
    return [(path.relative_to(within[path]).as_posix(), path.stat().st_size) for path in files]
