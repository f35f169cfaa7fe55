"""Pictures of few bytes: PNG with fewer colours and pixels where a limit asks for it, and a still of a moving picture."""

from __future__ import annotations

import io
import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from sspcore.data.video import count_frames, read_video
from sspcore.inference.encoding import video_file

# Steps down: the greatest width in pixels, and the number of colours (None: all).
STEPS = (
    (1400, None), (1400, 256), (1200, 256), (1000, 256), (850, 256), (750, 256), (650, 128), (600, 128), (520, 128), (450, 64),
)


def within(room: int, pictures: Sequence[bytes]) -> list[bytes]:
    """Pictures as PNG, all a step smaller until they take at most `room` bytes together; what is left goes to the simple ones.

    At the last step they may take more.
    """
    encoded = cache(lambda k, step: _encoded(pictures[k], *STEPS[step]))

    def total(steps: Sequence[int]) -> int:
        return sum(len(encoded(k, step)) for k, step in enumerate(steps))

    common = bisect_left(range(len(STEPS) - 1), True, key=lambda step: total([step] * len(pictures)) <= room)
    steps = [common] * len(pictures)
    for k in sorted(range(len(pictures)), key=lambda k: len(encoded(k, common))):
        larger = [step - (other == k) for other, step in enumerate(steps)]
        if common and total(larger) <= room:
            steps = larger
    return [encoded(k, step) for k, step in enumerate(steps)]


def still(movie: bytes, suffix: str) -> bytes:
    """The middle frame of a moving picture as PNG. `suffix`: of its file, .gif or that of a video."""
    if suffix == ".gif":
        picture = Image.open(io.BytesIO(movie))
        picture.seek(picture.n_frames // 2)
        return _saved(picture.convert("RGB"))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / f"movie{suffix}"
        video.write_bytes(movie)
        (_, frame), *_ = read_video(video, {count_frames(video) // 2})
    return _saved(Image.fromarray(frame))


def write_video(gif: bytes, path: Path) -> None:
    """A moving picture as a video, which is smaller by far and can be stopped at any frame."""
    picture = Image.open(io.BytesIO(gif))
    with video_file(path, 1000 / picture.info.get("duration", 100)) as add:
        for k in range(picture.n_frames):
            picture.seek(k)
            add(np.asarray(picture.convert("RGB")))


def rgb(content: bytes) -> Image.Image:
    """A picture's bytes as RGB, on white where it is transparent."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _encoded(content: bytes, width: int, colours: int | None) -> bytes:
    picture = rgb(content)
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    if colours is not None:
        picture = picture.quantize(colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # keeps hues, a median cut not
    return _saved(picture)


def _saved(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
