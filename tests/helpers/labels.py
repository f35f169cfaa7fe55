"""Label files in the forms that labelling tools write, made by hand, and a small data set that they fit."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sspcore.data.datasets import DatasetSpec

ROAD, CAR = 0, 1


def labels_spec(labels: dict[str, Any], unlabelled: str | None = None) -> DatasetSpec:
    """Two classes, road and car; street is road, sky is ignored."""
    return DatasetSpec(
        "two", "Two", ("road", "car"), ((9, 9, 9), (0, 0, 200)), ("car",),
        files={"video": "{sequence}.mp4", "labels": "{sequence}/{frame}.png"}, labels=labels, validation_share=0.25,
        label_classes={"street": "road", "sky": None}, unlabelled=unlabelled,
    )


def write_labelme(path: Path, shapes: list[dict[str, Any]], size: tuple[int, int] | None) -> Path:
    """A LabelMe file of shapes given as its entries."""
    sides = {} if size is None else {"imageHeight": size[0], "imageWidth": size[1]}
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.jpg", "imageData": None}
    path.write_text(json.dumps(content | sides))
    return path


def polygon(label: str, *points: tuple[float, float], kind: str = "polygon") -> dict[str, Any]:
    """A shape of LabelMe."""
    return {"label": label, "points": [list(point) for point in points], "group_id": None, "shape_type": kind, "flags": {}}


def mask_shape(label: str, left: int, top: int, mask: np.ndarray) -> dict[str, Any]:
    """A mask of LabelMe, (h, w) of 0 and 1, at a pixel."""
    data = base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes()).decode()
    last = (left + mask.shape[1] - 1, top + mask.shape[0] - 1)
    return polygon(label, (left, top), last, kind="mask") | {"mask": data}


def write_coco(
    path: Path, objects: list[dict[str, Any]], size: tuple[int, int], names: dict[int, str],
    images: tuple[str, ...] = ("a.jpg",),
) -> Path:
    """A COCO file; an object without image_id is of the first image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "images": [{"id": k + 1, "file_name": name, "height": size[0], "width": size[1]} for k, name in enumerate(images)],
        "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in names.items()],
        "annotations": [{"id": k + 1, "image_id": 1, "iscrowd": 0} | each for k, each in enumerate(objects)],
    }))
    return path
