"""Streaming: equals the training forward, starts again at cuts, counts fall-backs."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from helpers.media import SIZE, panning_frames, texture
from sspcore.core.images import to_tensor
from sspcore.core.types import Motion, Window
from sspcore.inference import live_motion, motion_for, segment_frames, stream
from sspcore.inference.backends import TorchBackend
from sspcore.inference.shots import looks_like_cut
from sspcore.models.image import ImageSegmenter
from sspcore.models.netwarp import NetWarp
from sspcore.models.spec import Gate, ImageModelSpec
from sspcore.models.ssp import SSP, SSPOptions
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SSP(ImageSegmenter(TINY, 8)).eval()


def results_of(model, frames, **options):
    return list(segment_frames(model, frames, live_motion(build_registrator("lk")), SIZE, **options))


def test_stream_equals_the_pair_forward_on_its_first_two_frames(model):
    frames = panning_frames(3, 0)
    results = results_of(model, frames)
    H = torch.from_numpy(build_registrator("lk")(frames[0], frames[1]).H_prev_to_cur)
    window = Window(to_tensor(np.stack(frames[:2]))[None], H_prev_to_cur=H[None, None])
    with torch.inference_mode():
        logits = model(window).logits[0]
    for k in range(2):
        torch.testing.assert_close(results[k].logits, logits[k], atol=1e-5, rtol=0)
        assert np.array_equal(results[k].labels, logits[k].argmax(0).numpy())


def test_first_frame_is_the_image_prediction_and_the_past_counts_from_the_second(model):
    results = results_of(model, panning_frames(2, 0))
    assert results[0].reset and not results[1].reset
    assert float(results[0].state.alpha.max()) == 0.0 and float(results[1].state.alpha.max()) > 0.0


def test_scene_cut_starts_the_stream_anew(model):
    frames = [*panning_frames(2, 0), *[255 - frame for frame in panning_frames(2, 0)]]
    frames[2:] = [np.full_like(frames[0], 40) for _ in range(2)]  # nothing to register on, nothing alike
    results = results_of(model, frames)
    assert [result.reset for result in results] == [True, False, True, False]  # one colour after the same is no cut
    assert [result.registered for result in results] == [True, True, False, False]  # a cut's registration failed too
    alone = results_of(model, frames[2:])
    assert torch.equal(results[2].logits, alone[0].logits)


def test_a_system_on_flow_alone_starts_anew_where_frames_are_unlike(model):
    averaged = SSP(model.image, SSPOptions(similarity="constant", alpha=0.7, registration="flow")).eval()
    frames = [*panning_frames(2, 0), *[texture(SIZE, 5)] * 2]
    motion = live_motion(None, build_flow("dis-fast"))
    results = list(segment_frames(averaged, frames, motion, SIZE))
    assert [result.reset for result in results] == [True, False, True, False]
    assert torch.equal(results[2].logits, list(segment_frames(averaged, frames[2:3], motion, SIZE))[0].logits)


def test_failed_registration_of_alike_frames_keeps_the_past_and_is_counted(model):
    flat = np.full((*SIZE, 3), 120, np.uint8)
    flat[: SIZE[0] // 2] = 30  # alike, but without a corner
    results = results_of(model, [flat, flat])
    assert not results[1].reset and not results[1].registered


def test_cut_detection():
    a, b = texture(SIZE, 0), texture(SIZE, 1)
    assert looks_like_cut(a, b) and not looks_like_cut(a, np.roll(a, 2, axis=1))


def test_noise_on_one_colour_is_no_cut_and_another_colour_is():
    plain = np.full((*SIZE, 3), 120.0)
    noisy = [(plain + np.random.default_rng(k).normal(0, 6, plain.shape)).astype(np.uint8) for k in range(2)]
    assert not looks_like_cut(*noisy) and not looks_like_cut(noisy[0], noisy[0])
    assert looks_like_cut(noisy[0], noisy[1] - np.uint8(60))


def test_water_is_neither_registered_nor_a_cut(model):
    """Ripples that are others in each frame: the past is kept unmoved, counted as not registered."""
    def ripples(k: int) -> np.ndarray:
        noise = cv2.GaussianBlur(np.random.default_rng(k).normal(0, 1, SIZE).astype(np.float32), (0, 0), 2)
        return (np.array((60, 110, 150)) + 6 * noise[..., None] / noise.std()).clip(0, 255).astype(np.uint8)

    results = results_of(model, [ripples(k) for k in range(4)])
    assert [result.reset for result in results] == [True, False, False, False]
    assert not any(result.registered for result in results[1:])


def test_label_maps_come_at_the_size_asked_for(model):
    results = results_of(model, panning_frames(1, 0), out_size=(32, 48))
    assert results[0].labels.shape == (32, 48) and results[0].labels.dtype == np.uint8


class Clip:
    """A clip of panning frames in whose middle a block moves against the camera."""

    place = name = "clip"

    def __init__(self, n: int) -> None:
        self.images = [frame.copy() for frame in panning_frames(n, 0)]
        block = texture((24, 32), 5)
        for k, image in enumerate(self.images):
            image[20:44, 40 + 3 * k: 72 + 3 * k] = block

    def __len__(self) -> int:
        return len(self.images)

    def frame(self, position: int, size: tuple[int, int]) -> np.ndarray:
        return self.images[position]

    def key(self, position: int) -> str:
        return str(position)


def test_a_gate_does_the_same_live_and_from_stores(model, tmp_path):
    """The stored flow is half precision; all else is equal to the bit, so the same cells take it."""
    clip, size = Clip(4), Clip(1).images[0].shape[:2]
    gated = SSP(model.image, SSPOptions(gate=Gate(threshold=0.5))).eval()
    gated.load_state_dict(model.state_dict())
    registrator, flow = build_registrator("lk"), build_flow("dis-fast")
    homographies, flows = HomographyStore(tmp_path / "h", registrator, size), FlowStore(tmp_path / "f", flow, size)
    stored = motion_for(gated, lambda: homographies, lambda: flows, clip)
    live = motion_for(gated, lambda: registrator, lambda: flow)
    ways = [list(segment_frames(gated, clip.images, motion, size)) for motion in (stored, live)]
    for a, b in zip(*ways, strict=True):
        torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=2e-2)
    for k in (1, 2, 3):
        by_flow = [
            gated.route(to_tensor(clip.images[k])[None], motion(k, *clip.images[k - 1: k + 1]).motion).by_flow
            for motion in (stored, live)
        ]
        assert torch.equal(*by_flow) and by_flow[0].any() and not by_flow[0].all()
    plain = list(segment_frames(model, clip.images, live_motion(registrator), size))
    assert not torch.allclose(plain[-1].logits, ways[0][-1].logits, atol=2e-2)


class Stores:
    """Motion of a clip by position: the homography shifts by so many pixels, the flow is as many; frame 3 failed."""

    ok, name = np.array([True, True, False, True]), "clip"

    def clip(self, clip):
        return self

    def at(self, position):
        H = torch.eye(3, dtype=torch.float64)
        H[0, 2] = position
        return H

    def between(self, clip, source, target):
        return torch.full((2, *SIZE), float(10 * source + target))


def test_motion_of_a_clip_is_read_at_the_position_in_the_clip_wherever_the_stream_began():
    frame = panning_frames(1, 0)[0]
    for start in (0, 2):
        motion = motion_for(SimpleNamespace(needs={"homography", "flow"}), Stores, Stores, Stores(), start)
        for position in range(1, 5 - start):
            observed, k = motion(position, frame, frame), position + start
            assert float(observed.motion.H_prev_to_cur[0, 0, 2]) == k and observed.registered == (k != 3)
            assert float(observed.motion.flow_to_prev[0, 0, 0, 0]) == 10 * k + k - 1


def test_only_what_a_model_needs_is_made():
    def never():
        raise AssertionError("is not needed")

    frame, flow = panning_frames(1, 0)[0], torch.zeros(1, 2, *SIZE)
    cases = {
        frozenset(): (never, never, (False, False)),
        frozenset({"homography"}): (lambda: build_registrator("identity"), never, (True, False)),
        frozenset({"flow"}): (never, lambda: lambda current, previous: flow, (False, True)),
    }
    for needs, (registration, estimator, expected) in cases.items():
        observed = motion_for(SimpleNamespace(needs=needs), registration, estimator)(1, frame, frame)
        moved = (observed.motion.H_prev_to_cur is not None, observed.motion.flow_to_prev is not None)
        assert moved == expected and observed.registered
    with_stores = motion_for(SimpleNamespace(needs=frozenset({"flow"})), never, Stores, Stores(), start=1)
    assert float(with_stores(1, frame, frame).motion.flow_to_prev[0, 0, 0, 0]) == 21


def test_one_backend_serves_many_videos_and_threads_change_no_bit(model):
    backend, motion = TorchBackend(model, SIZE), live_motion(build_registrator("lk"))
    for seed in (0, 1):
        frames = panning_frames(4, seed)
        plain, alone = list(stream(frames, backend, motion)), results_of(model, frames)
        overlapped = list(stream([frames[0], None, *frames[1:]], backend, motion, threads=True))
        assert [result.number for result in overlapped] == [0, 2, 3, 4]
        for a, b, c in zip(plain, alone, overlapped, strict=True):
            assert torch.equal(a.logits, b.logits) and torch.equal(a.logits, c.logits) and a.reset == b.reset == c.reset


def test_an_iteration_that_is_left_ends_its_threads(model):
    motion, before = live_motion(build_registrator("identity")), threading.active_count()
    results = stream(panning_frames(50, 0), TorchBackend(model, SIZE), motion, threads=True)
    assert next(results).reset and threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_systems_that_need_flow_stream_as_they_are_stepped():
    torch.manual_seed(0)
    netwarp, frames = NetWarp(ImageSegmenter(TINY, 8)).eval(), panning_frames(3, 0)
    flow = build_flow("dis-fast")
    results = list(segment_frames(netwarp, frames, live_motion(None, flow), SIZE))
    state, previous = None, None
    for frame, result in zip(frames, results, strict=True):
        image = to_tensor(frame)[None]
        with torch.inference_mode():
            logits, state = netwarp.step(image, state, None if previous is None else Motion(None, flow(image, previous)))
        assert torch.equal(logits[0], result.logits)
        previous = image
