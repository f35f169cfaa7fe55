"""Which windows a step takes; and training on several processes: what each takes of a batch, and how they start.

    batch of B windows = W processes x K parts x m windows,        gradient = mean over the W K parts

`launch` runs a module under torchrun once a process. So notebooks stay single processes, and a training can be continued
on another number of processes: neither the order of windows nor the checkpoint depends on it. Every loss is normalised
over the whole batch (`Window.labelled`) and BatchNorm takes its statistics from all processes, so that W processes train
what one trains, up to the order of sums.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.utils.data import Sampler

from sspcore.core.classes import IGNORE
from sspcore.core.errors import SspError
from sspcore.core.files import read_json, write_json
from sspcore.core.paths import PACKAGE
from sspcore.core.types import Window
from sspcore.training.recipe import Recipe

log = logging.getLogger(__name__)

JOB = "job.json"
# Processes wait for each other at every step; rank 0 may be busy with a file for a while.
_TIMEOUT = timedelta(minutes=30)


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


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order that depends on seed and epoch alone; an incomplete last batch is dropped or
    filled from the epoch's beginning, as the recipe says, so that BatchNorm never sees a batch of another size.

    A batch is cut into `parts` for each process of the `world`, and this process gets its own, one after the other:
    neither order nor addresses depend on how many processes there are.
    """

    def __init__(self, n_items: int, recipe: Recipe, seed: int, world: World = World(), parts: int = 1) -> None:
        self._n_items, self._recipe, self._seed = n_items, recipe, seed
        self._world, self._parts, self.epoch = world, parts, 0

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self._recipe.steps(self._n_items)

    def __len__(self) -> int:
        return self.steps * self._parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.resize(self._order(), self.steps * self._recipe.batch_size)
        own = slice(self._world.rank * self._parts, (self._world.rank + 1) * self._parts)
        for k, batch in enumerate(order.reshape(-1, self._recipe.batch_size)):
            for part in np.split(batch, self._world.size * self._parts)[own]:
                # the k-th step enters the address, so that a window repeated within an epoch is augmented differently
                yield [(self.epoch * self.steps + k, int(index)) for index in part]

    def _order(self) -> np.ndarray:
        """Indices of an epoch's windows."""
        if (wanted := self._recipe.epoch_windows) is None:
            rng = np.random.default_rng((self._seed, self.epoch))
            return np.concatenate([rng.permutation(self._n_items) for _ in range(self._recipe.repeats)])
        passes, begun = divmod(self.epoch * wanted, self._n_items)
        ahead = range(passes, passes + -(-(begun + wanted) // self._n_items))
        order = np.concatenate([np.random.default_rng((self._seed, each)).permutation(self._n_items) for each in ahead])
        return order[begun:begun + wanted]


def with_counts(windows: list[Window], world: World) -> list[Window]:
    """This process's parts of a batch, with the number of labelled pixels of the whole batch: the mean of their losses is
    then the batch's loss. The only part of a batch stays as it is.
    """
    parts = world.size * len(windows)
    if parts == 1 or windows[0].labels is None:
        return windows
    counts = torch.stack([(window.labels != IGNORE).sum((0, 2, 3)) for window in windows]).sum(0).double()
    labelled = world.sum(counts) / parts
    return [replace(window, labelled=labelled) for window in windows]


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: each process's loss depends on every process's input."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, on any device; torch's own synchronised one needs a GPU.

    All processes must have batches of one shape. Running statistics are those that one process with the whole batch
    would keep. `act` and `drop` are those of timm's BatchNormAct2d.
    """

    act: nn.Module
    drop: nn.Module

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> SyncedBatchNorm:
        """A synchronised stand-in that shares the parameters and buffers of `norm`."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        synced.weight, synced.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(synced, name, getattr(norm, name))
        has_act = isinstance(norm, BatchNormAct2d)
        synced.act, synced.drop = (norm.act, norm.drop) if has_act else (nn.Identity(), nn.Identity())
        return synced.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.act(self.drop(super().forward(x)))
        processes = dist.get_world_size()
        # In double precision: the gradient is a small difference of terms that are summed up in separate processes.
        values = x.double()
        mean = _SumOverProcesses.apply(values.mean((0, 2, 3))) / processes
        centred = values - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().mean((0, 2, 3))) / processes
        with torch.no_grad():
            count = processes * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / max(1, count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return self.act(self.drop(normalised.to(x.dtype)))


def synchronise_batchnorm(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every BatchNorm taking its statistics from all processes; parameters and names stay."""
    if device.type == "cuda":
        return convert_sync_batchnorm(module)  # timm's: torch's own would lose the activation of BatchNormAct2d
    if isinstance(module, nn.BatchNorm2d) and not isinstance(module, SyncedBatchNorm):
        return SyncedBatchNorm.like(module)
    for name, child in module.named_children():
        module.add_module(name, synchronise_batchnorm(child, device))
    return module


def torchrun(processes: int) -> list[str]:
    """The command that starts processes on this machine; they find each other by number, since host names may not resolve."""
    meeting = ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1")
    return [sys.executable, "-m", "torch.distributed.run", *meeting, f"--nproc-per-node={processes}"]


def launch(worker: str, job: dict[str, Any], folder: Path, title: str, processes: int) -> None:
    """Run one training in several processes through torchrun; their output goes to this one's.

    What training reads (clips, motion, teacher labels, weights it starts from) must be there: processes would make it
    side by side.

    Args:
        worker: dotted name of the module that each process runs, by `run_rank`; its argument is `folder`.
        job: what the module is to do, as JSON values; it finds them in the folder's JOB file.
        folder: of the training.
        title: for the log and errors.
    Raises: SspError with the reason that a process gave.
    """
    write_json(folder / JOB, job)
    log.info("%s: %d processes", title, processes)
    command = [*torchrun(processes), "-m", worker, str(folder.absolute())]
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths), "SSPCORE_PROGRESS": "plain",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes))),
    }
    tail = ""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            for text in iter(lambda: process.stdout.read1().decode(errors="replace"), ""):
                sys.stderr.write(text)
                tail = (tail + text)[-20_000:]
            process.wait()
        except BaseException:  # an interrupted notebook must not leave processes behind
            process.terminate()
            raise
        finally:
            (folder / JOB).unlink(missing_ok=True)
    if process.returncode:
        reasons = [line.removeprefix("error: ") for line in tail.splitlines() if line.startswith("error: ")]
        reason = reasons[0] if reasons else f"see the output above (status {process.returncode})"
        raise SspError(f"{title}: training in {processes} processes failed: {reason}")


def run_rank(work: Callable[[dict[str, Any], Path], None], arguments: list[str] | None = None) -> int:
    """What a module does that `launch` starts: work(job, folder). Returns the status of its process, 2 after a known error.

    `arguments`: of the process; None: those that it was started with.
    """
    (folder,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    try:
        work(read_json(folder / JOB), folder)
    except SspError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


@contextmanager
def joined(device: str) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that torchrun started, for the length of the block; yields this one's place and device."""
    place = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_TIMEOUT)
    yield World(dist.get_rank(), dist.get_world_size()), place
    # After an error it is not taken down: that could wait for the others, whom torchrun ends when this process does.
    dist.destroy_process_group()
