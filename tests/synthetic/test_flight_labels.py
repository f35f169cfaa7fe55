"""The rendered flight's labels in every form that tools export: each form is read as the same class ids."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from sspcore.core.classes import IGNORE
from sspcore.data.annotations import coco, labelme, read_label_image
from sspcore.data.annotations.cvat import read_labelmap
from sspcore.data.datasets import DatasetSpec, open_dataset
from sspcore.synthetic import FlightSettings, render_flight
from sspcore.synthetic.flight import NAMES

SIZE = (96, 160)
MERGED = {"street": "ground", "greenery": "ground", "water": "ground", "building": "building", "car": "car", "person": None}


@pytest.fixture(scope="module")
def flight(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """The folder, and the exact ids of its only labelled frame."""
    root = tmp_path_factory.mktemp("flight")
    settings = FlightSettings(size=SIZE, frames=1, labelled_every=1, seed=2)
    folder = render_flight(root / "flight", settings, truth=root / "truth")
    return folder, cv2.imread(str(root / "truth/000000.png"), cv2.IMREAD_GRAYSCALE)


def described(folder: Path, labels: object, **more: object) -> DatasetSpec:
    content = {
        "classes": ["ground", "building", "car"], "labels": labels, "label_classes": MERGED,
        "files": {"video": "flight.mp4", "labels": "labels/{frame}.png"},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(content | more))
    return open_dataset(folder)


def merged(ids: np.ndarray) -> np.ndarray:
    """Ids of `NAMES` as those of the three classes."""
    table = np.full(256, IGNORE, np.uint8)
    numbers = {"ground": 0, "building": 1, "car": 2, None: IGNORE}
    table[:len(NAMES)] = [numbers[MERGED[name]] for name in NAMES]
    return table[ids]


def test_cvat_masks(flight):
    folder, ids = flight
    colours = {name: list(colour) for name, colour in read_labelmap(folder / "labels/labelmap.txt").items() if name in NAMES}
    read = read_label_image(folder / "labels/SegmentationClass/frame_000000.png", described(folder, colours))
    assert np.array_equal(read, merged(ids)) and set(np.unique(read)) == {0, 1, 2, IGNORE}


def test_coco_runs(flight, tmp_path):
    folder, ids = flight
    annotations = []
    for k in range(len(NAMES)):
        columns = (ids == k).T.ravel().astype(np.int8)
        edges = np.flatnonzero(np.diff(columns, prepend=0)).tolist()  # the first run is of pixels outside
        counts = np.diff([0, *edges, columns.size]).tolist()
        annotations.append({
            "id": k, "image_id": 7, "category_id": k + 1, "iscrowd": 1, "segmentation": {"counts": counts, "size": list(SIZE)},
        })
    (tmp_path / "instances.json").write_text(json.dumps({
        "images": [{"id": 7, "file_name": "frame_000000.PNG", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)], "annotations": annotations,
    }))
    read = coco.read(tmp_path / "instances.json", "frame_000000.PNG", described(folder, list(NAMES)), SIZE)
    assert np.array_equal(read, merged(ids))


def test_labelme_polygons(flight, tmp_path):
    folder, ids = flight
    shapes, enlarged = [], 4  # contours run through pixels: of a larger picture they pass closer to the edge
    for k, name in enumerate(NAMES):
        mask = cv2.resize((ids == k).astype(np.uint8), None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_NEAREST)
        for contour in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
            points = (contour[:, 0] + 0.5) / enlarged
            shapes.append((cv2.contourArea(contour), {"label": name, "shape_type": "polygon", "points": points.tolist()}))
    shapes = [shape for _, shape in sorted(shapes, key=lambda each: -each[0])]  # what lies on top comes later
    (tmp_path / "frame.json").write_text(json.dumps({"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}))
    read = labelme.read(tmp_path / "frame.json", described(folder, list(NAMES)), SIZE)
    assert (read == merged(ids)).mean() > 0.99
