"""Preparation: a raw release, rendered or real, becomes clips (METHOD section 8).

The rules and the code are the same for both; only the numbers in `ClipRules` differ between profiles. Videos are read
as a stream, one decoded frame in memory at a time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sspcore.data.images import read_grey, read_rgb, resize_frame, resize_labels, write_jpg, write_png
from sspcore.data.specs import SPECS, UAVID_COLOURS, DatasetSpec, colours_to_ids, merge_vdd
from sspcore.errors import ReleaseError
from sspcore.profiles import ClipRules
from sspcore.progress import tqdm
from sspcore.runs import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sequence:
    """One video of a release: its file, its split, and its label files by source frame number."""

    name: str
    split: str
    video: Path
    labels: dict[int, Path]
    vdd: dict[int, Path]


def find_sequences(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """The sequences of a release in its published layout.

    Raises: ReleaseError naming the folder if none is found or a split is empty.
    """
    sequences = _FINDERS[spec.name](release, spec)
    for split in ("train", "val"):
        if not any(sequence.split == split for sequence in sequences):
            raise ReleaseError(f"{release}: no {split} sequence of {spec.title} found; see data/README.md for the layout")
    return sequences


def prepare_clips(release: Path, spec: DatasetSpec, rules: ClipRules, out: Path) -> None:
    """Write the clips of every sequence under `out`/<split>/<clip>, with a progress bar over frames taken.

    Raises: ReleaseError naming the file that is missing, unreadable or of another size or colour.
    """
    sequences = find_sequences(release, spec)
    with tqdm(desc=f"preparing {spec.title}", unit="frame") as bar:
        for sequence in sequences:
            for clip in plan_clips(count_frames(sequence.video), set(sequence.labels), rules):
                bar.total = (bar.total or 0) + len(clip)
            written = prepare_sequence(sequence, spec, rules, out, bar.update)
            log.debug("%s: %d clips", sequence.name, written)
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


def prepare_sequence(
    sequence: Sequence, spec: DatasetSpec, rules: ClipRules, out: Path, progress: Callable[[int], object]
) -> int:
    """Write the clips of one sequence; returns how many."""
    plan = plan_clips(count_frames(sequence.video), set(sequence.labels), rules)
    suffix, write = (".png", write_png) if rules.image_format == "png" else (".jpg", write_jpg)
    wanted = {number: i for i, clip in enumerate(plan) for number in clip}
    folders = [out / sequence.split / f"{sequence.name}_{clip[0]:06d}" for clip in plan]
    for folder in folders:
        (folder / "frames").mkdir(parents=True)
        (folder / "labels").mkdir()
    size = rules.store_size
    for number, image in read_video(sequence.video, set(wanted)):
        size = rules.store_size or image.shape[:2]
        folder = folders[wanted[number]]
        write(folder / "frames" / f"{number:06d}{suffix}", resize_frame(image, size))
        if number in sequence.labels:
            ids = read_label(sequence, number, spec, image.shape[:2])
            write_png(folder / "labels" / f"{number:06d}.png", resize_labels(ids, size))
        progress(1)
    for folder, clip in zip(folders, plan, strict=True):
        write_json(folder / "clip.json", {
            "dataset": spec.name, "split": sequence.split, "sequence": sequence.name, "suffix": suffix,
            "size": list(size), "frames": clip,
            "labelled": [i for i, number in enumerate(clip) if number in sequence.labels],
        })
    return len(plan)


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
    capture = _open(video)
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
    capture = _open(video)
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


def _open(video: Path) -> cv2.VideoCapture:
    if not video.is_file():
        raise ReleaseError(f"{video}: file is missing; restore it from the release")
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise ReleaseError(f"{video}: not a readable video ({video.stat().st_size} bytes); fetch it again")
    return capture


def _find_uavid(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """`uavid_{train,val}/seqN/{Labels,images.mp4}` and, beside them, `UAVid7/uavid_{train,val}/seqN/VDD_Labels`."""
    found = []
    for split in ("train", "val"):
        folder = f"uavid_{split}"
        for path in sorted((release / folder).glob("seq*"), key=lambda p: natural_key(p.name)):
            vdd = release / "UAVid7" / folder / path.name / "VDD_Labels"
            found.append(Sequence(
                path.name, split, path / "images.mp4", _by_number(path / "Labels", "*.png"), _by_number(vdd, "*.png")
            ))
    if found and not any(sequence.vdd for sequence in found):
        raise ReleaseError(
            f"{release / 'UAVid7'}: VDD labels are missing; roof and water come from them alone, see data/README.md"
        )
    return found


def _find_ruralscapes(release: Path, spec: DatasetSpec) -> list[Sequence]:
    """`videos/DJI_NNNN.mp4` and `labels/manual_labels/DJI_NNNN/segfull_DJI_NNNN_NNNNNN.png`."""
    found = []
    for path in sorted((release / "videos").glob("DJI_*.mp4")):
        split = "val" if path.stem in spec.validation else "train"
        labels = _by_number(release / "labels" / "manual_labels" / path.stem, "segfull_*.png")
        found.append(Sequence(path.stem, split, path, labels, {}))
    return found


_FINDERS: dict[str, Callable[[Path, DatasetSpec], list[Sequence]]] = {
    "uavid": _find_uavid,
    "ruralscapes": _find_ruralscapes,
}


def _by_number(folder: Path, pattern: str) -> dict[int, Path]:
    """Label files by the frame number that ends their name."""
    numbered = {}
    for path in sorted(folder.glob(pattern)):
        digits = re.findall(r"\d+", path.stem)
        if digits and not path.name.startswith("."):  # macOS leaves hidden twins, "._000100.png"
            numbered[int(digits[-1])] = path
    return numbered


def natural_key(name: str) -> tuple[str, int]:
    """Sort key that puts seq2 before seq10."""
    digits = re.findall(r"\d+", name)
    return re.sub(r"\d+", "", name), int(digits[-1]) if digits else -1


def release_key_of(release: Path, dataset: str) -> list[tuple[str, int]]:
    """Names and sizes of all files of a release that preparation reads: its fingerprint in artefact keys."""
    spec = SPECS[dataset]
    files = [
        path for sequence in find_sequences(release, spec)
        for path in (sequence.video, *sequence.labels.values(), *sequence.vdd.values())
    ]
    return [(path.relative_to(release).as_posix(), path.stat().st_size) for path in files]
