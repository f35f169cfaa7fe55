"""The frames of a data set: of video files, of folders of images, of stills; counted and read in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sspcore.core.images import read_rgb
from sspcore.core.types import Size
from sspcore.data.video import count_frames, read_through, read_video

WHOLE = (0.0, 1.0)
SAMPLED = 8  # videos, or stills, whose shape is looked at


@dataclass(frozen=True)
class Sequence:
    """One video, or one still, of a data set: its files, its split, and its label files by source frame number.

    Attributes:
        name, split: two sequences of one name and different splits share a video, see `span`.
        video: its file; the folder of a video whose frames are images; the image of a still.
        labels: label file of each labelled frame; frames of a video file are counted from 0.
        vdd: files of UAVid's second layer of labels.
        frames: images by number, where the video is no file.
        still: whether it is a single image, frame 0 of a video of one frame.
        span: which part of the video is of this split, from and to, in shares of its frames.
        entries: name of each labelled frame inside its label file (COCO).
        length: number of frames of a video file, where it has been read to its end; None: as its header says.
    """

    name: str
    split: str
    video: Path
    labels: dict[int, Path]
    vdd: dict[int, Path]
    frames: dict[int, Path] = field(default_factory=dict)
    still: bool = False
    span: tuple[float, float] = WHOLE
    entries: dict[int, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def files(self) -> list[Path]:
        """All its files, there or not."""
        pictures = [*self.frames.values()] or [self.video]
        return [*dict.fromkeys([*pictures, *self.labels.values(), *self.vdd.values()])]

    @property
    def is_there(self) -> bool:
        """Whether there is something to read frames from."""
        return bool(self.frames) or self.video.is_file()

    def numbers(self) -> list[int]:
        """Source numbers of the frames of its span, in order. Raises ReleaseError if the video cannot be opened."""
        every = sorted(self.frames) or range(count_frames(self.video) if self.length is None else self.length)
        first, end = (round(share * len(every)) for share in self.span)
        return list(every[first:end])

    def read(self, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, (H, W, 3) uint8 RGB) of the wanted frames, in order; one is in memory at a time.

        Raises: ReleaseError naming the file if a frame is missing or cannot be read.
        """
        if not self.frames:
            yield from read_video(self.video, wanted)
            return
        for number in sorted(wanted):
            yield number, read_rgb(self.frames[number])

    def look_through(self) -> dict[int, Size]:
        """(H, W) of every frame by its number, all of them read. Raises ReleaseError if one cannot be."""
        if not self.frames:
            n_frames, size = read_through(self.video)
            return dict.fromkeys(range(n_frames), size)
        return {number: image.shape[:2] for number, image in self.read(set(self.frames))}


def shape_givers(found: Iterable[Sequence]) -> list[Sequence]:
    """Those that the shape of a data set's frames is taken from: some videos, or some stills where there is no video."""
    found = list({each.video: each for each in found}.values())
    return ([each for each in found if not each.still] or found)[:SAMPLED]


def middle_shape(shapes: Iterable[Size]) -> Size:
    """The middle one (H, W) by the ratio of its sides."""
    ranked = sorted(shapes, key=lambda shape: shape[0] / shape[1])
    return ranked[len(ranked) // 2]
