"""Metrics that need the truth of every frame: `vc8`, `vc16` (video consistency) and `lag` (newly seen objects)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.metrics.base import ClipMeans, FrameMetric, moving_ids, ratio, require_same_size
from sspcore.metrics.records import FrameRecord

MAX_WINDOW = 254  # run lengths are counted in uint8


class VideoConsistency(ClipMeans):
    """VC_n: of the pixels whose truth stays the same over n frames, the share predicted RIGHT in all n frames.

    Formula: for each window of n frames |{truth constant} and {prediction = truth in all n}| / |{truth constant}|; mean
        over the windows of a video, then over the videos. "Constant" is at a fixed image position, not along the flow.
        Pixels whose truth is ignored in one of the frames are left out; a window without any constant pixel is skipped.
    Range: 0..1, higher is better.
    Rewards: being right and staying right on large, still regions.
    Fooled by: nothing constant (it has to be right), but it looks away from boundaries and from all that moves, and a
        camera that moves leaves few, easy pixels.
    Which VC: this is the formula printed in the VSPW paper (intersection with the truth). VSPW's published script asks
        only that the prediction is constant too, right or wrong, and so a constant label scores 1 there; that reading
        (METHOD section 7) is `details()["constant_only"]`. The script differs in more, see `ScriptVideoConsistency`.
    Source: Miao et al., VSPW, CVPR 2021.
    Needs: dense_target (the target on every frame; a frame without one starts again).
    Streaming: two run-length counters a pixel (three with constant_only), never n frames.
    """

    needs = frozenset({"dense_target"})
    clip_states = (*ClipMeans.clip_states, "constant_sums")

    def __init__(self, n_classes: int, n: int = 8) -> None:
        super().__init__(n_classes)
        if not 1 <= n <= MAX_WINDOW:
            raise ValueError(f"n: expected a window of 1..{MAX_WINDOW} frames, got {n}")
        self.n = n
        self._forget()

    def _forget(self) -> None:
        self._target: np.ndarray | None = None
        self._prediction: np.ndarray | None = None
        self._runs: dict[str, np.ndarray] = {}

    def start_clip(self) -> None:
        super().start_clip()
        self._forget()

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
        if constant_truth := np.count_nonzero(self._runs["truth"] >= self.n):
            whole = [np.count_nonzero(self._runs[kind] >= self.n) for kind in ("right", "constant")]
            self._add_to_clip(*(count / constant_truth for count in whole))

    def _details(self) -> dict[str, object]:
        return {"per_clip": self._clip_means(), "constant_only": self._mean_over_clips("constant_sums")}


class ScriptVideoConsistency(FrameMetric):
    """VC_n as VSPW's published script computes it, which the reference took over: for figures beside others made with it.

    Formula: for each window of n frames but a video's last one |{truth constant} and {prediction constant}| / |{truth
        constant}|, right or wrong; mean over the windows of all videos. An ignored pixel that stays ignored is constant
        truth. A video with an unlabelled frame is left out, as is a window without any constant pixel.
    Range: 0..1, higher is better.
    Fooled by: constant predictions (1).
    Source: the reference's code, after VSPW's.
    Needs: dense_target.
    """

    needs = frozenset({"dense_target"})

    def __init__(self, n_classes: int, n: int = 8) -> None:
        super().__init__(n_classes)
        if not 1 <= n <= MAX_WINDOW:
            raise ValueError(f"n: expected a window of 1..{MAX_WINDOW} frames, got {n}")
        self.n = n
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._add_counts("windows")
        self.start_clip()

    def start_clip(self) -> None:
        self._previous: tuple[np.ndarray, np.ndarray] | None = None  # truth and prediction
        self._runs: tuple[np.ndarray, np.ndarray] | None = None  # of constant truth, and of constant truth and prediction
        self._whole = True  # no unlabelled frame so far
        self._latest = math.nan  # of the window that ends with the frame before: counted once another frame comes
        self._counted: list[float] = []  # windows of this clip

    def update(self, record: FrameRecord) -> None:
        """Take the next frame of the clip."""
        record.require_classes(self.n_classes)
        if record.target is None:
            self._whole = False
            self._count(-len(self._counted), -math.fsum(self._counted))
            self._counted = []
        if not self._whole:
            return
        if not math.isnan(self._latest):
            self._counted.append(self._latest)
            self._count(1, self._latest)
        alive = np.ones(record.target.shape, bool)
        if self._previous is None:
            self._runs = (np.ones(alive.shape, np.uint8), np.ones(alive.shape, np.uint8))
        else:
            target, prediction = self._previous
            require_same_size(target, record.target)
            same = record.target == target
            _extend(self._runs[0], same, alive)
            _extend(self._runs[1], same & (record.prediction == prediction), alive)
        self._previous = (record.target, record.prediction)
        truth, both = (np.count_nonzero(run >= self.n) for run in self._runs)
        self._latest = both / truth if truth else math.nan

    def _count(self, windows: int, total: float) -> None:
        self._add("windows", windows)
        self._add("total", total)

    def compute(self) -> torch.Tensor:
        return self._scalar(float(self.total) / int(self.windows) if self.windows else math.nan)


def _extend(run: np.ndarray, same: np.ndarray, alive: np.ndarray) -> None:
    """Run lengths in place: run = alive * (same * run + 1), held at 255."""
    np.multiply(run, same.view(np.uint8), out=run)
    cv2.add(run, np.ones_like(run), dst=run)  # saturates
    np.multiply(run, alive.view(np.uint8), out=run)


class Lag(FrameMetric):
    """Frames until a newly seen object is predicted: the price of remembering the past.

    Objects are 8-connected components of a moving class in the truth, followed from frame to frame along the flow to
    the previous frame. A component is newly seen if, of its pixels whose flow stays in view, less than `overlap` lie on
    an object of the same class in the frame before (it drove into view, or out from under a tree); objects of a clip's
    first frame are not. Its clock starts when it covers `min_pixels`. It is predicted once `share` of its pixels carry
    its class.
    Formula: mean over newly seen objects of the number of frames in which the object was there and not yet predicted,
        at most `cap`; an object that vanishes or whose clip ends counts the frames it was waited for.
    Range: 0..cap frames, LOWER is better; 0 = every object is predicted at once. `details()["objects"]` depends on the
        truth alone, so it is the same for all systems; `missed` is the share never predicted while waited for.
    Rewards: taking up new things at once.
    Fooled by: predicting the moving class everywhere. On its own it is no reason to prefer a system: an image model has
        no memory and so the smallest lag.
    Source: ours.
    Needs: dense_target and flow_to_previous on every frame but a clip's first.
    """

    higher_is_better = False
    needs = frozenset({"dense_target", "flow_to_previous"})

    def __init__(
        self, n_classes: int, moving: Iterable[int], cap: int = 10, share: float = 0.5, overlap: float = 0.1,
        min_pixels: int = 16,
    ) -> None:
        super().__init__(n_classes)
        self.moving = moving_ids(moving, n_classes)
        self.cap, self.share, self.overlap, self.min_pixels = cap, share, overlap, min_pixels
        self._add_counts("waited", "objects", "predicted")
        self.start_clip()

    def start_clip(self) -> None:
        self._objects: np.ndarray | None = None  # object number of each pixel of the frame before, 0 = none
        self._class_of: dict[int, int] = {}
        self._too_small: set[int] = set()
        self._waiting: dict[int, int] = {}  # object number -> frames waited so far
        self._count = 0

    def update(self, record: FrameRecord) -> None:
        """Take the next frame of the clip; a frame without truth breaks every track."""
        record.require_classes(self.n_classes)
        if record.target is None:
            self.start_clip()
            return
        first = self._objects is None
        if not first:
            require_same_size(self._objects, record.target)
        objects = np.zeros(record.target.shape, np.int32)
        new: set[int] = set()
        for class_id in self.moving:
            new |= self._follow(record, class_id, objects)
        self._objects = objects
        self._judge(record, set() if first else new)

    def _follow(self, record: FrameRecord, class_id: int, objects: np.ndarray) -> set[int]:
        """Number the components of one class, keeping the numbers of the frame before; returns the new numbers."""
        mask = (record.target == class_id).view(np.uint8)
        n_components, components = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
        if n_components == 1:
            return set()
        rows, columns = np.nonzero(mask)
        component = components[rows, columns]
        numbers = np.zeros(n_components, np.int32)
        if self._objects is not None and self._class_of:
            self._inherit(record, class_id, rows, columns, component, numbers)
        new = np.flatnonzero(numbers[1:] == 0) + 1
        numbers[new] = np.arange(self._count + 1, self._count + 1 + new.size)
        self._count += new.size
        given = {int(number) for number in numbers[new]}
        self._class_of.update(dict.fromkeys(given, class_id))
        objects[rows, columns] = numbers[component]
        return given

    def _inherit(
        self, record: FrameRecord, class_id: int, rows: np.ndarray, columns: np.ndarray, component: np.ndarray,
        numbers: np.ndarray,
    ) -> None:
        """Write into `numbers` the object of the frame before that each component mostly comes from, if it does."""
        height, width = record.target.shape
        x, y = record.sampling(forward=False)[rows, columns].T
        in_view = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        source = self._objects[y[in_view], x[in_view]]
        component = component[in_view]
        seen = np.bincount(component, minlength=numbers.size)
        same_class = np.isin(source, [number for number, owner in self._class_of.items() if owner == class_id])
        codes = component[same_class].astype(np.int64) * (self._count + 1) + source[same_class]
        pairs, counts = np.unique(codes, return_counts=True)
        for pair in pairs[np.argsort(counts, kind="stable")]:  # ascending: the largest overlap has the last word
            part, number = divmod(int(pair), self._count + 1)
            numbers[part] = number
        known = np.bincount(component[same_class], minlength=numbers.size)
        numbers[known < self.overlap * seen] = 0

    def _judge(self, record: FrameRecord, new: set[int]) -> None:
        """Start the clocks of new objects, stop those of predicted, vanished or long-awaited ones."""
        pixels = self._objects > 0
        numbers = self._objects[pixels]
        area = np.bincount(numbers, minlength=self._count + 1)
        hits = np.bincount(numbers[record.prediction[pixels] == record.target[pixels]], minlength=self._count + 1)
        alive = {int(number) for number in np.flatnonzero(area)}
        self._class_of = {number: owner for number, owner in self._class_of.items() if number in alive}
        self._waiting = {number: frames for number, frames in self._waiting.items() if number in alive}
        self._too_small = (self._too_small | new) & alive
        for number in sorted(self._too_small):
            if area[number] >= self.min_pixels:
                self._too_small.remove(number)
                self._waiting[number] = 0
                self._add("objects", 1)
        for number in list(self._waiting):
            if hits[number] >= self.share * area[number]:
                self._add("predicted", 1)
                del self._waiting[number]
                continue
            self._waiting[number] += 1
            self._add("waited", 1)
            if self._waiting[number] >= self.cap:
                del self._waiting[number]

    def compute(self) -> torch.Tensor:
        return self._scalar(ratio(self.waited, self.objects))

    def _details(self) -> dict[str, float]:
        return {"objects": int(self.objects), "missed": 1 - ratio(self.predicted, self.objects)}
