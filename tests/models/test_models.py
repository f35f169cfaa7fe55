"""One base tester over every system."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from helpers.systems import CLASSES, FLOW_TRAINED, HEIGHT, PROFILE, WIDTH, wake, window_of
from sspcore.core.types import Motion, VideoSegmenter, VideoState, Window
from sspcore.models import ImageSegmenter
from sspcore.models.systems import SYSTEMS, build, system

TRAINED = ", flow trained"  # end of the name of a system that holds a RAFT of its own
UNLISTED = ("Constant alpha 0.3", "SSP (gate)", "Majority vote 5", "One-euro filter 0.9")
# Systems that differ in nothing but their training (KD Base and Base, ...) are one model: the first name stands for it.
EVERY_MODEL = {
    (PROFILE.models[spec.image_model], spec.method, spec.options, spec.recurrent): spec.name
    for spec in reversed([*SYSTEMS.values(), *map(system, UNLISTED)])
}
# Frames of a stream of 10 that a system encodes; the others encode each once.
ENCODED_OF_10 = {"DFF": 2, f"DFF{TRAINED}": 2}


def encoder_of(model: VideoSegmenter) -> torch.nn.Module:
    return (model if isinstance(model, ImageSegmenter) else model.image).encoder


def tensors_of(state: VideoState) -> list[Tensor]:
    flat = []
    for field in fields(state):
        value = getattr(state, field.name)
        flat += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Tensor)]
    return flat


class CountedFrames:
    """Counts calls and frames that pass through a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.calls = self.frames = 0
        module.register_forward_pre_hook(self)

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        self.calls += 1
        self.frames += inputs[0].shape[0]


@pytest.fixture(scope="module", params=[*sorted(EVERY_MODEL.values()), f"DFF{TRAINED}", f"NetWarp{TRAINED}"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared_model(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    profile = FLOW_TRAINED if name.endswith(TRAINED) else PROFILE
    return wake(build(name.removesuffix(TRAINED), CLASSES, profile, load_weights=False))


@pytest.fixture
def model(shared_model: VideoSegmenter) -> VideoSegmenter:
    return shared_model.eval()


class TestEverySystem:
    def test_forward_gives_full_size_logits_of_all_frames_but_the_context(self, model: VideoSegmenter) -> None:
        outputs = model(window_of(model.window, batch=2))
        assert outputs.logits.shape == (2, model.window - model.context, CLASSES, HEIGHT, WIDTH)
        assert outputs.logits.isfinite().all()
        assert outputs.auxiliary is None

    @torch.no_grad()
    def test_streaming_equals_offline(self, model: VideoSegmenter) -> None:
        window = window_of(10)
        offline, streamed = model(window).logits, model.rollout(window)[:, model.context :]
        torch.testing.assert_close(offline, streamed, rtol=0, atol=1e-5)
        # Rounding may tip a tie between two classes, nothing more.
        assert (offline.argmax(2) == streamed.argmax(2)).float().mean() > 0.999

    def test_gradients_reach_every_parameter(self, model: VideoSegmenter) -> None:
        model.train()
        outputs = model(window_of(model.window, batch=2))
        loss = outputs.logits.square().mean()
        if outputs.auxiliary is not None:
            assert outputs.auxiliary.shape == outputs.logits.shape
            loss = loss + outputs.auxiliary.square().mean()
        model.zero_grad()
        loss.backward()
        gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
        assert [key for key, gradient in gradients.items() if gradient is None] == []
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        weights = [key for key, gradient in gradients.items() if gradient.ndim > 1 and not gradient.any()]
        assert weights == []

    def test_state_can_be_detached_and_moved(self, model: VideoSegmenter) -> None:
        window = window_of(2)
        _, state = model.step(window.frames[:, 0], None, None)
        detached = state.map(torch.Tensor.detach).to("cpu")
        assert type(detached) is type(state)
        assert not any(tensor.requires_grad for tensor in tensors_of(detached))
        expected, _ = model.step(window.frames[:, 1], state, window.motion(1))
        got, _ = model.step(window.frames[:, 1], detached, window.motion(1))
        assert torch.equal(got, expected)

    @torch.no_grad()
    def test_one_model_serves_two_videos_at_once(self, model: VideoSegmenter) -> None:
        videos = [window_of(5, seed=1), window_of(5, seed=2)]
        states: list[VideoState | None] = [None, None]
        interleaved: list[list[Tensor]] = [[], []]
        for k in range(5):
            for i, video in enumerate(videos):
                logits, states[i] = model.step(video.frames[:, k], states[i], video.motion(k))
                interleaved[i].append(logits)
        for video, logits in zip(videos, interleaved, strict=True):
            assert torch.equal(torch.stack(logits, dim=1), model.rollout(video))

    @torch.no_grad()
    def test_each_streamed_frame_is_encoded_at_most_once(self, model: VideoSegmenter, name: str) -> None:
        counted = CountedFrames(encoder_of(model))
        model.rollout(window_of(10))
        assert counted.frames == counted.calls == ENCODED_OF_10.get(name, 10)

    @torch.no_grad()
    def test_training_encodes_a_batch_of_windows_in_one_call(self, model: VideoSegmenter) -> None:
        counted = CountedFrames(encoder_of(model))
        model(window_of(model.window, batch=3))
        assert counted.calls == 1

    def test_missing_motion_is_named(self, model: VideoSegmenter) -> None:
        window = window_of(2)
        _, state = model.step(window.frames[:, 0], None, None)
        if not model.needs:
            model.step(window.frames[:, 1], state, None)
            return
        for motion in (None, Motion()):
            with pytest.raises(ValueError, match=f"{type(model).__name__} needs motion"):
                model.step(window.frames[:, 1], state, motion)


class TestWindow:
    def test_motion_leads_from_the_frame_before(self) -> None:
        window = window_of(3)
        window.H_prev_to_cur[:, 1] *= 2
        window.flow_to_prev[:, 1] *= 2
        assert window.motion(0) is None
        for k in (1, 2):
            assert torch.equal(window.motion(k).H_prev_to_cur, window.H_prev_to_cur[:, k - 1])
            assert torch.equal(window.motion(k).flow_to_prev, window.flow_to_prev[:, k - 1])
        assert Window(window.frames).motion(1) == Motion()

    def test_moves_as_a_whole(self) -> None:
        moved = window_of(2).to("meta")
        assert moved.frames.is_meta and moved.H_prev_to_cur.is_meta and moved.labels is None
