"""Streaming: equals the training forward, starts anew at cuts, counts fall-backs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, panning_frames, texture

from sspcore.core.images import to_tensor
from sspcore.core.types import Window
from sspcore.inference.stream import live_motion, looks_like_cut, segment_video
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.registration import build_registrator

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SSP(ImageSegmenter(TINY, 8)).eval()


def stream(model, frames, **options):
    return list(segment_video(model, frames, live_motion(build_registrator("lk"), None), SIZE, **options))


def test_stream_equals_the_pair_forward_on_its_first_two_frames(model):
    frames = panning_frames(3, 0)
    results = stream(model, frames)
    H = torch.from_numpy(build_registrator("lk")(frames[0], frames[1]).H_prev_to_cur)
    window = Window(to_tensor(np.stack(frames[:2]))[None], H_prev_to_cur=H[None, None])
    with torch.inference_mode():
        logits = model(window).logits[0]
    for k in range(2):
        torch.testing.assert_close(results[k].logits, logits[k], atol=1e-5, rtol=0)
        assert np.array_equal(results[k].labels, logits[k].argmax(0).numpy())


def test_first_frame_is_the_image_prediction_and_the_past_counts_from_the_second(model):
    results = stream(model, panning_frames(2, 0))
    assert results[0].reset and not results[1].reset
    assert float(results[0].state.alpha.max()) == 0.0 and float(results[1].state.alpha.max()) > 0.0


def test_scene_cut_starts_the_stream_anew(model):
    frames = [*panning_frames(2, 0), *[255 - frame for frame in panning_frames(2, 0)]]
    frames[2:] = [np.full_like(frames[0], 40) for _ in range(2)]  # nothing to register on, nothing alike
    results = stream(model, frames)
    assert [result.reset for result in results] == [True, False, True, True]
    assert [result.registered for result in results] == [True, True, False, False]  # a cut's registration failed too
    alone = stream(model, frames[2:])
    assert torch.equal(results[2].logits, alone[0].logits)


def test_failed_registration_of_alike_frames_keeps_the_past_and_is_counted(model):
    flat = np.full((*SIZE, 3), 120, np.uint8)
    flat[: SIZE[0] // 2] = 30  # alike, but without a corner
    results = stream(model, [flat, flat])
    assert not results[1].reset and not results[1].registered


def test_cut_detection():
    a, b = texture(SIZE, 0), texture(SIZE, 1)
    assert looks_like_cut(a, b) and not looks_like_cut(a, np.roll(a, 2, axis=1))


def test_label_maps_come_at_the_size_asked_for(model):
    results = stream(model, panning_frames(1, 0), out_size=(32, 48))
    assert results[0].labels.shape == (32, 48) and results[0].labels.dtype == np.uint8
