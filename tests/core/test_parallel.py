"""Work spread over processes."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from sspcore.core.paths import REPOSITORY

RUNNER = """
import multiprocessing, time
from sspcore.core.parallel import run_jobs
jobs = run_jobs(time.sleep, [0, 0, 600], 2)
next(jobs), next(jobs)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
next(jobs)
"""


def test_workers_end_with_the_process_that_started_them():
    """Both: the one that works, and the one that waits for a job. A run that was killed could not be started again."""
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    workers = [psutil.Process(int(pid)) for pid in runner.stdout.readline().split()]
    time.sleep(1)
    assert len(workers) == 2 and all(worker.is_running() for worker in workers)
    runner.kill()
    runner.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert len(gone) == 2
