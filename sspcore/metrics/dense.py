"""Metrics that compare with the truth beyond mIoU: `vc8`, `vc16` (video consistency) and `boundary_iou`."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.metrics.base import ClipMeans, FrameMetric, require_same_size
from sspcore.metrics.confusion import mean_present, pair_counts
from sspcore.metrics.records import FrameRecord

MAX_WINDOW = 254  # run lengths are counted in uint8


class VideoConsistency(ClipMeans, FrameMetric):
    """VC_n: of the pixels whose truth stays the same over n frames, the share predicted RIGHT in all n frames.

    Formula: for each window of n frames |{truth constant} and {prediction = truth in all n}| / |{truth constant}|; mean
    over the windows of a video, then over the videos. "Constant" is at a fixed image position, not along the flow.
    Pixels whose truth is ignored in one of the frames are left out; a window without any constant pixel is skipped.
    Range: 0..1, higher is better.
    Rewards: being right and staying right on large, still regions. Fooled by: nothing constant (it has to be right),
    but it looks away from boundaries and from all that moves, and a camera that moves leaves few, easy pixels.
    Which VC: this is the formula printed in the VSPW paper (intersection with the truth). VSPW's published script asks
    only that the prediction is constant too, right or wrong, and so a constant label scores 1 there; that reading
    (METHOD section 7) is `details()["constant_only"]`. The script also drops each video's last window and averages over
    windows of all videos; we do neither.
    Source: Miao et al., VSPW, CVPR 2021. Needs: dense_target (the target on every frame; a frame without one starts
    again).
    Streaming: two run-length counters a pixel (three with constant_only), never n frames.
    """

    needs = frozenset({"dense_target"})

    def __init__(self, n_classes: int, n: int = 8) -> None:
        super().__init__(n_classes)
        if not 1 <= n <= MAX_WINDOW:
            raise ValueError(f"n: expected a window of 1..{MAX_WINDOW} frames, got {n}")
        self.n = n
        self._add_clip_states()
        self.add_state("constant_sums", [], dist_reduce_fx="cat")
        self._forget()

    def _forget(self) -> None:
        self._target: np.ndarray | None = None
        self._prediction: np.ndarray | None = None
        self._runs: dict[str, np.ndarray] = {}

    def start_clip(self) -> None:
        self._forget()
        self._close_clip()

    def update(self, record: FrameRecord) -> None:
        """Take the next frame of the clip; scores the window that ends with it, if n frames have come."""
        record.require_classes(self.n_classes)
        if record.target is None:
            self._forget()
            return
        target, prediction = record.target, record.prediction
        known = target != IGNORE
        if self._target is None:
            truth_same = prediction_same = np.zeros(target.shape, bool)
            self._runs = {name: np.zeros(target.shape, np.uint8) for name in ("truth", "right", "constant")}
        else:
            require_same_size(self._target, target)
            truth_same = target == self._target
            prediction_same = prediction == self._prediction
        # A run of right predictions goes on only while the truth stays: right twice on constant truth is constant too.
        right = prediction == target
        _extend(self._runs["truth"], truth_same, known)
        _extend(self._runs["right"], truth_same, known & right)
        _extend(self._runs["constant"], truth_same & prediction_same, known)
        self._target, self._prediction = target, prediction
        self._score()

    def _score(self) -> None:
        constant_truth = np.count_nonzero(self._runs["truth"] >= self.n)
        if not constant_truth:
            return
        first_of_clip = not self._clip_open
        self._add_to_clip(np.count_nonzero(self._runs["right"] >= self.n) / constant_truth)
        if first_of_clip:
            self.constant_sums.append(torch.zeros(1, dtype=torch.float64, device=self.device))
        share = np.count_nonzero(self._runs["constant"] >= self.n) / constant_truth
        self.constant_sums[-1] = self.constant_sums[-1] + share

    def compute(self) -> torch.Tensor:
        return self._scalar(self._mean_over_clips())

    def _details(self) -> dict[str, object]:
        per_clip = self._clip_means()
        constant = self._clip_means("constant_sums")
        return {"per_clip": per_clip, "constant_only": math.fsum(constant) / len(constant) if constant else math.nan}


def _extend(run: np.ndarray, same: np.ndarray, alive: np.ndarray) -> None:
    """Run lengths in place: run = alive * (same * run + 1), held at 255."""
    np.multiply(run, same.view(np.uint8), out=run)
    cv2.add(run, np.ones_like(run), dst=run)  # saturates
    np.multiply(run, alive.view(np.uint8), out=run)


class BoundaryIoU(FrameMetric):
    """IoU of the strips along the contours: how well boundaries are drawn, whatever the size of the regions.

    Formula: for class c, G_d and P_d = the pixels of the true and predicted mask at most d (Chebyshev) from the mask's
    contour, d = dilation_ratio * image diagonal, rounded, at least 1; the image border counts as contour. IoU_c of G_d
    and P_d summed over all labelled frames; mean over the classes present in either.
    Pixels ignored in the truth are made void in the prediction too before the strips are cut, and are left out.
    Range: 0..1, higher is better, at most about mIoU for thin objects.
    Rewards: sharp, right contours; temporal averaging that blurs them is seen. Fooled by: nothing temporal; it ignores
    errors deep inside large regions.
    Source: Cheng et al., Boundary IoU, CVPR 2021 (there per instance, mean over images; here per class, pooled as in
    `miou`).
    Needs: target, on some frames. details(): per_class.
    """

    needs = frozenset({"target"})

    def __init__(self, n_classes: int, dilation_ratio: float = 0.02) -> None:
        super().__init__(n_classes)
        self.dilation_ratio = dilation_ratio
        for name in ("intersection", "union"):
            self.add_state(name, torch.zeros(n_classes, dtype=torch.int64), dist_reduce_fx="sum")

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

    def compute(self) -> torch.Tensor:
        return self._scalar(mean_present(self._iou()))

    def _details(self) -> dict[str, list[float]]:
        return {"per_class": self._iou().tolist()}


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
