"""1x1 convolutions through oneDNN: the same results, the faster way, and a network that is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from sspcore.models.pointwise import fast_pointwise


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1, groups=4, stride=2), nn.Conv2d(16, 8, 3, padding=1),
        nn.Conv2d(8, 4, 1, padding=1),
    )


def test_results_and_gradients_are_the_same_and_the_network_is_as_before(network: nn.Sequential) -> None:
    frames, other = torch.randn(2, 3, 12, 16), copy.deepcopy(network)
    expected = network(frames)
    expected.square().sum().backward()
    with fast_pointwise(other):
        found = other(frames)
        found.square().sum().backward()
    torch.testing.assert_close(found, expected)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad)
    assert repr(other) == repr(network)


def test_one_thread_takes_onednn(network: nn.Sequential) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fast_pointwise(network), profile(activities=[ProfilerActivity.CPU]) as seen:
            network(torch.randn(2, 3, 12, 16))
    finally:
        torch.set_num_threads(threads)
    calls = {event.key: event.count for event in seen.key_averages()}
    assert calls.get("aten::mkldnn_convolution") == 4
    assert "aten::_slow_conv2d_forward" not in calls


def test_only_what_is_on_the_cpu_is_changed(network: nn.Sequential) -> None:
    with fast_pointwise(network):
        assert [part.dilation for part in network] == [(2, 2), (2, 2), (1, 1), (2, 2)]
    elsewhere = network.to("meta")
    with fast_pointwise(elsewhere):
        assert all(part.dilation == (1, 1) for part in elsewhere)


def test_an_error_leaves_the_network_as_it_was(network: nn.Sequential) -> None:
    before = repr(network)
    with pytest.raises(RuntimeError), fast_pointwise(network):
        network(torch.randn(2, 5, 12, 16))
    assert repr(network) == before
