"""Training windows registered as the model sees them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers.media import SIZE
from sspcore.core.images import normalise
from sspcore.core.store import stage
from sspcore.data.augmentation import Augmenter, published_windows
from sspcore.data.clips import load_clips
from sspcore.data.crops import CropRegistration
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.samples import Sample
from sspcore.data.windows import WindowDataset, collate, labelled_windows
from sspcore.motion.cache import HomographyStore
from sspcore.motion.registration import Registration, build_registrator


@dataclass
class Recording:
    """Remembers what it is given; fails on every second pair."""

    name: str = "recording"
    device: torch.device = torch.device("cpu")
    seen: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __call__(self, previous: np.ndarray, current: np.ndarray) -> Registration:
        self.seen.append((previous, current))
        shift = np.eye(3)
        shift[0, 2] = len(self.seen)
        return Registration(shift, ok=len(self.seen) % 2 == 1)


def moving(n_frames: int = 3, shift: int = 3) -> Sample:
    """A texture that moves to the left by `shift` pixels a frame."""
    noise = np.kron(np.random.default_rng(0).integers(0, 256, (24, 60, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.stack([noise[:96, k * shift: k * shift + 160] for k in range(n_frames)])
    return Sample(
        torch.from_numpy(frames).movedim(-1, 1), torch.zeros(n_frames, 96, 160, dtype=torch.uint8),
        torch.eye(3, dtype=torch.float64).repeat(n_frames - 1, 1, 1),
    )


def test_a_sample_gets_the_motion_of_its_own_frames():
    registered = CropRegistration(build_registrator("lk")).of_sample(moving())
    assert registered.H_prev_to_cur.shape == (2, 3, 3) and registered.registered.all()
    torch.testing.assert_close(registered.H_prev_to_cur[:, 0, 2], torch.full((2,), -3.0, dtype=torch.float64), atol=0.2, rtol=0)


def test_a_sample_carries_what_its_homographies_were_fitted_to_where_that_is_wanted():
    sample, registrator = moving(), build_registrator("lk")
    matches = CropRegistration(registrator, correspondences=True).of_sample(sample).correspondences
    for k in (1, 2):
        images = sample.frames[k - 1: k + 1].movedim(1, -1).contiguous().numpy()
        expected = registrator(*images).correspondences
        assert len(expected) > 50 and np.array_equal(matches[k - 1][: len(expected)].numpy(), expected)
    assert CropRegistration(registrator).of_sample(sample).correspondences is None


@pytest.mark.parametrize("correspondences", [False, True])
def test_a_batch_gets_what_its_samples_would_get(correspondences):
    crops = CropRegistration(build_registrator("lk"), correspondences)
    samples = [moving(shift=2), moving(shift=5)]
    window = crops.of_batch(collate(samples))
    alone = collate([crops.of_sample(sample) for sample in samples])
    assert torch.equal(window.H_prev_to_cur, alone.H_prev_to_cur) and window.H_prev_to_cur.shape == (2, 2, 3, 3)
    if correspondences:
        assert torch.equal(window.correspondences.nan_to_num(-1), alone.correspondences.nan_to_num(-1))
    else:
        assert window.correspondences is alone.correspondences is None
    assert torch.equal(window.registered, alone.registered) and torch.equal(window.frames, alone.frames)


def test_frames_reach_the_registrator_as_the_model_sees_them_and_failures_are_told():
    recording, sample = Recording(), moving()
    crops = CropRegistration(recording)
    registered = crops.of_sample(sample)
    assert registered.registered.tolist() == [True, False] and registered.H_prev_to_cur[:, 0, 2].tolist() == [1.0, 2.0]
    crops.of_batch(collate([sample]))
    for previous, current in zip(recording.seen[:2], recording.seen[2:], strict=True):
        for a, b in zip(previous, current, strict=True):
            assert np.array_equal(a, b)  # to the last grey level, though batches are normalised floats
    assert np.array_equal(recording.seen[0][1], sample.frames[1].movedim(0, -1).numpy())
    assert not crops.on_gpu and CropRegistration(Recording(device=torch.device("cuda", 0))).on_gpu


def test_a_repeated_first_frame_is_not_registered():
    sample, recording = moving(), Recording()
    still = replace(sample, frames=sample.frames[[0, 0, 1]])
    found = CropRegistration(recording).of_sample(still)
    assert len(recording.seen) == 1 and found.registered.tolist() == [True, True]
    assert torch.equal(found.H_prev_to_cur[0], torch.eye(3, dtype=torch.float64)) and found.H_prev_to_cur[1, 0, 2] == 1


@pytest.fixture
def windows(uavid_release, tmp_path) -> WindowDataset:
    rules = ClipRules(frame_step=1, clip_length=8, min_clip_length=4)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(uavid_release, UAVID, rules, out))
    return WindowDataset(
        labelled_windows(load_clips(folder, "train"), 2), 2, SIZE, Augmenter(published_windows(), (32, 64)), seed=3,
        crops=CropRegistration(build_registrator("lk")),
    )


def test_samples_are_registered_after_augmentation_alike_in_any_process(windows):
    windows.warm()  # nothing to estimate beforehand
    sample = windows[(0, 0)]
    again = windows.crops.of_sample(replace(sample, H_prev_to_cur=torch.zeros(1, 3, 3, dtype=torch.float64)))
    assert torch.equal(sample.H_prev_to_cur, again.H_prev_to_cur) and sample.frames.shape[-2:] == (32, 64)
    assert not torch.equal(windows[(1, 0)].frames, sample.frames)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    assert torch.equal(windows[(0, 0)].H_prev_to_cur, sample.H_prev_to_cur)
    assert torch.equal(torch.get_rng_state(), before)
    (by_worker,) = DataLoader(windows, batch_sampler=[[(0, 0)]], collate_fn=collate, num_workers=1)
    assert torch.equal(by_worker.H_prev_to_cur[0], sample.H_prev_to_cur)
    assert torch.equal(by_worker.frames[0], normalise(sample.frames))


def test_a_sample_draws_from_the_cpus_generator_and_leaves_the_gpus_alone(windows, monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    drawn = replace(windows, augment=lambda sample: replace(sample, H_prev_to_cur=torch.rand(1, 3, 3)), crops=None)[(2, 1)]
    assert not seeds
    torch.manual_seed(int(np.random.SeedSequence((3, 2, 1)).generate_state(1)[0]))
    assert torch.equal(drawn.H_prev_to_cur, torch.rand(1, 3, 3)) and seeds  # as torch.manual_seed lets it draw


@pytest.mark.parametrize("place", ["cpu", "cuda:0"])
def test_whole_frames_are_registered_in_this_process_where_the_networks_are_on_a_gpu(windows, tmp_path, place):
    recording = Recording(device=torch.device(place))
    stored = replace(windows, homographies=HomographyStore(tmp_path / "motion", recording, SIZE), crops=None)
    stored.warm(workers=1)
    assert bool(recording.seen) == (place != "cpu")  # what a loader process saw is not seen here
    assert list((tmp_path / "motion").rglob("*.npy"))
