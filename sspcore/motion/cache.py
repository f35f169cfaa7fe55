"""Motion between consecutive frames, estimated once and kept on disk, for clips and for folders of frames alike.

Flow and homography depend on the frames alone, not on any model, so every system, epoch and metric shares them.
Files are arrays with a checksum, `<root>/<split>/<clip>/<estimator>/<H>x<W>...npy`; what is damaged is estimated again. Flow is
half precision (below 1/60 px of error at 32 px).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from sspcore.core.checksums import read_array, write_array
from sspcore.core.errors import ArtefactError
from sspcore.core.images import to_tensor
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.motion.flow import FlowEstimator
from sspcore.motion.registration import Registrator

_CORRESPONDENCES = "_matches"  # ends the name of the file that they lie in


class Frames(Protocol):
    """Consecutive frames, such as a clip of a data set."""

    @property
    def place(self) -> str:
        """Name, as a path that no other frames in the same cache have."""
        ...

    def __len__(self) -> int: ...

    def frame(self, position: int, size: Size | None) -> np.ndarray:
        """(H, W, 3) uint8 RGB at the size (H, W); None: as it is."""
        ...

    def key(self, position: int) -> str:
        """Name of the frame in the names of cached files; another one when its content changes under the same root."""
        ...


class FlowSource(Protocol):
    """Flow between neighbouring frames (FlowStore, and exact flow of rendered data)."""

    def between(self, clip: Frames, source: int, target: int) -> Tensor:
        """Flow (2, H, W) float32 in pixels from frame `source` to frame `target`."""
        ...


@dataclass
class FlowStore:
    """Flow between neighbouring frames, computed on first use and kept on disk.

    Attributes:
        root: folder of the store; may be deleted at any time.
        estimator: computes what is missing.
        size: (H, W) of frames and flow; None: the frames' own.
        computed, reused: how many flows this object had to estimate, and found on disk.
    """

    root: Path
    estimator: FlowEstimator
    size: Size | None
    computed: int = field(default=0, init=False)
    reused: int = field(default=0, init=False)

    def path(self, clip: Frames, source: int, target: int) -> Path:
        """Where that flow lies, or will."""
        folder = self.root / clip.place / self.estimator.name / _size_name(self.size)
        return folder / f"{clip.key(source)}_{clip.key(target)}.npy"

    def has(self, clip: Frames, source: int, target: int) -> bool:
        """Whether that flow is on disk at its full length; its checksum is compared when it is read."""
        path = self.path(clip, source, target)
        return path.is_file() and path.stat().st_size > 4 * int(np.prod(self.size or 0))

    def between(self, clip: Frames, source: int, target: int) -> Tensor:
        """Flow (2, H, W) float32 in pixels from frame `source` of the clip to frame `target`."""
        return torch.from_numpy(self.map(clip, source, target).astype(np.float32))

    def map(self, clip: Frames, source: int, target: int) -> np.ndarray:
        """The same as float16, a read-only memory map: of long videos no more is in memory than what is looked at.

        Raises: ArtefactError in a loader process, for a damaged file whose estimator runs on another process's GPU.
        """
        path = self.path(clip, source, target)
        if read_array(path) is not None:
            self.reused += 1
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if get_worker_info() is not None and getattr(self.estimator, "device", torch.device("cpu")).type != "cpu":
            path.unlink(missing_ok=True)
            raise ArtefactError(f"{path}: cached flow is damaged and was removed; run again, it is estimated at the start")
        frames = [to_tensor(clip.frame(position, self.size))[None] for position in (source, target)]
        flow = self.estimator(*frames)[0].cpu()
        write_array(path, flow.numpy().astype(np.float16))
        self.computed += 1
        return np.load(path, mmap_mode="r", allow_pickle=False)  # what a later run will read, to the bit

    def fill(self, clips: Iterable[Frames], offsets: tuple[int, ...] = (-1,)) -> None:
        """Compute all flows from every frame to its neighbours at `offsets`, with a progress bar."""
        pairs = [
            (clip, position, position + offset)
            for clip in clips for position in range(len(clip)) for offset in offsets
            if 0 <= position + offset < len(clip)
        ]
        for clip, source, target in tqdm(pairs, desc=f"flow ({self.estimator.name})", unit="pair"):
            self.map(clip, source, target)


@dataclass
class HomographyStore:
    """Homographies between consecutive frames of clips, registered once per clip and kept on disk.

    What they were fitted to lies in a file of its own beside them, which few systems read.
    """

    root: Path
    registrator: Registrator
    size: Size

    def clip(self, clip: Frames) -> ClipHomographies:
        """All consecutive registrations of a clip."""
        rows = read_array(self._path(clip))
        if rows is None:
            rows, _ = self._register(clip)
        return ClipHomographies(rows[:, :9].reshape(-1, 3, 3), rows[:, 9].astype(bool), rows[:, 10].astype(int))

    def correspondences(self, clip: Frames) -> ClipCorrespondences:
        """The matches that a clip's homographies were fitted to."""
        rows = read_array(self._path(clip, _CORRESPONDENCES))
        if rows is None:
            _, rows = self._register(clip)
        return ClipCorrespondences(rows)

    def _path(self, clip: Frames, ending: str = "") -> Path:
        return self.root / clip.place / self.registrator.name / f"{_size_name(self.size)}{ending}.npy"

    def _register(self, clip: Frames) -> tuple[np.ndarray, np.ndarray]:
        """Register a clip and write both files: homographies (N-1, 11), matches (M, 4) with their frame in front."""
        results = [self.registrator(clip.frame(k - 1, self.size), clip.frame(k, self.size)) for k in range(1, len(clip))]
        rows = np.array([[*result.H_prev_to_cur.ravel(), result.ok, result.inliers] for result in results]).reshape(-1, 11)
        matches = [
            np.insert(result.correspondences, 0, k, axis=1).astype(np.float32) for k, result in enumerate(results, 1)
        ]
        matches = np.concatenate([np.empty((0, 4), np.float32), *matches])
        write_array(self._path(clip, _CORRESPONDENCES), matches)
        write_array(self._path(clip), rows)
        return rows, matches


@dataclass(frozen=True)
class ClipHomographies:
    """Registrations of a clip; entry k - 1 belongs to frame k. H_prev_to_cur (N-1, 3, 3) float64."""

    H_prev_to_cur: np.ndarray
    ok: np.ndarray
    inliers: np.ndarray

    def at(self, position: int) -> Tensor:
        """(3, 3) float64, previous frame -> frame `position` (>= 1)."""
        return torch.from_numpy(self.H_prev_to_cur[position - 1])


@dataclass(frozen=True)
class ClipCorrespondences:
    """Matches of a clip's registrations: (M, 4) float32, the frame's position in the clip, then as in `Motion`."""

    rows: np.ndarray

    def at(self, position: int) -> Tensor:
        """(N, 3) float32, of frame `position` (>= 1) with the one before."""
        return torch.from_numpy(self.rows[self.rows[:, 0] == position, 1:])


def _size_name(size: Size | None) -> str:
    return "own-size" if size is None else f"{size[0]}x{size[1]}"
