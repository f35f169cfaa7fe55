"""Where results go: pictures of them into a video and onto a page, class maps into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from sspcore.core.classes import ClassSpec
from sspcore.core.images import resize_frame, resize_labels
from sspcore.export.device.class_maps import OPACITY, blended, colour_table
from sspcore.inference.encoding import video_file
from sspcore.inference.masks import mask_folder
from sspcore.inference.page import Page
from sspcore.inference.stream import Segmented

Consumer = Callable[[Segmented], None]
Picture = Callable[[Segmented], np.ndarray]  # what is shown of a result: (H, W, 3) uint8 RGB


def overlay(classes: ClassSpec, scale: float = 1.0, opacity: float = OPACITY) -> Picture:
    """A picture of a frame with its classes drawn over it, `scale` times the frame's size."""
    table = colour_table(classes.palette)

    def draw(result: Segmented) -> np.ndarray:
        size = scaled_size(result, scale)
        return blended(resize_frame(result.image, size), resize_labels(result.labels, size), table, opacity)

    return draw


def scaled_size(result: Segmented, scale: float) -> tuple[int, int]:
    """(H, W) of a result's image, `scale` times as large."""
    height, width = (max(1, round(side * scale)) for side in result.image.shape[:2])
    return height, width


@contextmanager
def overlay_video(path: Path, classes: ClassSpec, fps: float | None, picture: Picture | None = None) -> Iterator[Consumer]:
    """A consumer that draws results into a video (see `video_file`), which is at `path` when the block ends well.

    Args:
        fps: of the video; None: unknown.
        picture: what is drawn; default: the classes over the frames, at the frames' size.
    Raises: SspError if the video cannot be written. After an error nothing is left, and a former file is as it was.
    """
    draw = picture or overlay(classes)
    with video_file(path, fps) as add:
        yield lambda result: add(draw(result))


@contextmanager
def writers(
    out: Path | None, masks: Path | None, classes: ClassSpec, fps: float | None, picture: Picture | None = None,
    palette: bool = False, page: Page | None = None,
) -> Iterator[list[Consumer]]:
    """Consumers for a video at `out`, class maps in the folder `masks` and a page, as far as they are given.

    Args:
        picture: what the video and the page show; default: the classes over the frames.
        palette: whether class maps carry the classes' colours.
    """
    draw = picture or overlay(classes)
    with ExitStack() as stack:
        add = None if out is None else stack.enter_context(video_file(out, fps))

        def consume(result: Segmented) -> None:
            shown = page is not None and page.watched()
            if add is None and not shown:
                return
            image = draw(result)
            if add is not None:
                add(image)
            if shown:
                page.show(image)

        yield [consume] if masks is None else [consume, mask_folder(masks, classes if palette else None)]
