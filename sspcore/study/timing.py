"""How training steps and streamed frames are timed: what `plan`, `complexity` and the benchmark of a machine share.

A few training steps at a recipe's crop and batch, with losses, seconds and memory, and the time of one stream's frames,
on random frames and untrained weights: speed and memory do not depend on them. Reading data is not in the figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sspcore.core.errors import SspError
from sspcore.core.types import Motion, VideoSegmenter, VideoState, Window
from sspcore.models.dff import DFF
from sspcore.models.systems import build, freeze_image, system
from sspcore.motion.names import uses_raft
from sspcore.motion.raft import RAFT
from sspcore.study.profiles import Profile
from sspcore.training.distributed import World
from sspcore.training.loop import backward, build_losses, build_optimiser
from sspcore.training.losses import build_objective
from sspcore.training.recipe import Recipe

N_CLASSES = 8  # of UAVid


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed call, and the most GiB that the GPU held since before the first one (None on a CPU).

    `memory_gib` is what tensors took, `reserved_gib` what torch's allocator kept for them.
    """

    seconds: tuple[float, ...]
    memory_gib: float | None
    reserved_gib: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seconds)


def timed(
    work: Callable[[int], object], device: torch.device | str = "cpu", times: int = 3, warm_up: int = 1,
    within: float | None = None,
) -> Timing:
    """Call `work(k)` for k = 0, 1, ...: `warm_up` calls that do not count, then `times` that do.

    On a GPU the time is taken by events of the device, and the queue is empty before each call. After `within` seconds in
    all it ends early, with one call that counts at least.
    """
    device, seconds, began = torch.device(device), [], time.perf_counter()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    late = False
    for k in range(warm_up + times):
        if on_gpu:
            torch.cuda.synchronize(device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work(k)
            end.record()
            torch.cuda.synchronize(device)
            taken = start.elapsed_time(end) / 1e3
        else:
            call_began = time.perf_counter()
            work(k)
            taken = time.perf_counter() - call_began
        if k >= warm_up or late:
            seconds.append(taken)
        late = within is not None and time.perf_counter() - began >= within
        if late and seconds:
            break
    peaks = (torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)) if on_gpu else ()
    return Timing(tuple(seconds), *(round(peak / 2**30, 2) for peak in peaks)) if peaks else Timing(tuple(seconds), None)


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
    reserved_gib: float | None = None  # most that torch's allocator kept


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


def trainable(name: str, profile: Profile, recipe: Recipe, device: torch.device) -> VideoSegmenter:
    """An untrained system on a device, ready for steps of a recipe."""
    torch.manual_seed(0)
    model = build(name, N_CLASSES, profile, load_weights=False).to(device).train()
    if recipe.freeze_image:
        freeze_image(model, name)
    return model


def most_parts(model: VideoSegmenter, recipe: Recipe) -> int:
    """Into how many parts a batch can be cut: single windows, but BatchNorm wants two frames with an output."""
    return recipe.batch_size if model.window - model.context > 1 else max(1, recipe.batch_size // 2)


def time_training(
    name: str, profile: Profile, recipe: Recipe, device: torch.device, steps: int = 5, warm_up: int = 3,
    model: VideoSegmenter | None = None, within: float | None = None,
) -> StepCost:
    """Time optimiser steps of one system in one process.

    Where the batch does not fit into the GPU's memory it is cut into more and more parts.

    Args:
        model: what `trainable` makes; None: it is made here. Its weights change.
        within: see `timed`.
    Raises: SspError if the smallest parts do not fit.
    """
    spec, model = system(name), trainable(name, profile, recipe, device) if model is None else model
    torch.manual_seed(0)
    objective = build_objective(recipe, spec.teacher, torch.ones(N_CLASSES) if recipe.class_balance else None)
    machine = profile.machine

    def steps_in(parts: int) -> tuple[Timing, list[float]]:
        """Time steps whose batch is cut into parts; total loss of each."""
        losses_of = build_losses(model, objective, device, machine, World())
        windows = [random_window(model, recipe.batch_size // parts, recipe.crop, device) for _ in range(parts)]
        optimiser, losses = build_optimiser(model, recipe, frozenset()), []

        def one_step(_: int) -> None:
            optimiser.zero_grad(set_to_none=True)
            losses.append(backward(losses_of, windows, name)["total"])
            optimiser.step()

        with machine.arithmetic():
            return timed(one_step, device, steps, warm_up, within), losses

    while True:
        parts = machine.accumulation(recipe.batch_size)
        try:
            timing, losses = steps_in(parts)
            break
        except torch.cuda.OutOfMemoryError as error:
            if parts >= most_parts(model, recipe):
                raise SspError(f"{name}: not even {parts} parts of a batch of {recipe.crop} fit into memory") from error
        # Outside of `except`, whose exception holds on to the tensors of the failed step.
        machine = machine.model_copy(update={"microbatch": max(1, recipe.batch_size // parts // 2)})
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return StepCost(
        name, tuple(recipe.crop), recipe.batch_size, parts, machine.effective_precision(device), timing.median,
        timing.memory_gib, losses, timing.reserved_gib,
    )


# step(frame, state, motion) -> (logits, state), as of `VideoSegmenter`
Step = Callable[[Tensor, VideoState | None, Motion | None], tuple[Tensor, VideoState]]


def time_stream(
    model: VideoSegmenter, step: Step, size: tuple[int, int], device: torch.device, raft: RAFT | None = None,
    frames: int = 50, warm_up: int = 10, within: float | None = None,
) -> Timing:
    """Time the frames of one stream, batch 1.

    Args:
        model: in eval mode. step: its own, or another that does the same.
        raft: run before each frame that the model takes a flow for; None: the flow is left out.
        within: see `timed`.
    """
    frame, motion = still_frame(size, device)
    state = None

    def one_frame(k: int) -> None:
        nonlocal state
        key_frame = k % model.key_interval == 0 if isinstance(model, DFF) else k == 0
        if raft is not None and not key_frame:
            raft(frame, frame)
        _, state = step(frame, state, motion)

    return timed(one_frame, device, frames, warm_up, within)


def frame_rate(model: VideoSegmenter, timing: Timing) -> float:
    """Frames per second: one over the median time of a frame (DFF: mean, over key intervals)."""
    return 1.0 / (timing.mean if isinstance(model, DFF) else timing.median)


def raft_of(model: VideoSegmenter, profile: Profile, device: torch.device) -> RAFT | None:
    """RAFT, untrained, if the profile names it for a system that is given its flow."""
    return untrained_raft(device) if "flow" in model.needs and uses_raft(profile.flow) else None


def measure_fps(
    name: str, profile: Profile, device: torch.device, frames: int = 50, warm_up: int = 10,
    precision: Literal["float32", "float16"] = "float32", compiled: bool = False,
) -> float:
    """Frames per second of one stream of an untrained system, batch 1.

    RAFT is run for the systems that need flow if the profile names it; registration and decoding are left out.
    """
    model = build(name, N_CLASSES, profile, load_weights=False).to(device).eval()
    step = torch.compile(model.step) if compiled else model.step
    with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=precision == "float16"):
        raft = raft_of(model, profile, device)
        timing = time_stream(model, step, tuple(profile.input_size), device, raft, frames, warm_up)
    return frame_rate(model, timing)


def untrained_raft(device: torch.device | str) -> RAFT:
    """RAFT with random weights: its cost does not depend on them."""
    return RAFT().eval().to(device)


def still_frame(size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Motion]:
    """A black frame (1, 3, H, W) and the motion of a camera that stands still.

    The homography is on the CPU, where registrations come from: it is inverted there, and a GPU need not be waited for.
    """
    device = torch.device(device)
    frame = torch.zeros(1, 3, *size, device=device)
    identity = torch.eye(3, device="meta" if device.type == "meta" else "cpu")[None]
    return frame, Motion(identity, torch.zeros(1, 2, *size, device=device))
