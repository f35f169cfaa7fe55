"""Several processes train what one trains: shares of a batch, synchronised BatchNorm, and going on with another number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.machine import MachineSettings, worker_count
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.types import Outputs, Window
from sspcore.models.checkpoint import WEIGHTS, read_weights
from sspcore.study import Study
from sspcore.study.profiles import load_profile
from sspcore.study.worker import rank
from sspcore.training import loop as training
from sspcore.training.distributed import (
    EpochSampler,
    SyncedBatchNorm,
    World,
    joined,
    run_rank,
    synchronise_batchnorm,
    torchrun,
    with_counts,
)
from sspcore.training.losses import supervised
from sspcore.training.recipe import Recipe

CPU = torch.device("cpu")
SYSTEM = "SSP (untrained image model)"
# a machine whose name resolves to nothing and that has no network, where such a one may be made
NOWHERE = ("unshare", "--uts", "--net", "sh", "-c", 'hostname nowhere && ip link set lo up && exec "$@"', "-")


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_shares_of_all_processes_make_up_the_batches_of_one(processes, accumulate):
    for drop_last, steps in ((False, 3), (True, 2)):
        recipe = load_profile("smoke").training["video"].model_copy(
            update={"batch_size": 6, "repeats": 2, "drop_last": drop_last}
        )
        _assert_shares_make_up_batches(recipe, processes, accumulate, steps)


def _assert_shares_make_up_batches(recipe: Recipe, processes: int, accumulate: int, steps: int) -> None:
    whole = list(EpochSampler(7, recipe, seed=1))
    assert len(whole) == steps
    samplers = [EpochSampler(7, recipe, 1, World(rank, processes), accumulate) for rank in range(processes)]
    pieces = [list(sampler) for sampler in samplers]
    for sampler, piece in zip(samplers, pieces, strict=True):
        assert len(sampler) == len(piece) == accumulate * sampler.steps
    for step, batch in enumerate(whole):
        own = slice(step * accumulate, (step + 1) * accumulate)
        assert [address for piece in pieces for part in piece[own] for address in part] == batch


def test_parts_of_a_batch_have_its_loss_though_their_labels_are_uneven():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 2, 5, 6, 8), torch.randint(0, 5, (4, 2, 6, 8))
    labels[0], labels[1, :, 2:] = 255, 255
    frames, flow = torch.randn(4, 2, 3, 6, 8), torch.randn(4, 1, 2, 6, 8)
    objective = supervised(0.5, 0.4)

    def losses(windows: list[Window], parts: list[torch.Tensor]) -> dict[str, float]:
        values = [objective(Outputs(part, part), window) for window, part in zip(windows, parts, strict=True)]
        return {name: sum(float(value[name]) for value in values) / len(values) for name in values[0]}

    def window(rows: slice) -> Window:
        return Window(frames[rows], flow_to_prev=flow[rows], labels=labels[rows])

    rows = [slice(k, k + 1) for k in range(4)]
    parts = with_counts([window(row) for row in rows], World())
    whole = losses([window(slice(None))], [logits])
    assert losses(parts, [logits[row] for row in rows]) == pytest.approx(whole, abs=1e-6)
    blank = with_counts([Window(frames[:1], labels=labels[:1])] * 2, World())[0]
    assert float(objective(Outputs(logits[:1, :1]), blank)["ce"]) == 0.0


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("make", [nn.BatchNorm2d, lambda n: BatchNormAct2d(n, act_layer=nn.ReLU6)])
def test_synchronised_batchnorm_is_batchnorm_in_one_process(alone, make):
    torch.manual_seed(0)
    plain, other = (nn.Sequential(nn.Conv2d(3, 4, 3), make(4)) for _ in range(2))
    other.load_state_dict(plain.state_dict())
    synced = synchronise_batchnorm(other, CPU)
    assert isinstance(synced[1], SyncedBatchNorm) and list(synced.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 8, 8) * 3 + 1
    for model in (plain, synced):
        model(x).square().sum().backward()
    for ours, theirs in zip(synced.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value)
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x))


def study(root: Path, release: Path, **settings: Any) -> Study:
    """The smoke profile on a hand-made release, artefacts in `root`."""
    overrides = {f"training.video.{name}": value for name, value in settings.pop("recipe", {}).items()}
    # At the profile's rate of 1e-3 AdamW makes 1 % of the loss out of one rounding in the weights within eight steps.
    overrides |= {"clips.uavid.clip_length": 8, "training.video.repeats": 2, "training.video.lr": 1e-5}
    overrides["register_crops"] = True  # in the processes that load samples
    profile = load_profile("smoke", overrides | {f"machine.{name}": value for name, value in settings.items()})
    profile = profile.model_copy(update={"rendering": None})
    return Study(profile, 0, release.parent, Workspace("smoke", root), device=CPU)


@pytest.mark.slow
def test_two_processes_are_one_to_the_last_digits_in_double_precision():
    """Uneven labels, both kinds of BatchNorm, unused parameters, and two parts in each of two processes."""
    script = str(Path(__file__).with_name("two_processes.py"))
    command = [*torchrun(2), script]
    assert "localhost" not in " ".join(command) and not any("standalone" in word for word in command)
    if shutil.which("unshare") and subprocess.run([*NOWHERE, "true"], capture_output=True).returncode == 0:
        command = [*NOWHERE, *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    results = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert len(results) == 3, done.stderr[-2000:]
    assert all(result["losses"] < 1e-12 and result["weights"] < 1e-6 for result in results[:2]), results
    assert results[2]["losses"] < 1e-5, results


class Killed(Exception):
    pass


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_runs_go_on_with_another_number(uavid_release, tmp_path, monkeypatch):
    one = study(tmp_path / "one", uavid_release)
    alone = one.history(SYSTEM, "uavid")
    weights = read_weights(one.train(SYSTEM, "uavid") / WEIGHTS)
    model = one.training(SYSTEM, "uavid", tmp_path / "unused").model
    start, learned = model.state_dict(), [name for name, _ in model.named_parameters()]
    assert len(alone) == 2

    def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return float(sum((a[name] - b[name]).square().sum() for name in learned)) ** 0.5

    def same(history: list[dict[str, float]], found: dict[str, torch.Tensor]) -> None:
        for name in ("total", "ce", "tc", "registration_fallback"):
            assert [entry[name] for entry in history] == pytest.approx([entry[name] for entry in alone], abs=1e-4), name
        assert distance(found, weights) < 0.2 * distance(start, weights)

    # One process is killed in its second epoch; two go on.
    real, epochs = training._epoch, []

    def dies_in_the_second(*arguments: Any) -> dict[str, float]:
        epochs.append(1)
        if len(epochs) == 2:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(training, "_epoch", dies_in_the_second)
    root = tmp_path / "two"
    with pytest.raises(Killed):
        study(root, uavid_release).train(SYSTEM, "uavid")
    monkeypatch.setattr(training, "_epoch", real)
    two = study(root, uavid_release, processes=2)
    assert two.train_key(SYSTEM, "uavid") == one.train_key(SYSTEM, "uavid")
    folder = two.train(SYSTEM, "uavid")
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["README.md", "config.json", "history.json", "key.json", "model.safetensors"]
    same(two.history(SYSTEM, "uavid"), read_weights(folder / WEIGHTS))

    # Two processes train the first epoch and fail, since a folder is in the way of the weights; one goes on.
    first = study(tmp_path / "two", uavid_release, processes=2, recipe={"epochs": 1})
    folder = first.workspace.run("uavid", 0, SYSTEM, first.train_key(SYSTEM, "uavid"))
    working = folder / f".training.{first.train_key(SYSTEM, 'uavid')}.partial"
    (working / WEIGHTS).mkdir(parents=True)
    with pytest.raises(SspError, match="training in 2 processes failed"):
        first.train(SYSTEM, "uavid")
    assert sorted(path.name for path in working.iterdir()) == ["model.safetensors", "resume.pt"]
    (tmp_path / "on").mkdir()
    shutil.copy(working / training.RESUME, tmp_path / "on")
    history = training.train(one.training(SYSTEM, "uavid", tmp_path / "on"))
    same(history, read_weights(tmp_path / "on" / WEIGHTS))


def test_a_process_without_its_job_says_so_in_one_line(tmp_path, capsys):
    assert run_rank(rank, [str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/job.json: file is missing")


def test_joining_is_left_behind(monkeypatch, tmp_path):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29507")):
        monkeypatch.setenv(name, value)
    with joined("cpu") as (world, device):
        assert world == World(0, 1) and device == CPU and dist.is_initialized()
    assert not dist.is_initialized()


def test_machine_settings(monkeypatch):
    assert MachineSettings().process_count(4, CPU) == MachineSettings(processes="gpus").process_count(4, CPU) == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    gpu = torch.device("cuda")
    assert MachineSettings(processes="gpus").process_count(4, gpu) == 2
    with pytest.raises(ProfileError, match="machine.processes: 4 asked for, 3 GPUs"):
        MachineSettings(processes=4).process_count(4, gpu)
    with pytest.raises(ProfileError, match="3 do not divide a batch of 4"):
        MachineSettings(processes=3).process_count(4, gpu)
    assert [MachineSettings(microbatch=n).accumulation(4) for n in (None, 1, 2, 3, 9)] == [1, 4, 2, 2, 1]
    assert worker_count(5, 3) == 5 and 0 <= worker_count("auto", 2) <= worker_count("auto", 1) <= 12
