"""Counting pairs of labels, and the IoU that follows: `miou`, `miou_moving` and `boundary_iou`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.metrics.base import FrameMetric, moving_ids
from sspcore.metrics.records import FrameRecord

_EXACT_FLOAT32 = 2**24  # OpenCV's histogram returns float32: exact up to this many pixels


def pair_counts(a: np.ndarray, b: np.ndarray, n_classes: int) -> np.ndarray:
    """How often label i of `a` meets label j of `b`: int64 (n+1, n+1); every label >= n (255: ignored) counts as n."""
    side = n_classes + 1
    if side * side <= 256 and a.size <= _EXACT_FLOAT32:
        code = np.minimum(a, np.uint8(n_classes))
        code *= np.uint8(side)
        code += np.minimum(b, np.uint8(n_classes))
        counts = cv2.calcHist([code], [0], None, [256], [0, 256])[: side * side, 0]
    else:
        code = np.minimum(a, n_classes).astype(np.int64) * side + np.minimum(b, n_classes)
        counts = np.bincount(code.ravel(), minlength=side * side)
    return counts.astype(np.int64).reshape(side, side)


def confusion(prediction: np.ndarray, target: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusion matrix int64 (n, n), [truth, prediction], of uint8 maps; pixels that are 255 in either are left out."""
    return pair_counts(target, prediction, n_classes)[:n_classes, :n_classes]


def iou_per_class(counts: np.ndarray) -> np.ndarray:
    """IoU of each class from pair counts (n, m), m >= n; NaN for a class absent from both sides.

    Columns beyond n hold pixels of a class that got no class on the other side: they enter the union only.
    """
    n_classes = counts.shape[0]
    intersection = np.diagonal(counts).astype(np.float64)
    union = counts.sum(axis=1) + counts[:, :n_classes].sum(axis=0) - intersection
    return np.divide(intersection, union, out=np.full(n_classes, np.nan), where=union > 0)


def mean_present(values: np.ndarray) -> float:
    """Mean over the values that are not NaN; NaN if none is."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else math.nan


class ClassMean(FrameMetric):
    """Mean IoU over the classes that are present; details(): per_class."""

    def _iou(self) -> np.ndarray:
        """(n,) IoU of each class, NaN where it is absent."""
        raise NotImplementedError

    def compute(self) -> torch.Tensor:
        return self._scalar(mean_present(self._iou()))

    def _details(self) -> dict[str, list[float]]:
        return {"per_class": self._iou().tolist()}


class MeanIoU(ClassMean):
    """Mean intersection over union, the accuracy of the tables.

    Formula: one confusion matrix over all labelled frames; IoU_c = TP_c / (TP_c + FP_c + FN_c); mean over the classes.
        Ignored pixels of the truth are left out; a class absent from truth and prediction is left out; a class absent
        from the truth but predicted counts 0. A pixel predicted as 255 (no class) counts as missed, so abstaining
        cannot help.
    Range: 0..1, higher is better.
    Rewards: every class alike, however few its pixels.
    Fooled by: nothing temporal (it cannot see flicker); one stray pixel of an absent class costs 1/n_classes.
    Source: paper, section 4.2 (METHOD section 7).
    Needs: target, on some frames.
    """

    needs = frozenset({"target"})

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self._add_counts("counts", size=(n_classes, n_classes + 1))

    def update(self, record: FrameRecord) -> None:
        """Count one frame; a frame without truth is passed over."""
        if record.target is None:
            return
        record.require_classes(self.n_classes)
        n = self.n_classes
        counts = record.cached(("confusion", n), lambda: pair_counts(record.target, record.prediction, n))
        self._add("counts", counts[:n])

    def _iou(self) -> np.ndarray:
        return iou_per_class(self.counts.cpu().numpy())


class MovingMeanIoU(MeanIoU):
    """mIoU over the classes of things that move by themselves: where temporal smoothing leaves ghosts.

    Formula: the confusion matrix of `miou` over all classes; mean of IoU_c over the moving classes only.
    Range: 0..1, higher is better.
    Rewards: keeping up with cars and people.
    Fooled by: the same as mIoU; with rare classes it rests on few pixels.
    Source: ours (METHOD section 7 prints no such figure).
    Needs: target, on some frames.
    """

    def __init__(self, n_classes: int, moving: Iterable[int]) -> None:
        super().__init__(n_classes)
        self.moving = moving_ids(moving, n_classes)

    def _iou(self) -> np.ndarray:
        return super()._iou()[self.moving]


class BoundaryIoU(ClassMean):
    """IoU of the strips along the contours: how well boundaries are drawn, whatever the size of the regions.

    Formula: for class c, G_d and P_d = the pixels of the true and predicted mask at most d (Chebyshev) from the mask's
        contour, d = dilation_ratio * image diagonal, rounded, at least 1; the image border counts as contour. IoU_c of
        G_d and P_d summed over all labelled frames; mean over the classes present in either. Pixels ignored in the
        truth are made void in the prediction too before the strips are cut, and are left out.
    Range: 0..1, higher is better, at most about mIoU for thin objects.
    Rewards: sharp, right contours; temporal averaging that blurs them is seen.
    Fooled by: nothing temporal; it ignores errors deep inside large regions.
    Source: Cheng et al., Boundary IoU, CVPR 2021 (there per instance, mean over images; here per class, pooled as in
        `miou`).
    Needs: target, on some frames.
    Details: `details()` has per_class.
    """

    needs = frozenset({"target"})

    def __init__(self, n_classes: int, dilation_ratio: float = 0.02) -> None:
        super().__init__(n_classes)
        self.dilation_ratio = dilation_ratio
        self._add_counts("intersection", "union", size=(n_classes,))

    def update(self, record: FrameRecord) -> None:
        """Count one frame; a frame without truth is passed over."""
        if record.target is None:
            return
        record.require_classes(self.n_classes)
        height, width = record.target.shape
        distance = max(1, round(self.dilation_ratio * math.hypot(height, width)))
        prediction = np.where(record.target == IGNORE, np.uint8(IGNORE), record.prediction)
        counts = pair_counts(contours(record.target, distance), contours(prediction, distance), self.n_classes)
        both = np.diagonal(counts)
        union = counts.sum(axis=0) + counts.sum(axis=1) - both
        self._add("intersection", both[: self.n_classes])
        self._add("union", union[: self.n_classes])

    def _iou(self) -> np.ndarray:
        union = self.union.cpu().numpy().astype(np.float64)
        return np.divide(self.intersection.cpu().numpy(), union, out=np.full(union.shape, np.nan), where=union > 0)


def contours(labels: np.ndarray, distance: int) -> np.ndarray:
    """Labels within `distance` of another label or of the image border, IGNORE elsewhere.

    One minimum and one maximum filter serve all classes: a pixel is interior to its class exactly where both agree.
    """
    shifted = labels + np.uint8(1)  # 1..n, and 255 -> 0 like the void around the image: ignored pixels bound a mask too
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    # separable: OpenCV filters a rectangle row by row, then column by column
    smallest = cv2.erode(shifted, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    largest = cv2.dilate(shifted, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where(smallest == largest, np.uint8(IGNORE), labels)
