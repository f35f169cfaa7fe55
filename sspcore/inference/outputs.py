"""Where class maps go: an overlay video, PNG masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.classes import ClassSpec, colourise
from sspcore.core.errors import SspError
from sspcore.core.files import atomic_file
from sspcore.core.images import write_image

Consumer = Callable[[int, np.ndarray, np.ndarray], None]  # of a frame's number, image and class map


@contextmanager
def overlay_video(path: Path, classes: ClassSpec, fps: float, opacity: float = 0.45) -> Iterator[Consumer]:
    """A consumer that draws the classes over the frames into an mp4, which is at `path` when the block ends well.

    Raises: SspError if the video cannot be written. After an error nothing is left, and a former file is as it was.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial.mp4")
    writer = None

    def consume(number: int, image: np.ndarray, class_map: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)  # not before there is a frame to write
            height, width = class_map.shape
            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise SspError(f"{path}: cannot be written as mp4; is the folder writable?")
        drawn = cv2.addWeighted(image, 1 - opacity, colourise(class_map, classes), opacity, 0)
        writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))

    try:
        yield consume
        if writer is not None:
            writer.release()
            os.replace(temporary, path)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)


@contextmanager
def writers(out: Path | None, masks: Path | None, classes: ClassSpec, fps: float) -> Iterator[list[Consumer]]:
    """Consumers for an overlay video at `out` and class maps in the folder `masks`, as far as they are given."""
    consumers = [] if masks is None else [mask_folder(masks)]
    if out is None:
        yield consumers
        return
    with overlay_video(out, classes, fps) as overlay:
        yield [overlay, *consumers]


def mask_folder(folder: Path) -> Consumer:
    """A consumer that writes class maps as grey PNG, named by the frame's number in the source."""
    def consume(number: int, image: np.ndarray, class_map: np.ndarray) -> None:
        with atomic_file(folder / f"{number:06d}.png") as temporary:  # what a link leads to stays as it is
            write_image(temporary, class_map)

    return consume
