"""One frame as the metrics see it, and the nearest-neighbour label warps that they share.

Convention: pixel centres at integer coordinates; flow_a_to_b (2, H, W) in pixels, (u = x, v = y); the pixel x of a
lands at x + flow in b; a warp brings the labels of b into a by nearest sampling. A point outside the frame gives
IGNORE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch

from sspcore.core.classes import IGNORE

OUTSIDE = 1.0e6  # a coordinate outside every frame; NaN would round differently from one processor to another
MAX_SIDE = 32_000  # coordinates are kept in 16 bits


def as_labels(labels: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Any integer label map (H, W), NumPy or torch, on any device -> contiguous uint8 (H, W)."""
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: expected integer labels [H,W], got {array.dtype} {array.shape}")
    if max(array.shape) > MAX_SIDE:
        raise ValueError(f"{name}: sides above {MAX_SIDE} pixels are not supported, got {array.shape}; score tiles")
    if array.dtype != np.uint8:
        if array.min() < 0 or array.max() > IGNORE:
            raise ValueError(f"{name}: labels must lie in 0..255, found {array.min()}..{array.max()}")
        array = array.astype(np.uint8)
    return np.ascontiguousarray(array)


def _as_field(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray | None:
    """A flow or mask as an array of the given shape; memory maps stay unread until a metric asks for them."""
    if values is None:
        return None
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} to match the prediction, got {array.shape}")
    return array


def nearest_sampling(flow: np.ndarray) -> np.ndarray:
    """Pixel of the other frame that each pixel's flow leads to: int16 (H, W, 2), (x, y), possibly outside the frame.

    Halves round to even; a point exactly half a pixel beyond the last centre may count as outside.
    """
    return _round_to_pixels(*_targets(flow))


def reference_sampling(flow: np.ndarray) -> np.ndarray:
    """The reference implementation's sampling, half-pixel slip included: METHOD section 7, for `tc_reference` alone.

    It normalises coordinates by W - 1 (g = 2x/(W-1) - 1) but samples as if by W (((g+1)W - 1)/2), so zero flow moves
    samples by -0.5 px at the left edge to +0.5 px at the right one, and the last row and column fall outside (even
    sizes). The steps stay separate and in float32, because rounding of exact halves decides about the border.
    """
    height, width = flow.shape[1:]
    x, y = _targets(flow)
    for coords, size in ((x, width), (y, height)):
        coords *= np.float32(2.0)
        coords /= np.float32(max(size - 1, 1))
        coords -= np.float32(1.0)
        coords += np.float32(1.0)
        coords *= np.float32(size)
        coords -= np.float32(1.0)
        coords *= np.float32(0.5)
    return _round_to_pixels(x, y)


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y (H, W) float32 that each pixel's flow leads to."""
    height, width = flow.shape[1:]
    x = np.add(flow[0], np.arange(width, dtype=np.float32), dtype=np.float32)
    return x, np.add(flow[1], np.arange(height, dtype=np.float32)[:, None], dtype=np.float32)


def _round_to_pixels(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)[0]


def sample_labels(labels: np.ndarray, sampling: np.ndarray, fill: int = IGNORE) -> np.ndarray:
    """labels (H, W) read at `sampling` (int16 pixel coordinates); `fill` outside the frame."""
    return cv2.remap(labels, sampling, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def warp_labels(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Labels of b brought into a along flow_a_to_b: out[y, x] = labels[round(y + v), round(x + u)], IGNORE outside."""
    return sample_labels(labels, nearest_sampling(flow))


@dataclass(eq=False)
class FrameRecord:
    """All that is known of frame k. Give what there is: a metric names what it needs in `needs`.

    Attributes:
        prediction: predicted labels [H,W], integer, 255 = no class.
        target: true labels [H,W], 255 ignored; None where the frame has none.
        flow_to_next: flow k -> k+1 (2, H, W), pixels; any float type, memory maps are read only when used.
        flow_to_previous: flow k -> k-1 (2, H, W).
        occluded_next: bool [H,W], True where the pixel of k cannot be seen in k+1 (occluded or out of view).
    Results shared by several metrics (warped neighbours, counts) are computed once and kept on the record.
    """

    prediction: np.ndarray
    target: np.ndarray | None = None
    flow_to_next: np.ndarray | None = None
    flow_to_previous: np.ndarray | None = None
    occluded_next: np.ndarray | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    _token: object = field(default_factory=object, init=False, repr=False)

    def __post_init__(self) -> None:
        self.prediction = as_labels(self.prediction, "prediction")
        shape = self.prediction.shape
        if self.target is not None:
            self.target = as_labels(self.target, "target")
            _as_field(self.target, shape, "target")
        self.flow_to_next = _as_field(self.flow_to_next, (2, *shape), "flow_to_next")
        self.flow_to_previous = _as_field(self.flow_to_previous, (2, *shape), "flow_to_previous")
        self.occluded_next = _as_field(self.occluded_next, shape, "occluded_next")

    def cached(self, key: Any, compute: Callable[[], Any]) -> Any:
        """The value kept under `key`, computed the first time."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def require_classes(self, n_classes: int) -> None:
        """Raise ValueError if a map holds a class that does not exist (it would silently count as ignored)."""

        def largest() -> dict[str, int]:
            maps = {"prediction": self.prediction} | ({} if self.target is None else {"target": self.target})
            counts = {name: cv2.calcHist([labels], [0], None, [256], [0, 256])[:IGNORE, 0] for name, labels in maps.items()}
            return {name: int(np.flatnonzero(count).max(initial=-1)) for name, count in counts.items()}

        for name, value in self.cached("largest class", largest).items():
            if value >= n_classes:
                raise ValueError(f"{name} holds class {value}, n_classes is {n_classes}: 0..{n_classes - 1} and 255")

    def flow(self, forward: bool) -> np.ndarray:
        """Flow to the next or the previous frame, float32, read once; where it is not finite (behind a horizon) it leads out.

        Raises: ValueError if it was not given.
        """
        name = "flow_to_next" if forward else "flow_to_previous"
        values = getattr(self, name)
        if values is None:
            raise ValueError(f"{name} is missing: give it in the FrameRecord, or leave out the metrics that need it")

        def finite() -> np.ndarray:
            flow = np.asarray(values, dtype=np.float32)
            whole = np.isfinite(flow.sum(dtype=np.float64))
            return flow if whole else np.nan_to_num(flow, nan=OUTSIDE, posinf=OUTSIDE, neginf=-OUTSIDE)

        return self.cached(("flow", forward), finite)

    def sampling(self, forward: bool) -> np.ndarray:
        """Where each pixel lies in the neighbouring frame (see `nearest_sampling`)."""
        return self.cached(("sampling", forward), lambda: nearest_sampling(self.flow(forward)))


def path_key(path: Sequence[FrameRecord]) -> tuple[object, ...]:
    """Names a path of records in a cache without keeping the records themselves alive."""
    return tuple(record._token for record in path)


def labels_along(path: Sequence[FrameRecord], forward: bool) -> np.ndarray:
    """Prediction of path[-1] brought into path[0], following the flows of one or two steps; IGNORE outside the view.

    Two steps: x -> x + f0(x) + f1(round(x + f0(x))), the second flow read at the nearest pixel.
    """
    first, last = path[0], path[-1]

    def warp() -> np.ndarray:
        if len(path) == 2:
            return sample_labels(last.prediction, first.sampling(forward))
        first_flow, second_flow = first.flow(forward), path[1].flow(forward)
        sampling = first.sampling(forward)
        total = np.stack([_sample_outside(component, sampling) for component in second_flow])
        total += first_flow
        return sample_labels(last.prediction, nearest_sampling(total))

    return first.cached(("labels", forward, path_key(path)), warp)


def _sample_outside(values: np.ndarray, sampling: np.ndarray) -> np.ndarray:
    """A flow component read at the nearest pixel; outside the frame a displacement that leads out of any frame."""
    return cv2.remap(values, sampling, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)


def occluded_in_next(current: FrameRecord, following: FrameRecord, c1: float = 0.01, c2: float = 0.5) -> np.ndarray:
    """Pixels of `current` that cannot be seen in `following`: the given mask, or METHOD section 4's M_occ.

    M_occ, the "followed" check: |f + b|^2 > c1 (|f|^2 + |b|^2) + c2 with f the flow to the next frame and b that
    frame's flow back, read at the nearest pixel of the point that f leads to. Out of view counts as occluded.
    """
    if current.occluded_next is not None:
        return np.asarray(current.occluded_next, dtype=bool)

    def check() -> np.ndarray:
        forward, backward, sampling = current.flow(True), following.flow(False), current.sampling(True)
        closing = np.zeros(forward.shape[1:], np.float32)
        bound = np.full_like(closing, c2)
        for axis in range(2):
            there, back = forward[axis], _sample_outside(backward[axis], sampling)
            closing += np.square(there + back)
            bound += c1 * (np.square(there) + np.square(back))
        return closing > bound

    return current.cached(("occluded", path_key((current, following))), check)
