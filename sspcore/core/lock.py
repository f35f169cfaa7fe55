"""One run at a time on a folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sspcore.core.errors import ArtefactError

log = logging.getLogger(__name__)

RUN_LOCK = "SSPCORE_RUN_LOCK"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def exclusive(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold `folder` for this run: two side by side would clear away each other's half-made artefacts.

    The system lets go of it when the process ends, however it ends. Kernels and workers outlive a killed runner for a
    while: they take part in the run (`join_run`, `stay_in_run`) and are waited for, at most `patience` seconds.
    Raises: ArtefactError if another run is at work there, or if what a killed one has left does not end.
    """
    lock, kernels = (folder.with_name(f".{folder.name}.{kind}") for kind in ("lock", "kernels.lock"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file, kernels.open("a") as others:
        if not _lock(file, fcntl.LOCK_EX):
            file.seek(0)
            raise ArtefactError(
                f"{folder}: another run (process {file.read().strip() or 'unknown'}) is at work there; wait for it, or stop it "
                "first"
            )
        deadline = time.monotonic() + patience
        while not _lock(others, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ArtefactError(
                    f"{folder}: processes that a killed run started are still at work there; run again when they have ended"
                )
            time.sleep(0.2)
        _lock(others, fcntl.LOCK_UN)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        os.environ[RUN_LOCK] = str(kernels)
        try:
            yield
        finally:
            del os.environ[RUN_LOCK]


def join_run() -> TextIO | None:
    """In a notebook's kernel: take part in the run that executes it for as long as the file returned is open."""
    path = os.environ.get(RUN_LOCK)
    if path is None:
        return None
    file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - it stays open on purpose
    _lock(file, fcntl.LOCK_SH)
    return file


def stay_in_run() -> None:
    """Take part in the run, as `join_run`, until this process ends: for workers, which may outlive a killed run."""
    file = join_run()
    if file is not None:
        os.dup(file.fileno())  # shares the lock, and nobody closes it


def _lock(file: TextIO, kind: int) -> bool:
    """Take a lock; False where others hold it. Where the file system knows no locks that is said, and all may go on."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s: cannot be locked (%s): start no second run beside this one", file.name, error.strerror)
    return True
