"""Drift: streams scored position by position, for hand-made label maps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.data.datasets import UAVID
from sspcore.study.recurrence import drift, scores_by_position

SIZE = (8, 12)
LENGTH = 6
NONE, ALL = None, np.zeros(SIZE, np.uint8)
STILL = np.zeros((2, *SIZE), np.float32)


def moments(*labelled: int, clips: int = 2):
    """Six frames of one class in so many clips, known at the positions given, without movement."""
    return [([ALL if k in labelled else NONE] * clips, [STILL if k else None] * clips) for k in range(LENGTH)]


def test_each_position_is_scored_apart_and_only_what_is_known():
    right, half = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    half[:, SIZE[1] // 2:] = 1
    worse = [right, right, half, half, half, half]
    late = [None, None, None, right, right, right]
    scores = scores_by_position(moments(0, 5), {"worse": [worse] * 2, "late": [late] * 2}, UAVID.n_classes)
    assert np.isnan(scores["worse"]["miou"]).tolist() == [False, True, True, True, True, False]
    assert scores["worse"]["miou"][0] == 1 and scores["worse"]["miou"][5] == pytest.approx(0.25)  # class 0: half, class 1: none
    assert scores["worse"]["changed"][1:].tolist() == [0, 0.5, 0, 0, 0] and np.isnan(scores["worse"]["changed"][0])
    assert np.isnan(scores["late"]["miou"][0]) and scores["late"]["miou"][5] == 1
    assert np.isnan(scores["late"]["changed"]).tolist() == [True] * 4 + [False] * 2  # its first frame has none before it


def test_positions_with_few_labels_are_left_out():
    known = [([ALL, NONE, NONE], [STILL if k else None] * 3) for k in range(LENGTH)]
    scores = scores_by_position(known, {"s": [[ALL] * LENGTH] * 3}, UAVID.n_classes)
    assert np.isnan(scores["s"]["miou"]).all()


class Clip:
    labelled = (0, 5)

    def __len__(self):
        return LENGTH

    def label(self, position, size):
        return ALL


@pytest.fixture
def study():
    """Label maps of one class; a stream that starts late has the class of its position."""
    return SimpleNamespace(
        profile=SimpleNamespace(input_size=SIZE, metric_flow="exact", constant_alphas=[0.9, 0.3, 0.5, 0.7]),
        truth_root=lambda dataset: None, spec=lambda dataset: UAVID, clips=lambda dataset, split: [Clip(), Clip()],
        flows=lambda dataset, estimator: SimpleNamespace(between=lambda *_: torch.from_numpy(STILL)),
        label_maps=lambda name, dataset, clip: [ALL] * LENGTH, model=lambda name, dataset: None,
        stream=lambda model, name, dataset, clip, start: (
            SimpleNamespace(labels=np.full(SIZE, k, np.uint8)) for k in range(start, LENGTH)
        ),
    )


def test_drift_needs_a_recurrent_system_and_its_image_model(study):
    assert drift(study, "uavid", ["Base", "NetWarp"]) == {} and drift(study, "uavid", ["SSP"]) == {}


def test_the_middle_and_the_largest_constant_and_a_late_start_are_compared(study):
    scores = drift(study, "uavid", ["Base", "KD-SSP", "SSP"])
    late = "SSP, started again at frame 3"
    assert list(scores) == ["Base", "SSP", "Constant alpha 0.5", "Constant alpha 0.9", late]
    assert np.isnan(scores[late]["changed"]).tolist() == [True] * 4 + [False] * 2
    assert scores[late]["changed"][4:].tolist() == [1, 1] and scores[late]["miou"][5] == 0 and scores["SSP"]["miou"][5] == 1
    study.profile.constant_alphas = []
    assert list(drift(study, "uavid", ["Base", "SSP"])) == ["Base", "SSP", late]
