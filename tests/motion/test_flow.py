"""Flow estimators on images whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from sspcore.core.errors import ProfileError, SspError, WeightsError
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD, to_tensor
from sspcore.motion import flow
from sspcore.motion.geometry import endpoint_error, photometric_error, warp_by_flow
from sspcore.motion.names import FLOW_NAMES
from sspcore.motion.weights import RAFT_URL

SHIFT = (2.3, -1.6)


def textured_pair(height: int = 96, width: int = 128, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views of one texture: what is at x in the first is at x + SHIFT in the second. Each (1, 3, H, W)."""
    noise = np.random.default_rng(seed).random((height + 32, width + 32, 3)).astype(np.float32)
    canvas = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4))
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
    translation = np.float32([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]])
    moved = cv2.warpAffine(canvas, translation, canvas.shape[1::-1], flags=cv2.INTER_CUBIC)
    crops = (image[16:-16, 16:-16].clip(0, 255).round().astype(np.uint8) for image in (canvas, moved))
    first, second = (to_tensor(crop)[None] for crop in crops)
    return first, second


@pytest.mark.parametrize(("preset", "bound"), [("medium", 0.2), ("fast", 0.3)])
def test_dis_measures_a_subpixel_shift(preset, bound):
    source, target = textured_pair()
    estimated = flow.DISFlow(preset)(source, target)
    truth = torch.tensor(SHIFT).view(1, 2, 1, 1).expand(1, 2, 96, 128)
    inside = torch.zeros(1, 1, 96, 128, dtype=torch.bool)
    inside[..., 8:-8, 8:-8] = True
    assert estimated.dtype == torch.float32 and not estimated.requires_grad
    assert endpoint_error(estimated, truth, inside).item() < bound


def test_flow_direction_brings_the_target_into_the_source():
    source, target = textured_pair()
    warped, valid = warp_by_flow(target, flow.DISFlow()(source, target))
    assert photometric_error(source, warped, valid) < 0.25 * photometric_error(source, target, valid)


def test_dis_treats_each_pair_of_a_batch_alone():
    source, target = textured_pair()
    batch = flow.DISFlow("fast")(torch.cat((source, source)), torch.cat((target, source)))
    assert torch.equal(batch[:1], flow.DISFlow("fast")(source, target))
    assert batch[1].abs().max() < 0.01


@pytest.mark.parametrize("name", ["dis-medium", "dis-fast", "dis-ultrafast", "zero"])
def test_tiny_frames_keep_their_size(name):
    estimated = flow.build_flow(name)(torch.zeros(2, 3, 5, 9), torch.zeros(2, 3, 5, 9))
    assert estimated.shape == (2, 2, 5, 9)


def test_zero_flow_is_zero_in_float32():
    estimated = flow.ZeroFlow()(*(torch.rand(2, 3, 4, 6).half() for _ in range(2)))
    assert estimated.dtype == torch.float32 and estimated.shape == (2, 2, 4, 6) and not estimated.any()


class RecordingNetwork(nn.Module):
    """Stands in for RAFT: keeps its inputs and answers with growing flows, as its iterations do."""

    def forward(self, image1: torch.Tensor, image2: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        self.inputs = (image1, image2)
        shape = (image1.shape[0], 2, *image1.shape[-2:])
        return [torch.full(shape, float(step)) for step in range(1, num_flow_updates + 1)]


def test_raft_gets_frames_from_minus_one_to_one_padded_by_repetition():
    estimator = flow.RAFTFlow.untrained(updates=3)
    estimator.raft.network = RecordingNetwork()
    image = np.zeros((130, 60, 3), np.uint8)
    image[..., 1] = 255
    image[-1, :, 2] = 255
    frame = to_tensor(image)[None]
    estimated = estimator(frame, frame)
    assert estimated.shape == (1, 2, 130, 60) and (estimated == 3).all()
    network_input = estimator.raft.network.inputs[0]
    assert network_input.shape == (1, 3, 136, 128)
    torch.testing.assert_close(network_input[0, :, 0, 0], torch.tensor([-1.0, 1.0, -1.0]))
    torch.testing.assert_close(network_input[0, 2, 129:, 127], torch.ones(7))


def test_a_lack_of_gpu_memory_is_one_line(monkeypatch):
    def full(source, target):
        raise torch.cuda.OutOfMemoryError

    estimator = flow.RAFTFlow.untrained(updates=1)
    monkeypatch.setattr(estimator.raft, "forward", full)
    with pytest.raises(SspError, match="^RAFT on 128 x 160 pixels: the GPU's memory has run out; .*score_teacher_at"):
        estimator(*torch.zeros(2, 1, 3, 128, 160))


def test_untrained_raft_runs_on_small_frames_under_autocast():
    estimator = flow.RAFTFlow.untrained(updates=1)
    frames = (torch.rand(1, 3, 20, 36), torch.rand(1, 3, 20, 36))
    with torch.autocast("cpu", torch.bfloat16):
        estimated = estimator(*frames)
    assert torch.equal(estimated, estimator(*frames))
    assert estimator.name == "raft-1-untrained"
    assert estimated.shape == (1, 2, 20, 36) and estimated.dtype == torch.float32
    assert torch.isfinite(estimated).all() and not estimated.requires_grad


def test_raft_loads_weights_from_a_file(tmp_path):
    saved = flow.RAFTFlow.untrained(updates=1)
    torch.save(saved.raft.network.state_dict(), tmp_path / "raft_large_mine.pth")
    loaded = flow.build_flow("raft-8", raft_weights=tmp_path / "raft_large_mine.pth")
    other = flow.build_flow("raft-8-imagenet", raft_weights=tmp_path / "raft_large_mine.pth")
    # in a cache, flow of other weights is another flow
    assert (loaded.name, other.name) == ("raft-8-mine", "raft-8-imagenet-mine")
    assert loaded.raft.updates == 8 and not loaded.raft.training and other.raft.imagenet
    for ours, theirs in zip(loaded.raft.parameters(), saved.raft.parameters(), strict=True):
        assert torch.equal(ours, theirs) and not ours.requires_grad


def test_missing_raft_weights_say_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    path = tmp_path / "weights" / "raft.pth"
    with pytest.raises(WeightsError) as caught:
        flow.RAFTFlow(weights=path)
    assert str(path) in str(caught.value) and RAFT_URL in str(caught.value) and "no network" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_raft_weights_are_named(tmp_path, content):
    path = tmp_path / "raft.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"raft\.pth does not hold"):
        flow.RAFTFlow(weights=path)


def test_raft_weights_of_another_network_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "raft.pth")
    with pytest.raises(WeightsError, match="RAFT-large"):
        flow.RAFTFlow(weights=tmp_path / "raft.pth")


def test_names_and_settings_that_do_not_exist():
    assert [flow.build_flow(name).name for name in FLOW_NAMES if not name.startswith("raft")] == [
        "dis-medium",
        "dis-fast",
        "dis-ultrafast",
        "zero",
    ]
    with pytest.raises(ProfileError, match=r"raft-21.*dis-medium"):
        flow.build_flow("raft-21")
    with pytest.raises(ProfileError, match="slow"):
        flow.DISFlow("slow")
    with pytest.raises(ProfileError, match="updates is 0"):
        flow.RAFTFlow.untrained(updates=0)


def test_frames_of_different_sizes_are_refused_naming_both():
    for estimator in (flow.ZeroFlow(), flow.DISFlow()):
        with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 3, 8, 9\)"):
            estimator(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))


def test_statistics_are_those_of_the_file_boundary():
    mid = torch.tensor(IMAGENET_MEAN) * 255
    frame = to_tensor(mid.round().to(torch.uint8).numpy().reshape(1, 1, 3))
    torch.testing.assert_close(frame.flatten() * torch.tensor(IMAGENET_STD), torch.zeros(3), atol=0.002, rtol=0)
