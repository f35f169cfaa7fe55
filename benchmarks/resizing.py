"""What the way of resizing changes at a network's input: python benchmarks/resizing.py DIR_OR_VIDEO ... [--json FILE].

Frames are read as the published settings read them (stored at --stored by cubic, then Pillow's bilinear) and by other ways:
the mean difference in grey levels, and the share of pixels to which the packaged SSP, frame by frame at its own size, gives
another class. That model was trained on frames resized by area: on real frames it only shows how much a class map hangs on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import common
from sspcore.core.images import read_rgb, resize_frame
from sspcore.core.types import Size
from sspcore.inference import TorchBackend
from sspcore.models.checkpoint import load_checkpoint

STORED, SIZE = (1440, 2560), (736, 1280)
FRAMES = 8


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """FRAMES frames (H, W, 3) uint8 RGB at even distances, of a video or of a folder of images."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        yield from (read_rgb(file) for file in files[:: max(1, len(files) // FRAMES)][:FRAMES])
        return
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    for k in range(0, count, max(1, -(-count // FRAMES))):
        video.set(cv2.CAP_PROP_POS_FRAMES, k)
        read, image = video.read()
        if read:
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_by(image: np.ndarray, size: Size) -> dict[str, np.ndarray]:
    """A release's frame at the network's size by every way; "published" is that of training under the published settings."""
    stored = resize_frame(image, STORED, "cubic")
    linear = cv2.resize(stored, size[::-1], interpolation=cv2.INTER_LINEAR)
    return {
        "published": resize_frame(stored, size, "bilinear"), "stored, area": resize_frame(stored, size, "area"),
        "stored, OpenCV's linear": linear, "release, bilinear": resize_frame(image, size, "bilinear"),
        "release, area": resize_frame(image, size, "area"),
    }


def measure(path: Path, backend: TorchBackend) -> dict[str, Any]:
    """Means over the frames of one clip."""
    greys: dict[str, list[float]] = {}
    classes: dict[str, list[float]] = {}
    for image in frames_of(path):
        for size, values in ((SIZE, greys), (backend.size, classes)):
            ways = read_by(image, size)
            published = ways.pop("published")
            for name, frame in ways.items():
                if values is greys:
                    change = np.abs(frame.astype(np.int16) - published).mean()
                else:
                    labels = [backend.step(each, lambda: None).labels for each in (frame, published)]
                    change = np.mean(labels[0] != labels[1])
                values.setdefault(name, []).append(float(change))
    return {
        "frames": len(next(iter(greys.values()))), "release": list(image.shape[:2]),
        "grey_levels": {name: round(float(np.mean(values)), 2) for name, values in greys.items()},
        "share_of_labels": {name: round(float(np.mean(values)), 4) for name, values in classes.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser("resizing", description=__doc__.splitlines()[0])
    parser.add_argument("frames", nargs="+", type=Path, metavar="DIR_OR_VIDEO", help="named by their last two parts")
    parser.add_argument("--sources", type=Path, help="a JSON file, {clip: source and licence}")
    common.add_json(parser, "resizing")
    options = parser.parse_args(arguments)
    model, config = load_checkpoint("sample")
    sources = json.loads(options.sources.read_text(encoding="utf-8")) if options.sources else {}
    clips = {"/".join(path.resolve().with_suffix("").parts[-2:]): path for path in options.frames}
    report = {
        name: {"source": sources.get(name, "not stated"), **measure(path, TorchBackend(model, config.input_size))}
        for name, path in clips.items()
    }
    common.write({"stored": STORED, "grey_levels_at": SIZE, "labels_at": config.input_size, "clips": report}, options, "none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
