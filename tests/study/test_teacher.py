"""Both readings of M_occ are judged by exact occlusion, in both directions of each pair, by hand-made motion."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sspcore.study import teacher

SIZE = (4, 8)


class Flows:
    """A camera that pans: 3 px to the right from frame to frame; still in the last pair."""

    def between(self, clip, source, target):
        flow = torch.zeros(2, *SIZE)
        flow[0] = 3.0 * (source - target) if max(source, target) < 2 else 0.0
        return flow


def study_of(truth: str | None) -> SimpleNamespace:
    return SimpleNamespace(
        truth_root=lambda dataset: truth, profile=SimpleNamespace(input_size=SIZE), fusion_flows=lambda dataset: Flows(),
        clips=lambda dataset, split: [range(4)],
    )


def test_precision_recall_and_f1_by_hand(monkeypatch):
    asked = []

    def exact_motion(truth, clip, source, target, size):
        """Three columns leave the view from frame 1 back to 0, three from 0 on to 1, and one pixel is hidden besides."""
        asked.append((source, target))
        hidden = torch.zeros(SIZE, dtype=torch.bool)
        if source == 1:
            hidden[:, -3:] = True
        elif source == 0:
            hidden[:, :3] = True
            hidden[0, 5] = True
        return Flows().between(clip, source, target), hidden

    monkeypatch.setattr(teacher, "exact_motion", exact_motion)
    scores = teacher.occlusion_scores(study_of("truth"), "uavid")
    assert sorted(asked) == [(0, 1), (1, 0), (2, 3), (3, 2)]
    # followed: what leaves the view, 24 of 25 pixels; same pixel: the fields cancel everywhere, nothing is found
    assert scores["followed: precision"] == 1 and scores["followed: recall"] == pytest.approx(24 / 25)
    assert scores["followed: F1"] == pytest.approx(2 * 24 / (24 + 25))
    assert scores["same-pixel: recall"] == scores["same-pixel: F1"] == 0


def test_real_data_has_nothing_to_judge_by():
    assert teacher.occlusion_scores(study_of(None), "uavid") is None
