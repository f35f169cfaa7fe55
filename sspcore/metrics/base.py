"""What all metrics share: the protocol, the clip's window of frames, and the two ways of averaging.

Protocol: `start_clip()` before each video, `update(record)` once a frame in order, `compute()` at the end. States
reduce by sum or concatenation, so torchmetrics' merge_state and distributed synchronisation hold; the frames of a clip
must stay on one process. The window of the open clip is no state: a clip cannot be split over processes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from sspcore.metrics.records import FrameRecord


class FrameMetric(Metric):
    """Base of every metric. `needs` names the FrameRecord fields that it reads; "dense_target" means one on every frame.

    In a torchmetrics MetricCollection set compute_groups=False: metrics with equal states still keep windows of their own.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        if not 1 <= n_classes <= 254:
            raise ValueError(f"n_classes: expected 1..254 (255 marks ignored pixels), got {n_classes}")
        self.n_classes = n_classes
        self.set_dtype(torch.float64)

    def start_clip(self) -> None:
        """A new video begins: the next frame has no predecessor."""

    def forward(self, record: FrameRecord) -> None:
        """Same as `update`: a score of one frame alone would need its neighbours, so there is no batch value."""
        self.update(record)

    def reset(self) -> None:
        super().reset()
        self.start_clip()

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the states of another metric of the same kind (other clips); the open clip goes on."""
        super().merge_state(incoming_state)
        # torchmetrics would go on returning the value computed before the merge, and warn that nothing was counted
        self._computed = None
        self._update_count += 1

    def details(self) -> dict[str, Any]:
        """Further figures (per class, counts), synchronised like `compute`; NaN where there is nothing to score."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._details()

    def _details(self) -> dict[str, Any]:
        return {}

    def _add_counts(self, *states: str, size: tuple[int, ...] = ()) -> None:
        """States that are counted up from zero and summed over processes."""
        for state in states:
            self.add_state(state, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def _add(self, state: str, amount: np.ndarray | float) -> None:
        current = getattr(self, state)
        setattr(self, state, current + torch.tensor(amount, dtype=current.dtype, device=current.device))

    def _scalar(self, value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64)


class WindowMetric(FrameMetric):
    """A metric that looks at `frames` consecutive frames at a time and holds no more than these."""

    frames: ClassVar[int] = 2

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._window: deque[FrameRecord] = deque(maxlen=self.frames)

    def start_clip(self) -> None:
        self._window.clear()

    def update(self, record: FrameRecord) -> None:
        """Take the next frame of the clip; scores a window as soon as it is full."""
        record.require_classes(self.n_classes)
        if self._window:
            require_same_size(self._window[-1].prediction, record.prediction)
        self._window.append(record)
        if len(self._window) == self.frames:
            self._score(tuple(self._window))

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        raise NotImplementedError


def moving_ids(moving: Iterable[int], n_classes: int) -> list[int]:
    """The ids in order. Raises ValueError if there is none or one is no class."""
    ids = sorted(set(moving))
    if not ids or ids[0] < 0 or ids[-1] >= n_classes:
        raise ValueError(f"moving: expected class ids within 0..{n_classes - 1}, got {ids}")
    return ids


def require_same_size(before: np.ndarray, now: np.ndarray) -> None:
    """Raise ValueError unless two frames of a clip have one size."""
    if before.shape != now.shape:
        raise ValueError(f"size changes within a clip, {before.shape} to {now.shape}: call start_clip() between clips")


def ratio(part: int | torch.Tensor, whole: int | torch.Tensor) -> float:
    """Quotient of two counts; NaN if nothing was counted."""
    return int(part) / int(whole) if whole else math.nan


class ClipMeans(FrameMetric):
    """Mean within each clip first, then over the clips, so that a long video weighs no more than a short one.

    Concatenating states hold one number for each clip, the last of the open clip: how many values, and the sum of each kind.
    """

    clip_states: ClassVar[tuple[str, ...]] = ("clip_counts", "clip_sums")

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        for state in self.clip_states:
            self.add_state(state, [], dist_reduce_fx="cat")
        self._clip_open = False

    def start_clip(self) -> None:
        super().start_clip()
        self._clip_open = False

    def _add_to_clip(self, *values: float) -> None:
        """One value of each kind; NaN is passed over."""
        if math.isnan(values[0]):
            return
        for state, value in zip(self.clip_states, (1, *values), strict=True):
            per_clip = getattr(self, state)
            if not self._clip_open:
                per_clip.append(torch.zeros(1, dtype=torch.float64, device=self.device))
            per_clip[-1] = per_clip[-1] + value
        self._clip_open = True

    def _clip_means(self, sums: str = "clip_sums") -> list[float]:
        if isinstance(self.clip_counts, list) and not self.clip_counts:
            return []
        return (dim_zero_cat(getattr(self, sums)) / dim_zero_cat(self.clip_counts)).tolist()

    def _mean_over_clips(self, sums: str = "clip_sums") -> float:
        means = self._clip_means(sums)
        # fsum: the order of the clips cannot change the last digit
        return math.fsum(means) / len(means) if means else math.nan

    def compute(self) -> torch.Tensor:
        return self._scalar(self._mean_over_clips())
