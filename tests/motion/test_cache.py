"""The cache of motion: read back to the bit, keyed by content, damage is estimated again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.media import SIZE, panning_frames
from sspcore.core.errors import ArtefactError
from sspcore.motion import cache
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import Registration, build_registrator


class Frames:
    place = "clip"

    def __init__(self, n: int = 4) -> None:
        self.images, self.version = panning_frames(n, 0), 0

    def __len__(self):
        return len(self.images)

    def frame(self, position, size):
        assert size in (None, SIZE)
        return self.images[position]

    def key(self, position):
        return f"{position}v{self.version}"


class Counting:
    """A registrator that fails on its second call, and counts them."""

    name = "counting"

    def __init__(self):
        self.calls = 0

    def __call__(self, previous, current):
        self.calls += 1
        H = np.random.default_rng(self.calls).normal(size=(3, 3))
        points = np.random.default_rng(self.calls).uniform(size=(4 - self.calls, 2)).astype(np.float32)
        return Registration(
            H, self.calls != 2, 10 * self.calls, len(points), points + 1, points, np.arange(len(points)) % 2 == 0
        )


def test_a_later_run_reads_what_the_first_was_given(tmp_path):
    frames, size = Frames(), SIZE
    for expected in ((1, 0), (0, 1)):
        flows = FlowStore(tmp_path, build_flow("dis-fast"), size)
        flow = flows.between(frames, 1, 0)
        assert (flows.computed, flows.reused) == expected and flow.dtype == torch.float32
        assert torch.equal(flow, flow.half().float()) and np.array_equal(flows.map(frames, 1, 0), flow.numpy())
        assert flows.has(frames, 1, 0) and not flows.has(frames, 0, 1)
    frames.version = 1
    assert not flows.has(frames, 1, 0)
    assert not FlowStore(tmp_path, build_flow("dis-medium"), size).has(frames, 1, 0)
    own = FlowStore(tmp_path, build_flow("dis-fast"), None)
    assert not own.has(frames, 1, 0) and torch.equal(own.between(frames, 1, 0), flow)


def test_filled_stores_only_read(tmp_path):
    flows = FlowStore(tmp_path, build_flow("zero"), SIZE)
    flows.fill([Frames()], offsets=(-1, 1))
    assert flows.computed == 6
    flows.fill([Frames()], offsets=(-1, 1))
    assert (flows.computed, flows.reused) == (6, 6)


def test_a_loader_process_does_not_estimate_on_the_gpu_of_another(tmp_path, monkeypatch):
    flows = FlowStore(tmp_path, build_flow("zero"), SIZE)
    flows.between(Frames(), 1, 0)
    path = flows.path(Frames(), 1, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(cache, "get_worker_info", lambda: object())
    flows.estimator.device = torch.device("cuda")
    with pytest.raises(ArtefactError, match=r"0v0\.npy: cached flow is damaged and was removed"):
        flows.between(Frames(), 1, 0)
    assert not path.exists()


def test_registrations_come_back_to_the_bit_and_are_made_again_when_damaged(tmp_path):
    registrator = Counting()
    store = HomographyStore(tmp_path, registrator, SIZE)
    first = store.clip(Frames())
    assert first.ok.tolist() == [True, False, True] and first.inliers.tolist() == [10, 20, 30] and registrator.calls == 3
    again = store.clip(Frames())
    assert registrator.calls == 3 and np.array_equal(first.H_prev_to_cur, again.H_prev_to_cur)
    assert again.ok.dtype == bool and torch.equal(again.at(2), torch.from_numpy(first.H_prev_to_cur[1]))
    stored = next(path for path in tmp_path.rglob("*.npy") if not path.stem.endswith("_matches"))
    whole = stored.read_bytes()
    for damaged in (whole[:-30], whole[:200] + b"!" + whole[201:], b""):
        stored.write_bytes(damaged)
        registrator.calls = 0
        assert np.array_equal(store.clip(Frames()).H_prev_to_cur, first.H_prev_to_cur) and registrator.calls == 3
    alone = HomographyStore(tmp_path / "single", build_registrator("lk"), SIZE).clip(Frames(1))
    assert alone.H_prev_to_cur.shape == (0, 3, 3) and alone.ok.shape == (0,)


def test_what_a_homography_was_fitted_to_comes_back_to_the_bit_with_registrations_of_before(tmp_path):
    """As `Motion` wants it: (x, y) in the current frame, inlier or not; a store without that file is registered again."""
    registrator = Counting()
    store = HomographyStore(tmp_path, registrator, SIZE)
    store.clip(Frames())
    matches = store.correspondences(Frames())
    assert registrator.calls == 3
    for k in (1, 2, 3):
        points = np.random.default_rng(k).uniform(size=(4 - k, 2)).astype(np.float32)
        expected = np.array([[x, y, float(i % 2 == 0)] for i, (x, y) in enumerate(points)], np.float32)
        assert np.array_equal(matches.at(k).numpy(), expected)
    assert matches.at(0).shape == (0, 3)
    next(tmp_path.rglob("*_matches.npy")).unlink()
    registrator.calls = 0
    assert np.array_equal(store.correspondences(Frames()).rows, matches.rows) and registrator.calls == 3
    still = HomographyStore(tmp_path, build_registrator("identity"), SIZE).correspondences(Frames())
    assert still.rows.shape == (0, 4) and still.at(1).shape == (0, 3)
