"""RAFT as a part of a system: what it sees, gradients, batch norm, and flow that is given instead."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from sspcore.core.errors import ProfileError, WeightsError
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.types import Motion, Window
from sspcore.motion import raft
from sspcore.motion.flow import RAFTFlow


class Recording(nn.Module):
    """Stands in for the network: keeps its inputs and answers with growing flows, as its iterations do."""

    def forward(self, image1: torch.Tensor, image2: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        self.inputs = (image1, image2)
        difference = (image1 - image2)[:, :2]
        return [step * difference for step in range(1, num_flow_updates + 1)]


@pytest.fixture
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 130, 60, generator=generator) for _ in range(2))


@pytest.mark.parametrize("imagenet", [False, True])
def test_frames_are_seen_in_order_and_in_the_range_that_is_asked_for(frames, imagenet) -> None:
    network = raft.RAFT(3, imagenet)
    network.network = Recording()
    flow = network(*frames)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for seen, frame in zip(network.network.inputs, frames, strict=True):
        expected = frame if imagenet else 2 * (frame * std + mean) - 1
        assert seen.shape == (2, 3, 136, 128)
        torch.testing.assert_close(seen[..., :130, :60], expected)
        torch.testing.assert_close(seen[..., 130:, :60], expected[..., -1:, :].expand(2, 3, 6, 60))  # the border repeats
    torch.testing.assert_close(flow, 3 * (network.network.inputs[0] - network.network.inputs[1])[:, :2, :130, :60])


def test_weights_of_the_estimator_give_its_flow_and_gradients_reach_them(frames) -> None:
    estimator, network = RAFTFlow.untrained(updates=2), raft.RAFT(2).eval()
    network.load_state_dict(estimator.raft.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        flow = network(*frames)
    torch.testing.assert_close(flow, estimator(*frames), rtol=0, atol=1e-4)
    assert flow.requires_grad and flow.dtype == torch.float32
    flow.square().mean().backward()
    assert all(parameter.grad.any() for parameter in network.parameters() if parameter.ndim > 1)


def test_nothing_of_it_is_frozen_in_training(frames) -> None:
    network = raft.RAFT(1)
    statistics = network.network.context_encoder.convnormrelu[1].running_mean
    before = statistics.clone()
    network.eval()(*frames)
    assert torch.equal(statistics, before)
    network.train()(*frames)
    assert not torch.equal(statistics, before)


def test_weights_come_from_a_file_in_torchvisions_layout(tmp_path) -> None:
    saved = RAFTFlow.untrained(updates=1).raft.network.state_dict()
    torch.save(saved, tmp_path / "raft.pth")
    network = raft.RAFT()
    network.load(tmp_path / "raft.pth")
    assert network.updates == 8 and all(torch.equal(value, saved[key]) for key, value in network.network.state_dict().items())
    torch.save({"weight": torch.zeros(1)}, tmp_path / "raft.pth")
    with pytest.raises(WeightsError, match=r"raft\.pth does not hold the weights of RAFT-large"):
        network.load(tmp_path / "raft.pth")


def test_correlations_are_gone_after_a_call_also_one_that_fails(frames, monkeypatch) -> None:
    network = raft.RAFT(1)
    flow = network(*frames)
    assert network.network.corr_block.corr_pyramid == []
    copy.deepcopy(network)  # as exporting does: no tensor with a history may be left
    flow.sum().backward()  # gradients pass through the correlations all the same
    assert network.network.feature_encoder.conv.weight.grad.any()
    with monkeypatch.context() as patched:
        patched.setattr(network.network.corr_block, "index_pyramid", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            network(*frames)
    assert network.network.corr_block.corr_pyramid == []
    twin = copy.deepcopy(network)
    twin(*frames)
    assert twin.network.corr_block.corr_pyramid == []  # the copy forgets its own


def test_a_second_pair_needs_no_more_memory_than_the_first() -> None:
    """The most that lives at once, by torch's own count, and the formula for it."""
    size = (288, 384)
    estimator, frames = RAFTFlow.untrained(updates=1), torch.randn(2, 1, 3, *size)
    estimator(*frames)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        estimator(*frames)
    held, most = 0, 0
    for event in sorted(
        (event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"),
        key=lambda event: event.start_ns(),
    ):
        held += event.nbytes()
        most = max(most, held)
    assert raft.peak_bytes(size) == 2 * (36 * 48) ** 2 * 4 and raft.peak_bytes((1440, 2560)) == 2 * 57600**2 * 4
    assert 1.0 <= most / raft.peak_bytes(size) < 6 and held < 1e6


def test_no_update_is_refused() -> None:
    with pytest.raises(ProfileError, match="take 1 or more"):
        raft.RAFT(0)


def test_flow_of_a_window_leads_from_each_frame_to_the_one_before() -> None:
    network = raft.RAFT(1)
    network.network = Recording()
    frames = torch.arange(2 * 3, dtype=torch.float32).view(2, 3, 1, 1, 1).expand(2, 3, 3, 128, 128) ** 2
    flow = raft.window_flow_to_prev(network, Window(frames), network)
    alone = raft.flow_to_prev(network, frames[:, 2], frames[:, 1], None, network)
    assert flow.shape == (2, 2, 2, 128, 128) and torch.equal(flow[:, 1], alone)
    scale = 2 * torch.tensor(IMAGENET_STD[0])
    for video, squares in enumerate(((0.0, 1.0, 4.0), (9.0, 16.0, 25.0))):
        for k in (1, 2):
            expected = float(scale * (squares[k] - squares[k - 1]))
            assert float(flow[video, k - 1, 0, 0, 0]) == pytest.approx(expected, rel=1e-5)


def test_without_one_the_given_flow_is_taken_and_missed() -> None:
    frames, given = torch.zeros(1, 2, 3, 8, 8), torch.ones(1, 1, 2, 8, 8)
    model = nn.Identity()
    assert raft.window_flow_to_prev(None, Window(frames, flow_to_prev=given), model) is given
    assert raft.flow_to_prev(None, frames[:, 1], None, Motion(flow_to_prev=given[:, 0]), model).shape == (1, 2, 8, 8)
    for motion in (None, Motion()):
        with pytest.raises(ValueError, match=r"Identity needs motion\.flow_to_prev"):
            raft.flow_to_prev(None, frames[:, 1], frames[:, 0], motion, model)
    with pytest.raises(ValueError, match=r"Identity needs window\.flow_to_prev"):
        raft.window_flow_to_prev(None, Window(frames), model)
