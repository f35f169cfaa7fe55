"""One training loop for every system: model, objective, windows and schedule in, checkpoint out.

The loop knows no model and no data set. After each epoch all that a resumed run needs is on disk: weights, optimiser,
schedule and random states; on a CPU a resumed run equals an undisturbed one bit for bit. Several processes may train
together (sspcore.training.distributed), and a run may go on with another number of them.
"""

from __future__ import annotations

import logging
import math
import pickle
import time
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sspcore.core.errors import SspError
from sspcore.core.files import atomic_file, write_json
from sspcore.core.loading import Loader, load
from sspcore.core.machine import MachineSettings, in_gpu_memory
from sspcore.core.memory import memory_kept
from sspcore.core.progress import tqdm
from sspcore.core.types import Window
from sspcore.data.crops import CropRegistration
from sspcore.data.windows import WindowDataset, collate
from sspcore.models.pointwise import fast_pointwise
from sspcore.training.distributed import EpochSampler, World, synchronise_batchnorm, with_counts
from sspcore.training.losses import Objective
from sspcore.training.recipe import Recipe
from sspcore.training.statistics import let_statistics_settle

log = logging.getLogger(__name__)

HISTORY, RESUME, BOARD = "history.json", "resume.pt", "tensorboard"


@dataclass(frozen=True)
class Training:
    """What the loop is given.

    Attributes:
        name: for the progress bar and errors.
        model: a VideoSegmenter.
        objective: losses of (outputs, window); "total" is minimised.
        seed: of order, augmentation and dropout.
        fresh: names of parameters that do not start from trained weights (they learn at `head_lr_factor`).
        folder: receives the history and, while training, the resume file.
        workers: loader processes.
        crops: registers batches on the device; None where the samples carry what the model needs.
        world: this process among those that train together.
        save: called with the trained model at the end, by one process.
    """

    name: str
    model: nn.Module
    objective: Objective
    dataset: WindowDataset
    recipe: Recipe
    seed: int
    fresh: frozenset[str]
    folder: Path
    device: torch.device
    workers: int = 0
    crops: CropRegistration | None = None
    machine: MachineSettings = MachineSettings()
    world: World = World()
    save: Callable[[nn.Module], object] = field(default=lambda model: None)


def train(run: Training) -> list[dict[str, float]]:
    """Train, save the model and write `history.json` into the run's folder.

    Motion that is missing is estimated first, unless this is one of several processes, who find it on disk.
    Returns: the history, one entry an epoch: mean of each loss, learning rate, seconds; where windows are registered as they
        are read also "registration_fallback", the share of pairs that no homography was found for.
    Raises: SspError if the loss is no longer a finite number (nothing is saved then; what the last whole epoch left
        to resume from stays), if there is nothing to train on, or where a GPU's memory does not suffice.
    """
    if len(run.dataset) == 0:
        raise SspError(f"{run.name}: no training window; no clip holds a usable label (see the profile's clips section)")
    recipe, world = run.recipe, run.world
    if recipe.steps(len(run.dataset)) == 0:
        raise SspError(
            f"{run.name}: {len(run.dataset)} training windows make no batch of {recipe.batch_size}, and an incomplete one is "
            "dropped; lower batch_size of the recipe, raise repeats, or set drop_last to false"
        )
    if world.size == 1:
        run.dataset.warm(run.workers)
    share = recipe.batch_size // world.size
    parts = run.machine.accumulation(share)
    with_output = run.model.window - run.model.context  # frames of a window that pass the decoder
    if world.size == 1 and parts == recipe.batch_size > 1 and with_output == 1:
        raise SspError(f"{run.name}: machine.microbatch 1 leaves BatchNorm a single frame; set it to 2 or more")
    sampler = EpochSampler(len(run.dataset), recipe, run.seed, world, parts)
    loader = load(run.dataset, collate, run.workers, run.name, sampler)
    model = run.model.to(run.device)
    if world.size > 1:
        model = synchronise_batchnorm(model, run.device)
    optimiser = build_optimiser(model, recipe, run.fresh)
    schedule = build_schedule(optimiser, recipe, sampler.steps)
    let_statistics_settle(model, recipe.epochs * sampler.steps)
    torch.manual_seed(run.seed)
    resumed = {"model": model, "optimiser": optimiser, "schedule": schedule}
    history = _resume(run, resumed)
    losses_of = build_losses(model, run.objective, run.device, run.machine, world)
    steps, done = recipe.epochs * sampler.steps, len(history) * sampler.steps
    with (
        tqdm(total=steps, initial=done, desc=run.name, unit="step", disable=not world.is_main) as bar,
        _board(run, done) as note, memory_kept(), fast_pointwise(model), run.machine.arithmetic(),
        in_gpu_memory(run.name, f"take machine.microbatch below {share // parts}, which it holds at once, or a smaller crop"),
    ):
        for epoch in range(len(history), recipe.epochs):
            sampler.epoch = epoch
            model.train()
            if world.size > 1:  # dropout of its own in every process, and none to keep in a checkpoint
                torch.manual_seed(int(np.random.SeedSequence((run.seed, epoch, world.rank)).generate_state(1)[0]))
            history.append(_epoch(run, parts, losses_of, loader, optimiser, schedule, bar, note))
            if world.is_main:
                _save_resume(run, resumed, history)
    if world.is_main:
        run.save(model)
        write_json(run.folder / HISTORY, history)
        (run.folder / RESUME).unlink(missing_ok=True)
    return history


class Losses(nn.Module):
    """Model and objective as one module: losses of a window. The model under autocast, the losses in float32."""

    def __init__(self, model: nn.Module, objective: Objective, autocast: torch.autocast) -> None:
        super().__init__()
        self.model, self._objective, self._autocast = model, objective, autocast

    def forward(self, window: Window) -> dict[str, Tensor]:
        with self._autocast:
            outputs = self.model(window)
        return self._objective(outputs, window)


def build_losses(
    model: nn.Module, objective: Objective, device: torch.device, machine: MachineSettings, world: World
) -> nn.Module:
    """The module that training calls on each window, with what the machine's settings ask for around it."""
    if machine.compile:
        model = torch.compile(model)
    losses = Losses(model, objective, machine.autocast(device))
    if world.size == 1:
        return losses
    # Some encoders have parameters that no output depends on.
    places = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(losses, device_ids=places, find_unused_parameters=True)


def backward(losses_of: nn.Module, windows: list[Window], name: str) -> dict[str, float]:
    """Add the gradient of a batch, given in equal parts, to that of the parameters; returns its mean losses.

    Raises: SspError naming the training `name` if the loss is no finite number.
    """
    values: dict[str, float] = defaultdict(float)
    for k, window in enumerate(windows):
        waits = k + 1 < len(windows) and isinstance(losses_of, DistributedDataParallel)
        with losses_of.no_sync() if waits else nullcontext():
            losses = losses_of(window)
            if not torch.isfinite(losses["total"]):
                raise SspError(f"{name}: the loss became {losses['total'].item()}; lower training lr in the profile")
            (losses["total"] / len(windows)).backward()
        for key, value in losses.items():
            values[key] += value.item() / len(windows)
    return dict(values)


def _epoch(
    run: Training, parts: int, losses_of: nn.Module, loader: Loader, optimiser: Optimizer, schedule: LambdaLR,
    bar: tqdm, note: Callable[[dict[str, float]], None],
) -> dict[str, float]:
    began, sums, steps = time.perf_counter(), defaultdict(float), 0
    windows: list[Window] = []
    for window in loader:
        window = window.to(run.device)
        windows.append(window if run.crops is None else run.crops.of_batch(window))
        if len(windows) < parts:
            continue
        optimiser.zero_grad(set_to_none=True)
        losses = backward(losses_of, with_counts(windows, run.world), run.name) | _fallback(windows)
        optimiser.step()
        schedule.step()
        windows, steps = [], steps + 1
        for name, value in losses.items():
            sums[name] += value
        note(losses | {"lr": optimiser.param_groups[0]["lr"]})
        bar.update(1)
        bar.set_postfix({name: f"{total / steps:.3f}" for name, total in sums.items()}, refresh=False)
    if run.world.size > 1:
        mean = run.world.sum(torch.tensor(list(sums.values()), dtype=torch.float64, device=run.device)) / run.world.size
        sums = dict(zip(sums, mean.tolist(), strict=True))
    entry = {name: total / steps for name, total in sums.items()}
    return entry | {"lr": optimiser.param_groups[0]["lr"], "seconds": time.perf_counter() - began}


def _fallback(windows: list[Window]) -> dict[str, float]:
    """The share of a batch's pairs that no homography was found for; empty where that was not asked for."""
    found = [float(window.registered.float().mean()) for window in windows if window.registered is not None]
    return {"registration_fallback": 1 - sum(found) / len(found)} if found else {}


@contextmanager
def _board(run: Training, step: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """A function that notes a step's numbers in TensorBoard's log, or does nothing where none is asked for."""
    if not (run.machine.tensorboard and run.world.is_main):
        yield lambda values: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        problem = "machine.tensorboard: the package tensorboard is not installed"
        raise SspError(f"{problem}; pip install tensorboard, or set it to false") from error
    with SummaryWriter(str(run.folder / BOARD), purge_step=step) as writer:
        def note(values: dict[str, float]) -> None:
            nonlocal step
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            step += 1

        yield note


def build_optimiser(model: nn.Module, recipe: Recipe, fresh: frozenset[str]) -> Optimizer:
    """AdamW with two groups: parameters that start from trained weights, and fresh ones at `head_lr_factor`."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [each for name, each in trained.items() if (name in fresh) == is_fresh], "lr": recipe.lr * factor}
        for is_fresh, factor in ((False, 1.0), (True, recipe.head_lr_factor))
    ]
    # one loop over all parameters in place of a dozen calls for each; on a GPU torch does so by itself
    fused = all(parameter.device.type == "cpu" for parameter in trained.values())
    return AdamW([group for group in groups if group["params"]], weight_decay=recipe.weight_decay, fused=fused or None)


def build_schedule(optimiser: Optimizer, recipe: Recipe, steps_per_epoch: int) -> LambdaLR:
    """Linear warm-up, then a half cosine over `schedule_epochs`; both ends at `final_lr_ratio` of the base rate."""
    warmup = max(1, round(recipe.warmup_epochs * steps_per_epoch))
    total = recipe.schedule_epochs * steps_per_epoch

    def factor(step: int) -> float:
        low = recipe.final_lr_ratio
        if step < warmup:
            return low + (1 - low) * step / warmup
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimiser, factor)


def _save_resume(run: Training, parts: dict[str, Any], history: list[dict[str, float]]) -> None:
    """All that another process, or another number of them, goes on from; random states are this process's."""
    cuda = torch.cuda.get_rng_state(run.device) if run.device.type == "cuda" else None
    state = {"random": torch.get_rng_state(), "random_cuda": cuda, "history": history}
    with atomic_file(run.folder / RESUME) as temporary:
        torch.save({name: part.state_dict() for name, part in parts.items()} | state, temporary)


def _resume(run: Training, parts: dict[str, Any]) -> list[dict[str, float]]:
    path = run.folder / RESUME
    if not path.is_file():
        return []
    stored = _stored(path)
    if stored is None:
        log.warning("%s: checkpoint is damaged; the training begins again", path)
        return []
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    torch.set_rng_state(stored["random"])
    if run.device.type == "cuda" and stored.get("random_cuda") is not None:
        torch.cuda.set_rng_state(stored["random_cuda"], run.device)
    log.info("%s: goes on after epoch %d", run.name, len(stored["history"]))
    return stored["history"]


def _stored(path: Path) -> dict[str, Any] | None:
    """What `_save_resume` wrote, None if it is damaged: torch.load does not look at the checksums of its zip file."""
    try:
        with zipfile.ZipFile(path) as content:
            whole = content.testzip() is None
        return torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError):
        return None
