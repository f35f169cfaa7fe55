"""Where class maps go: an overlay video, PNG masks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.classes import colourise
from sspcore.core.errors import SspError
from sspcore.core.images import write_png
from sspcore.data.datasets import DatasetSpec
from sspcore.inference.pipeline import Consumer


@contextmanager
def overlay_video(path: Path, classes: DatasetSpec, fps: float, opacity: float = 0.45) -> Iterator[Consumer]:
    """A consumer that draws the classes over the frames into an mp4, which is complete when the block is left.

    Raises: SspError if the video cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial.mp4")
    writers: list[cv2.VideoWriter] = []

    def consume(number: int, image: np.ndarray, class_map: np.ndarray) -> None:
        if not writers:
            height, width = class_map.shape
            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise SspError(f"{path}: cannot be written as mp4; is the folder writable?")
            writers.append(writer)
        drawn = cv2.addWeighted(image, 1 - opacity, colourise(class_map, classes), opacity, 0)
        writers[0].write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))

    try:
        yield consume
    finally:
        for writer in writers:
            writer.release()
            os.replace(temporary, path)


def mask_folder(folder: Path) -> Consumer:
    """A consumer that writes class maps as grey PNG, named by the frame's number in the source."""
    folder.mkdir(parents=True, exist_ok=True)

    def consume(number: int, image: np.ndarray, class_map: np.ndarray) -> None:
        write_png(folder / f"{number:06d}.png", class_map)

    return consume
