"""The workers: a local cluster with a single-threaded process a core, or any cluster of Dask that shares the folder."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

import dask
import torch
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, rpc
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.system import MEMORY_LIMIT

from sspcore.core.code import library_key
from sspcore.core.errors import SspError
from sspcore.core.machine import cores
from sspcore.core.parallel import can_start
from sspcore.study.chapters import ONE_THREAD

log = logging.getLogger(__name__)

WORKER_BYTES = 4 * 2**30  # that a worker is to have at least: the demo's takes up to 3.7 GiB (figures/engine.json)
LEAST_BYTES = 2**30  # a task of the smoke profile takes 1.2 GB, most of it libraries that processes share
FEW, WORKERS_A_CORE = 8, 4  # workers that may be asked for on any machine, and for each core
GPU, CPU = "GPU", "CPU"  # what a worker is for, as a resource of Dask
# Of a worker, before it imports anything. Dask's own MALLOC_TRIM_THRESHOLD_ is left out: under it glibc gives every large array
# back to the system at once, and clearing the pages of the next one takes a third of the CPU time of rendering.
ENVIRONMENT = ONE_THREAD | {"DASK_LOGGING__DISTRIBUTED": "critical"}
CONNECT_SECONDS = 15
SCHEMES = ("tcp", "tls")
SETTINGS = {
    "distributed.scheduler.work-stealing": False,  # tasks are sent when a worker is free
    "distributed.worker.memory.target": False,  # nothing of ours lies in Dask's memory: there is nothing to spill,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # and a worker that waits for memory would wait for itself
    # as Dask has them, a profiler that nobody reads and health checks take 7 % of the time of two workers on two cores
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
}


def default_workers(devices: int = 0) -> int:
    """Workers for the CPU: one a core, fewer where memory would be short beside those of `devices`."""
    return max(1, min(cores(), CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES - devices))


@contextmanager
def local_cluster(workers: int | None = None, shared_gpus: bool = False) -> Iterator[Client]:
    """A cluster on this machine for the length of the block; it ends with this process, however that ends.

    Args:
        workers: for work on the CPU; default: `default_workers`.
        shared_gpus: one worker has all GPUs, for trainings that take several; else each GPU has a worker of its own.
    Raises: SspError for far more workers than cores, more than there is memory for, or where none can be started.
    """
    gpus = torch.cuda.device_count()
    devices = [",".join(map(str, range(gpus)))] if shared_gpus and gpus else [str(k) for k in range(gpus)]
    count = workers or default_workers(len(devices))
    if count > (most := max(FEW, WORKERS_A_CORE * cores())):
        raise SspError(f"{count} workers: more than {most} only slow down a machine with {cores()} cores; ask for fewer")
    if (share := MEMORY_LIMIT // (count + len(devices))) < LEAST_BYTES:
        problem = f"{count} workers: each would have {share / 2**30:.1f} GiB of memory, too little for any task"
        raise SspError(f"{problem}; ask for fewer")
    if not can_start(count + len(devices)):
        problem = "no worker can be started: shared memory (/dev/shm) is full, read-only or missing"
        raise SspError(f"{problem}; make room there, or mount one (a container: --shm-size=1g)")
    _quiet()
    with tempfile.TemporaryDirectory(prefix="sspcore-") as scratch, dask.config.set(SETTINGS):
        def options(resource: str, visible: str) -> dict[str, Any]:
            # CUDA's libraries and pinned memory are resident, whatever the work takes: a worker on a GPU is never restarted
            # for its size, in the middle of a training (0: no limit)
            return {"cls": Nanny, "options": {
                "nthreads": 1, "memory_limit": 0 if resource == GPU else share, "local_directory": scratch,
                "resources": {resource: 1}, "env": {"CUDA_VISIBLE_DEVICES": visible},
            }}

        spec = {f"cpu-{k}": options(CPU, "") for k in range(count)}
        spec |= {f"gpu-{k}": options(GPU, visible) for k, visible in enumerate(devices)}
        address = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        scheduler = {"cls": Scheduler, "options": address}
        with _uninterrupted():
            cluster = SpecCluster(workers=spec, scheduler=scheduler, silence_logs=False)
        try:
            with Client(cluster, set_as_default=False) as client:
                try:
                    yield client
                except BaseException:  # the run has failed or was stopped: what its workers are doing is not waited for
                    _kill_workers(cluster)
                    raise
        finally:
            with _uninterrupted():
                cluster.close()


def too_busy(what: str) -> str:
    """The error of a run whose own processes do not answer. `what`: which of them, and how long."""
    return f"this machine was too busy or asleep: {what}; run the same command or cell again, nothing is lost"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block; threads and processes that are started in it never see it."""
    _start_tracker()  # otherwise it is started in the block, and lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """The process of multiprocessing that frees what killed ones have left; it is not to complain of them."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _kill_workers(cluster: SpecCluster) -> None:
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # it starts no other
        if nanny.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(nanny.pid, signal.SIGKILL)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A cluster that is there already.

    A scheduler and its workers do what whoever reaches them says, and this process unpickles what they answer: they belong
    into a network that is trusted.

    Raises: SspError if no scheduler answers, or one that cannot read our tasks.
    """
    _quiet()
    with dask.config.set(SETTINGS):
        try:
            asyncio.run(asyncio.wait_for(_probe(address), CONNECT_SECONDS))
            with warnings.catch_warnings():  # of other versions: workers are looked at one by one
                warnings.simplefilter("ignore")
                client = Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TypeError, asyncio.TimeoutError) as error:  # TypeError: no certificates for tls
            problem = str(error).splitlines()[0] if str(error) else f"no answer within {CONNECT_SECONDS} s"
            advice = "start one with `dask scheduler`, or check the address (tcp://HOST:8786)"
            raise SspError(f"--scheduler {address}: no scheduler answers ({problem}); {advice}") from error
        with client:
            _check_scheduler(client, address)
            yield client


def _check_scheduler(client: Client, address: str) -> None:
    try:
        library = client.run_on_scheduler(library_key)
    except Exception as error:  # whatever its process raises; also where sspcore is missing
        problem = str(error).partition("\n")[0]
        raise SspError(f"--scheduler {address}: cannot use sspcore ({problem}); start it as the workers are started") from error
    if library != library_key():
        raise SspError(f"--scheduler {address}: has another version of sspcore; start it again from the same commit")


async def _probe(address: str) -> None:
    """Raises: OSError or ValueError if something else than a scheduler is at an address; it may take for ever to answer."""
    scheme, place = parse_address(address)
    if scheme not in SCHEMES:
        raise ValueError(f"'{scheme}' is not one of {', '.join(SCHEMES)}")
    host, port = parse_host_port(place)
    try:
        await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, OverflowError) as error:
        raise OSError(f"{host}, port {port}, is no place that is known here") from error
    async with rpc(address, connection_args=Security().get_connection_args("client")) as there:
        kind = (await there.identity())["type"]
    if kind != "Scheduler":
        raise ValueError(f"there is a {kind.lower()} of a cluster")


def _quiet() -> None:
    """Dask's own log says what we say in one line, some of it when a cluster has been closed."""
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
