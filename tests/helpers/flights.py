"""A data set of one's own, made by hand: short videos, a few labels as grey images, stills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from helpers.media import texture, write_rgb, write_video

SIZE = (90, 120)  # of its frames: 4:3, which is the shape of no profile
CLASSES = {"ground": [120, 90, 60], "tree": [0, 110, 30], "car": [150, 0, 200]}


def scene(n: int, seed: int, size: tuple[int, int] = SIZE) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """n frames of a panning camera over a ground with a wood, and their label maps (H, W)."""
    height, width = size
    wide = texture((height, width + 2 * n), seed)
    labels = np.zeros(wide.shape[:2], np.uint8)
    labels[:, width // 2:], labels[height // 3: height // 2, width // 4: width // 3] = 1, 2
    tinted = (wide // 2 + np.array([[90, 60, 30], [0, 90, 20], [120, 0, 120]], np.uint8)[labels]).astype(np.uint8)
    return [tinted[:, 2 * k: 2 * k + width] for k in range(n)], [labels[:, 2 * k: 2 * k + width] for k in range(n)]


def write_flight(
    folder: Path, videos: dict[str, tuple[int, ...]] | None = None, stills: int = 0, size: tuple[int, int] = SIZE,
    **settings: object,
) -> Path:
    """Write a data set and return its dataset.yaml.

    Args:
        videos: name -> numbers of its labelled frames; every video has 14 frames.
        stills: how many single labelled images there are, still0, still1, ...
        settings: of dataset.yaml, added or in place of the usual ones.
    """
    videos = {"first": (0, 5, 9), "second": (4, 12)} if videos is None else videos
    for seed, (name, numbers) in enumerate(videos.items()):
        frames, labels = scene(14, seed, size)
        write_video(folder / "flights" / f"{name}.mp4", frames)
        for number in numbers:
            write_rgb(folder / "labels" / name / f"{number:06d}.png", labels[number])
    for seed in range(stills):
        (frame,), (label,) = scene(1, 10 + seed, size)
        write_rgb(folder / "stills" / f"still{seed}.png", frame)
        write_rgb(folder / "stills_labels" / f"still{seed}.png", label)
    files = {"video": "flights/{sequence}.mp4", "labels": "labels/{sequence}/{frame}.png"} if videos else {}
    if stills:
        files |= {"stills": "stills/{still}.png", "still_labels": "stills_labels/{still}.png"}
    content = {"title": "Test flight", "classes": CLASSES, "moving": ["car"], "files": files, "validation": ["second"]}
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(content | settings, sort_keys=False), encoding="utf-8")
    return path
