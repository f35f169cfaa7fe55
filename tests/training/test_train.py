"""The training loop: it learns, it resumes bit for bit, it stops at nonsense; windows are seeded per sample."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.media import SIZE
from sspcore.core.errors import SspError
from sspcore.core.machine import MachineSettings
from sspcore.core.store import stage
from sspcore.core.types import Outputs
from sspcore.data.augmentation import Augmenter, published_windows
from sspcore.data.clips import load_clips
from sspcore.data.crops import CropRegistration
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.samples import flip_horizontally
from sspcore.data.windows import WindowDataset, WindowRef, collate, labelled_windows, strided_windows
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import Registration, build_registrator
from sspcore.training import loop as training
from sspcore.training.distributed import EpochSampler
from sspcore.training.losses import supervised
from sspcore.training.recipe import Recipe
from sspcore.training.statistics import let_statistics_settle

RECIPE = Recipe(epochs=4, schedule_epochs=5, warmup_epochs=0.5, batch_size=2, lr=3e-3, crop=(64, 96))
TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


@pytest.fixture
def clips(uavid_release, tmp_path):
    rules = ClipRules(frame_step=1, clip_length=8, min_clip_length=4)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(uavid_release, UAVID, rules, out))
    return load_clips(folder, "train")


def dataset(clips, tmp_path: Path, length: int = 2, augment=None) -> WindowDataset:
    return WindowDataset(
        labelled_windows(clips, length), length, SIZE, augment or Augmenter(published_windows(), (64, 96)), seed=3,
        homographies=HomographyStore(tmp_path / "motion", build_registrator("lk"), SIZE),
        flows=FlowStore(tmp_path / "motion", build_flow("dis-fast"), SIZE),
    )


def test_correspondences_of_a_batch_are_those_of_the_registrations(clips, tmp_path):
    """Points move with the frames; a clip's first frame, which is repeated, has none; shorter lists are filled up by NaN."""
    data = dataset(clips, tmp_path, length=3, augment=lambda sample: sample)
    data.correspondences, data.refs = True, data.refs + [WindowRef(clips[0], 1)]
    samples = [data[0, i] for i in range(len(data.refs))]
    window = collate(samples)
    registrator = build_registrator("lk")
    for found, ref in zip(window.correspondences, data.refs, strict=True):
        for t, k in enumerate((ref.last - 1, ref.last)):
            expected = np.empty((0, 3))
            if k > 0:
                expected = registrator(ref.clip.frame(k - 1, SIZE), ref.clip.frame(k, SIZE)).correspondences
            assert np.array_equal(found[t][: len(expected)].numpy(), expected) and found[t][len(expected):].isnan().all()
    assert window.motion(1).correspondences.shape == window.correspondences[:, 0].shape
    assert collate([dataset(clips, tmp_path)[0, 0]]).correspondences is None
    flipped = flip_horizontally(samples[0]).correspondences
    assert torch.equal(flipped[..., 0].nan_to_num(-1), (SIZE[1] - 1 - samples[0].correspondences[..., 0]).nan_to_num(-1))


def run(clips, tmp_path: Path, folder: str, recipe: Recipe = RECIPE, augment=None) -> training.Training:
    torch.manual_seed(0)
    model = SSP(ImageSegmenter(TINY, UAVID.n_classes))
    model.image.classifier = nn.Sequential(nn.Dropout2d(0.1), model.image.classifier)  # draws from the global generator
    (tmp_path / folder).mkdir(exist_ok=True)
    return training.Training(
        "test", model, supervised(0.5, 0.4), dataset(clips, tmp_path, augment=augment), recipe, 3, frozenset(),
        tmp_path / folder, torch.device("cpu"),
    )


def test_windows_end_in_labels_or_cover_every_second_frame(clips):
    assert [ref.last for ref in labelled_windows(clips, 2)] == [3, 7, 3, 7]
    assert [ref.last for ref in strided_windows(clips[:1])] == [1, 3, 5, 7]


def test_samples_depend_on_seed_and_address_alone(clips, tmp_path):
    first, second = dataset(clips, tmp_path), dataset(clips, tmp_path)
    torch.manual_seed(1)
    a = first[(0, 1)]
    torch.manual_seed(2)
    b = second[(0, 1)]
    assert torch.equal(a.frames, b.frames) and torch.equal(a.flow_to_prev, b.flow_to_prev)
    assert not torch.equal(a.frames, first[(1, 1)].frames)


def test_drawing_a_sample_leaves_the_global_generator_alone(clips, tmp_path):
    data = dataset(clips, tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    data[(0, 0)]
    assert torch.equal(torch.rand(3), expected)


def test_window_at_a_clip_start_repeats_its_first_frame(clips, tmp_path):
    data = dataset(clips, tmp_path, length=6, augment=lambda sample: sample)
    sample = data[(0, 0)]  # label at position 3: positions 0 0 0 1 2 3
    assert torch.equal(sample.frames[0], sample.frames[2]) and not torch.equal(sample.frames[2], sample.frames[3])
    assert torch.equal(sample.H_prev_to_cur[0], torch.eye(3, dtype=torch.float64))
    assert float(sample.flow_to_prev[0].abs().max()) == 0.0
    assert (sample.labels[:-1] == 255).all() and (sample.labels[-1] != 255).any()


def test_motion_points_from_the_current_frame_to_the_one_before(clips, tmp_path):
    """The camera pans to the right by 2 px a frame: a point was 2 px further right before."""
    sample = dataset(clips, tmp_path, augment=lambda sample: sample)[(0, 0)]
    assert float(sample.flow_to_prev[0, 0].median()) == pytest.approx(2.0, abs=0.3)
    assert float(sample.H_prev_to_cur[0, 0, 2]) == pytest.approx(-2.0, abs=0.5)


def test_collate_normalises_and_stacks(clips, tmp_path):
    window = collate([dataset(clips, tmp_path)[(0, i)] for i in range(2)])
    assert window.frames.shape == (2, 2, 3, 64, 96) and window.frames.dtype == torch.float32
    assert window.labels.dtype == torch.int64 and window.H_prev_to_cur.shape == (2, 1, 3, 3)


def test_sampler_covers_every_window_and_fills_the_last_batch():
    recipe = RECIPE.model_copy(update={"batch_size": 2, "repeats": 1})
    sampler = EpochSampler(5, recipe, seed=0)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 3 and all(len(batch) == 2 for batch in batches)
    assert {index for batch in batches for _, index in batch} == set(range(5))
    assert batches == list(EpochSampler(5, recipe, seed=0))
    sampler.epoch = 1
    assert batches != list(sampler)


@pytest.mark.parametrize("n_items", [3, 4, 50])
def test_an_epoch_of_a_given_number_of_windows_goes_on_where_the_one_before_ended(n_items):
    recipe = RECIPE.model_copy(update={"batch_size": 2, "epoch_windows": 10})
    sampler = EpochSampler(n_items, recipe, seed=0)
    order = []
    for sampler.epoch in range(6):
        assert len(sampler) == recipe.steps(n_items) == 5
        order += [index for batch in sampler for _, index in batch]
    assert len(order) == 60
    for k in range(0, 60 - n_items + 1, n_items):
        assert set(order[k:k + n_items]) == set(range(n_items))  # one whole pass after the other
    assert recipe.key() != RECIPE.model_copy(update={"batch_size": 2}).key() and "epoch_windows" not in RECIPE.key()


def test_sampler_drops_an_incomplete_last_batch_where_the_recipe_says_so():
    filled = RECIPE.model_copy(update={"batch_size": 2, "repeats": 1})
    dropping = filled.model_copy(update={"drop_last": True})
    batches = list(EpochSampler(5, dropping, seed=0))
    assert batches == list(EpochSampler(5, filled, seed=0))[:2] and len({index for batch in batches for _, index in batch}) == 4
    assert len(list(EpochSampler(4, dropping, seed=0))) == 2
    # windows are repeated first, then cut into batches: 3 x 5 windows are 7 batches of 2
    assert len(EpochSampler(5, dropping.model_copy(update={"repeats": 3}), seed=0)) == 7
    assert [recipe.steps(5) for recipe in (filled, dropping)] == [3, 2] and dropping.steps(1) == 0
    assert filled.key() != dropping.key()


def test_fewer_windows_than_a_dropped_batch_is_one_line(clips, tmp_path):
    recipe = RECIPE.model_copy(update={"batch_size": 64, "drop_last": True})
    with pytest.raises(SspError, match="training windows make no batch of 64, .*; lower batch_size") as error:
        training.train(run(clips[1:], tmp_path, "few", recipe))
    assert "\n" not in str(error.value)


def test_a_tiny_scene_is_learned_by_heart_and_the_model_is_saved(clips, tmp_path):
    recipe = RECIPE.model_copy(update={"epochs": 14, "schedule_epochs": 14, "lr": 1e-2})
    job = run(clips[1:], tmp_path, "a", recipe, augment=lambda sample: sample)
    saved: list[nn.Module] = []
    history = training.train(replace(job, save=saved.append))
    assert history[-1]["total"] < 0.4 * history[0]["total"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["history.json"] and saved == [job.model]


class Killed(Exception):
    pass


def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(clips, tmp_path, monkeypatch):
    undisturbed = run(clips, tmp_path, "a")
    history = training.train(undisturbed)

    real = training._epoch
    calls = []

    def dies_in_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(training, "_epoch", dies_in_the_third)
    with pytest.raises(Killed):
        training.train(run(clips, tmp_path, "b"))
    monkeypatch.setattr(training, "_epoch", real)
    torch.manual_seed(99)  # a new process is in another random state
    resumed = run(clips, tmp_path, "b")
    again = training.train(resumed)
    for (name, a), b in zip(undisturbed.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert [entry["total"] for entry in again] == [entry["total"] for entry in history]


def test_damaged_checkpoint_is_not_gone_on_from(clips, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    job = run(clips, tmp_path, "a", RECIPE.model_copy(update={"epochs": 1}))

    def killed(*arguments):
        raise Killed

    with pytest.raises(Killed):
        training.train(replace(job, save=killed))
    path = tmp_path / "a" / "resume.pt"
    whole = path.read_bytes()
    # The middle of the file may lie between two entries of the zip, in padding that no checksum covers and nothing reads: the
    # archive's name holds the process's number, and its length moves the entries.
    weight = whole.index(next(job.model.parameters()).detach().numpy().tobytes())

    def epochs_done() -> int:
        optimiser = training.build_optimiser(job.model, RECIPE, frozenset())
        schedule = training.build_schedule(optimiser, RECIPE, 1)
        return len(training._resume(job, {"model": job.model, "optimiser": optimiser, "schedule": schedule}))

    assert epochs_done() == 1
    for content in (*damaged(whole, at=weight), whole[:-1], b"rubbish"):
        path.write_bytes(content)
        assert epochs_done() == 0
    assert caplog.text.count("resume.pt: checkpoint is damaged; the training begins again") == 5


def damaged(data: bytes, at: int | None = None) -> list[bytes]:
    """A file with one bit flipped (of its middle, or of the byte `at`), cut in half, and emptied."""
    flipped = bytearray(data)
    flipped[len(data) // 2 if at is None else at] ^= 1
    return [bytes(flipped), data[: len(data) // 2], b""]


@pytest.mark.parametrize("kind", ["dis-fast", "lk"])
def test_damaged_motion_is_estimated_again_before_it_is_used(clips, tmp_path, kind):
    data = dataset(clips, tmp_path, augment=lambda sample: sample)
    data.warm()
    expected = data[(0, 0)]
    path = sorted((tmp_path / "motion" / clips[0].place).rglob(f"{kind}/**/*.npy"))[0]
    size = path.stat().st_size
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        again = data[(0, 0)]
        assert torch.equal(again.flow_to_prev, expected.flow_to_prev)
        assert torch.equal(again.H_prev_to_cur, expected.H_prev_to_cur) and path.stat().st_size == size
        path.write_bytes(content)
        computed = data.flows.computed
        data.warm()  # what is cut off: by the process that owns the estimator; a flipped bit of flow when it is read
        seen = kind == "lk" or len(content) < size
        assert (path.read_bytes() != content) == seen and data.flows.computed == computed + (kind == "dis-fast" and seen)


def test_accumulated_parts_equal_the_large_batch(clips, tmp_path):
    """Without BatchNorm, whose statistics are those of a part."""
    histories, states = [], []
    for folder, microbatch in (("a", None), ("b", 1)):
        job = run(clips, tmp_path, folder, RECIPE.model_copy(update={"epochs": 2, "batch_size": 4, "lr": 1e-4}))
        for module in list(job.model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d | nn.Dropout2d):
                    setattr(module, name, nn.Identity())
        histories.append(training.train(replace(job, machine=MachineSettings(microbatch=microbatch))))
        states.append(job.model.state_dict())
    for name in ("total", "ce", "tc"):
        whole, parts = ([entry[name] for entry in history] for history in histories)
        assert parts == pytest.approx(whole, rel=1e-4), name
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=3e-4, msg=name)


@pytest.mark.parametrize(("window", "context"), [(1, 0), (2, 1), (4, 3)])  # an image model, DFF and NetWarp, TCB
def test_parts_of_a_single_frame_are_refused(clips, tmp_path, window, context):
    job = run(clips, tmp_path, "a")
    job.model.window, job.model.context = window, context
    with pytest.raises(SspError, match="machine.microbatch 1 leaves BatchNorm a single frame"):
        training.train(replace(job, machine=MachineSettings(microbatch=1)))


def test_motion_is_estimated_before_the_first_sample(clips, tmp_path):
    data = dataset(clips, tmp_path)
    data.warm()
    written = sorted((tmp_path / "motion").rglob("*.np[yz]"))
    assert len(written) == len(data) + 2 * len(clips)  # homographies, and the matches that they were fitted to
    times = [path.stat().st_mtime_ns for path in written]
    for index in range(len(data)):
        data[(0, index)]
    assert sorted((tmp_path / "motion").rglob("*.np[yz]")) == written
    assert [path.stat().st_mtime_ns for path in written] == times


def test_tensorboard_gets_every_step_or_says_what_is_missing(clips, tmp_path, monkeypatch):
    noted = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            noted.append((Path(folder).parent, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            noted.append((name, step))

        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            noted.append("closed")

    job = replace(run(clips, tmp_path, "a"), machine=MachineSettings(tensorboard=True))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SspError, match="tensorboard is not installed; pip install tensorboard"):
        training.train(job)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    training.train(job)
    steps = [step for name, step in noted[1:-1] if name == "total"]
    assert noted[0] == (tmp_path / "a", 0) and noted[-1] == "closed" and steps == list(range(8))
    assert {name for name, _ in noted[1:-1]} == {"ce", "tc", "total", "lr"}


def test_nan_loss_stops_with_one_line_and_writes_no_weights(clips, tmp_path):
    job = replace(run(clips, tmp_path, "a"), objective=lambda outputs, window: {"total": outputs.logits.sum() * np.nan})
    with pytest.raises(SspError, match="the loss became nan; lower training lr"):
        training.train(job)
    assert not list((tmp_path / "a").iterdir())


def test_a_lack_of_gpu_memory_is_one_line(clips, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(training, "backward", full)
    with pytest.raises(SspError, match="the GPU's memory has run out; take machine.microbatch below 2, which") as error:
        training.train(run(clips, tmp_path, "a"))
    assert "\n" not in str(error.value) and isinstance(error.value.__cause__, torch.cuda.OutOfMemoryError)


def test_no_windows_is_named(clips, tmp_path):
    job = run(clips, tmp_path, "a")
    job.dataset.refs.clear()
    with pytest.raises(SspError, match="no training window"):
        training.train(job)


def test_schedule_warms_up_and_ends_low():
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=1.0)
    recipe = RECIPE.model_copy(update={"epochs": 10, "schedule_epochs": 10, "warmup_epochs": 2.0})
    schedule = training.build_schedule(optimiser, recipe, steps_per_epoch=5)
    rates = []
    for _ in range(50):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-4) and max(rates) == pytest.approx(1.0) and int(np.argmax(rates)) == 10
    assert rates[-1] < 0.01 and all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_fresh_parameters_learn_at_their_own_rate():
    model = nn.Linear(2, 2)
    recipe = RECIPE.model_copy(update={"head_lr_factor": 10.0})
    groups = training.build_optimiser(model, recipe, frozenset({"bias"})).param_groups
    assert all(group["fused"] for group in groups)
    assert [group["lr"] for group in groups] == [3e-3, 3e-2]
    assert groups[1]["params"] == [model.bias]


def test_outputs_of_a_single_frame_have_no_consistency_term(clips, tmp_path):
    window = collate([dataset(clips, tmp_path)[(0, 0)]])
    losses = supervised(0.5, 0.4)(Outputs(torch.zeros(1, 1, 8, 64, 96)), window)
    assert set(losses) == {"ce", "total"}


def test_training_on_crops_registered_by_the_loader_or_in_the_loop_is_the_same(clips, tmp_path):
    crops, jobs = CropRegistration(build_registrator("lk")), {}
    for folder in ("loader", "loop"):
        job = run(clips[1:], tmp_path, folder, RECIPE.model_copy(update={"epochs": 2}))
        job.dataset.homographies = None
        job.dataset.crops = crops if folder == "loader" else None
        jobs[folder] = replace(job, crops=crops if folder == "loop" else None)
    histories = {folder: training.train(job) for folder, job in jobs.items()}
    for by_loader, by_loop in zip(*histories.values(), strict=True):
        assert by_loader.pop("seconds") > 0 and by_loop.pop("seconds") > 0
        assert by_loader == by_loop and 0 <= by_loader["registration_fallback"] < 1
    for one, other in zip(*(job.model.state_dict().values() for job in jobs.values()), strict=True):
        assert torch.equal(one, other)


def test_the_share_of_pairs_without_a_registration_is_in_the_history(clips, tmp_path):
    job = run(clips[1:], tmp_path, "failing", RECIPE.model_copy(update={"epochs": 1}))
    job.dataset.homographies = None
    job.dataset.crops = CropRegistration(lambda previous, current: Registration(np.eye(3), ok=False))
    (entry,) = training.train(job)
    assert entry["registration_fallback"] == 1.0
    (entry,) = training.train(run(clips[1:], tmp_path, "whole", RECIPE.model_copy(update={"epochs": 1})))
    assert "registration_fallback" not in entry


@pytest.mark.parametrize("precision, expected", [("float32", False), ("tf32", True), ("bfloat16", False)])
def test_products_are_in_tf32_where_asked_for_and_only_while_training(precision, expected, clips, tmp_path, monkeypatch):
    switches, real = [], training.backward
    matmul = torch.backends.cuda.matmul
    monkeypatch.setattr(training, "backward", lambda *given: switches.append(matmul.allow_tf32) or real(*given))
    job = run(clips[1:], tmp_path, precision, RECIPE.model_copy(update={"epochs": 1}))
    training.train(replace(job, machine=MachineSettings(precision=precision)))
    assert set(switches) == {expected} and not matmul.allow_tf32
    assert MachineSettings(precision=precision).effective_precision(torch.device("cpu")) == "float32"


def test_slow_running_statistics_settle_in_a_short_training():
    """A network whose statistics follow slowly (torchvision's MobileNetV3) would else predict one class in eval mode."""
    def after(momentum: float | None, steps: int) -> nn.BatchNorm2d:
        layer = nn.BatchNorm2d(1, momentum=momentum)
        let_statistics_settle(layer, steps)
        return layer

    slow, x = after(0.01, 200), torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 50
    for _ in range(200):
        slow(x)
    assert slow.running_mean.item() == pytest.approx(x.mean().item(), rel=0.01)
    assert after(0.01, 100_000).momentum == 0.01 and after(0.1, 50).momentum == 0.1 and after(0.2, 50).momentum == 0.2
    assert after(0.01, 10).momentum == 0.1 and after(None, 10).momentum is None
