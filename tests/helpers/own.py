"""A data set of one's own, made by hand: videos, folders of images, stills and labels; a grey level tells each frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import ExifTags, Image

from helpers.media import write_rgb, write_video
from sspcore.data.datasets import DatasetSpec, open_dataset

SIZE = (48, 64)
LABEL = np.tile(np.repeat([0, 1], [24, 40]).astype(np.uint8), (SIZE[0], 1))


def shade(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture that tells its number, and which side is up: dark above."""
    image = np.full((*size, 3), 40 + 10 * (number % 20), np.uint8)
    image[: size[0] // 4] //= 2
    return image


def describe(root: Path, files: dict[str, str], **settings: Any) -> DatasetSpec:
    """Write a dataset.yaml with the classes road and car and open it."""
    content = {"title": "Own", "classes": ["road", "car"], "files": files} | settings
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return open_dataset(root)


def video(path: Path, n_frames: int = 12) -> None:
    """A video whose frames are `shade(0)`, `shade(1)`, ..."""
    write_video(path, [shade(number) for number in range(n_frames)])


def images(folder: Path, numbers: list[int], name: str = "{:06d}.png") -> None:
    """A folder of images, lossless."""
    for number in numbers:
        write_rgb(folder / name.format(number), shade(number))


def coco_file(path: Path, names: list[str], size: tuple[int, int] = SIZE) -> None:
    """A COCO file in which the left 24 columns of every image are road and the others car."""
    height, width = size
    boxes = ((1, [0, 0, 24, 0, 24, height, 0, height]), (2, [24, 0, width, 0, width, height, 24, height]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "images": [{"id": k, "file_name": name, "height": height, "width": width} for k, name in enumerate(names)],
        "categories": [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}],
        "annotations": [
            {"id": 2 * k + c, "image_id": k, "category_id": c, "segmentation": [box]}
            for k in range(len(names)) for c, box in boxes
        ],
    }))


def labelme_file(path: Path, size: tuple[int, int] = SIZE) -> None:
    """A LabelMe file with the same labels."""
    height, width = size
    shapes = [("road", [[0, 0], [24, height]]), ("car", [[24, 0], [width, height]])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imageHeight": height, "imageWidth": width, "shapes": [
        {"label": name, "points": corners, "shape_type": "rectangle"} for name, corners in shapes
    ]}))


def turned_jpeg(path: Path, upright: np.ndarray, orientation: int) -> None:
    """A JPEG that is stored on its side, with the note how to turn it (6: to the right, 8: to the left)."""
    stored = np.rot90(upright, 1 if orientation == 6 else -1)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(path, quality=95, exif=exif)


def label_png(path: Path, ids: np.ndarray = LABEL) -> None:
    """A grey label image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), ids)
