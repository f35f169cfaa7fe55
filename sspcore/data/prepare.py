"""Preparation: a raw release, rendered or real, becomes clips (METHOD section 8).

The rules and the code are the same for both; only the numbers in `ClipRules` differ between profiles. Videos are read
as a stream, one decoded frame in memory at a time, one process a video. A clip's folder appears when the clip is
complete, so a preparation that was killed continues with the clip that it was writing.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence as Numbers
from dataclasses import asdict, dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from sspcore.core.errors import ReleaseError
from sspcore.core.files import atomic_folder, write_json
from sspcore.core.images import Interpolation, encode_image, resize_frame, write_image
from sspcore.core.parallel import run_jobs
from sspcore.core.progress import tqdm
from sspcore.core.settings import Section
from sspcore.core.types import Size
from sspcore.data.clips import clip_name
from sspcore.data.datasets import DatasetSpec
from sspcore.data.footage import Sequence
from sspcore.data.labels import read_label
from sspcore.data.layouts import SPLITS
from sspcore.data.releases import find_sequences

log = logging.getLogger(__name__)

SAMPLED_VIDEOS = 3  # whose first frame is encoded to estimate the disk that clips need
REPEATED = 0.2  # mean difference in grey levels below which a frame is a copy of the one before; codecs touch up copies
MARGIN = 1.2  # on that estimate: frames of one video differ in size


class ClipRules(Section):
    """How a raw release becomes clips (METHOD section 8). Frames are counted in frames taken, not in source frames.

    Attributes:
        frame_step: every n-th source frame is taken.
        from_labels: whether frames are counted from the labelled frame before (before the first: to it), so that no label is
            passed over; else from the video's first frame.
        clip_length: frames of a clip.
        min_clip_length: shorter clips are dropped; with `from_labels` the rest of a video is joined to the clip before it.
        drop_first, drop_last: whether the first / last frame taken of a video is left out.
        drop_end_labels: whether the first and the last label file of a video are left out.
        require_label: whether a clip without a label is dropped; distillation and TC can use those that are kept.
        store_size: (H, W) of stored frames; None keeps the release's size. Labels always keep it: they are resized once,
            from the release's size to that which they are used at.
        image_format: "png" (lossless) or "jpg" (quality 95).
        store_interpolation: how frames are resized to `store_size` (see `resize_frame`).
        load_interpolation: how stored frames are resized when they are read.
    """

    frame_step: int = Field(ge=1)
    from_labels: bool = False
    clip_length: int = Field(ge=2)
    min_clip_length: int = Field(ge=2)
    drop_first: bool = True
    drop_last: bool = False
    drop_end_labels: bool = False
    require_label: bool = True
    store_size: tuple[PositiveInt, PositiveInt] | None = None
    image_format: Literal["png", "jpg"] = "png"
    store_interpolation: Interpolation = "cubic"
    load_interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _some_clips_are_kept(self) -> ClipRules:
        if self.min_clip_length > self.clip_length:
            raise ValueError(f"min_clip_length ({self.min_clip_length}) is above clip_length ({self.clip_length})")
        return self

    def interpolation(self, size: Size) -> Interpolation:
        """How a frame of another size is to be brought to `size` (H, W), so that it looks as those that were trained on.

        Frames that are stored at that size were resized as they were stored, all others as they are read.
        """
        return self.store_interpolation if self.store_size == tuple(size) else self.load_interpolation


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


def prepare_clips(
    release: Path, spec: DatasetSpec, rules: ClipRules, out: Path, workers: int = 1,
    sequences: Iterable[Sequence] | None = None,
) -> None:
    """Write the clips of every sequence under `out`/<split>/<clip>, with a progress bar over frames taken.

    Args:
        out: clips that are complete there are kept; they must come from the same release and rules.
        workers: processes; the files are the same for any number.
        sequences: those to take (see `sspcore.data.check`); default: all of the release.
    Raises: ReleaseError naming the file that is missing, unreadable or of another size or colour, or the disk if it has
        too little room.
    """
    sequences = find_sequences(release, spec) if sequences is None else list(sequences)
    if "vdd" in spec.files and not any(sequence.vdd for sequence in sequences):
        log.warning("%s: no VDD labels: roofs count as building, water is not labelled", spec.title)
    jobs, total = [], 0
    for sequence in sequences:
        clips, frames = missing_clips(sequence, rules, out)
        total += frames
        if clips:
            jobs.append(Job(sequence, spec, rules, out, clips))
    jobs.sort(key=lambda job: -job.frames)  # the longest first, so that no process is left with one at the end
    frames = sum(job.frames for job in jobs)
    if jobs:
        sampled = jobs[:: -(-len(jobs) // SAMPLED_VIDEOS)]
        needed = int(MARGIN * frames * max(map(_stored_bytes, sampled)))
        require_room(out, needed, f"{spec.title}: {frames} frames of clips")
    repeated: defaultdict[Path, list[int]] = defaultdict(list)  # a shared video is prepared in two parts
    with tqdm(desc=f"preparing {spec.title}", unit="frame", total=total, initial=total - frames) as bar:
        for job, numbers in zip(jobs, run_jobs(prepare_sequence, jobs, workers), strict=True):
            repeated[job.sequence.video] += numbers
            bar.update(job.frames)
    for video, numbers in repeated.items():
        warn_of_copies(video, numbers)
    for split in SPLITS:
        if not any((out / split).glob("*/clip.json")):
            least = f"at least {rules.min_clip_length} frames{' and a label' if rules.require_label else ''}"
            advice = "the validation_share of its file" if spec.root else "the profile's clips section"
            raise ReleaseError(
                f"{release}: no {split} clip is left after the clip rules ({least}); check the videos or {advice}"
            )


def warn_of_copies(video: Path, numbers: list[int]) -> None:
    """Log which frames taken of a video repeat the one before, if any do."""
    if numbers:
        log.warning(
            "%s: %d frames taken are copies of the frame before (the first: %06d); metrics see no motion there",
            video, len(numbers), numbers[0],
        )


def missing_clips(sequence: Sequence, rules: ClipRules, out: Path) -> tuple[list[list[int]], int]:
    """Clips of a sequence that are not below `out` yet, as frame numbers, and the number of frames of all its clips."""
    plan = clips_of(sequence, rules)
    return [clip for clip in plan if not clip_folder(out, sequence, clip).exists()], sum(map(len, plan))


def used_labels(labels: Iterable[int], rules: ClipRules) -> set[int]:
    """Source frame numbers of the label files that count, of all that a video or still has."""
    numbers = sorted(labels)
    return set(numbers[1:-1] if rules.drop_end_labels else numbers)


def clips_of(sequence: Sequence, rules: ClipRules) -> list[list[int]]:
    """Source frame numbers of every clip of a sequence; a still is a clip of its own, whatever the rules say of lengths.

    Raises: ReleaseError if its video cannot be opened.
    """
    if sequence.still:  # what has no label can be learnt from by distillation alone
        return [[0]] if sequence.labels or not (rules.require_label or sequence.split == "val") else []
    return _cut(sequence.numbers(), used_labels(sequence.labels, rules), rules)


def plan_clips(n_frames: int, labels: Iterable[int], rules: ClipRules) -> list[list[int]]:
    """Source frame numbers of every clip of a video with `n_frames` frames and these label files."""
    return _cut(range(n_frames), used_labels(labels, rules), rules)


def _cut(numbers: Numbers[int], labelled: set[int], rules: ClipRules) -> list[list[int]]:
    taken = _from_labels(numbers, labelled, rules.frame_step) if rules.from_labels else list(numbers[:: rules.frame_step])
    if rules.drop_last and taken and taken[-1] != numbers[-1]:
        taken.append(numbers[-1])  # RuralScapes: every n-th frame "and the last", which is then dropped
    taken = taken[int(rules.drop_first): len(taken) - int(rules.drop_last)]
    chunks = [taken[i: i + rules.clip_length] for i in range(0, len(taken), rules.clip_length)]
    if rules.from_labels and len(chunks) > 1 and len(chunks[-1]) < rules.min_clip_length:
        chunks[-2:] = [chunks[-2] + chunks[-1]]  # a label may lie in the rest
    return [
        chunk for chunk in chunks
        if len(chunk) >= rules.min_clip_length and (not rules.require_label or labelled.intersection(chunk))
    ]


def _from_labels(numbers: Numbers[int], labelled: set[int], step: int) -> list[int]:
    """Every `step`-th number, counted from the labelled one before it, and before the first label towards it."""
    starts = [position for position, number in enumerate(numbers) if number in labelled] or [0]
    starts = [starts[0] % step, *starts]
    return [number for a, b in pairwise([*starts, len(numbers)]) for number in numbers[a:b:step]]


def clip_folder(out: Path, sequence: Sequence, clip: list[int]) -> Path:
    """Where a clip goes; it is complete if it is there."""
    return out / sequence.split / clip_name(sequence.name, clip[0])


def prepare_sequence(job: Job) -> list[int]:
    """Write the clips of one job.

    Returns: numbers of the frames taken that repeat the frame taken before them.
    """
    rules, sequence = job.rules, job.sequence
    labelled = used_labels(sequence.labels, rules)
    frames = sequence.read(set(chain.from_iterable(job.clips)))
    repeated: list[int] = []
    before = None
    for clip in job.clips:
        with atomic_folder(clip_folder(job.out, sequence, clip), "clip.json") as folder:
            (folder / "frames").mkdir()
            (folder / "labels").mkdir()
            size = rules.store_size
            for number, image in islice(frames, len(clip)):
                size = rules.store_size or image.shape[:2]
                stored = resize_frame(image, size, rules.store_interpolation)
                write_image(folder / "frames" / f"{number:06d}.{rules.image_format}", stored)
                if number in labelled:
                    ids = read_label(sequence, number, job.spec, image.shape[:2])
                    write_image(folder / "labels" / f"{number:06d}.png", ids)
                # a grid of about 90 rows tells a copy of a frame from the next one at a hundredth of the time
                step = max(1, min(image.shape[:2]) // 90)
                now = image[::step, ::step].astype(np.int16)
                if before is not None and float(np.abs(now - before).mean()) < REPEATED:
                    repeated.append(number)
                before = now
            write_json(folder / "clip.json", {
                "dataset": job.spec.name, "classes": asdict(job.spec.alone), "split": sequence.split, "sequence": sequence.name,
                "suffix": f".{rules.image_format}", "size": list(size), "frames": clip,
                "interpolation": rules.load_interpolation,
                "labelled": [i for i, number in enumerate(clip) if number in labelled],
            })
    return repeated


def _stored_bytes(job: Job) -> int:
    """Bytes that the first frame taken of a video has when stored."""
    first = job.clips[0][0]
    for _, image in job.sequence.read({first}):
        return encode_frame(image, job.rules).nbytes
    return 0


def encode_frame(image: np.ndarray, rules: ClipRules) -> np.ndarray:
    """The bytes that a frame (H, W, 3) uint8 RGB of a video has when stored."""
    stored = resize_frame(image, rules.store_size or image.shape[:2], rules.store_interpolation)
    return encode_image(f".{rules.image_format}", stored)


def require_room(folder: Path, needed: int, what: str) -> None:
    """Log how many bytes `what` needs. Raises ReleaseError if the disk of `folder` has fewer free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    about, there = (tqdm.format_sizeof(size, "B") for size in (needed, free))
    log.info("%s: about %s are needed, %s are free", what, about, there)
    if needed > free:
        raise ReleaseError(
            f"{folder}: {what} need about {about} and {there} are free; make room on that disk, or let the folder be a link to "
            "a larger one"
        )
