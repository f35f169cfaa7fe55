"""The picture of a gate and the verdict on it, from motions and labels made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.core.classes import IGNORE
from sspcore.core.types import Motion
from sspcore.data.datasets import UAVID
from sspcore.models.spec import Gate
from sspcore.report import gates
from sspcore.study.gates import PUBLISHED, Pasts, least_wrong

SIZE, GATE = (32, 48), Gate(grid=4, threshold=0.5)
ORIGIN = "Smoke run on rendered data: no result."
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


@pytest.fixture
def study(monkeypatch):
    """By the homography the first four columns are wrong, by flow the first two; the last one has no past."""
    labels = np.ones(SIZE, np.uint8)
    by_homography, by_flow = labels.copy(), labels.copy()
    by_homography[:, :4], by_flow[:, :2] = 2, 2
    by_homography[:, -1] = by_flow[:, -1] = IGNORE
    # a match in the middle of each cell; those of the first column of cells are outliers, so that it takes the flow
    points = [(12 * c + 6, 8 * r + 4, float(c > 0)) for r in range(4) for c in range(4)]
    motion = Motion(torch.eye(3)[None], None, torch.tensor(points)[None])
    clip = SimpleNamespace(name="seq16_000", frame=lambda k, size: np.full((*SIZE, 3), 100, np.uint8))
    monkeypatch.setattr(gates, "most_moving", lambda study, dataset: (clip, 5))
    monkeypatch.setattr(gates, "pasts", lambda *arguments: iter([Pasts(labels, by_homography, by_flow, motion)]))
    return SimpleNamespace(
        profile=SimpleNamespace(input_size=SIZE), truth_root=lambda dataset: "truth", spec=lambda dataset: UAVID,
        data_origin=ORIGIN,
    )


def test_the_gate_s_picture(study):
    picture = gates.gate_picture(study, "uavid", GATE)
    panels = [axes for axes in picture.axes if axes.images]
    images = [axes.images[0].get_array() for axes in panels]
    notes = [text.get_text() for axes in panels for text in axes.texts]
    assert notes == ["8.51 % wrong", "4.26 % wrong", "4.26 % wrong"]  # 4 and 2 of 47 columns
    tinted = [np.ptp(image.astype(int), axis=-1).any(0) for image in images]  # columns that are not grey
    assert [columns.sum() for columns in tinted] == [12, 4, 2, 2]
    for image, colour in zip(images[:2], (BLUE, ORANGE), strict=True):
        assert np.argmax(image[0, 0]) == np.argmax(colour)
    assert ORIGIN in picture.get_suptitle() and "seq16_000, frame 5" in picture.get_suptitle()
    (legend,) = picture.legends
    meanings = ["cell whose past comes by flow", "the past names the wrong class"]
    assert [text.get_text() for text in legend.get_texts()] == meanings
    assert legend.get_title().get_text() == "% of the pixels with a known past"
    study.truth_root = lambda dataset: None
    assert gates.gate_picture(study, "uavid", GATE) is None


def test_no_strip_of_the_gate_s_picture_stays_empty(study):
    picture = gates.gate_picture(study, "uavid", GATE)
    picture.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in picture.axes] + [legend.get_window_extent() for legend in picture.legends]
    covered = np.zeros(round(picture.get_figheight() * picture.dpi), bool)
    for box in (*boxes, *(text.get_window_extent() for text in picture.texts), picture._suptitle.get_window_extent()):
        covered[max(0, int(box.y0)):int(np.ceil(box.y1))] = True
    empty = np.flatnonzero(np.diff(np.pad(~covered, 1).astype(int)))
    assert max(empty[1::2] - empty[::2], default=0) <= 0.25 * picture.dpi


def row(variant: str, miou: float, moving: float) -> dict:
    return {"variant": variant, "dataset": "uavid", "miou": miou, "miou_moving": moving}


@pytest.mark.parametrize("gate, words", [
    ((0.72, 0.55), "The gate brings more"), ((0.705, 0.53), "Flow everywhere, which the gate needs anyway, brings as much"),
    ((0.70, 0.55), "One is better in all classes"),
])
def test_the_verdict_follows_the_rows(gate, words):
    rows = [row("SSP", 0.70, 0.50), row("gate at inference", *gate), row("flow at inference", 0.71, 0.53)]
    said = gates.verdict(rows, "uavid")
    assert words in said and "flow everywhere by +1.00 mIoU and +3.00 of moving classes" in said
    assert said.count(". ") == 1 and said[-1] == "."
    assert gates.verdict(rows[:2], "uavid") == "" and gates.verdict(rows, "ruralscapes") == ""


def test_the_gate_that_is_wrong_least_often_is_not_the_published_one():
    shares = {"flow": 0.5, PUBLISHED: 1.0, "gate, a": 3.0, "gate, b": 2.0}
    assert least_wrong({name: {"wrong (%)": share} for name, share in shares.items()}) == ["gate, b"] and least_wrong({}) == []
    # a gate that chooses alike is no other one: here the median is the threshold of "gate, b"
    alike = {name: {"wrong (%)": share} for name, share in (shares | {"gate, b": shares[PUBLISHED]}).items()}
    assert least_wrong(alike) == ["gate, a"]
