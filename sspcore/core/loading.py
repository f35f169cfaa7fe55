"""Batches that other processes read: also where shared memory is short, and with an error where a process dies.

torch passes tensors on through shared memory, which containers have little of (64 MB in Docker's default). A batch that
finds no room there is lost, and the process that waits for it never goes on. Here the process that has read a batch
packs it itself, sees whether that fails, and then sends its bytes through the pipe.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch.multiprocessing  # noqa: F401  (teaches ForkingPickler to put tensors into shared memory)
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from sspcore.core.errors import SspError, reason
from sspcore.core.parallel import can_start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packed:
    """A batch on its way between processes.

    Attributes:
        content: pickled; its tensors lie in shared memory or are part of it.
        problem: why they are not in shared memory; "" if they are.
    """

    content: bytes
    problem: str = ""


@dataclass(frozen=True)
class Packing:
    """A collate function whose results come packed where another process calls it."""

    collate: Callable[[Any], Any]

    def __call__(self, samples: Any) -> Any:
        batch = self.collate(samples)
        return batch if get_worker_info() is None else pack(batch)


def pack(batch: Any) -> Packed:
    """A batch for the process that started this one; in shared memory if it has room."""
    try:
        return Packed(bytes(ForkingPickler.dumps(batch)))
    except (RuntimeError, OSError) as error:  # no room, too many open files, no socket to pass them on through
        return Packed(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL), reason(error))


def load(
    dataset: Dataset[Any] | list[Any], collate: Callable[[Any], Any], workers: int, title: str,
    batches: Sampler[list[Any]] | None = None,
) -> Loader:
    """Results of `collate`, in order.

    Args:
        collate: called with the samples of a batch, or with each item where there are no batches.
        workers: processes that read, started for each pass; none where this machine lets none be started, which is logged.
        title: of the work, for the log and errors.
        batches: addresses of the items of each batch; None: the items one by one.
    """
    if workers and not can_start(workers):
        log.warning("%s: no process to read with can be started (is /dev/shm full or missing?); read in this one", title)
        workers = 0
    how = {"batch_size": None} if batches is None else {"batch_sampler": batches}
    return Loader(DataLoader(dataset, collate_fn=Packing(collate), num_workers=workers, **how), title)


@dataclass
class Loader:
    """Iterated over for one pass at a time; see `load`."""

    loader: DataLoader[Any]
    title: str
    _warned: bool = False

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        try:
            for batch in self.loader:
                yield self._unpacked(batch) if isinstance(batch, Packed) else batch
        except (SspError, OSError) as error:
            if not str(error).startswith("Caught "):
                raise
            # of another process: torch puts its traceback before it
            kind = type(error) if isinstance(error, SspError) else SspError
            raise kind(str(error.args[0]).strip().splitlines()[-1].partition(": ")[2]) from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            problem = f"{self.title}: a process that reads for it died ({reason(error)})"
            remedy = "memory may have run out: lower loader_workers in the profile, then run again"
            raise SspError(f"{problem}; {remedy}") from error

    def _unpacked(self, packed: Packed) -> Any:
        if packed.problem and not self._warned:
            self._warned = True
            log.warning(
                "%s: batches do not pass through shared memory (%s), which takes longer; "
                "a container has more with --shm-size=2g", self.title, packed.problem,
            )
        return ForkingPickler.loads(packed.content)
