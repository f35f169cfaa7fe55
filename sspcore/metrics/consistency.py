"""Consistency along the flow: does the next frame's prediction, warped back, agree (`tc` and its three relatives)? Does it
change and change back (`flicker`)? Do five frames agree (`vote5`)?

"A sequence of empty masks is perfectly consistent": never print one of these without mIoU.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.metrics.base import ClipMeans, WindowMetric, ratio
from sspcore.metrics.confusion import ClassMean, confusion, iou_per_class, mean_present
from sspcore.metrics.records import FrameRecord, labels_along, occluded_in_next, path_key, reference_sampling, sample_labels

_REFERENCE_FILL = 0  # the reference pads with zeros: pixels from outside count as class 0


def _warped_pair_counts(pair: tuple[FrameRecord, ...], n_classes: int) -> np.ndarray:
    """Pair counts (n, n) of pred_k against warp(pred_{k+1}), once for all metrics that ask."""
    return pair[0].cached(
        ("pair counts", n_classes, path_key(pair)),
        lambda: confusion(labels_along(pair, forward=True), pair[0].prediction, n_classes),
    )


class TemporalConsistency(ClipMeans, WindowMetric):
    """TC, corrected: the headline figure of the paper without the reference's slips (METHOD section 7).

    Formula: for consecutive frames mIoU(pred_k, warp(pred_{k+1} -> k)) with the flow k -> k+1 and nearest sampling;
        mean over the pairs of a video; mean over the videos. Pixels whose flow leaves the view and pixels predicted as
        255 are left out; a class absent from both maps is left out, one present in a single map counts 0. A pair
        without any scored pixel is skipped.
    Range: 0..1, higher is better.
    Rewards: predictions that move with the image.
    Fooled by: constant or empty predictions (exactly 1), temporal averaging with any constant weight, dropping rare
        classes (a class never predicted costs nothing); punishes right answers at occlusions and where the flow is
        wrong.
    Source: paper, section 4.2.
    Needs: flow_to_next on every frame but a clip's last.
    Details: `details()` has per_class (mean over the pairs in which the class is present), per_clip, pairs.
    """

    needs = frozenset({"flow_to_next"})

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self.add_state("class_sums", torch.zeros(n_classes, dtype=torch.float64), dist_reduce_fx="sum")
        self._add_counts("class_pairs", size=(n_classes,))

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        iou = iou_per_class(self._counts(window))
        self._add_to_clip(mean_present(iou))
        self._add("class_sums", np.nan_to_num(iou))
        self._add("class_pairs", ~np.isnan(iou))

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        return _warped_pair_counts(pair, self.n_classes)

    def _details(self) -> dict[str, object]:
        # NaN for a class that no pair holds: 0 / 0
        return {"per_class": (self.class_sums / self.class_pairs).tolist(), "per_clip": self._clip_means()}


class ReferenceTemporalConsistency(TemporalConsistency):
    """TC as the reference implementation computes it, bug for bug: the only figure to set beside the printed TC.

    Formula: that of `tc`, but with the reference's slips (METHOD section 7): coordinates scaled by W - 1 and sampled
        with align_corners=False, so zero flow moves samples by up to half a pixel and the last row and column fall
        outside; pixels from outside count as class 0 (a real class) and are scored; a class of one pixel in one map
        scores 0 for the pair. A fourth slip lies in the flow, not here: the reference feeds ImageNet-normalised frames
        to RAFT, which wants -1..1. For the full likeness give flow made that way (RAFT, 20 updates, unscaled frames).
    Range: 0..1, below 1 even for perfect predictions under zero flow.
    Rewards: as `tc`.
    Fooled by: as `tc`; moreover it punishes every pixel that leaves the view, and favours class 0 at the border.
    Source: METHOD section 7, measured on the reference.
    Needs: flow_to_next.
    """

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        current, following = pair
        warped = sample_labels(following.prediction, reference_sampling(current.flow(True)), fill=_REFERENCE_FILL)
        return confusion(warped, current.prediction, self.n_classes)


class MaskedTemporalConsistency(TemporalConsistency):
    """`tc` on the pixels that can be seen in both frames.

    Formula: as `tc`, with occluded pixels left out too: the exact mask where the record has one (`occluded_next`), else
        M_occ of METHOD section 4 from forward and backward flow.
    Range: 0..1, higher is better.
    Rewards: consistency where it is defined; ground truth under exact flow comes near 1.
    Fooled by: as `tc`; moreover an estimated mask also hides places where the flow is merely wrong.
    Source: METHOD sections 4 and 7.
    Needs: both flows (or flow_to_next and occluded_next).
    """

    needs = frozenset({"flow_to_next", "flow_to_previous"})

    def _counts(self, pair: tuple[FrameRecord, ...]) -> np.ndarray:
        current, following = pair
        visible = labels_along(pair, forward=True).copy()
        visible[occluded_in_next(current, following)] = IGNORE
        return confusion(visible, current.prediction, self.n_classes)


class PooledTemporalConsistency(ClassMean, WindowMetric):
    """TC by VSPW's rule: all pairs of all videos in one confusion matrix, then mIoU.

    Formula: C = sum over pairs of confusion(pred_k, warp(pred_{k+1} -> k)); mean over classes of IoU_c(C).
        Out-of-view pixels are left out, as in `tc`.
    Range: 0..1, higher is better; not comparable with `tc`: a class that blinks for one frame hardly counts here, while
        it costs a whole pair's share there.
    Rewards: consistency of large regions.
    Fooled by: as `tc`.
    Source: Miao et al., VSPW, CVPR 2021 (METHOD section 7).
    Needs: flow_to_next.
    Details: `details()` has per_class.
    """

    needs = frozenset({"flow_to_next"})

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._add_counts("counts", size=(n_classes, n_classes))

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        self._add("counts", _warped_pair_counts(window, self.n_classes))

    def _iou(self) -> np.ndarray:
        return iou_per_class(self.counts.cpu().numpy())


class Flicker(WindowMetric):
    """Share of pixels that change and change back along the flow.

    Formula: with a = warp(pred_{k-1} -> k), c = warp(pred_{k+1} -> k): #{a = c and pred_k != a} / #{a, pred_k, c all
        seen}, all frames pooled; every frame of a clip but its first and last.
    Range: 0..1, LOWER is better.
    Rewards: no one-frame blinks; a lasting change (a correction, an object arriving) costs nothing.
    Fooled by: constant predictions (0), averaging, blinks of two frames and more; noise that never returns to the same
        class.
    Source: ours.
    Needs: both flows.
    Details: `details()` has pixels.
    """

    higher_is_better = False
    needs = frozenset({"flow_to_next", "flow_to_previous"})
    frames = 3

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._add_counts("blinks", "pixels")

    def _score(self, window: tuple[FrameRecord, ...]) -> None:
        previous, current, following = window
        before = labels_along((current, previous), forward=False)
        after = labels_along((current, following), forward=True)
        now = current.prediction
        seen = (before != IGNORE) & (after != IGNORE) & (now != IGNORE)
        self._add("pixels", np.count_nonzero(seen))
        self._add("blinks", np.count_nonzero(seen & (before == after) & (now != before)))

    def compute(self) -> torch.Tensor:
        return self._scalar(ratio(self.blinks, self.pixels))

    def _details(self) -> dict[str, int]:
        return {"pixels": int(self.pixels)}


class FiveFrameVote(WindowMetric):
    """Agreement of five frames: how large is the majority among t-2 .. t+2, seen from t?

    Formula: the predictions of t-2 .. t+2 are warped to t (two steps by composed flows); per pixel the votes of the
        most frequent class / 5; mean over the pixels that all five frames see, pooled over all frames t with two
        neighbours each side.
    Range: 0.2..1, higher is better.
    Rewards: stable labels over five frames.
    Fooled by: constant predictions (1), averaging; two classes that swap every frame still score 0.6, so the scale is
        narrow; area-weighted, so rare classes hardly count.
    Source: arXiv 2308.07615 (METHOD section 7).
    Needs: both flows.
    Details: `details()` has pixels.
    """

    needs = frozenset({"flow_to_next", "flow_to_previous"})
    frames = 5

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._add_counts("votes", "pixels")

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
        return self._scalar(ratio(self.votes, self.frames * self.pixels))

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
