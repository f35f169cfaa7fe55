"""What the explorers show of a study: its clips, motion, truth and predictions, read when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sspcore.core.errors import ArtefactError
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_motion, true_labels
from sspcore.explore.pair import MotionClip, PairExplorer
from sspcore.explore.systems import SegmentedClip, SystemsExplorer
from sspcore.models.systems import system
from sspcore.motion.geometry import pixel_grid, sample
from sspcore.report.collect import films
from sspcore.study import Study
from sspcore.study.measures import EXACT, estimators


@dataclass(frozen=True)
class _Lazy(Sequence):
    """N values that are read when they are asked for."""

    n: int
    read: Callable[[int], Any]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, k: int) -> Any:
        return self.read(range(self.n)[k])  # an IndexError ends a loop over all


def _films(study: Study, dataset: str) -> list[Clip]:
    """Raises: ArtefactError if the validation data are stills alone."""
    if found := films(study, dataset):
        return found
    raise ArtefactError(f"{study.spec(dataset).title}: no validation video to explore, stills alone; add one to its files")


def pair_explorer(study: Study, dataset: str) -> PairExplorer:
    """The explorer of motion on the validation clips of a data set; estimated flow is kept on disk."""
    size, truth, used = study.profile.input_size, study.truth_root(dataset), study.profile.flow
    names = dict.fromkeys((*estimators(study, dataset), used))
    stores = lru_cache(maxsize=None)(lambda name: study.flows(dataset, name))

    def explored(clip: Clip) -> MotionClip:
        frames = _Lazy(len(clip), lambda k: clip.frame(k, size))
        flows = {name: lambda source, target, name=name: stores(name).between(clip, source, target) for name in names}
        if truth is None:
            return MotionClip(clip.name, frames, flows, study.registrator)
        step = lru_cache(maxsize=64)(lambda source, target: exact_motion(truth, clip, source, target, size))
        flows[EXACT] = lambda source, target: composed_flow(step, source, target)
        return MotionClip(
            clip.name, frames, flows, study.registrator, lambda k, j: step(k, j)[1].numpy() if k - j == 1 else None,
            "known between neighbours only: take gap 1",
        )

    clips = [explored(clip) for clip in _films(study, dataset)]
    return PairExplorer(clips, f"{study.spec(dataset).title}, {study.data_origin}", used)


def composed_flow(step: Callable[[int, int], tuple[Tensor, Tensor]], source: int, target: int) -> Tensor:
    """Exact flow (2, H, W), composed of steps between neighbours; NaN where the point is hidden on the way.

    Args:
        step: exact flow (2, H, W) and occlusion (H, W) bool from a frame to its neighbour.
        source, target: positions, not the same.
    """
    direction = 1 if target > source else -1
    grid = pixel_grid(*step(source, source + direction)[1].shape)
    total, known = torch.zeros_like(grid), torch.ones_like(grid[:, :1], dtype=torch.bool)
    hidden = torch.zeros_like(known)
    for position in range(source, target, direction):
        known &= ~hidden
        flow, hidden_next = step(position, position + direction)
        # nearest: between the flows of two surfaces lies the flow of neither
        moved, inside = sample(flow[None], grid + total, "nearest")
        hidden = sample(hidden_next[None, None].float(), grid + total, "nearest")[0] > 0
        known &= inside
        total = total + moved
    return total.masked_fill(~known, float("nan"))[0]


def systems_explorer(study: Study, dataset: str, systems: list[str]) -> SystemsExplorer:
    """The explorer of trained systems on the validation clips of a data set; what is missing is trained and predicted.

    It begins with the first system beside the last one that has an alpha (or the last).
    """
    size, root = study.profile.input_size, study.truth_root(dataset)
    flows, metric_flows = study.flows(dataset), study.flows(dataset, study.profile.metric_flow)

    def explored(clip: Clip) -> SegmentedClip:
        def predict(name: str) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
            labels = study.label_maps(name, dataset, clip)
            if system(name).method != "ssp":
                return labels, None
            states = (result.state for result in study.segment(name, dataset, clip))
            return labels, [state.alpha[0, 0].cpu().numpy().astype(np.float16) for state in states]

        return SegmentedClip(
            clip.name, _Lazy(len(clip), lambda k: clip.frame(k, size)),
            _Lazy(len(clip), lru_cache(maxsize=64)(lambda k: true_labels(clip, k, size, root))), predict,
            lambda source, target: flows.between(clip, source, target),
            lambda source, target: metric_flows.between(clip, source, target), "label" if root is None else "exact",
        )

    spec, learned = study.spec(dataset), [name for name in systems if system(name).method == "ssp"]
    clips = [explored(clip) for clip in _films(study, dataset)]
    return SystemsExplorer(
        clips, spec, systems, f"{spec.title}, {study.data_origin}", (systems[0], (learned or systems)[-1])
    )
