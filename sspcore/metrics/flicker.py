"""Consistency over more than two frames: `flicker` (change and change back) and `vote5` (agreement of five frames)."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.metrics.base import WindowMetric
from sspcore.metrics.records import FrameRecord, labels_along


class Flicker(WindowMetric):
    """Share of pixels that change and change back along the flow.

    Formula: with a = warp(pred_{k-1} -> k), c = warp(pred_{k+1} -> k): #{a = c and pred_k != a} / #{a, pred_k, c all
    seen}, all frames pooled; every frame of a clip but its first and last.
    Range: 0..1, LOWER is better.
    Rewards: no one-frame blinks; a lasting change (a correction, an object arriving) costs nothing.
    Fooled by: constant predictions (0), averaging, blinks of two frames and more; noise that never returns to the same
    class.
    Source: ours. Needs: both flows. details(): pixels.
    """

    higher_is_better = False
    needs = frozenset({"flow_to_next", "flow_to_previous"})
    frames = 3

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self.add_state("blinks", torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("pixels", torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        previous, current, following = window
        before = labels_along((current, previous), forward=False)
        after = labels_along((current, following), forward=True)
        now = current.prediction
        seen = (before != IGNORE) & (after != IGNORE) & (now != IGNORE)
        self._add("pixels", np.count_nonzero(seen))
        self._add("blinks", np.count_nonzero(seen & (before == after) & (now != before)))

    def compute(self) -> torch.Tensor:
        return self._scalar(int(self.blinks) / int(self.pixels) if int(self.pixels) else math.nan)

    def _details(self) -> dict[str, int]:
        return {"pixels": int(self.pixels)}


class FiveFrameVote(WindowMetric):
    """Agreement of five frames: how large is the majority among t-2 .. t+2, seen from t?

    Formula: the predictions of t-2 .. t+2 are warped to t (two steps by composed flows); per pixel the votes of the
    most frequent class / 5; mean over the pixels that all five frames see, pooled over all frames t with two neighbours
    each side.
    Range: 0.2..1, higher is better.
    Rewards: stable labels over five frames. Fooled by: constant predictions (1), averaging; two classes that swap every
    frame still score 0.6, so the scale is narrow; area-weighted, so rare classes hardly count.
    Source: arXiv 2308.07615 (METHOD section 7). Needs: both flows. details(): pixels.
    """

    needs = frozenset({"flow_to_next", "flow_to_previous"})
    frames = 5

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self.add_state("votes", torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("pixels", torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        two_before, before, current, after, two_after = window
        maps = [
            current.prediction,
            labels_along((current, before), forward=False),
            labels_along((current, before, two_before), forward=False),
            labels_along((current, after), forward=True),
            labels_along((current, after, two_after), forward=True),
        ]
        seen = np.maximum.reduce(maps) != IGNORE
        majority = largest_agreement(maps)
        self._add("pixels", np.count_nonzero(seen))
        self._add("votes", int(majority[seen].sum(dtype=np.int64)))

    def compute(self) -> torch.Tensor:
        pixels = int(self.pixels)
        return self._scalar(int(self.votes) / (self.frames * pixels) if pixels else math.nan)

    def _details(self) -> dict[str, int]:
        return {"pixels": int(self.pixels)}


def largest_agreement(maps: list[np.ndarray]) -> np.ndarray:
    """Size of the largest group of equal labels at each pixel, uint8 (H, W), from 1 to len(maps)."""
    votes = [np.ones(maps[0].shape, np.uint8) for _ in maps]
    for i in range(len(maps)):
        for j in range(i + 1, len(maps)):
            same = (maps[i] == maps[j]).view(np.uint8)
            cv2.add(votes[i], same, dst=votes[i])
            cv2.add(votes[j], same, dst=votes[j])
    return np.maximum.reduce(votes)
