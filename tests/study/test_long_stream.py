"""Long streams: what each condition gives to a stream, and scores of windows against metrics that are fed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import sspcore
from sspcore.core.classes import ClassSpec
from sspcore.core.types import VideoSegmenter, VideoState
from sspcore.inference.backends import TorchBackend
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.models.ssp import SSP
from sspcore.motion.fitting import Registration
from sspcore.motion.flow import ZeroFlow
from sspcore.study.long_footage import CUTS, DROPPED, LOST, THIRD, UNDISTURBED, Condition, Pairs, Unlabelled, conditions
from sspcore.study.long_scores import LABELLED_METRICS, Run
from sspcore.study.long_stream import shared_models

SIZE, FRAMES, WINDOW = (32, 64), 12, 5
SPEC = ClassSpec("toy", "Toy", ("ground", "car"), ((0, 0, 0), (255, 0, 0)), ("car",))


def test_conditions_drop_lose_and_shuffle_what_they_say():
    made = conditions(100, 30, seed=3)
    assert made == conditions(100, 30, seed=3) != conditions(100, 30, seed=4)
    assert made[UNDISTURBED] == Condition(tuple(range(100)))
    assert made[LOST].order == made[UNDISTURBED].order and 3 < len(made[LOST].lost) < 20 and 0 not in made[LOST].lost
    assert 80 < len(made[DROPPED].order) < 97 and list(made[DROPPED].order) == sorted(made[DROPPED].order)
    assert made[DROPPED].order[0] == 0 and made[THIRD].order == tuple(range(0, 100, 3))
    order = made[CUTS].order
    assert sorted(order) == list(range(100)) and len(made[CUTS].jumps) == 3
    assert {k for k in range(1, 100) if order[k] != order[k - 1] + 1} == made[CUTS].jumps


@pytest.mark.parametrize("frames", [1, 2, 29, 31, 60, 61])
def test_short_footage_has_conditions_too(frames):
    order, jumps = conditions(frames, 30, seed=0)[CUTS].order, conditions(frames, 30, seed=0)[CUTS].jumps
    assert sorted(order) == list(range(frames)) and all(order[k] != order[k - 1] + 1 for k in jumps)


class Bright(VideoSegmenter):
    """Calls bright pixels class 1. Remembers the frame before, so that alpha tells when a stream starts."""

    needs = frozenset({"homography"})

    def forward(self, window):
        raise NotImplementedError

    def step(self, frame, state, motion=None):
        bright = frame.mean(1, keepdim=True)
        alpha = torch.full_like(bright, 0.0 if state is None else 0.25)
        return torch.cat([-bright, bright], 1), SimpleState(alpha)


@dataclass(frozen=True)
class SimpleState(VideoState):
    alpha: torch.Tensor


class Toy:
    """A bright car that drives over dark ground, with noise that makes labels flicker."""

    def __init__(self, labelled=True, noise=0.1):
        self.labelled, self.noise = labelled, noise

    def __len__(self):
        return FRAMES

    def labels(self, k):
        labels = np.zeros(SIZE, np.uint8)
        labels[8:20, 4 * k : 4 * k + 12] = 1
        return labels if self.labelled else None

    def frame(self, k):
        rng = np.random.default_rng(k)
        image = np.where(Toy.labels(Toy(), k)[..., None] == 1, 220, 30) + rng.integers(-20, 20, (*SIZE, 1))
        image[rng.random(SIZE) < self.noise] = 220
        return np.clip(np.repeat(image, 3, -1), 0, 255).astype(np.uint8)


def registered(previous, current):
    return Registration(np.eye(3), True, 9, 9)


STUDY = SimpleNamespace(
    profile=SimpleNamespace(input_size=SIZE, metric_flow="zero"), device="cpu", registrator=registered,
    flow_estimator=lambda name=None: ZeroFlow(),
)


def run(condition, footage, systems=("a", "b")):
    pairs = Pairs(footage, STUDY, needs=())
    going = Run(condition, {name: Bright() for name in systems}, pairs, SPEC, WINDOW, partial(TorchBackend, size=SIZE))
    for k in condition.order:
        going.advance(k)
    return going.scores()


def expected(footage, clips):
    """The metrics of clips of frames (labels thresholded as the toy model does), by hand."""
    suite, still = MetricSuite(2, LABELLED_METRICS, (1,)), np.zeros((2, *SIZE), np.float32)
    model = TorchBackend(Bright(), SIZE)
    for clip in clips:
        suite.start_clip()
        for k in clip:
            prediction = model.step(footage.frame(k), lambda: None).labels
            suite.update(FrameRecord(prediction, footage.labels(k), still, still))
    return suite.compute()


def test_windows_and_the_whole_are_scored_as_by_hand():
    found, footage = run(Condition(tuple(range(FRAMES))), Toy()), Toy()
    assert found["first_frames"] == [0, 5, 10] and found["frames"] == FRAMES and not found["unregistered"]
    clips = [range(5), range(5, 10), range(10, 12)]
    for name in ("a", "b"):
        system = found["systems"][name]
        for number, clip in enumerate(clips):
            for metric, value in expected(footage, [clip]).items():
                got = system["windows"][metric][number]
                assert got == (None if np.isnan(value) else pytest.approx(value, abs=1e-5)), (metric, number)
        whole = expected(footage, clips)
        assert system["overall"]["lag"] is None and np.isnan(whole.pop("lag"))  # the car was there from the start
        assert {key: system["overall"][key] for key in whole} == pytest.approx(whole, abs=1e-5)
        assert system["overall"]["alpha"] == 0.25 and 0 < system["overall"]["changed"] < 0.5


def test_lost_registrations_are_counted_and_pairs_over_a_jump_are_not_scored():
    for noise, counted in ((0.0, "unregistered"), (0.1, "cuts_elsewhere")):  # noisy frames do not look alike
        lost = run(Condition(tuple(range(FRAMES)), lost=frozenset({2, 7})), Toy(noise=noise))
        assert lost[counted] == lost["unregistered"] + lost["cuts_elsewhere"] == 2
    order = (*range(6, 12), *range(6))
    jumped = run(Condition(order, jumps=frozenset({6})), Toy())
    assert (jumped["jumps"], jumped["cuts_found"], jumped["first_frames"]) == (1, 0, [0, 5, 10])
    assert jumped["systems"]["a"]["overall"]["tc"] == pytest.approx(
        expected(Toy(), [range(5), range(5, 6), range(6, 10), range(10, 12)])["tc"], abs=1e-5
    )


class Dawn(Toy):
    """Every frame is brighter than the one before."""

    def frame(self, k):
        return np.full((*SIZE, 3), 10 * (k + 1), np.uint8)


def test_motion_and_flow_point_the_way_that_their_names_say(monkeypatch):
    """Flow is how much brighter the target is than the source, so the signs tell which frame was given as which."""
    asked, records = [], []

    def registrator(previous, current):
        asked.append((int(previous[0, 0, 0]), int(current[0, 0, 0])))
        return registered(previous, current)

    def flow(source, target):
        return torch.full((1, 2, *SIZE), float((target - source).mean()))

    study = SimpleNamespace(**vars(STUDY) | {"registrator": registrator, "flow_estimator": lambda name=None: flow})
    pairs = Pairs(Dawn(), study, needs=())
    monkeypatch.setattr(MetricSuite, "update", lambda self, record: records.append(record))
    going = Run(Condition((0, 1, 2)), {"a": Bright()}, pairs, SPEC, WINDOW, partial(TorchBackend, size=SIZE))
    for k in range(3):
        going.advance(k)
    going._score()
    assert asked == [(10, 20), (20, 30)]
    to_next, to_previous = ([getattr(record, name) for record in records] for name in ("flow_to_next", "flow_to_previous"))
    assert [None if flow is None else np.sign(flow.mean()) for flow in to_next] == [1, 1, None]
    assert [None if flow is None else np.sign(flow.mean()) for flow in to_previous] == [None, -1, -1]


def test_without_labels_consistency_alone_is_scored():
    found = run(Condition(tuple(range(0, FRAMES, 3))), Toy(labelled=False))
    assert found["systems"]["a"]["overall"].keys() == {"tc", "flicker", "changed", "alpha"}
    assert Unlabelled(SimpleNamespace(read=lambda k: k)).frame(3) == 3 and Unlabelled(None).labels(3) is None


def tiny(weight):
    """An image model of one convolution, whose weights are all the same number."""
    image = sspcore.wrap(nn.Sequential(nn.Conv2d(3, 2, 4, stride=4)), "0", 2)
    for parameter in image.parameters():
        nn.init.constant_(parameter, weight)
    return image


def test_equal_image_models_see_a_frame_once():
    models = shared_models({"Base": tiny(1.0), "frozen": SSP(tiny(1.0)), "trained": SSP(tiny(2.0)), "other": nn.Identity()})
    assert models["Base"] is models["frozen"].image is not models["trained"].image
    frames, calls = torch.ones(1, 3, 32, 32), []
    for shared in (models["Base"], models["trained"].image):
        network = next(part for part in shared.modules() if isinstance(part, nn.Conv2d))
        network.register_forward_hook(lambda *_: calls.append(1))
    for image in (models["Base"], models["frozen"].image, models["trained"].image):
        image.logits_and_features(frames)
    assert len(calls) == 2
