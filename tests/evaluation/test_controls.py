"""Controls and what is worked out over rows of metrics, against values by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.core.images import write_image
from sspcore.evaluation import controls
from sspcore.metrics import METRICS

TRUTH = "Ground truth"


def test_carried_labels_follow_the_flow_and_are_filled_where_the_view_is_new(tmp_path):
    maps = [np.full((4, 6), k, np.uint8) for k in range(3)]
    maps[0][:, 3:] = 7
    (tmp_path / "clip").mkdir()
    for k, labels in enumerate(maps):
        write_image(tmp_path / "clip" / f"{k:06d}.png", labels)

    class Clip:
        name, numbers = "clip", (0, 1, 2)

        def __len__(self):
            return 3

    pan = torch.zeros(2, 4, 6)
    pan[0] = 2  # the camera moves right: a pixel lies 2 px further right in the frame before
    out = list(controls.carried(tmp_path, Clip(), SimpleNamespace(between=lambda clip, k, j: pan)))
    assert [labels[0].tolist() for labels in out] == [[0, 0, 0, 7, 7, 7], [0, 7, 7, 7, 1, 1], [7, 7, 1, 1, 2, 2]]


def made_row(name: str, kind: str, **values: float | None) -> dict:
    return {"system": name, "kind": kind} | dict.fromkeys(METRICS) | values


def test_rank_correlation_by_hand():
    made = [
        made_row("a", "image", tc=0.1, miou=0.5, flicker=0.3, lag=1.0),
        made_row("b", "image", tc=0.2, miou=0.5, flicker=0.2, lag=1.0),
        made_row("c", "image", tc=0.3, miou=0.9, flicker=0.1, lag=1.0),
        made_row("d", "control", tc=0.9, miou=0.1, flicker=0.0, lag=None),
    ]
    matrix = controls.rank_correlation(made, ("tc", "miou", "flicker", "lag", "vc8"))
    # ranks of tc: 1 2 3 4; of miou, ties shared: 2.5 2.5 4 1
    expected = np.corrcoef([1, 2, 3, 4], [2.5, 2.5, 4, 1])[0, 1]
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(expected)
    assert matrix[0, 2] == pytest.approx(1)  # less flicker is better
    assert np.isnan(matrix[3]).all() and np.isnan(matrix[4]).all()  # no spread, never scored


def test_advantage_is_over_the_best_student_and_turned_the_right_way():
    made = [
        made_row("Teacher", "image", tc=0.99, flicker=0.0),
        made_row("Base", "image", tc=0.6, flicker=0.2, miou=0.5),
        made_row("SSP", "video", tc=0.7, flicker=0.3, miou=0.6),
        made_row("Constant alpha 0.5", "control", tc=0.8, flicker=0.25, miou=0.6),
        made_row(TRUTH, "truth", tc=0.9, flicker=0.0),
    ]
    gains = controls.advantage(made)
    assert list(gains) == ["Constant alpha 0.5"]
    found = gains["Constant alpha 0.5"]
    assert (found["tc"], found["flicker"], found["miou"]) == pytest.approx((0.1, -0.05, 0.0))
    assert np.isnan(found["vc8"])
    assert all(np.isnan(value) for value in controls.advantage(made[3:4])["Constant alpha 0.5"].values())


def test_flow_sensitivity_is_the_largest_span_of_one_system():
    made = {
        "exact": [made_row("Base", "image", tc=0.6), made_row("SSP", "video", tc=0.9), made_row(TRUTH, "truth", tc=0.1)],
        "dis-fast": [made_row("Base", "image", tc=0.5), made_row("SSP", "video", tc=0.88), made_row(TRUTH, "truth", tc=0.9)],
    }
    found = controls.flow_sensitivity(made)
    assert found["tc"] == pytest.approx(0.1) and np.isnan(found["lag"])
