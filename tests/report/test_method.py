"""The method picture: right for hand-made tensors, and drawn without overlaps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch

from helpers.media import panning_frames
from sspcore.core.classes import IGNORE
from sspcore.core.types import Motion
from sspcore.data.datasets import UAVID
from sspcore.inference import Observed
from sspcore.models.ssp import SSP, SSPOptions
from sspcore.report import collect, method
from sspcore.report.captions import PICTURES

SIZE = (8, 12)
LENGTH = 6


class Clip:
    """Six frames of one class; frame 0 and 5 are labelled."""

    labelled = (0, 5)
    name = "clip"

    def __len__(self):
        return LENGTH

    def label(self, position, size):
        return np.zeros(SIZE, np.uint8)

    def frame(self, position, size):
        return np.full((*SIZE, 3), 40 * position, np.uint8)


class Still:
    def between(self, clip, source, target):
        return torch.zeros(2, *SIZE)


@pytest.fixture
def study():
    profile = SimpleNamespace(input_size=SIZE, metric_flow="exact", constant_alphas=[0.9, 0.3, 0.5, 0.7])
    return SimpleNamespace(
        profile=profile, truth_root=lambda dataset: None, flows=lambda dataset, estimator=None: Still(),
        spec=lambda dataset: UAVID, clips=lambda dataset, split: [Clip(), Clip()], input_size=lambda spec: SIZE, device="cpu",
        motion=lambda model, dataset, clip: lambda position, previous, current: Observed(Motion()),
    )


def test_features_share_one_basis_and_no_past_is_grey():
    rng = np.random.default_rng(0)
    feature = torch.from_numpy(rng.normal(size=(6, 4, 5)))
    shifted = feature.clone()
    shifted[:, :, 0] = 0
    first, second = method.feature_colours([feature, shifted])
    assert first.shape == (4, 5, 3) and first.dtype == np.uint8
    assert (second[:, 0] == method.NO_PAST).all() and np.array_equal(first[:, 1:], second[:, 1:])
    assert np.array_equal(method.feature_colours([feature, shifted])[0], first)


class Image(torch.nn.Module):
    """An image model of two classes whose logits are set by the test, frame by frame."""

    n_classes, feature_channels = 2, 3

    def __init__(self, logits):
        super().__init__()
        self.logits = iter(logits)

    def logits_and_features(self, frames):
        logits = torch.nn.functional.interpolate(next(self.logits), frames.shape[-2:], mode="nearest")
        return logits, torch.nn.functional.avg_pool2d(frames, 4)


def test_the_step_shown_is_the_one_that_the_past_changes_most(study):
    road, other = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    road[:, 0], other[:, 1] = 9.0, 1.0
    model = SSP(Image([road, road, road, other, road, road]), SSPOptions(similarity="constant", registration="identity")).eval()
    k, step = collect.most_corrected_step(study, "uavid", Clip(), model)
    assert k == 3 and step.corrected == 1 and (step.present == 1).all() and (step.output == 0).all()
    assert step.frames[0].mean() == 80 and step.frames[1].mean() == 120 and step.truth is None
    assert (step.alpha == 0.5).all() and (step.past == 0).all()


def drawn_step(truth: bool) -> method.Step:
    rng = np.random.default_rng(0)
    frames = panning_frames(2, 0)
    size = frames[0].shape[:2]
    labels = [rng.integers(0, 8, size).astype(np.uint8) for _ in range(4)]
    labels[1][:, :3] = IGNORE
    features = [torch.from_numpy(rng.normal(size=(6, size[0] // 4, size[1] // 4))) for _ in range(3)]
    return method.Step(
        (frames[0], frames[1]), (features[0], features[1]), features[2], labels[0], labels[1], labels[2], labels[3],
        rng.random(size), labels[0] if truth else None,
    )


@pytest.mark.parametrize("truth", [True, False])
def test_panels_titles_and_notes_of_the_method_picture_do_not_overlap(truth):
    picture = method.method_picture(drawn_step(truth), UAVID, "t")
    picture.draw_without_rendering()
    panels = [axes for axes in picture.axes if axes.images]
    assert len(panels) == (11 if truth else 10)
    ways = [np.subtract(*arrow._posA_posB) for arrow in picture.artists if isinstance(arrow, FancyArrowPatch)]
    assert len(ways) == 13 and sum(np.abs(way).min() > 1e-6 for way in ways) == 2  # from the rows above and below the output
    boxes = [axes.get_tightbbox() for axes in panels] + [text.get_window_extent() for text in picture.texts]
    boxes += [legend.get_window_extent() for legend in picture.legends]
    width, height = picture.get_size_inches() * picture.dpi
    for k, a in enumerate(boxes):
        assert a.x0 >= 0 and a.y0 >= 0 and a.x1 <= width and a.y1 <= height
        for b in boxes[k + 1:]:
            assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1)


def test_every_picture_says_what_to_see():
    for name, caption in PICTURES.items():
        assert caption.title and caption.text.endswith("."), name
        assert not caption.of_run or "What to see: " in caption.text, name
