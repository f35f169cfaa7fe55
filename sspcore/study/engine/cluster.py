"""The workers: a local cluster with a single-threaded process a core, or any cluster of Dask that shares the folder."""

from __future__ import annotations

import logging
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import torch
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from sspcore.core.code import library_key
from sspcore.core.errors import SspError
from sspcore.core.machine import cores

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "opencv-python-headless", "distributed")
WORKER_BYTES = 2 * 2**30  # that a worker is to have at least
GPU, CPU = "GPU", "CPU"  # what a worker is for, as a resource of Dask
ENVIRONMENT = {  # of a worker, before it imports anything
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536", "DASK_LOGGING__DISTRIBUTED": "critical",
}
CONNECT_SECONDS = 15
SETTINGS = {
    "distributed.scheduler.work-stealing": False,  # tasks are sent when a worker is free
    "distributed.scheduler.allowed-failures": 3,  # workers that may die with a task before it counts as failed
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
}


def default_workers() -> int:
    """One a core, fewer where memory would be short."""
    return max(1, min(cores(), CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))


@contextmanager
def local_cluster(workers: int | None = None, shared_gpus: bool = False) -> Iterator[Client]:
    """A cluster on this machine for the length of the block; it ends with this process, however that ends.

    Args:
        workers: for work on the CPU; default: `default_workers`.
        shared_gpus: one worker has all GPUs, for trainings that take several; else each GPU has a worker of its own.
    """
    count, gpus = workers or default_workers(), torch.cuda.device_count()
    devices = [",".join(map(str, range(gpus)))] if shared_gpus and gpus else [str(k) for k in range(gpus)]
    with tempfile.TemporaryDirectory(prefix="sspcore-") as scratch, dask.config.set(SETTINGS), _quiet():
        def options(resource: str, visible: str) -> dict[str, Any]:
            return {"cls": Nanny, "options": {
                "nthreads": 1, "memory_limit": MEMORY_LIMIT // (count + len(devices)), "local_directory": scratch,
                "resources": {resource: 1}, "env": {"CUDA_VISIBLE_DEVICES": visible},
            }}

        spec = {f"cpu-{k}": options(CPU, "") for k in range(count)}
        spec |= {f"gpu-{k}": options(GPU, visible) for k, visible in enumerate(devices)}
        scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
        with (
            SpecCluster(workers=spec, scheduler=scheduler, silence_logs=False) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A cluster that is there already. Raises: SspError if no scheduler answers."""
    with dask.config.set(SETTINGS), _quiet():
        try:
            client = Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            advice = "start one with `dask scheduler`, or check the address"
            raise SspError(f"--scheduler {address}: no scheduler answers ({problem}); {advice}") from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log says what we say in one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado.application", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class Identity:
    """What a worker is: it must have the same code and packages as the others, and see the folder of artefacts."""

    host: str
    library: str
    versions: dict[str, str]
    token: str | None


def identity(token: Path | None = None) -> Identity:
    """Of this process; `token`: a file of which the content is wanted."""
    seen = None
    if token is not None:
        try:
            seen = token.read_text(encoding="utf-8")
        except OSError:
            seen = None
    return Identity(socket.gethostname(), library_key(), {name: version(name) for name in PACKAGES}, seen)


class Workers:
    """The workers of a cluster that tasks may be sent to; those that do not fit are named in the log and left out.

    Args:
        root: folder of artefacts, which all have to see.
    """

    def __init__(self, client: Client, root: Path) -> None:
        self._client, self._root = client, root
        self._fits: dict[str, bool] = {}
        self._resources: dict[str, dict[str, float]] = {}

    def refresh(self) -> None:
        """Take in workers that have come or gone. Raises: SspError if there are workers and none fits."""
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        new = [address for address in there if address not in self._fits]
        if new:
            self._fits |= self._examine(new)
        self._fits = {address: fits for address, fits in self._fits.items() if address in there}
        self._resources = {address: info["resources"] for address, info in there.items() if self._fits[address]}
        if self._fits and not any(self._fits.values()):
            raise SspError("no worker can take part, see the lines above; mend one of them, then run again")

    def slots(self, resource: str | None) -> int:
        """How many tasks may run at a time: of a resource, or in all."""
        return sum(resource is None or resource in resources for resources in self._resources.values())

    def has(self, resource: str) -> bool:
        """Whether a worker offers that resource."""
        return any(resource in resources for resources in self._resources.values())

    def restriction(self) -> list[str] | None:
        """Addresses that tasks have to be kept to; None if all workers fit."""
        return None if all(self._fits.values()) else [address for address, fits in self._fits.items() if fits]

    def _examine(self, addresses: list[str]) -> dict[str, bool]:
        self._root.mkdir(parents=True, exist_ok=True)
        ours = identity()
        with tempfile.NamedTemporaryFile("w", prefix=".worker-", dir=self._root, encoding="utf-8") as token:
            secret = secrets.token_hex(8)
            token.write(secret)
            token.flush()
            answers = self._client.run(identity, Path(token.name), workers=addresses, on_error="return")
        return {address: self._judge(address, answers.get(address), ours, secret) for address in addresses}

    def _judge(self, address: str, answer: Identity | BaseException | None, ours: Identity, secret: str) -> bool:
        if answer is None:  # it has gone again
            return False
        if isinstance(answer, BaseException):
            problem = f"{type(answer).__name__}: {str(answer).splitlines()[0] if str(answer) else ''}"
            problem += "; install this version of sspcore there"
        elif differing := [name for name in PACKAGES if answer.versions[name] != ours.versions[name]]:
            name = differing[0]
            problem = f"has {name} {answer.versions[name]}, this machine {ours.versions[name]}; install requirements.lock there"
        elif answer.library != ours.library:
            problem = "has another version of sspcore; check out the same commit there and start it again"
        elif answer.token != secret:
            problem = f"does not see {self._root}; mount that folder there under the same path"
        else:
            return True
        host = answer.host if isinstance(answer, Identity) else "unknown host"
        log.warning("worker %s (%s) is left out: %s", address, host, problem)
        return False
