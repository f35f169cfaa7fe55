"""Temporal consistency: does the next frame's prediction, warped back, agree? `tc` and its three relatives.

"A sequence of empty masks is perfectly consistent": never print one of these without mIoU.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from sspcore.metrics.base import ClipMeans, WindowMetric
from sspcore.metrics.confusion import iou_per_class, mean_present, pair_counts
from sspcore.metrics.records import (
    IGNORE,
    FrameRecord,
    labels_along,
    occluded_in_next,
    path_key,
    reference_sampling,
    sample_labels,
)

_REFERENCE_FILL = 0  # the reference pads with zeros: pixels from outside count as class 0


def _warped_pair_counts(pair: tuple[FrameRecord, ...], n_classes: int) -> np.ndarray:
    """Pair counts (n, n) of pred_k against warp(pred_{k+1}), once for all metrics that ask."""
    current = pair[0]

    def count() -> np.ndarray:
        return pair_counts(current.prediction, labels_along(pair, forward=True), n_classes)[:n_classes, :n_classes]

    return current.cached(("pair counts", n_classes, path_key(pair)), count)


class TemporalConsistency(ClipMeans, WindowMetric):
    """TC, corrected: the headline figure of the paper without the reference's slips (METHOD section 7).

    Formula: for consecutive frames mIoU(pred_k, warp(pred_{k+1} -> k)) with the flow k -> k+1 and nearest sampling;
    mean over the pairs of a video; mean over the videos. Pixels whose flow leaves the view and pixels predicted as 255
    are left out; a class absent from both maps is left out, one present in a single map counts 0. A pair without any
    scored pixel is skipped.
    Range: 0..1, higher is better.
    Rewards: predictions that move with the image.
    Fooled by: constant or empty predictions (exactly 1), temporal averaging with any constant weight, dropping rare
    classes (a class never predicted costs nothing); punishes right answers at occlusions and where the flow is wrong.
    Source: paper, section 4.2. Needs: flow_to_next on every frame but a clip's last.
    details(): per_class (mean over the pairs in which the class is present), per_clip, pairs.
    """

    needs = frozenset({"flow_to_next"})
    frames = 2

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._add_clip_states()
        self.add_state("class_sums", torch.zeros(n_classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("class_pairs", torch.zeros(n_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def start_clip(self) -> None:
        super().start_clip()
        self._close_clip()

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        iou = iou_per_class(self._counts(window))
        self._add_to_clip(mean_present(iou))
        self._add("class_sums", np.nan_to_num(iou))
        self._add("class_pairs", ~np.isnan(iou))

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        return _warped_pair_counts(pair, self.n_classes)

    def compute(self) -> torch.Tensor:
        return self._scalar(self._mean_over_clips())

    def _details(self) -> dict[str, object]:
        sums, pairs = self.class_sums.tolist(), self.class_pairs.tolist()
        return {
            "per_class": [total / count if count else math.nan for total, count in zip(sums, pairs, strict=True)],
            "per_clip": self._clip_means(),
        }


class ReferenceTemporalConsistency(TemporalConsistency):
    """TC as the reference implementation computes it, bug for bug: the only figure to set beside the printed TC.

    Formula: that of `tc`, but with the reference's slips (METHOD section 7): coordinates scaled by W - 1 and sampled
    with align_corners=False, so zero flow moves samples by up to half a pixel and the last row and column fall outside;
    pixels from outside count as class 0 (a real class) and are scored; a class of one pixel in one map scores 0 for the
    pair. A fourth slip lies in the flow, not here: the reference feeds ImageNet-normalised frames to RAFT, which wants
    -1..1. For the full likeness give flow made that way (RAFT, 20 updates, unscaled frames).
    Range: 0..1, below 1 even for perfect predictions under zero flow. Rewards, fooled by: as `tc`; moreover it punishes
    every pixel that leaves the view, and favours class 0 at the border.
    Source: METHOD section 7, measured on the reference. Needs: flow_to_next.
    """

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        current, following = pair
        warped = sample_labels(following.prediction, reference_sampling(current.flow(True)), fill=_REFERENCE_FILL)
        return pair_counts(current.prediction, warped, self.n_classes)[: self.n_classes, : self.n_classes]


class MaskedTemporalConsistency(TemporalConsistency):
    """`tc` on the pixels that can be seen in both frames.

    Formula: as `tc`, with occluded pixels left out too: the exact mask where the record has one (`occluded_next`), else
    M_occ of METHOD section 4 from forward and backward flow.
    Range: 0..1, higher is better. Rewards: consistency where it is defined; ground truth under exact flow comes near 1.
    Fooled by: as `tc`; moreover an estimated mask also hides places where the flow is merely wrong.
    Source: METHOD sections 4 and 7. Needs: both flows (or flow_to_next and occluded_next).
    """

    needs = frozenset({"flow_to_next", "flow_to_previous"})

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        current, following = pair
        visible = labels_along(pair, forward=True).copy()
        visible[occluded_in_next(current, following)] = IGNORE
        return pair_counts(current.prediction, visible, self.n_classes)[: self.n_classes, : self.n_classes]


class PooledTemporalConsistency(WindowMetric):
    """TC by VSPW's rule: all pairs of all videos in one confusion matrix, then mIoU.

    Formula: C = sum over pairs of confusion(pred_k, warp(pred_{k+1} -> k)); mean over classes of IoU_c(C).
    Range: 0..1, higher is better; not comparable with `tc`: a class that blinks for one frame hardly counts here, while
    it costs a whole pair's share there.
    Rewards: consistency of large regions. Fooled by: as `tc`. Out-of-view pixels are left out, as in `tc`.
    Source: Miao et al., VSPW, CVPR 2021 (METHOD section 7). Needs: flow_to_next. details(): per_class.
    """

    needs = frozenset({"flow_to_next"})
    frames = 2

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self.add_state("counts", torch.zeros(n_classes, n_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        self._add("counts", _warped_pair_counts(window, self.n_classes))

    def compute(self) -> torch.Tensor:
        return self._scalar(mean_present(iou_per_class(self.counts.cpu().numpy())))

    def _details(self) -> dict[str, list[float]]:
        return {"per_class": iou_per_class(self.counts.cpu().numpy()).tolist()}
