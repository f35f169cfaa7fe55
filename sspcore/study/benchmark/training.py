"""Training steps of a system in every mode: seconds, memory, and the least memory that the recipe's batch can be trained in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sspcore.core.machine import MachineSettings, tf32
from sspcore.models.systems import system
from sspcore.study.benchmark.modes import COMPILED, EAGER, Mode, modes
from sspcore.study.benchmark.part import Setting, free_memory
from sspcore.study.profiles import Profile
from sspcore.study.timing import StepCost, most_parts, time_training, trainable

STEPS, WARM_UP = 5, 3
DATASET = "uavid"  # whose recipe is taken where data sets differ


@dataclass(frozen=True)
class TrainingStep:
    """An optimiser step of a system in one mode.

    Attributes:
        parts: that the batch was cut into to fit into memory; 1: it fits as it is.
        seconds: median of a step. loss: of the first step, from the same weights and batch in every mode.
        memory_gib, reserved_gib: None on a CPU.
        setup_seconds: of the steps that do not count; most of it is compilation where that is the mode.
    """

    system: str
    mode: str
    precision: str
    crop: tuple[int, int]
    batch: int
    parts: int
    seconds: float
    memory_gib: float | None
    reserved_gib: float | None
    loss: float
    setup_seconds: float


def training_steps(name: str, mode_names: tuple[str, ...], setting: Setting) -> Iterator[dict[str, Any]]:
    """Rows of one system: its modes, and of the last one a step whose batch is cut into as many parts as it can be.

    The latter's memory is what a GPU must have at least.
    """
    profile, device = setting.profile, setting.device
    chosen = modes(mode_names, device)
    recipe = profile.recipe(system(name).recipe, DATASET)
    model = trainable(name, profile, recipe, device)
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    steps, warm_up = setting.times(STEPS, 2), setting.times(WARM_UP, 1)

    def row(mode: Mode, name_of_mode: str, microbatch: int | None, steps: int, warm_up: int) -> dict[str, Any]:
        model.load_state_dict(initial)
        model.zero_grad(set_to_none=True)
        free_memory(device)
        began, how = time.perf_counter(), trained_in(profile, mode, microbatch)
        with tf32_of(mode):
            cost = time_training(name, how, recipe, device, steps, warm_up, mode.with_layout(model), setting.within)
        return _row(name_of_mode, mode.precision(device), cost, time.perf_counter() - began - steps * cost.seconds)

    for mode in chosen:
        yield row(mode, mode.name, None, steps, warm_up)
    smallest = recipe.batch_size // most_parts(model, recipe)
    if smallest < recipe.batch_size and mode.how == EAGER:
        yield row(mode, f"{mode.name}, smallest parts", smallest, 2, 1)


def trained_in(profile: Profile, mode: Mode, microbatch: int | None = None) -> Profile:
    """The profile with a machine that trains in a mode; losses stay in float32, as in every training."""
    changes = {
        "precision": "bfloat16" if mode.autocast is torch.bfloat16 else "float32", "compile": mode.how == COMPILED,
        "microbatch": microbatch,
    }
    return profile.model_copy(update={"machine": MachineSettings(**profile.machine.model_dump() | changes)})


def tf32_of(mode: Mode) -> AbstractContextManager[None]:
    """The mode's TF32 without its autocast, which the training loop sets by itself."""
    return tf32(mode.convolutions, mode.products)


def _row(mode: str, precision: str, cost: StepCost, setup: float) -> dict[str, Any]:
    return asdict(TrainingStep(
        cost.system, mode, precision, cost.crop, cost.batch, cost.parts, round(cost.seconds, 4), cost.memory_gib,
        cost.reserved_gib, cost.losses[0], round(max(0.0, setup), 2),
    ))
