"""Motion between consecutive frames of a clip, estimated once and kept on disk.

Flow and homography depend on the frames alone, not on any model, so every system, epoch and metric shares them.
Files lie under `<root>/<clip>/<estimator>/<H>x<W>/`; flow is half precision (below 1/60 px of error at 32 px).
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sspcore.core.checksums import read_array, write_array
from sspcore.core.files import atomic_file
from sspcore.core.images import to_tensor
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.motion.flow import FlowEstimator
from sspcore.motion.registration import Registrator

log = logging.getLogger(__name__)



class Frames(Protocol):
    """Consecutive frames with a name of their own, such as a clip of a data set."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def frame(self, position: int, size: Size) -> np.ndarray:
        """(H, W, 3) uint8 RGB at the size (H, W)."""
        ...


class FlowSource(Protocol):
    """Flow between neighbouring frames (FlowStore, and exact flow of rendered data)."""

    def between(self, clip: Frames, source: int, target: int) -> Tensor:
        """Flow (2, H, W) float32 in pixels from frame `source` to frame `target`."""
        ...


@dataclass
class FlowStore:
    """Flow between neighbouring frames of clips, computed on first use and kept on disk.

    Attributes:
        root: folder of the store.
        estimator: computes what is missing.
        size: (H, W) of frames and flow.
        computed: how many flows this object had to estimate (0 when all were on disk).
    """

    root: Path
    estimator: FlowEstimator
    size: Size
    computed: int = field(default=0, init=False)

    def path(self, clip: Frames, source: int, target: int) -> Path:
        """Where that flow lies, or will."""
        height, width = self.size
        return self.root / clip.name / self.estimator.name / f"{height}x{width}" / f"{source:04d}_{target:04d}.npy"

    def has(self, clip: Frames, source: int, target: int) -> bool:
        """Whether that flow is on disk, and whole."""
        return self._read(self.path(clip, source, target)) is not None

    def _read(self, path: Path) -> np.ndarray | None:
        if not path.is_file():
            return None
        stored = read_array(path)
        if stored is None:
            log.warning("%s: cached flow is damaged; estimated anew", path)
        return stored

    def between(self, clip: Frames, source: int, target: int) -> Tensor:
        """Flow (2, H, W) float32 in pixels from frame `source` of the clip to frame `target`."""
        path = self.path(clip, source, target)
        stored = self._read(path)
        if stored is not None:
            return torch.from_numpy(stored.astype(np.float32))
        frames = [to_tensor(clip.frame(position, self.size))[None] for position in (source, target)]
        flow = self.estimator(*frames)[0].cpu()
        with atomic_file(path) as temporary:
            write_array(temporary, flow.numpy().astype(np.float16))
        self.computed += 1
        return flow.half().float()  # what a later run will read: the first run must not differ from the second

    def fill(self, clips: Iterable[Frames], offsets: tuple[int, ...] = (-1,)) -> None:
        """Compute all flows from every frame to its neighbours at `offsets`, with a progress bar."""
        pairs = [
            (clip, position, position + offset)
            for clip in clips for position in range(len(clip)) for offset in offsets
            if 0 <= position + offset < len(clip)
        ]
        for clip, source, target in tqdm(pairs, desc=f"flow ({self.estimator.name})", unit="pair"):
            self.between(clip, source, target)


@dataclass
class HomographyStore:
    """Homographies between consecutive frames of clips, registered once per clip and kept on disk."""

    root: Path
    registrator: Registrator
    size: Size

    def clip(self, clip: Frames) -> ClipHomographies:
        """All consecutive registrations of a clip."""
        height, width = self.size
        path = self.root / clip.name / self.registrator.name / f"{height}x{width}.npz"
        stored = _read_homographies(path) if path.is_file() else None
        if stored is not None:
            return stored
        results = [self.registrator(clip.frame(k - 1, self.size), clip.frame(k, self.size)) for k in range(1, len(clip))]
        registered = ClipHomographies(
            np.array([result.H_prev_to_cur for result in results]).reshape(-1, 3, 3),
            np.array([result.ok for result in results]), np.array([result.inliers for result in results]),
        )
        with atomic_file(path) as temporary:
            np.savez(temporary, **asdict(registered))
        return registered


@dataclass(frozen=True)
class ClipHomographies:
    """Registrations of a clip; entry k - 1 belongs to frame k. H_prev_to_cur (N-1, 3, 3) float64."""

    H_prev_to_cur: np.ndarray
    ok: np.ndarray
    inliers: np.ndarray

    def at(self, position: int) -> Tensor:
        """(3, 3) float64, previous frame -> frame `position` (>= 1)."""
        return torch.from_numpy(self.H_prev_to_cur[position - 1])


def _read_homographies(path: Path) -> ClipHomographies | None:
    """A clip's registrations from disk, whose format carries checksums; None, and a line in the log, if they are damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return ClipHomographies(stored["H_prev_to_cur"], stored["ok"], stored["inliers"])
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("%s: cached registration is damaged (%s); registered anew", path, error)
        return None
