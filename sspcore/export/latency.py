"""Where the time of a frame goes: the parts of one SSP step by torch, timed inside the step itself."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from sspcore.core.images import to_tensor
from sspcore.core.progress import tqdm
from sspcore.export.rollout import Rollout
from sspcore.models.ssp import SSP
from sspcore.motion.registration import Registrator

WARM_UP = 2


@torch.inference_mode()
def breakdown(model: SSP, rollout: Rollout, registrator: Registrator) -> dict[str, float]:
    """Median milliseconds of registration, encoder, decoder, warps, similarity and mixing (the rest of the propagation).

    On a CPU: the parts are timed without waiting for a device. Of SSP-R the evidence counts as mixing.
    """
    frames = []
    state = model.start(model.observe(to_tensor(rollout.frames[0])[None]))
    for k in tqdm(range(1, len(rollout.frames)), desc="latency of the parts", unit="frame", leave=False):
        image, H_cur_to_prev = to_tensor(rollout.frames[k])[None], torch.from_numpy(rollout.H_cur_to_prev[k])[None]
        spent: dict[str, float] = defaultdict(float)
        with (
            _timed(spent, "decoder", model, "observe"), _timed(spent, "warps", model, "register"),
            _timed(spent, "encoder", model.image, "encode") if hasattr(model.image, "encode") else nullcontext(),
            _timed(spent, "similarity", model.similarity, "forward"), _timed(spent, "mixing", model, "propagate"),
        ):
            state = model.propagate(model.observe(image), state, H_cur_to_prev).state
        spent["decoder"] -= spent["encoder"]
        spent["mixing"] -= spent["warps"] + spent["similarity"]
        began = time.perf_counter()
        registrator(rollout.frames[k - 1], rollout.frames[k])
        frames.append({"registration": 1e3 * (time.perf_counter() - began), **spent})
    return {part: statistics.median(frame[part] for frame in frames[WARM_UP:]) for part in frames[0]}


@contextmanager
def _timed(spent: dict[str, float], part: str, owner: Any, method: str) -> Iterator[None]:
    """Within this block calls of `owner.method` add their milliseconds to `spent[part]`."""
    call = getattr(owner, method)

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        value = call(*arguments, **named)
        spent[part] += 1e3 * (time.perf_counter() - began)
        return value

    setattr(owner, method, timed)
    try:
        yield
    finally:
        delattr(owner, method)  # what was set shadows the method of the class
