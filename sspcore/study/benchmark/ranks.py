"""Optimiser steps of one system in two processes: NCCL where there are two GPUs, gloo on a CPU.

This module is also what each of the processes runs (`sspcore.training.distributed.launch`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sspcore.core.files import read_json, write_json
from sspcore.models.systems import system
from sspcore.study.benchmark.modes import modes
from sspcore.study.benchmark.part import Setting
from sspcore.study.benchmark.training import DATASET, STEPS, WARM_UP, tf32_of, trained_in
from sspcore.study.profiles import Profile
from sspcore.study.timing import N_CLASSES, random_window, time_training, timed, trainable
from sspcore.training.distributed import joined, launch, run_rank, synchronise_batchnorm, with_counts
from sspcore.training.loop import backward, build_losses, build_optimiser
from sspcore.training.losses import build_objective

PROCESSES = 2
RESULT = "result.json"


@dataclass(frozen=True)
class TwoRanks:
    """A batch trained by one process and by two.

    Attributes:
        efficiency: seconds of one process over PROCESSES times those of two; 1: twice as fast.
        loss: of the first step; both ways have the same weights, and each process a random share of its own.
    """

    system: str
    mode: str
    backend: str
    processes: int
    batch: int
    seconds_alone: float
    seconds: float
    efficiency: float
    loss: float


def two_ranks(name: str, mode_name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """The row of one system."""
    mode, device = modes((mode_name,), setting.device)[0], setting.device
    profile = trained_in(setting.profile, mode)
    recipe = profile.recipe(system(name).recipe, DATASET)
    steps, warm_up = setting.times(STEPS, 2), setting.times(WARM_UP, 1)
    with tf32_of(mode):
        alone = time_training(name, profile, recipe, device, steps, warm_up, within=setting.within)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    job = {
        "profile": profile.model_dump(mode="json"), "system": name, "device": device.type, "mode": mode_name, "steps": steps,
        "warm_up": warm_up,
    }
    with tempfile.TemporaryDirectory() as folder:
        launch(__name__, job, Path(folder), f"{name} in {PROCESSES} processes", PROCESSES)
        found = read_json(Path(folder) / RESULT)
    yield asdict(TwoRanks(
        name, mode_name, found["backend"], PROCESSES, recipe.batch_size, round(alone.seconds, 4), round(found["seconds"], 4),
        round(alone.seconds / (PROCESSES * found["seconds"]), 3), found["loss"],
    ))


def rank(job: dict[str, Any], folder: Path) -> None:
    """One of the processes: its share of each batch; the first one writes the result."""
    profile, name = Profile.model_validate(job["profile"]), job["system"]
    recipe = profile.recipe(system(name).recipe, DATASET)
    with joined(job["device"]) as (world, device):
        model = synchronise_batchnorm(trainable(name, profile, recipe, device), device)
        objective = build_objective(recipe, system(name).teacher, torch.ones(N_CLASSES) if recipe.class_balance else None)
        losses_of = build_losses(model, objective, device, profile.machine, world)
        optimiser, losses = build_optimiser(model, recipe, frozenset()), []
        torch.manual_seed(world.rank)
        windows = [random_window(model, recipe.batch_size // world.size, recipe.crop, device)]

        def one_step(_: int) -> None:
            optimiser.zero_grad(set_to_none=True)
            losses.append(backward(losses_of, with_counts(windows, world), name)["total"])
            optimiser.step()

        with tf32_of(modes((job["mode"],), device)[0]):
            timing = timed(one_step, device, job["steps"], job["warm_up"])
        loss = float(world.sum(torch.tensor(losses[0], device=device))) / world.size
        if world.is_main:
            backend = torch.distributed.get_backend()
            write_json(folder / RESULT, {"seconds": timing.median, "loss": loss, "backend": backend})


if __name__ == "__main__":
    sys.exit(run_rank(rank))
