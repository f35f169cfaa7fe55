"""One training loop for every system: model, objective, windows and schedule in, checkpoint out.

The loop knows no model and no data set. After each epoch all that a resumed run needs is on disk: weights, optimiser,
schedule and random state; on a CPU a resumed run equals an undisturbed one bit for bit.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from sspcore.data.windows import EpochSampler, WindowDataset, collate
from sspcore.errors import ArtefactError, SspError
from sspcore.losses import Objective
from sspcore.profiles import Recipe
from sspcore.progress import tqdm
from sspcore.runs import atomic_file, write_json

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
HISTORY = "history.json"
RESUME = "resume.pt"


@dataclass(frozen=True)
class Training:
    """What the loop is given.

    Attributes:
        name: for the progress bar.
        model: a VideoSegmenter.
        objective: losses of (outputs, window); "total" is minimised.
        dataset: the windows.
        recipe: schedule, batch and optimiser settings.
        seed: of order, augmentation and dropout.
        fresh: names of parameters that do not start from trained weights (they learn at `head_lr_factor`).
        folder: receives weights, history and, while training, the resume file.
        device: where it trains.
        workers: loader processes.
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


def train(run: Training) -> list[dict[str, float]]:
    """Train and write `weights.safetensors` and `history.json` into the run's folder.

    Returns: the history, one entry an epoch: mean of each loss, learning rate, seconds.
    Raises: SspError if the loss is no longer a finite number (nothing is written then).
    """
    if len(run.dataset) == 0:
        raise SspError(f"{run.name}: no training window; no clip holds a usable label (see the profile's clips section)")
    model, recipe = run.model.to(run.device), run.recipe
    sampler = EpochSampler(len(run.dataset), recipe.batch_size, recipe.repeats, run.seed)
    loader = DataLoader(run.dataset, batch_sampler=sampler, collate_fn=collate, num_workers=run.workers)
    optimiser = build_optimiser(model, recipe, run.fresh)
    schedule = build_schedule(optimiser, recipe, len(sampler))
    torch.manual_seed(run.seed)
    history = _resume(run, model, optimiser, schedule)
    steps, done = recipe.epochs * len(sampler), len(history) * len(sampler)
    with tqdm(total=steps, initial=done, desc=run.name, unit="step") as bar:
        for epoch in range(len(history), recipe.epochs):
            sampler.epoch = epoch
            model.train()
            history.append(_epoch(run, loader, optimiser, schedule, bar))
            _save_resume(run, model, optimiser, schedule, history)
    save_weights(run.folder / WEIGHTS, model)
    write_json(run.folder / HISTORY, history)
    (run.folder / RESUME).unlink(missing_ok=True)
    return history


def _epoch(
    run: Training, loader: DataLoader, optimiser: Optimizer, schedule: LambdaLR, bar: tqdm
) -> dict[str, float]:
    began, sums, steps = time.perf_counter(), defaultdict(float), 0
    for window in loader:
        window = window.to(run.device)
        losses = run.objective(run.model(window), window)
        if not torch.isfinite(losses["total"]):
            raise SspError(f"{run.name}: the loss became {losses['total'].item()}; lower training lr in the profile")
        optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        optimiser.step()
        schedule.step()
        steps += 1
        for name, value in losses.items():
            sums[name] += value.item()
        bar.update(1)
        bar.set_postfix({name: f"{total / steps:.3f}" for name, total in sums.items()}, refresh=False)
    entry = {name: total / steps for name, total in sums.items()}
    return entry | {"lr": optimiser.param_groups[0]["lr"], "seconds": time.perf_counter() - began}


def build_optimiser(model: nn.Module, recipe: Recipe, fresh: frozenset[str]) -> Optimizer:
    """AdamW with two groups: parameters that start from trained weights, and fresh ones at `head_lr_factor`."""
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name in fresh].append(parameter)
    factors = {False: 1.0, True: recipe.head_lr_factor}
    return AdamW(
        [{"params": group, "lr": recipe.lr * factors[is_fresh]} for is_fresh, group in groups.items() if group],
        weight_decay=recipe.weight_decay,
    )


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


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the model's state as safetensors, atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_file(path) as temporary:
        save_file(state, temporary)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """State of a model from safetensors. Raises ArtefactError if the file is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: trained weights are missing; run the training notebook first") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path}: not readable as safetensors ({error}); delete it and train again") from error


def _save_resume(
    run: Training, model: nn.Module, optimiser: Optimizer, schedule: LambdaLR, history: list[dict[str, float]]
) -> None:
    with atomic_file(run.folder / RESUME) as temporary:
        torch.save({
            "model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(), "history": history,
        }, temporary)


def _resume(run: Training, model: nn.Module, optimiser: Optimizer, schedule: LambdaLR) -> list[dict[str, float]]:
    path = run.folder / RESUME
    if not path.is_file():
        return []
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for a damaged file
        problem = f"{path}: checkpoint is damaged ({type(error).__name__}); delete it and run again"
        raise ArtefactError(problem) from error
    model.load_state_dict(stored["model"])
    optimiser.load_state_dict(stored["optimiser"])
    schedule.load_state_dict(stored["schedule"])
    torch.set_rng_state(stored["random"])
    log.info("%s: goes on after epoch %d", run.name, len(stored["history"]))
    return stored["history"]
