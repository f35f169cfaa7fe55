"""The method picture and the drift picture: right for hand-made streams and tensors, and drawn without overlaps."""

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
from sspcore.report import drift, method
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


def test_courses_score_each_position_apart_and_only_what_is_known(study):
    right, half = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    half[:, SIZE[1] // 2:] = 1
    worse = [right, right, half, half, half, half]
    late = [None, None, None, right, right, right]
    courses = drift.courses_of(study, "uavid", [Clip(), Clip()], {"worse": [worse] * 2, "late": [late] * 2})
    assert np.isnan(courses["worse"].miou).tolist() == [False, True, True, True, True, False]  # labelled: 0 and 5
    assert courses["worse"].miou[0] == 1 and courses["worse"].miou[5] == pytest.approx(0.25)  # class 0: half, class 1: none
    assert courses["worse"].changed[1:].tolist() == [0, 0.5, 0, 0, 0] and np.isnan(courses["worse"].changed[0])
    assert np.isnan(courses["late"].miou[0]) and courses["late"].miou[5] == 1
    assert np.isnan(courses["late"].changed).tolist() == [True] * 4 + [False] * 2  # its first frame has none before it


def test_positions_with_few_labels_are_left_out(study):
    bare = Clip()
    bare.labelled = ()
    right = [np.zeros(SIZE, np.uint8)] * LENGTH
    courses = drift.courses_of(study, "uavid", [Clip(), bare, bare], {"s": [right] * 3})
    assert np.isnan(courses["s"].miou).all()


def test_a_stream_started_anew_has_no_labels_before_its_start(study):
    study.stream = lambda model, name, dataset, clip, start: (
        SimpleNamespace(labels=np.full(SIZE, k, np.uint8)) for k in range(start, len(clip))
    )
    labels = drift.restarted(None, study, "SSP", "uavid", Clip(), 3)
    assert labels[:3] == [None] * 3 and [int(label[0, 0]) for label in labels[3:]] == [3, 4, 5]


def test_drift_needs_a_recurrent_system_and_its_image_model(study):
    assert drift.drift_story(study, "uavid", ["Base", "NetWarp"]) is None
    assert drift.drift_story(study, "uavid", ["SSP"]) is None


def test_drift_shows_the_middle_and_the_largest_constant(study, monkeypatch):
    study.label_maps = lambda name, dataset, clip: [np.zeros(SIZE, np.uint8)] * LENGTH
    study.model = lambda name, dataset: None
    monkeypatch.setattr(drift, "restarted", lambda *arguments: [None] * arguments[-1] + [np.zeros(SIZE, np.uint8)] * 3)
    courses = drift.drift_courses(study, "uavid", ["Base", "KD-SSP", "SSP"])
    assert list(courses) == ["Base", "SSP", "Constant alpha 0.5", "Constant alpha 0.9", "SSP, started anew at frame 3"]
    picture = drift.drift_plot(courses, "t")
    assert len(picture.axes) == 2 and len({line.get_color() for line in picture.axes[1].lines}) == 5
    assert len({line.get_linestyle() for line in picture.axes[1].lines}) >= 4  # told apart without colour, too
    study.profile.constant_alphas = []
    assert list(drift.drift_courses(study, "uavid", ["Base", "SSP"])) == ["Base", "SSP", "SSP, started anew at frame 3"]


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


def test_the_telling_step_is_the_one_that_the_past_changes_most(study):
    road, other = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    road[:, 0], other[:, 1] = 9.0, 1.0
    model = SSP(Image([road, road, road, other, road, road]), SSPOptions(similarity="constant", registration="identity")).eval()
    k, step = method.telling_step(study, "uavid", Clip(), model)
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
        assert not caption.of_story or "What to see: " in caption.text, name
