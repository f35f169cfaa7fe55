"""Training windows: short runs of consecutive frames with labels or teacher logits and the motion between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sspcore.data.augment import Sample
from sspcore.data.clips import Clip
from sspcore.data.images import normalise
from sspcore.data.motion import FlowStore, HomographyStore
from sspcore.data.specs import IGNORE
from sspcore.models.protocol import Window

Size = tuple[int, int]
TeacherReader = Callable[[Clip, list[int]], Tensor]


@dataclass(frozen=True)
class WindowRef:
    """A window by the clip and the position of its last frame."""

    clip: Clip
    last: int


def labelled_windows(clips: list[Clip], length: int) -> list[WindowRef]:
    """Windows that end in a labelled frame with at least one predecessor (if `length` > 1)."""
    return [WindowRef(clip, k) for clip in clips for k in clip.labelled if k > 0 or length == 1]


def strided_windows(clips: list[Clip], length: int) -> list[WindowRef]:
    """Windows for distillation: every second frame (k = 1, 3, 5, ...) with its predecessors, labelled or not."""
    return [WindowRef(clip, k) for clip in clips for k in range(1, len(clip), 2)]


class WindowDataset(Dataset[Sample]):
    """Windows as augmented samples.

    An item is addressed by (epoch, index): the pair and the seed fix all randomness of the sample, so that a resumed run
    sees what an undisturbed one sees, with any number of loader workers.

    Args:
        refs: the windows.
        length: frames of a window; where a clip begins inside it, its first frame is repeated.
        size: (H, W) of the student's input.
        augment: called on the sample under the sample's own seed.
        seed: of the run.
        homographies, flows: motion stores, or None where neither model nor loss wants that motion.
        teacher: reads teacher logits (T, C, H/4, W/4) of positions of a clip, or None.
    """

    def __init__(
        self, refs: list[WindowRef], length: int, size: Size, augment: Callable[[Sample], Sample], seed: int,
        homographies: HomographyStore | None = None, flows: FlowStore | None = None,
        teacher: TeacherReader | None = None,
    ) -> None:
        self.refs = refs
        self._length = length
        self._size = size
        self._augment = augment
        self._seed = seed
        self._homographies = homographies
        self._flows = flows
        self._teacher = teacher

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, address: tuple[int, int]) -> Sample:
        epoch, index = address
        sample = self.sample(self.refs[index])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence((self._seed, epoch, index)).generate_state(1)[0]))
            return self._augment(sample)

    def sample(self, ref: WindowRef) -> Sample:
        """The window as it lies on disk, at full input size."""
        clip = ref.clip
        positions = [max(0, ref.last - back) for back in reversed(range(self._length))]
        pairs = list(zip(positions[:-1], positions[1:], strict=True))
        flow = None
        if self._flows is not None and pairs:
            still = torch.zeros(2, *self._size)
            flow = torch.stack([still if a == b else self._flows.between(clip, b, a) for a, b in pairs])
        homography = torch.eye(3, dtype=torch.float64).repeat(len(pairs), 1, 1)
        if self._homographies is not None:
            registered = self._homographies.clip(clip)
            for i, (a, b) in enumerate(pairs):
                if a != b:
                    homography[i] = registered.at(b)
        labels = [
            clip.label(k, self._size) if k in clip.labelled else np.full(self._size, IGNORE, np.uint8)
            for k in positions
        ]
        return Sample(
            frames=torch.from_numpy(np.stack([clip.frame(k, self._size) for k in positions])).movedim(-1, 1),
            labels=torch.from_numpy(np.stack(labels)),
            H_prev_to_cur=homography,
            flow_to_prev=flow,
            teacher=None if self._teacher is None else self._teacher(clip, positions),
        )


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order that depends on seed and epoch alone; an incomplete last batch is filled
    from the epoch's beginning, so that BatchNorm never sees a batch of another size."""

    def __init__(self, n_items: int, batch_size: int, repeats: int, seed: int) -> None:
        self._n_items = n_items
        self._batch_size = batch_size
        self._repeats = repeats
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self._n_items * self._repeats // self._batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        order = np.concatenate([rng.permutation(self._n_items) for _ in range(self._repeats)])
        order = np.resize(order, len(self) * self._batch_size)
        for k, batch in enumerate(order.reshape(-1, self._batch_size)):
            # the k-th step enters the address, so that a window repeated within an epoch is augmented anew
            yield [(self.epoch * len(self) + k, int(index)) for index in batch]


def collate(samples: list[Sample]) -> Window:
    """A batch of samples as the window that models and objectives take."""
    first = samples[0]

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(sample, name) for sample in samples])

    return Window(
        frames=normalise(stacked("frames")),
        labels=stacked("labels").long(),
        H_prev_to_cur=stacked("H_prev_to_cur"),
        flow_to_prev=None if first.flow_to_prev is None else stacked("flow_to_prev"),
        teacher=None if first.teacher is None else stacked("teacher"),
    )
