"""Where the time of a frame goes: the parts of one SSP step by torch, one after the other, and how runs compare."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import torch

from sspcore.core.images import to_tensor
from sspcore.core.progress import tqdm
from sspcore.export.rollout import Rollout
from sspcore.models.ssp import SSP
from sspcore.motion.geometry import rescale_homography, warp_by_sampling_homography
from sspcore.motion.registration import Registrator

T = TypeVar("T")
WARM_UP = 2


@torch.inference_mode()
def breakdown(model: SSP, rollout: Rollout, registrator: Registrator) -> dict[str, float]:
    """Median milliseconds of registration, encoder, decoder, warps, similarity and mixing (the rest of the propagation).

    On a CPU: the parts are timed without waiting for a device. SSP without evidence channels.
    """
    times: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        value = work()
        times[name].append((time.perf_counter() - began) * 1e3)
        return value

    image = to_tensor(rollout.frames[0])[None]
    size = tuple(image.shape[-2:])
    state = model.start(model.observe(image))
    for k in tqdm(range(1, len(rollout.frames)), desc="latency of the parts", unit="frame", leave=False):
        image, previous = to_tensor(rollout.frames[k])[None], state
        H = torch.from_numpy(rollout.H_cur_to_prev[k])[None]
        H_small = rescale_homography(H, size, tuple(state.features.shape[-2:]))
        timed("registration", lambda k=k: registrator(rollout.frames[k - 1], rollout.frames[k]))
        pyramid = timed("encoder", lambda image=image: model.image.encode(image))
        timed("decoder", lambda p=pyramid: model.image.upsample(model.image.decode(p), size))
        timed("warps", lambda s=previous, H=H, h=H_small: (
            warp_by_sampling_homography(s.logits, H), warp_by_sampling_homography(s.features, h)
        ))
        timed("similarity", lambda s=previous: model.similarity(s.features, s.features, None))
        observation = model.observe(image)
        state = timed("propagation", lambda o=observation, s=previous, H=H: model.propagate(o, s, H).state)
    parts = {name: statistics.median(values[WARM_UP:]) for name, values in times.items()}
    propagation = parts.pop("propagation")
    return parts | {"mixing": max(0.0, propagation - parts["warps"] - parts["similarity"])}
