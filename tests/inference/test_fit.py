"""Frames of any aspect in a network of one size: never squashed, motion is the content's, answers come back whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.media import SIZE, panning_frames, texture
from sspcore.core.types import Motion
from sspcore.inference import Prediction, TorchBackend, live_motion, segment_video, stream
from sspcore.inference.fit import Fit, padded_size, upsampled_labels
from sspcore.inference.motion import Observed
from sspcore.inference.shots import Report
from sspcore.inference.video import torch_backend
from sspcore.models.image import ImageSegmenter
from sspcore.models.netwarp import NetWarp
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.registration import Identity

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


@pytest.fixture(scope="module")
def model() -> SSP:
    torch.manual_seed(0)
    return SSP(ImageSegmenter(TINY, 8)).eval()


@pytest.mark.parametrize("source, frame, room, content", [
    ((1080, 1920), (192, 320), None, (180, 320)),  # 16:9 in 1.67:1
    ((192, 320), (192, 320), None, (192, 320)),
    ((384, 640), (192, 320), None, (192, 320)),
    ((1920, 1080), (192, 320), None, (192, 108)),
    ((90, 160), (192, 320), None, (180, 320)),  # grows
    ((1080, 1920), (736, 1280), (720, 1280), (720, 1280)),
    ((1, 5000), (192, 320), None, (1, 320)),
])
def test_the_content_keeps_its_aspect(source, frame, room, content):
    fit = Fit.of(source, frame, room)
    image = texture(source)
    assert fit.content == content and fit.content_of(image).shape[:2] == content
    filled = fit.filled(fit.content_of(image))
    assert filled.shape[:2] == frame and np.array_equal(filled[: content[0], : content[1]], fit.content_of(image))
    assert fit.restored(np.zeros(frame, np.uint8), None)[0].shape == source


def test_a_margin_mirrors_the_content_and_flow_goes_on_into_it():
    fit = Fit.of((4, 6), (8, 8), room=(4, 6))
    content = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    filled = fit.filled(content)
    assert np.array_equal(filled[4, :6], content[2]) and np.array_equal(filled[:4, 6], content[:, 4])
    flow, H = torch.arange(48.0).view(1, 2, 4, 6), torch.eye(3)[None]
    moved = fit.motion(Motion(H, flow))
    assert moved.H_prev_to_cur is H  # the corner is where it was
    assert torch.equal(moved.flow_to_prev[..., :4, :6], flow) and torch.equal(moved.flow_to_prev[..., 7, :6], flow[..., 3, :])
    assert torch.equal(moved.flow_to_prev[..., :4, 7], flow[..., 5])


def test_what_fits_already_is_passed_on_untouched():
    fit, labels, logits = Fit.of(SIZE, SIZE), np.ones(SIZE, np.uint8), torch.zeros(2, *SIZE)
    image, motion = texture(SIZE), Motion(torch.eye(3)[None], torch.zeros(1, 2, *SIZE))
    assert fit.filled(fit.content_of(image)) is image and fit.motion(motion) is motion
    assert fit.restored(labels, logits) == (labels, logits)
    assert fit.restored(np.ones((128, 192), np.uint8), None)[0].shape == (128, 192)  # asked for by out_size


def test_labels_are_those_of_bilinear_logits():
    torch.manual_seed(0)
    logits = F.interpolate(torch.randn(1, 5, 6, 9) * 4, (24, 36), mode="bicubic")[0]
    for size in ((120, 180), (97, 211), (12, 18)):
        exact = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        found = upsampled_labels(logits, size)
        assert found.dtype == np.uint8 and (found != exact).mean() < 0.02  # nearest: 0.2
    nearest = Fit.of((120, 180), (24, 36)).restored(logits.argmax(0).byte().numpy(), None)[0]
    assert (nearest != F.interpolate(logits[None], (120, 180), mode="bilinear")[0].argmax(0).numpy()).mean() < 0.1


def test_registration_and_flow_see_the_content_only(model):
    pairs = []

    def motion(number, previous, current):
        pairs.append((previous.shape, current.shape))
        return Observed(Motion(torch.eye(3)[None], torch.zeros(1, 2, *current.shape[:2])))

    netwarp = NetWarp(model.image).eval()  # would refuse flow of another size than its frame
    results = list(stream(panning_frames(3, 0), TorchBackend(netwarp, (96, 128)), motion))
    assert pairs == [((85, 128, 3), (85, 128, 3))] * 2
    assert results[-1].labels.shape == SIZE and results[-1].logits.shape == (8, 85, 128)


def test_a_margin_changes_nothing_where_the_answer_is_the_pixel():
    """A network that answers with the frame's own values gives the source's values back, wherever the margin is."""

    class Echo:
        size, needs = (96, 96), frozenset()

        def step(self, frame, motion):
            return Prediction(frame[..., 0] // 128)

    image = np.zeros((60, 90, 3), np.uint8)
    image[:30, 45:] = 255
    (result,) = stream([image], Echo(), live_motion(None))
    assert np.mean(result.labels != image[..., 0] // 128) < 0.02 and result.image is image


def test_another_size_starts_the_stream_again_and_another_resolution_does_not(model):
    small, large = panning_frames(2, 0), [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in panning_frames(2, 0)]
    wide = [frame[:40] for frame in small]
    for threads in (False, True):
        report = Report()
        frames = [*small, *large, *wide]
        results = list(stream(frames, TorchBackend(model, SIZE), live_motion(Identity()), report, threads=threads))
        assert [result.reset for result in results] == [True, False, False, False, True, False]
        assert [result.labels.shape for result in results] == [frame.shape[:2] for frame in frames]
        assert report.resized == 1 and report.cuts == 0 and report.summary()["resized"] == 1


def test_a_connection_that_was_lost_starts_the_stream_again(model):
    class Lost:
        reconnects = 0

        def __iter__(self):
            for k, frame in enumerate(panning_frames(4, 0)):
                self.reconnects = int(k >= 2)
                yield frame

    for threads in (False, True):
        report = Report()
        results = list(stream(Lost(), TorchBackend(model, SIZE), live_motion(Identity()), report, threads=threads))
        assert [result.reset for result in results] == [True, False, True, False] and report.reconnected == 1


def test_a_size_that_networks_cannot_have_is_filled_up(model):
    assert padded_size((180, 320)) == (192, 320) and padded_size((64, 96)) == (64, 96)
    backend = torch_backend(model, SIZE, (50, 70))
    assert backend.size == (64, 96) and backend.fit((100, 140)).content == (50, 70)
    (result, *_) = segment_video(model, panning_frames(1, 0), size=(50, 70), registration="identity")
    assert result.labels.shape == SIZE and result.logits.shape == (8, 47, 70)


def test_upright_videos_are_seen_upright_unless_a_size_is_asked_for(model):
    upright = [frame.transpose(1, 0, 2).copy() for frame in panning_frames(2, 0)]
    backend = torch_backend(model, SIZE)
    assert backend.fit((96, 64)).frame == SIZE[::-1] and backend.fit((64, 96)).frame == SIZE
    results = list(stream(upright, backend, live_motion(Identity())))
    assert results[1].logits.shape == (8, 96, 64) and results[1].labels.shape == (96, 64) and not results[1].reset
    assert torch_backend(model, SIZE, (128, 192)).fit((96, 64)).frame == (128, 192)
