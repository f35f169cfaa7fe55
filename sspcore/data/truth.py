"""Exact truth of rendered sequences: dense labels, flow, occlusion, ground homographies, kept beside a release.

Flow files are 16-bit RGB PNGs: u = (R - 32768) / 64, v = (G - 32768) / 64 pixels; B bit 0: the target lies inside the
view, bit 1: occluded in the target.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sspcore.core.errors import ArtefactError, ReleaseError
from sspcore.core.images import read_grey, read_image, resize_labels
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.motion.geometry import resize_flow

_ZERO, _SCALE = 32768, 64


def write_flow_png(path: Path, flow: np.ndarray, in_view: np.ndarray, occluded: np.ndarray) -> None:
    """Write flow (2, H, W) in pixels, |flow| < 512, with its flags (H, W) bool."""
    coded = np.empty((*flow.shape[1:], 3), np.uint16)
    components = np.clip(np.rint(flow * _SCALE) + _ZERO, 0, 65535).astype(np.uint16)
    coded[..., 2], coded[..., 1] = components[0], components[1]  # OpenCV writes BGR
    coded[..., 0] = in_view.astype(np.uint16) | (occluded.astype(np.uint16) << 1)
    if not cv2.imwrite(str(path), coded, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise ReleaseError(f"{path}: cannot be written; check the folder and the free space")


def read_flow_png(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flow (2, H, W) float32, in_view (H, W) bool, occluded (H, W) bool."""
    try:
        coded = read_image(path)
    except ReleaseError:
        coded = np.empty(0)
    if coded.dtype != np.uint16 or coded.ndim != 3 or coded.shape[2] != 3:
        raise ReleaseError(f"{path}: missing or not a 16-bit flow image; render the release again")
    flow = np.stack([coded[..., 2], coded[..., 1]]).astype(np.float32)
    return (flow - _ZERO) / _SCALE, (coded[..., 0] & 1) > 0, (coded[..., 0] & 2) > 0


class SequenceTruth:
    """Truth of one sequence in `<root>/<dataset>_truth/<sequence>`. Raises ReleaseError if its truth.json cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = self.folder / "truth.json"
        if not path.is_file():
            raise ReleaseError(f"{path}: missing; only rendered releases carry truth, render this one again")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            height, width = content["size"]
            self.size: Size = (int(height), int(width))
            self.frames: list[int] = content["frames"]
            self._homographies = {int(k): np.array(v, np.float64) for k, v in content["H_prev_to_cur"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReleaseError(f"{path}: not a readable record of truth ({error!r}); render the release again") from error
        for frame, H in self._homographies.items():
            if H.shape != (3, 3) or not np.isfinite(H).all() or np.linalg.det(H) == 0:
                raise ReleaseError(f"{path}: no homography into frame {frame}, but {H.tolist()}; render the release again")

    def labels(self, frame: int) -> np.ndarray:
        """(H, W) uint8 class ids, 255 ignored."""
        path = self.folder / "labels" / f"{frame:06d}.png"
        return self._of_size(path, read_grey(path))

    def flow_backward(self, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flow from `frame` to the listed frame before it: (2, H, W), in_view, occluded."""
        return self._flow("flow_backward", frame)

    def flow_forward(self, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flow from `frame` to the listed frame after it: (2, H, W), in_view, occluded."""
        return self._flow("flow_forward", frame)

    def homography(self, frame: int) -> np.ndarray:
        """H_prev_to_cur (3, 3) of the ground plane, from the listed frame before `frame`."""
        if frame not in self._homographies:
            raise ReleaseError(f"{self.folder / 'truth.json'}: no homography into frame {frame}; listed are {self.frames[1:]}")
        return self._homographies[frame]

    def _flow(self, folder: str, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path = self.folder / folder / f"{frame:06d}.png"
        flow, in_view, occluded = read_flow_png(path)
        return flow, self._of_size(path, in_view), occluded

    def _of_size(self, path: Path, image: np.ndarray) -> np.ndarray:
        if image.shape != self.size:
            raise ReleaseError(f"{path}: is {image.shape}, truth.json says {self.size}; render the release again")
        return image


sequence_truth = lru_cache(maxsize=64)(SequenceTruth)


@dataclass
class TruthFlow:
    """Exact flow of rendered clips, with the interface of `FlowStore`."""

    truth_root: Path
    size: Size

    def between(self, clip: Clip, source: int, target: int) -> Tensor:
        """Exact flow (2, H, W) float32 in pixels of `size`; source and target are neighbours."""
        return exact_motion(self.truth_root, clip, source, target, self.size)[0]


def exact_motion(truth_root: Path, clip: Clip, source: int, target: int, size: Size) -> tuple[Tensor, Tensor]:
    """Exact flow (2, H, W) and exact occlusion (H, W) bool between neighbouring frames of a rendered clip.

    A pixel counts as occluded where its point is hidden in the target frame or outside its view.
    """
    truth = sequence_truth(truth_root / clip.sequence)
    read = {1: truth.flow_forward, -1: truth.flow_backward}.get(target - source)
    if read is None:
        raise ArtefactError(f"clip {clip.name}: exact flow is known between neighbours only, not {source} -> {target}")
    flow, in_view, occluded = read(clip.numbers[source])
    resized = resize_flow(torch.from_numpy(flow)[None], size)[0]
    hidden = (occluded | ~in_view).astype(np.uint8)
    hidden = cv2.resize(hidden, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized, torch.from_numpy(hidden.astype(bool))


def exact_labels(truth_root: Path, clip: Clip, position: int, size: Size) -> np.ndarray:
    """Dense exact labels (H, W) uint8 of any frame of a rendered clip."""
    return resize_labels(sequence_truth(truth_root / clip.sequence).labels(clip.numbers[position]), size)


def true_labels(clip: Clip, position: int, size: Size, truth_root: Path | None = None) -> np.ndarray | None:
    """The best that is known of a frame: dense exact labels (H, W) where the data is rendered, else its label, else None."""
    if truth_root is not None:
        return exact_labels(truth_root, clip, position, size)
    return clip.label(position, size) if position in clip.labelled else None
