"""How training uses the machine at hand: precision, memory, processes. None of it is part of the method.

`MachineSettings` is the section `machine` of a profile. Its defaults are one process in float32, which on a CPU gives the
same bits on every run. Apart from precision, no setting is part of an artefact's key.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import torch
from pydantic import Field

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.settings import Section

Count = Annotated[int, Field(ge=1)]
MAX_AUTOMATIC_WORKERS = 12  # a process: beyond that one GPU is no longer kept waiting, and memory goes to frames that wait


class MachineSettings(Section):
    """The section `machine` of a profile.

    Attributes:
        precision: of the networks in training. "float32" leaves torch's own switches as they are, as the reference does: on a
            GPU that has TF32 convolutions take it, matrix products do not. "tf32": both take it. "bfloat16" is autocast on a
            GPU that has it (losses, warps and weights stay in float32). All three are float32 on a CPU.
        microbatch: windows that a process has in memory at once; its share of a batch is cut into equal parts of at most
            so many, whose gradients are summed up. None: the whole share at once.
        label_batch: frames that the teacher labels at once.
        processes: that train together (DistributedDataParallel), one a GPU: a number, or "gpus" for all GPUs that are
            there. Without a GPU they share the CPU through gloo.
        compile: whether networks go through torch.compile (minutes at the start of a training).
        tensorboard: whether training writes TensorBoard logs too.
    """

    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    microbatch: Count | None = None
    label_batch: Count = 4
    processes: Count | Literal["gpus"] = 1
    compile: bool = False
    tensorboard: bool = False

    def effective_precision(self, device: torch.device) -> Literal["float32", "tf32", "bfloat16"]:
        """The precision that a device can keep to."""
        able = {"tf32": has_tf32, "bfloat16": has_bfloat16}
        return self.precision if self.precision in able and able[self.precision](device) else "float32"

    def arithmetic(self) -> AbstractContextManager[None]:
        """All of a GPU's float32 in TF32 where that is asked for, forward and backward; else torch's switches stay."""
        return tf32(convolutions=True, products=True) if self.precision == "tf32" else nullcontext()

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context that networks run in on a device."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.effective_precision(device) == "bfloat16")

    def process_count(self, batch_size: int, device: torch.device) -> int:
        """How many processes train together.

        "gpus" takes the largest number of GPUs that divides the batch. Raises: ProfileError if a number does not divide
        the batch or there are fewer GPUs.
        """
        gpus = torch.cuda.device_count() if device.type == "cuda" else 0
        if self.processes == "gpus":
            return max(n for n in range(1, max(1, gpus) + 1) if batch_size % n == 0)
        if gpus and self.processes > gpus:
            raise ProfileError(f"machine.processes: {self.processes} asked for, {gpus} GPUs are there; lower it or take 'gpus'")
        if batch_size % self.processes:
            raise ProfileError(f"machine.processes: {self.processes} do not divide a batch of {batch_size}; take a divisor")
        return self.processes

    def accumulation(self, share: int) -> int:
        """Into how many equal parts a process cuts its share (windows) of a batch."""
        limit = share if self.microbatch is None else min(share, self.microbatch)
        return share // max(n for n in range(1, limit + 1) if share % n == 0)


def has_tf32(device: torch.device) -> bool:
    """Whether a device is a GPU that knows TF32, as from Ampere on; others compute in float32 whatever is asked for."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device is a GPU that computes in bfloat16; torch lets others imitate it, slowly."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def tf32(convolutions: bool, products: bool) -> Iterator[None]:
    """Whether float32 convolutions and matrix products may round to TF32, in this block; torch's switches are put back."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = products, convolutions
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Count with one thread in this process: sums in one order, so results do not depend on the number of cores."""
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)


@contextmanager
def in_gpu_memory(work: str, remedy: str) -> Iterator[None]:
    """Say in one line that a GPU's memory has run out: in what work, and what to do.

    Raises: SspError in place of torch.cuda.OutOfMemoryError.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise SspError(f"{work}: the GPU's memory has run out; {remedy}") from error


def give_back_gpu_memory() -> None:
    """Return memory that this process has on GPUs and does not use, so that other processes find it."""
    gc.collect()
    torch.cuda.empty_cache()


def worker_count(setting: int | Literal["auto"], processes: int = 1) -> int:
    """Loader workers of one process: the setting, or "auto" for the cores divided among the processes, one kept back."""
    return max(0, min(MAX_AUTOMATIC_WORKERS, cores() // processes - 1)) if setting == "auto" else setting


def describe(device: torch.device, disk: Path | None = None) -> dict[str, Any]:
    """The machine in words and numbers, for provenance and plans; `disk`: a folder whose free space is wanted."""
    machine: dict[str, Any] = {"device": device.type, "cores": cores(), "torch": torch.__version__}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {
            "gpu": properties.name, "gpus": torch.cuda.device_count(),
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1), "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    if disk is not None:
        while not disk.exists():
            disk = disk.parent
        machine["disk_free_gb"] = round(shutil.disk_usage(disk).free / 1e9, 1)
    return machine
