"""What this GPU does with every system: `sspcore benchmark`, written to figures/hardware/<gpu>.json.

A few training steps at the profile's crop and batch, with losses, seconds and memory, and frames per second of one
stream, on random frames and untrained weights: speed and memory do not depend on them, accuracy is not measured.
Reading data is not in the figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.files import require_output, write_json
from sspcore.core.machine import MachineSettings, describe
from sspcore.core.paths import REPOSITORY, slug
from sspcore.core.progress import tqdm
from sspcore.core.provenance import provenance
from sspcore.core.types import Motion, VideoSegmenter, Window
from sspcore.models.dff import DFF
from sspcore.models.systems import OURS, PAPER_SYSTEMS, build, freeze_image, system
from sspcore.study.profiles import Profile, load_profile
from sspcore.training.distributed import World
from sspcore.training.loop import backward, build_losses, build_optimiser
from sspcore.training.losses import build_objective
from sspcore.training.recipe import Recipe

RAFT_UPDATES = 8
N_CLASSES = 8  # of UAVid


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed call, and the most GiB that the GPU held since before the first one (None on a CPU)."""

    seconds: tuple[float, ...]
    memory_gib: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seconds)


def timed(work: Callable[[int], object], device: torch.device | str = "cpu", times: int = 3, warm_up: int = 1) -> Timing:
    """Call `work(k)` for k = 0, 1, ...: `warm_up` calls that do not count, then `times` that do.

    On a GPU the time is taken by events of the device, and the queue is empty before each call.
    """
    device, seconds = torch.device(device), []
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for k in range(warm_up + times):
        if on_gpu:
            torch.cuda.synchronize(device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work(k)
            end.record()
            torch.cuda.synchronize(device)
            seconds.append(start.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            work(k)
            seconds.append(time.perf_counter() - began)
    memory = round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if on_gpu else None
    return Timing(tuple(seconds[warm_up:]), memory)


@dataclass(frozen=True)
class StepCost:
    """What an optimiser step of a system costs."""

    system: str
    crop: tuple[int, int]  # (H, W), of the recipe
    batch: int  # windows
    parts: int  # that the batch was cut into to fit into memory
    precision: str  # of the networks
    seconds: float  # median of a step
    memory_gib: float | None  # most that the GPU held; None on a CPU
    losses: list[float]  # total loss of every step, the untimed first ones included; the same random batch each time


def random_window(model: VideoSegmenter, batch: int, size: tuple[int, int], device: torch.device) -> Window:
    """A batch of windows of noise, with every motion and both kinds of labels."""
    (height, width), pairs = size, model.window - 1
    frames = torch.randn(batch, model.window, 3, height, width)
    shift = torch.eye(3, dtype=torch.float64).repeat(batch, pairs, 1, 1)
    shift[..., 0, 2] = 2.0
    return Window(
        frames=frames, H_prev_to_cur=shift, flow_to_prev=torch.randn(batch, pairs, 2, height, width),
        labels=torch.randint(0, model.n_classes, (batch, model.window, height, width)),
        teacher=torch.randn(batch, model.window, model.n_classes, height // 4, width // 4),
    ).to(device)


def time_training(
    name: str, profile: Profile, recipe: Recipe, device: torch.device, steps: int = 5, warm_up: int = 3
) -> StepCost:
    """Time optimiser steps of one system in one process.

    Where the batch does not fit into the GPU's memory it is cut into more and more parts.
    Raises: SspError if the smallest parts do not fit.
    """
    spec = system(name)
    torch.manual_seed(0)
    model = build(name, N_CLASSES, profile, load_weights=False).to(device).train()
    if recipe.freeze_image:
        freeze_image(model, name)
    objective = build_objective(recipe, spec.teacher, torch.ones(N_CLASSES) if recipe.class_balance else None)
    machine = profile.machine
    most_parts = recipe.batch_size if model.window > 1 else max(1, recipe.batch_size // 2)  # BatchNorm wants two frames

    def steps_in(parts: int) -> tuple[Timing, list[float]]:
        """Time steps whose batch is cut into parts; total loss of each."""
        losses_of = build_losses(model, objective, device, machine, World())
        windows = [random_window(model, recipe.batch_size // parts, recipe.crop, device) for _ in range(parts)]
        optimiser, losses = build_optimiser(model, recipe, frozenset()), []

        def one_step(_: int) -> None:
            optimiser.zero_grad(set_to_none=True)
            losses.append(backward(losses_of, windows, name)["total"])
            optimiser.step()

        return timed(one_step, device, steps, warm_up), losses

    while True:
        parts = machine.accumulation(recipe.batch_size)
        try:
            timing, losses = steps_in(parts)
            break
        except torch.cuda.OutOfMemoryError as error:
            if parts >= most_parts:
                raise SspError(f"{name}: not even {parts} parts of a batch of {recipe.crop} fit into memory") from error
        # Outside of `except`, whose exception holds on to the tensors of the failed step.
        machine = machine.model_copy(update={"microbatch": max(1, recipe.batch_size // parts // 2)})
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return StepCost(
        name, tuple(recipe.crop), recipe.batch_size, parts, machine.effective_precision(device), timing.median,
        timing.memory_gib, losses,
    )


def measure_fps(
    name: str, profile: Profile, device: torch.device, frames: int = 50, warm_up: int = 10, precision: str = "fp32",
    compiled: bool = False,
) -> float:
    """Frames per second of one stream, batch 1: one over the median time of a frame (DFF: mean over key intervals).

    RAFT is run for the systems that need flow if the profile names it; registration and decoding are left out.
    """
    model = build(name, N_CLASSES, profile, load_weights=False).to(device).eval()
    raft = untrained_raft(device) if "flow" in model.needs and profile.flow.startswith("raft") else None
    frame, motion = still_frame(tuple(profile.input_size), device)
    step, state = torch.compile(model.step) if compiled else model.step, None

    def one_frame(k: int) -> None:
        nonlocal state
        key_frame = k % model.key_interval == 0 if isinstance(model, DFF) else k == 0
        if raft is not None and not key_frame:
            raft(frame, frame, num_flow_updates=RAFT_UPDATES)
        _, state = step(frame, state, motion)

    with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=precision == "fp16"):
        timing = timed(one_frame, device, frames, warm_up)
    return 1.0 / (timing.mean if isinstance(model, DFF) else timing.median)


def untrained_raft(device: torch.device | str) -> nn.Module:
    """RAFT with random weights: its cost does not depend on them."""
    return raft_large(weights=None).eval().to(device)


def still_frame(size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Motion]:
    """A black frame (1, 3, H, W) and the motion of a camera that stands still."""
    frame = torch.zeros(1, 3, *size, device=device)
    identity = torch.eye(3, device=device)[None]
    return frame, Motion(identity, torch.zeros(1, 2, *size, device=device))


def measure(
    profile: Profile, device: torch.device, systems: Iterable[str], steps: int = 5, frames: int = 50, warm_up: int = 10
) -> dict[str, Any]:
    """The content of the figures' file: origin, training steps and frame rates of systems.

    A system that does not fit or that the profile has no recipe for is listed with the reason.
    """
    training, streams = [], []
    for name in tqdm(list(systems), desc="hardware", unit="system"):
        torch.cuda.empty_cache()  # nothing where there is no GPU
        try:
            recipe = profile.recipe(system(name).recipe, "uavid")
            training.append(asdict(time_training(name, profile, recipe, device, steps)))
        except (ProfileError, SspError) as error:
            training.append({"system": name, "error": str(error)})
        rates = {
            f"fps_{precision}": round(measure_fps(name, profile, device, frames, warm_up, precision), 2)
            for precision in (("fp32", "fp16") if device.type == "cuda" else ("fp32",))
        }
        streams.append({"system": name, "size": list(profile.input_size), **rates})
    origin = provenance(profile.name, 0, "random frames, untrained weights") | describe(device)
    origin["measured"] = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    origin["note"] = (
        "training: optimiser steps of one process, reading data left out; streams: one stream, batch 1, RAFT with 8 updates "
        "included where a system needs flow, registration and reading left out"
    )
    return {"provenance": origin, "training": training, "streams": streams}


def benchmark(
    profile_name: str, out: Path | None = None, precision: str | None = None, steps: int = 5, overwrite: bool = False
) -> Path:
    """Measure all systems on this machine's GPU; returns the file that was written.

    Each parameter is an option of the command `sspcore benchmark`. Raises: SspError where there is no GPU.
    """
    if not torch.cuda.is_available():
        raise SspError("no accelerator: torch sees no CUDA device here; run this command on a machine with one")
    profile, device = load_profile(profile_name), torch.device("cuda")
    if precision is not None:
        machine = MachineSettings(**profile.machine.model_dump() | {"precision": precision})
        profile = profile.model_copy(update={"machine": machine})
    out = out or REPOSITORY / "figures" / "hardware" / f"{slug(torch.cuda.get_device_name(device))}.json"
    require_output(out, overwrite=overwrite)
    figures = measure(profile, device, (*PAPER_SYSTEMS, *OURS), steps)
    write_json(out, figures)
    return out
