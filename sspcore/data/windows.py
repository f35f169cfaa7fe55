"""Training windows: short runs of consecutive frames with labels or teacher logits and the motion between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sspcore.core.classes import IGNORE
from sspcore.core.images import normalise
from sspcore.core.loading import load
from sspcore.core.progress import tqdm
from sspcore.core.types import Size, Window
from sspcore.data.clips import Clip
from sspcore.data.crops import CropRegistration
from sspcore.data.samples import Sample, filled_up
from sspcore.data.stills import moving_camera
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.registration import on_gpu


@dataclass(frozen=True)
class WindowRef:
    """A window by the clip and the position of its last frame; in a first frame ends what is made as from a still."""

    clip: Clip
    last: int


class Frames(Protocol):
    """A clip, prepared or planned: its number of frames, and the positions of those with a label."""

    labelled: tuple[int, ...]

    def __len__(self) -> int: ...


def labelled_ends(clip: Frames, length: int, first: bool = False) -> list[int]:
    """Where windows of `length` frames end in a labelled frame; for `length` > 1 one with a predecessor, unless it is a still.

    `first`: whether a clip's first frame counts as a still too, which the published training leaves out.
    """
    return [k for k in clip.labelled if k > 0 or length == 1 or first or len(clip) == 1]


def strided_ends(clip: Frames) -> range:
    """Where windows for distillation end: in every second frame (k = 1, 3, 5, ...), labelled or not, and in a still."""
    return range(1, len(clip), 2) if len(clip) > 1 else range(1)


def labelled_windows(clips: list[Clip], length: int, first: bool = False) -> list[WindowRef]:
    """Windows that end in a labelled frame, see `labelled_ends`."""
    return [WindowRef(clip, k) for clip in clips for k in labelled_ends(clip, length, first)]


def strided_windows(clips: list[Clip]) -> list[WindowRef]:
    """Windows for distillation, see `strided_ends`; stills are repeated until they are about as many as those of videos.

    A few labelled pictures of other places would else be a few hundredths of what a student sees, and it forgets them.
    """
    refs = [WindowRef(clip, k) for clip in clips for k in strided_ends(clip)]
    stills = [ref for ref in refs if len(ref.clip) == 1]
    repeats = round((len(refs) - len(stills)) / len(stills)) if stills else 1
    return refs + stills * (repeats - 1)


@dataclass(eq=False)
class WindowDataset(Dataset[Sample]):
    """Windows as augmented samples.

    An item is addressed by (epoch, index): the pair and the seed fix all randomness of the sample, so that a resumed run
    sees what an undisturbed one sees, with any number of loader workers.

    Attributes:
        refs: the windows.
        length: frames of a window; where a clip begins inside it, its first frame is repeated. Where it begins with the
            window's last frame, the others are seen by a moving camera (`sspcore.data.stills`).
        size: (H, W) of the student's input.
        augment: called on the sample under the sample's own seed.
        seed: of the run.
        homographies, flows: motion stores, or None where neither model nor loss wants that motion.
        correspondences: whether samples carry what the homographies of the store were fitted to.
        teacher: reads teacher logits (T, C, H/4, W/4) of positions of a clip, or None.
        crops: registers augmented samples, in place of `homographies`; or None.
    """

    refs: list[WindowRef]
    length: int
    size: Size
    augment: Callable[[Sample], Sample]
    seed: int
    homographies: HomographyStore | None = None
    flows: FlowStore | None = None
    correspondences: bool = False
    teacher: Callable[[Clip, list[int]], Tensor] | None = None
    crops: CropRegistration | None = None

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, address: tuple[int, int]) -> Sample:
        epoch, index = address
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would seed the GPU's generator too: dropout there would repeat itself
            torch.default_generator.manual_seed(int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]))
            sample = self.augment(self.sample(self.refs[index]))
            return sample if self.crops is None else self.crops.of_sample(sample)

    def warm(self, workers: int = 0) -> None:
        """Estimate all motion that is not on disk yet, with a progress bar, so that samples only read.

        Flow is estimated in this process, which owns the GPU that RAFT runs on; registrations by `workers` loader processes,
        unless they run on the GPU too.
        """
        clips = list({ref.clip.folder: ref.clip for ref in self.refs if len(ref.clip) > 1}.values())
        if self.homographies is not None:
            # a clip an item, registered by the loader's processes for the file that the store writes
            workers = 0 if on_gpu(self.homographies.registrator) else workers
            title = f"registration ({self.homographies.registrator.name})"
            for _ in tqdm(load(clips, self.homographies.clip, workers, title), desc=title, unit="clip"):
                pass
        if self.flows is not None:
            pairs = {
                (ref.clip.folder, a, b): (ref.clip, a, b) for ref in self.refs for a, b in self._pairs(ref) if a != b
            }
            missing = [(clip, b, a) for clip, a, b in pairs.values() if not self.flows.has(clip, b, a)]
            for clip, source, target in tqdm(missing, desc=f"flow ({self.flows.estimator.name})", unit="pair"):
                self.flows.between(clip, source, target)

    def _positions(self, ref: WindowRef) -> list[int]:
        return [max(0, ref.last - back) for back in reversed(range(self.length))]

    def _pairs(self, ref: WindowRef) -> list[tuple[int, int]]:
        """Positions of neighbours in the window, (previous, current); equal where the clip's first frame is repeated."""
        return list(pairwise(self._positions(ref)))

    def sample(self, ref: WindowRef) -> Sample:
        """The window as it lies on disk, at full input size. One that ends in a first frame draws from torch's generator."""
        if ref.last == 0 and self.length > 1:
            still = replace(self, length=1, homographies=None, flows=None, correspondences=False).sample(ref)
            return moving_camera(still, self.length, self.flows is not None, self.correspondences)
        clip, positions, pairs = ref.clip, self._positions(ref), self._pairs(ref)
        flow = None
        if self.flows is not None and pairs:
            still = torch.zeros(2, *self.size)
            flow = torch.stack([still if a == b else self.flows.between(clip, b, a) for a, b in pairs])
        homography = torch.eye(3, dtype=torch.float64).repeat(len(pairs), 1, 1)
        if self.homographies is not None:
            registered = self.homographies.clip(clip)
            for i, (a, b) in enumerate(pairs):
                if a != b:
                    homography[i] = registered.at(b)
        labels = [clip.label(k, self.size) if k in clip.labelled else np.full(self.size, IGNORE, np.uint8) for k in positions]
        return Sample(
            frames=torch.from_numpy(np.stack([clip.frame(k, self.size) for k in positions])).movedim(-1, 1),
            labels=torch.from_numpy(np.stack(labels)),
            H_prev_to_cur=homography,
            flow_to_prev=flow,
            correspondences=self._correspondences(clip, pairs) if self.correspondences else None,
            teacher=None if self.teacher is None else self.teacher(clip, positions),
        )

    def _correspondences(self, clip: Clip, pairs: list[tuple[int, int]]) -> Tensor:
        """(T-1, N, 3): none where a frame is repeated."""
        matches = self.homographies.correspondences(clip)
        return filled_up([matches.at(b if a != b else 0) for a, b in pairs])


def collate(samples: list[Sample]) -> Window:
    """A batch of samples as the window that models and objectives take."""
    names = [name for name, value in vars(samples[0]).items() if value is not None]
    stacked = {
        name: (filled_up if name == "correspondences" else torch.stack)([getattr(sample, name) for sample in samples])
        for name in names
    }
    return Window(**stacked | {"frames": normalise(stacked["frames"]), "labels": stacked["labels"].long()})
