"""Long streams: whether a system drifts, and what cuts, lost registrations, dropped frames and a low frame rate do to it.

All systems and conditions go over the footage together: a frame is decoded once, the motion of a pair is worked out once,
and an image model that several systems share sees a frame once. Every stream is the streaming loop that a drone runs, with its
search for scene cuts. Scores are kept by windows of the footage, so that the same places are compared under all conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from sspcore.core.machine import one_thread
from sspcore.core.memory import memory_kept
from sspcore.core.parallel import run_jobs
from sspcore.core.progress import tqdm
from sspcore.core.types import VideoSegmenter
from sspcore.inference.backends import TorchBackend
from sspcore.models.filter import Filter
from sspcore.models.pointwise import fast_pointwise
from sspcore.models.ssp import SSP
from sspcore.study.long_footage import Condition, Footage, Pairs, conditions
from sspcore.study.long_scores import Run
from sspcore.study.predicting import SharedImage
from sspcore.study.stages import Study


@dataclass(frozen=True)
class Job:
    """Streams that go over the footage in one pass: conditions whose frames come in the same order."""

    study: Study
    dataset: str
    systems: tuple[str, ...]
    footage: Footage
    conditions: dict[str, Condition]
    window: int


def long_streams(
    study: Study, dataset: str, systems: Sequence[str], footage: Footage, window: int, jump_every: int, workers: int = 1,
    frames: int | None = None, seed: int = 0,
) -> dict[str, Any]:
    """Scores of trained systems along a long stream, under all conditions, as JSON values (fractions; lag in frames).

    Args:
        systems: names, controls among them.
        window: frames of the footage that are scored together. jump_every: see `conditions`.
        workers: processes. frames: take no more of the footage. seed: of the conditions.
    Returns: "window", "frames", and "conditions": name -> counts and "systems": name -> "overall", "windows" (lists).
    """
    frames = min(len(footage), frames or len(footage))
    made = conditions(frames, jump_every, seed)
    groups = [{name: one for name, one in made.items() if bool(one.jumps) == jumps} for jumps in (False, True)]
    quiet = replace(study, _memory={})  # what it has open stays in this process
    jobs = [Job(quiet, dataset, tuple(systems), footage, group, window) for group in groups if group]
    found: dict[str, Any] = {}
    for part in run_jobs(run_job, jobs, workers):
        found |= part
    return {"frames": frames, "window": window, "conditions": {name: found[name] for name in made}}


def run_job(job: Job) -> dict[str, Any]:
    """One pass over the footage; condition -> scores."""
    study = job.study
    models = shared_models({name: study.model(name, job.dataset) for name in job.systems})
    with one_thread(), memory_kept(), ExitStack() as stack:
        for model in models.values():
            stack.enter_context(fast_pointwise(model))
        pairs = Pairs(job.footage, study, frozenset().union(*(model.needs for model in models.values())))
        backend = partial(TorchBackend, size=study.profile.input_size, device=study.device)
        runs = {
            name: Run(one, models, pairs, study.spec(job.dataset), job.window, backend)
            for name, one in job.conditions.items()
        }
        orders = {name: iter(one.order) for name, one in job.conditions.items()}
        heads = {name: next(order, None) for name, order in orders.items()}
        longest = max((one.order for one in job.conditions.values()), key=len)
        for k in tqdm(longest, desc=f"long stream, {len(runs)} conditions", unit="frame"):
            for name, run in runs.items():
                if heads[name] == k:
                    run.advance(k)
                    heads[name] = next(orders[name], None)
        return {name: run.scores() for name, run in runs.items()}


def shared_models(models: Mapping[str, VideoSegmenter]) -> dict[str, VideoSegmenter]:
    """The systems, image models of the same weights as one part that sees each frame once."""
    images: list[SharedImage] = []

    def shared(image: nn.Module) -> SharedImage:
        known = next((one for one in images if _same_weights(one.image, image)), None)
        if known is None:
            images.append(known := SharedImage(image).eval())
        return known

    found = {}
    for name, model in models.items():
        if isinstance(model, SSP | Filter):  # others work between the stages of their image model
            model.image = shared(model.image)
        elif hasattr(model, "logits_and_features"):
            model = shared(model)
        found[name] = model
    return found


def _same_weights(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
