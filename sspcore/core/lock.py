"""One run at a time on a folder, one process at a time on an artefact."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sspcore.core.errors import ArtefactError, BusyError

log = logging.getLogger(__name__)

RUN_LOCKS = "SSPCORE_RUN_LOCKS"
WORKERS = "SSPCORE_WORKERS"  # processes that a notebook starts for what it misses; 0: it makes it by itself
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_RUN = "run.lock"
_joined: dict[tuple[str, int], FileLock] = {}  # by folder and process: a fork holds none of its parent's locks


@contextmanager
def exclusive(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold `folder` for this run: two side by side would clear away each other's half-made artefacts.

    The system lets go of it when the process ends, however it ends. Kernels and workers outlive a killed runner for a
    while: each holds a lock of its own beside the run's (`stay_in_run`) and is waited for, at most `patience` seconds.
    Raises: ArtefactError if another run is at work there, or if what a killed one has left does not end.
    """
    locks = folder.with_name(f".{folder.name}.locks")
    locks.mkdir(parents=True, exist_ok=True)
    run, own = FileLock(locks / _RUN, thread_local=False), (str(locks), os.getpid())
    if not _acquire(run):
        raise ArtefactError(f"{folder}: another run ({_owner(locks / _RUN)}) is at work there; wait for it, or stop it first")
    try:
        (locks / _RUN).write_text(_this_process(), encoding="utf-8")
        deadline = time.monotonic() + patience
        while others := {*locks.glob("*.lock")} - {locks / _RUN, _own_lock(locks)}:
            for path in others:
                other = FileLock(path, thread_local=False)
                if not _acquire(other, max(0.0, deadline - time.monotonic())):
                    problem = f"{folder}: processes that a killed run started are still at work there"
                    raise ArtefactError(f"{problem}; run again when they have ended")
                path.unlink(missing_ok=True)
                other.release()
        os.environ[RUN_LOCKS] = str(locks)
        yield
    finally:
        os.environ.pop(RUN_LOCKS, None)
        if own in _joined:
            _joined.pop(own).release()
        run.release()


def stay_in_run() -> None:
    """In a kernel or worker: take part in the run that started this process until the process ends."""
    locks = os.environ.get(RUN_LOCKS)
    if locks is not None and (locks, os.getpid()) not in _joined:
        lock = _joined[locks, os.getpid()] = FileLock(_own_lock(Path(locks)), thread_local=False)
        _acquire(lock)


@contextmanager
def at_work_on(folder: Path, patience: float = 600.0) -> Iterator[None]:
    """Be the only process that makes the artefact `folder`, on all machines that share its file system.

    Of two that have to make it, the second waits: a scheduler that has lost sight of a worker gives its task to another,
    while the first may still be busy with it.

    Args:
        patience: seconds that it waits.
    Raises: BusyError naming the process that holds it if it does not end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path, thread_local=False)
    if not _acquire(lock):
        log.info("%s: %s is at work on it; waiting", folder, _owner(path))
        if not _acquire(lock, patience):
            problem = f"{folder}: {_owner(path)} has been at work on it for {patience:.0f} s"
            raise BusyError(f"{problem}; stop it, then run again")
    try:
        path.write_text(_this_process(), encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for it notices, and takes the next one
        lock.release()


def _owner(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _own_lock(locks: Path) -> Path:
    return locks / f"{socket.gethostname()}-{os.getpid()}.lock"


def _acquire(lock: FileLock, patience: float = 0.0) -> bool:
    """Take a lock; False where others hold it. Where the file system has no locks this is logged, and all may go on."""
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s: cannot be locked (%s): start no second run beside this one", lock.lock_file, error.strerror)
    return True
