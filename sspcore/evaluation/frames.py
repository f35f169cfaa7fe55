"""The frames that label maps belong to: images in a folder, or a video; found by the names of the maps."""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sspcore.core.checksums import crc32
from sspcore.core.errors import SspError
from sspcore.core.images import read_rgb
from sspcore.data.layouts import IMAGE_SUFFIXES, MASK_LIST, number_of
from sspcore.data.releases import natural_order
from sspcore.data.video import count_frames
from sspcore.inference.sources import ANIMATIONS, open_source

_KEPT = 3  # decoded frames: the one at hand and its neighbours


class FrameFiles(Protocol):
    """Consecutive frames, addressed by their position."""

    path: Path

    def __len__(self) -> int: ...

    def positions(self, stems: Sequence[str], first: int | None) -> dict[str, int]:
        """Positions of the frames that files of these names belong to, without those that have none."""
        ...

    def read(self, position: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright."""
        ...

    def key(self, position: int) -> str:
        """Name that changes with the frame's content."""
        ...

    def shown(self, position: int) -> str:
        """Name of the frame, for people."""
        ...

    def is_called(self, position: int, stem: str) -> bool:
        """Whether a file of that name belongs to the frame without doubt."""
        ...


class ImageFolder:
    """Images, in natural order."""

    def __init__(self, path: Path) -> None:
        self.path, found = path, images(path, IMAGE_SUFFIXES)
        self.files = [found[stem] for stem in sorted(found, key=natural_order)]

    def __len__(self) -> int:
        return len(self.files)

    def positions(self, stems: Sequence[str], first: int | None) -> dict[str, int]:
        """By the same name; where no name is the same, by the last number in names."""
        own = {path.stem: position for position, path in enumerate(self.files)}
        same = {stem: own[stem] for stem in stems if stem in own}
        return same or _by_number(stems, {_number(stem): position for stem, position in own.items()})

    def read(self, position: int) -> np.ndarray:
        return read_rgb(self.files[position])

    def key(self, position: int) -> str:
        return f"{self.files[position].stem}-{crc32(self.files[position]):08x}"

    def shown(self, position: int) -> str:
        return self.files[position].name

    def is_called(self, position: int, stem: str) -> bool:
        return self.files[position].stem == stem


class VideoFile:
    """The frames of a video or an animation, decoded in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_source(path) as source:  # refuses what is no video
            drawn = path.suffix.lower() in (*IMAGE_SUFFIXES, *ANIMATIONS)
            self._frames = source.n_frames if drawn and source.n_frames else count_frames(path)
        self._content = f"{crc32(path):08x}"
        self._next, self._coming = 0, iter(())
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return self._frames

    def positions(self, stems: Sequence[str], first: int | None) -> dict[str, int]:
        """By the last number in names; `first` is that of the first frame.

        Without it that is 0; or, where as many names as frames are numbered on from another one, that one.
        """
        if first is None:
            numbers = sorted(number for stem in stems if (number := _number(stem)) is not None)
            whole = len(numbers) == len(self) and numbers[-1] - numbers[0] == len(self) - 1
            first = numbers[0] if whole else 0
        return _by_number(stems, {position + first: position for position in range(len(self))})

    def read(self, position: int) -> np.ndarray:
        if position not in self._kept:
            if position < self._next or not self._next:
                self._next, self._coming = 0, _decoded(self.path)
            while self._next <= position:
                frame = next(self._coming, None)
                if frame is None:
                    raise SspError(f"{self.path}: frame {self._next} cannot be decoded; cut the video in front of it")
                self._kept[self._next] = frame
                self._next += 1
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return self._kept[position]

    def key(self, position: int) -> str:
        return f"{position:06d}-{self._content}"

    def shown(self, position: int) -> str:
        return f"frame {position} of {self.path.name}"

    def is_called(self, position: int, stem: str) -> bool:
        return _number(stem) == position


def open_frames(folder: Path, clip: str) -> FrameFiles:
    """The frames of a clip: the folder of that name below `folder`, the video of that name in it, or `folder` itself for ""."""
    path = folder / clip
    if not path.exists() and folder.is_dir():
        path = next((file for file in sorted(folder.iterdir()) if file.is_file() and file.stem == clip), path)
    return VideoFile(path) if path.is_file() else ImageFolder(path)


def images(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Stem -> file of the images in a folder; hidden files are passed over. Raises SspError for two of one stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            if path.stem in found:
                raise SspError(f"{path}: {found[path.stem].name} lies beside it; keep one of the two")
            found[path.stem] = path
    return found


def counts_from_one(folder: Path) -> bool:
    """Whether masks are listed in their folder as of frames 0, 1, ... and are named 1, 2, ..., as FFmpeg counts."""
    if not (folder / MASK_LIST).is_file():
        return False
    with (folder / MASK_LIST).open(encoding="utf-8", newline="", errors="replace") as file:
        rows = [row for row in csv.reader(file) if len(row) == 2 and row[1].isdigit()]
    return bool(rows) and all(_number(Path(name).stem) == int(frame) + 1 for name, frame in rows)


def _number(stem: str) -> int | None:
    """The last number in a name."""
    digits = number_of(stem)
    return int(digits) if digits else None


def _by_number(stems: Sequence[str], positions: dict[int | None, int]) -> dict[str, int]:
    found = {stem: positions[number] for stem in stems if (number := _number(stem)) is not None and number in positions}
    return found if len(set(found.values())) == len(found) else {}


def _decoded(path: Path) -> Iterator[np.ndarray | None]:
    with open_source(path) as source:
        yield from source
