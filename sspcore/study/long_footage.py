"""Long streams: what they are given. Footage, conditions, and frames and motion that all streams share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from sspcore.core.images import to_tensor
from sspcore.evaluation.frames import FrameFiles
from sspcore.inference.fit import Fit
from sspcore.inference.motion import MotionSource, Observed, live_motion
from sspcore.study.stages import Study

UNDISTURBED, LOST, DROPPED, THIRD, CUTS = (
    "undisturbed", "registrations lost", "frames dropped", "a third of the frame rate", "scene cuts",
)
SHARE = 0.1  # of the registrations that are lost, and of the frames that are dropped
EVERY = 3
_RECENT = 32  # frames, and pairs of them, that streams may still ask for


class Footage(Protocol):
    """Frames of one flight, in any order."""

    def __len__(self) -> int: ...

    def frame(self, k: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        ...

    def labels(self, k: int) -> np.ndarray | None:
        """(H, W) uint8 true ids, 255 ignored; None where there are none."""
        ...


@dataclass(frozen=True)
class Unlabelled:
    """A video of one's own as footage."""

    files: FrameFiles

    def __len__(self) -> int:
        return len(self.files)

    def frame(self, k: int) -> np.ndarray:
        return self.files.read(k)

    def labels(self, k: int) -> None:
        return None


@dataclass(frozen=True)
class Condition:
    """What a stream is given.

    Attributes:
        order: numbers of the frames, as they come.
        lost: positions in it whose registration is taken to have failed. jumps: positions in it at which another place begins.
    """

    order: tuple[int, ...]
    lost: frozenset[int] = frozenset()
    jumps: frozenset[int] = frozenset()


def conditions(frames: int, jump_every: int, seed: int) -> dict[str, Condition]:
    """All conditions of a flight of so many frames, by name; `seed`: of what is lost and dropped.

    Cuts: stretches of `jump_every` frames come in another order, every second one first, so that no neighbours meet.
    """
    rng = np.random.default_rng(seed)
    lost, dropped = (frozenset(np.flatnonzero(rng.random(frames) < SHARE).tolist()) - {0} for _ in range(2))
    stretches = [range(first, min(first + jump_every, frames)) for first in range(0, frames, jump_every)]
    shuffled = [*stretches[1::2], *stretches[::2]]
    starts = itertools.accumulate(map(len, shuffled[:-1]))
    return {
        UNDISTURBED: Condition(tuple(range(frames))),
        LOST: Condition(tuple(range(frames)), lost=lost),
        DROPPED: Condition(tuple(k for k in range(frames) if k not in dropped)),
        THIRD: Condition(tuple(range(0, frames, EVERY))),
        CUTS: Condition(tuple(itertools.chain(*shuffled)), jumps=frozenset(starts)),
    }


class Pairs:
    """Frames as networks see them, and what is known of two of them, each worked out once for all streams.

    Attributes:
        frame: (k) -> (h, w, 3) uint8. observed: (k before, k) -> motion. flow: (source, target) -> (2, h, w).
    """

    def __init__(self, footage: Footage, study: Study, needs: Collection[str]) -> None:
        size = study.profile.input_size
        estimator = study.flow_estimator(study.profile.metric_flow)
        live = live_motion(study.registrator, study.flow_estimator() if "flow" in needs else None, "correspondences" in needs)

        def frame(k: int) -> np.ndarray:
            image = footage.frame(k)
            return Fit.of(image.shape[:2], size).content_of(image)

        def flow(source: int, target: int) -> np.ndarray:
            first, second = (to_tensor(self.frame(k), study.device)[None] for k in (source, target))
            return estimator(first, second)[0].cpu().numpy()

        recent = lru_cache(maxsize=_RECENT)
        self.frame: Callable[[int], np.ndarray] = recent(frame)
        self.flow: Callable[[int, int], np.ndarray] = recent(flow)
        self.observed: Callable[[int, int], Observed] = recent(lambda before, k: live(k, self.frame(before), self.frame(k)))
        self.labels = footage.labels

    def motion(self, condition: Condition) -> MotionSource:
        """The motion of a stream under a condition."""
        def source(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
            found = self.observed(condition.order[position - 1], condition.order[position])
            if position not in condition.lost:
                return found
            nothing = torch.eye(3, dtype=found.motion.H_prev_to_cur.dtype)[None]
            return Observed(replace(found.motion, H_prev_to_cur=nothing), registered=False)

        return source
