"""Rendered releases for reference_clips.py in the published layouts: small ones of odd lengths, and one of the real sizes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.images import read_image, write_image
from sspcore.core.types import Size
from sspcore.data.datasets import SPECS
from sspcore.data.footage import Sequence
from sspcore.data.releases import find_sequences
from sspcore.data.video import count_frames, read_video
from sspcore.synthetic import ReleaseSettings, render_release

SEED, QUARTER = 3, 4
PUBLISHED = {"uavid": (2160, 3840), "ruralscapes": (2160, 4096)}  # sizes of the real frames
SMALL = {
    "uavid": {"frames": 161, "frame_step": 1, "label_interval": 100, "train_sequences": 2},
    "ruralscapes": {"frames": 72, "frame_step": 5, "label_interval": 10, "train_sequences": 2},
}
LARGE = {
    "uavid": {"frames": 53, "frame_step": 1, "label_interval": 13, "train_sequences": 1},
    "ruralscapes": {"frames": 13, "frame_step": 5, "label_interval": 3, "train_sequences": 1},
}
# Frames that videos of the small case are cut to: a rest that is dropped as too short, and one that loses its only label.
SHORTER = {"uavid": {"seq2": 131}, "ruralscapes": {"DJI_0044": 333, "DJI_0051": 296}}


def cut_video(sequence: Sequence, frames: int) -> None:
    """Keep the first frames of a video, which is compressed again, and the labels that it still has."""
    images = [image for _, image in read_video(sequence.video, set(range(frames)))]
    _write_video(sequence.video, iter(images))
    for number in sequence.labels:
        if number >= frames:
            for files in (sequence.labels, sequence.vdd):
                if number in files:
                    files[number].unlink()


def _write_video(path: Path, frames: Iterator[np.ndarray]) -> None:
    kept = path.with_name(f"new_{path.name}")
    writer = None
    for image in frames:
        height, width = image.shape[:2]
        writer = writer or cv2.VideoWriter(str(kept), cv2.VideoWriter_fourcc(*"mp4v"), 20, (width, height))
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    kept.replace(path)


def enlarge(sequence: Sequence, size: Size) -> None:
    """Bring a rendered sequence to a size: frames by cubic interpolation with fine noise, labels with ragged edges."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (size[0] + 64, size[1] + 64, 3)).astype(np.float32)

    def larger() -> Iterator[np.ndarray]:
        for number, image in read_video(sequence.video, set(range(count_frames(sequence.video)))):
            y, x = 7 * number % 64, 11 * number % 64
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
            yield (image + noise[y: y + size[0], x: x + size[1]]).clip(0, 255).astype(np.uint8)

    _write_video(sequence.video, larger())
    jitter = rng.integers(-QUARTER // 2, QUARTER // 2 + 1, (2, *size))
    rows, columns = (
        ((np.arange(side).reshape(shape) + moved) // QUARTER).clip(0, side // QUARTER - 1)
        for side, shape, moved in zip(size, ((-1, 1), (1, -1)), jitter, strict=True)
    )
    for path in (*sequence.labels.values(), *sequence.vdd.values()):
        small = read_image(path)
        write_image(path, (cv2.cvtColor(small, cv2.COLOR_BGR2RGB) if small.ndim == 3 else small)[rows, columns])


def small_release(dataset: str, root: Path) -> Path:
    """The release of the case "small", rendered into `root` unless it is there."""
    release = _rendered(dataset, root / "small", SMALL[dataset], (96, 160))
    for sequence in find_sequences(release, SPECS[dataset]):
        frames = SHORTER[dataset].get(sequence.name)
        if frames is not None and count_frames(sequence.video) > frames:
            cut_video(sequence, frames)
    return release


def published_release(dataset: str, root: Path) -> Path:
    """The release of the case "published", rendered and enlarged into `root` unless it is there."""
    size, target = PUBLISHED[dataset], root / "published" / dataset
    if not target.is_dir():
        quarter = _rendered(dataset, root / "quarter", LARGE[dataset], (size[0] // QUARTER, size[1] // QUARTER))
        half_made = target.with_name(f"{dataset}.partial")
        shutil.rmtree(half_made, ignore_errors=True)
        shutil.copytree(quarter, half_made)
        for sequence in find_sequences(half_made, SPECS[dataset]):
            enlarge(sequence, size)
        half_made.rename(target)
    return target


def _rendered(dataset: str, root: Path, settings: dict[str, int], size: Size) -> Path:
    if not (root / dataset).is_dir():
        render_release(dataset, ReleaseSettings(size=size, val_sequences=1, fps=20, **settings), SEED, root, workers=2)
    return root / dataset
