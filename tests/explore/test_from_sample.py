"""The explorers of the packaged sample: what they show is what the sample's network and clip say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.core.types import VideoState
from sspcore.explore import sample_motion, sample_systems
from sspcore.models.ssp import SSPState
from sspcore.report.sample import ALONE, SYSTEM, open_sample


@pytest.fixture(scope="module")
def sample():
    return open_sample()


def test_systems_of_the_sample(sample):
    truth = [sample.clip.label(k, sample.size) for k in range(24)]
    alphas = [torch.full((1, 1, *sample.size), k / 24) for k in range(24)]
    nothing = torch.empty(0)
    states = {ALONE: [VideoState()] * 24, SYSTEM: [SSPState(nothing, nothing, alpha) for alpha in alphas]}
    results = {
        name: [SimpleNamespace(labels=labels, state=state) for labels, state in zip(truth, of_frames, strict=True)]
        for name, of_frames in states.items()
    }
    explorer = sample_systems(sample, results)
    assert explorer.first() == {"clip": 0, "frame": 12, "left": ALONE, "right": SYSTEM}
    alone, ssp = (explorer.track(0, name) for name in (ALONE, SYSTEM))
    assert alone.alpha is None and (ssp.alpha[12] == 0.5).all()
    assert (ssp.miou == 1).all() and 0.9 < np.nanmean(ssp.tc) < 1  # exact labels; estimated flow is not
    titles = {panel.title: panel for panel in explorer.panels(**explorer.first())}
    assert titles["truth"].note == "exact" and "mean 0.50" in titles[f"{SYSTEM}: alpha"].note and "rendered" in explorer.origin


def test_motion_of_the_sample(sample):
    explorer = sample_motion(sample)
    view = explorer.view(**explorer.first())
    assert explorer.first()["estimator"] == sample.config.flow and view.registration.ok
    assert np.array_equal(view.current, sample.frames()[12])
    differences = [np.abs(warped - view.current.astype(float)).mean() for warped in (view.warped, view.previous)]
    assert differences[0] < 0.5 * differences[1], "the flow does not lead to the frame before"
    notes = {panel.title: panel.note for panel in explorer.panels(**explorer.first())}
    assert "see chapter 02" in notes["exact occlusion"]
