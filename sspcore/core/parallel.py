"""Work on files spread over processes: one job a video, results in the order of the jobs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context, parent_process
from typing import TypeVar

import cv2

from sspcore.core.errors import ReleaseError
from sspcore.core.lock import stay_in_run

Job = TypeVar("Job")
Result = TypeVar("Result")
_LOCKS_A_PROCESS, _LOCKS = 4, 8  # more than torch's loader, a pool or a nanny of Dask take


def run_jobs(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Yield `work(job)` of every job, in order.

    Args:
        work: a function of a module, so that other processes find it.
        workers: processes; with one, or for a single job, the work is done in this one.
    Raises: what `work` raises (jobs not yet begun are dropped then); ReleaseError if a process dies.
    """
    jobs = list(jobs)
    if min(workers, len(jobs)) <= 1 or not can_start(min(workers, len(jobs))):
        yield from map(work, jobs)
        return
    # spawn: forking a process in which torch or OpenCV have started threads may hang
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), initializer=start_worker)
    try:
        yield from pool.map(work, jobs)
    except BrokenProcessPool as error:
        raise ReleaseError(
            "a worker process died; a script must start the work below `if __name__ == \"__main__\":`, since workers import "
            "the script; else memory may have run out: run again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def can_start(processes: int) -> bool:
    """Whether that many processes can be started and talked to: the semaphores for it lie in shared memory on Linux.

    A small container may have no room for them in /dev/shm, others have no /dev/shm.
    """
    try:
        held = [get_context().Lock() for _ in range(_LOCKS_A_PROCESS * processes + _LOCKS)]
    except (OSError, ImportError):  # ImportError: this Python was built without them
        return False
    return bool(held)


def start_worker() -> None:
    """One thread a process, and no messages of the decoder: our errors say in one line what is wrong with a file.

    The process belongs to the run that started it and ends with the process that started it, in the middle of its work.
    """
    stay_in_run()
    end_with_parent()
    cv2.setNumThreads(1)
    quiet_decoder()


def quiet_decoder() -> None:
    """Keep FFmpeg and OpenCV from writing to stderr, in a process that has not opened a video yet."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def end_with_parent() -> None:
    """Let this process end when the process that started it has, in the middle of its work."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def allow_children() -> None:
    """Let this process start processes of its own, also where whoever started it made it a daemonic one.

    A worker of Dask is daemonic, which multiprocessing does not let start any, such as those that read training windows. The
    mark protects from children that are left behind; ours end with their parent (a loader's look for it themselves). It is
    taken off in this process alone: the one that started it still ends it.
    """
    current_process()._config["daemon"] = False  # there is no public way from inside


def _end_with_parent() -> None:
    """A worker waits for its next job at a pipe whose other end it holds too: it would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
