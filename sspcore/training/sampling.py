"""Which windows a step takes, and which of them each of several processes takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes artefacts, logs and progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place; no gradient."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


@dataclass(frozen=True)
class Share:
    """What this process takes of a batch that is cut into `parts` equal parts: `count` of them, from `first` on."""

    first: int = 0
    count: int = 1
    parts: int = 1

    @classmethod
    def of(cls, world: World, accumulate: int) -> Share:
        """The share of a process that cuts it into `accumulate` parts."""
        return cls(world.rank * accumulate, accumulate, world.size * accumulate)


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order that depends on seed and epoch alone; an incomplete last batch is filled
    from the epoch's beginning, so that BatchNorm never sees a batch of another size.

    With a `share` a batch is cut into its parts and the process gets its own, one after the other: neither order nor
    addresses depend on how many processes there are.
    """

    def __init__(self, n_items: int, batch_size: int, repeats: int, seed: int, share: Share | None = None) -> None:
        self._n_items, self._batch_size, self._repeats, self._seed = n_items, batch_size, repeats, seed
        self._share = share or Share()
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self._n_items * self._repeats // self._batch_size)

    def __len__(self) -> int:
        return self.steps * self._share.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        order = np.concatenate([rng.permutation(self._n_items) for _ in range(self._repeats)])
        order = np.resize(order, self.steps * self._batch_size)
        own = slice(self._share.first, self._share.first + self._share.count)
        for k, batch in enumerate(order.reshape(-1, self._batch_size)):
            for part in np.split(batch, self._share.parts)[own]:
                # the k-th step enters the address, so that a window repeated within an epoch is augmented differently
                yield [(self.epoch * self.steps + k, int(index)) for index in part]
