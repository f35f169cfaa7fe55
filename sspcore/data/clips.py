"""Clips: prepared pieces of video, read frame by frame at the size that is asked for.

On disk a clip is a folder: `clip.json`, `frames/NNNNNN.png|jpg|webp` and `labels/NNNNNN.png` (class ids, 255 ignored), both
named by the source frame's number. Labels have the release's size, so that they are resized once, to the size they are
used at.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.files import read_json
from sspcore.core.images import Interpolation, read_grey, read_rgb, resize_frame, resize_labels
from sspcore.core.paths import SAMPLE, Workspace
from sspcore.core.store import KEY_FILE, stable_hash
from sspcore.core.types import Size
from sspcore.data.datasets import SPECS
from sspcore.data.releases import natural_order

_CLASSES = TypeAdapter(ClassSpec)
_AGAIN = "delete {} and run sspcore prepare again"


class FrameCache:
    """Decoded, resized frames in memory, least recently used dropped first, at most `budget_mb` megabytes."""

    def __init__(self, budget_mb: int) -> None:
        self._budget = budget_mb * 2**20
        self._used = 0
        self._frames: OrderedDict[tuple[Path, Size | None, Interpolation], np.ndarray] = OrderedDict()

    def get(self, path: Path, size: Size | None, how: Interpolation = "area") -> np.ndarray:
        """(H, W, 3) uint8 RGB of the file, resized to `size` (see `resize_frame`); None: as it is."""
        key = (path, size and tuple(size), how)
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        frame = read_rgb(path) if size is None else resize_frame(read_rgb(path), size, how)
        frame.setflags(write=False)
        self._frames[key] = frame
        self._used += frame.nbytes
        while self._used > self._budget and self._frames:
            self._used -= self._frames.popitem(last=False)[1].nbytes
        return frame


@dataclass(frozen=True)
class Clip:
    """One clip. Frames are addressed by their position 0 .. len-1 in the clip.

    Attributes:
        folder: where it lies.
        spec: the classes of its labels.
        split, sequence: origin; the name is `<sequence>_<first source frame>`.
        numbers: source frame number of every frame.
        labelled: positions that have a label.
        stored_size: (H, W) of frames on disk.
        suffix: ".png", ".jpg" or ".webp".
        interpolation: how frames are resized when they are read (see `resize_frame`).
        cache: shared by the clips of a set.
    """

    folder: Path
    spec: ClassSpec
    split: str
    sequence: str
    numbers: tuple[int, ...]
    labelled: tuple[int, ...]
    stored_size: Size
    suffix: str
    interpolation: Interpolation
    cache: FrameCache

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def place(self) -> str:
        """Path below that of the data set: one name may be in both splits."""
        return f"{self.split}/{self.name}"

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Frames (H, W, 3) uint8 RGB as stored, each with its label (H, W) uint8, None where there is none."""
        labelled = set(self.labelled)
        for k in range(len(self)):
            yield self.frame(k, self.stored_size), self.label(k, self.stored_size) if k in labelled else None

    def frame(self, position: int, size: Size) -> np.ndarray:
        """(H, W, 3) uint8 RGB (read-only)."""
        return self.cache.get(self.folder / "frames" / f"{self.numbers[position]:06d}{self.suffix}", size, self.interpolation)

    def key(self, position: int) -> str:
        """Name of the frame in the cache of motion, whose folder carries the key of the data set."""
        return f"{position:04d}"

    def label(self, position: int, size: Size) -> np.ndarray:
        """(H, W) uint8 class ids, 255 ignored. Raises ArtefactError if that frame has no label."""
        if position not in self.labelled:
            raise ArtefactError(f"clip {self.name}: frame {position} has no label; labelled are {self.labelled}")
        return resize_labels(read_grey(self.folder / "labels" / f"{self.numbers[position]:06d}.png"), size)


def clip_name(sequence: str, number: int) -> str:
    """Name of the clip of a sequence that begins with frame `number`, which is that of its folder.

    Letters, digits, ".", "_" and "-" are kept. Of any other name a mark makes clear that no two are spelt alike.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", sequence):
        plain = unicodedata.normalize("NFKD", sequence).encode("ascii", "ignore").decode()
        sequence = "-".join([*re.findall(r"[A-Za-z0-9_]+", plain), stable_hash(sequence)[:6]])
    return f"{sequence}_{number:06d}"


def load_dataset(name: Path | str, split: str = "val") -> list[Clip]:
    """Prepared clips by name: `for clip in load_dataset("sample"): for frame, label in clip: ...`.

    Args:
        name: "sample" (the packaged clip), a folder of prepared clips, or profile and data set ("demo/uavid").
        split: "train" or "val".
    Raises: ArtefactError if there are none.
    """
    folder = SAMPLE / "clips" if name == "sample" else Path(name)
    if isinstance(name, str) and name.count("/") == 1 and not folder.is_dir():
        profile, dataset = name.split("/")
        folder = Workspace(profile).clips(dataset)
    return load_clips(folder, split)


def load_clips(folder: Path, split: str, cache_mb: int = 512) -> list[Clip]:
    """The clips of a split ("train" or "val") of a prepared data set, ordered by name.

    Raises: ArtefactError if the data set is not prepared or the split is empty.
    """
    if not (folder / KEY_FILE).is_file():
        raise ArtefactError(
            f"{folder}: no prepared clips here; make them with sspcore prepare, or give another folder of clips, "
            '"sample", or profile and data set as in "demo/uavid"'
        )
    cache = FrameCache(cache_mb)
    clips = []
    for path in sorted((folder / split).glob("*/clip.json")):
        record = read_json(path)
        try:
            numbers, labelled, size = (tuple(record[name]) for name in ("frames", "labelled", "size"))
            clip = Clip(
                path.parent, _classes_of(record), record["split"], record["sequence"], numbers, labelled, size,
                record["suffix"], record["interpolation"], cache,
            )
            whole = len(clip) > 0 and all(0 <= k < len(clip) for k in clip.labelled)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: not the record of a clip ({error!r}); {_AGAIN.format(folder)}") from error
        if not whole:
            raise ArtefactError(f"{path}: has {len(clip)} frames, labels at {clip.labelled}; {_AGAIN.format(folder)}")
        clips.append(clip)
    if not clips:
        others = ", ".join(sorted({path.parent.parent.name for path in folder.glob("*/*/clip.json")})) or "none"
        raise ArtefactError(f"{folder}: no clips of the split {split!r}, but of {others}; check the release and the clip rules")
    return clips


def _classes_of(record: dict[str, Any]) -> ClassSpec:
    """The classes of a clip by its record; older records name one of the packaged data sets."""
    return _CLASSES.validate_python(record["classes"]) if "classes" in record else SPECS[record["dataset"]]


def hold_out(clips: list[Clip], count: int, split: str, fold: int = 0) -> list[Clip]:
    """Training clips without those of one fold of `count` sequences ("train"), or these alone ("val").

    Fold 0 is the last `count` sequences by name, fold 1 those before, and so on; folds share no sequence.

    Raises: ProfileError if no sequence would be left to train on, or if there is no such fold.
    """
    sequences = sorted({clip.sequence for clip in clips}, key=natural_order)
    if count >= len(sequences):
        raise ProfileError(f"held_out: {count} of {len(sequences)} training sequences leave none to train on")
    folds = len(sequences) // count
    if fold >= folds:
        raise ProfileError(
            f"held_out_fold: {fold}: the last fold of {count} among {len(sequences)} training sequences is {folds - 1}; "
            "take that or a lower one"
        )
    end = len(sequences) - fold * count
    scored = set(sequences[end - count:end])
    return [clip for clip in clips if (clip.sequence in scored) == (split == "val")]


def class_shares(clips: list[Clip], spec: ClassSpec, size: tuple[int, int]) -> dict[str, float]:
    """Share of each class in the labelled pixels of all labelled frames (ignored pixels left out)."""
    counts = np.zeros(256, np.int64)
    for clip in clips:
        for position in clip.labelled:
            counts += np.bincount(clip.label(position, size).ravel(), minlength=256)
    labelled = max(1, int(counts[:IGNORE].sum()))
    return {name: float(counts[i] / labelled) for i, name in enumerate(spec.classes)}


def summary(clips: list[Clip]) -> dict[str, int]:
    """Number of sequences, clips, frames and labelled frames."""
    return {
        "sequences": len({clip.sequence for clip in clips}),
        "clips": len(clips),
        "frames": sum(len(clip) for clip in clips),
        "labelled frames": sum(len(clip.labelled) for clip in clips),
    }
