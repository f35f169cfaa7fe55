"""One run at a time; what a killed run has started is waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from sspcore.core.errors import ArtefactError
from sspcore.core.lock import exclusive, stay_in_run
from sspcore.core.paths import REPOSITORY

HOLDER = """
import sys, time
from pathlib import Path
from sspcore.core.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
KERNEL = """
import sys, time
from sspcore.core.lock import stay_in_run
stay_in_run()
print("joined", flush=True)
time.sleep(float(sys.argv[1]))
"""
WORKER = """
import gc, sys, time
from sspcore.core.parallel import start_worker
start_worker()
gc.collect()
print("joined", flush=True)
time.sleep(float(sys.argv[1]))
"""


def started(code: str, argument: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, argument], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=os.environ | environment
    )
    assert process.stdout.readline()
    return process


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path):
    first = started(HOLDER, str(tmp_path / "smoke"))
    named = rf"smoke: another run \(process {first.pid} on {socket.gethostname()}\) is at work there"
    with pytest.raises(ArtefactError, match=named), exclusive(tmp_path / "smoke"):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with exclusive(tmp_path / "smoke"):
        assert "SSPCORE_RUN_LOCKS" in os.environ
    assert "SSPCORE_RUN_LOCKS" not in os.environ


def test_the_kernel_of_a_killed_run_is_waited_for(tmp_path):
    locks = tmp_path / ".smoke.locks"
    locks.mkdir()
    orphan = started(KERNEL, "2", SSPCORE_RUN_LOCKS=str(locks))
    began = time.monotonic()
    with exclusive(tmp_path / "smoke"):
        assert time.monotonic() - began > 0.5
    assert orphan.wait(timeout=30) == 0  # the lock goes a moment before the process
    orphan = started(KERNEL, "30", SSPCORE_RUN_LOCKS=str(locks))
    with pytest.raises(ArtefactError, match="that a killed run started"), exclusive(tmp_path / "smoke", patience=0.5):
        pass
    orphan.kill()
    orphan.wait()


def test_workers_of_a_killed_run_are_waited_for(tmp_path):
    """They outlive the kernel until their video is done, and would move it to where the next run has put its own."""
    locks = tmp_path / ".smoke.locks"
    locks.mkdir()
    orphan = started(WORKER, "30", SSPCORE_RUN_LOCKS=str(locks))
    with pytest.raises(ArtefactError, match="that a killed run started"), exclusive(tmp_path / "smoke", patience=0.5):
        pass
    orphan.kill()
    orphan.wait()
    with exclusive(tmp_path / "smoke", patience=0.5):
        stay_in_run()
    with exclusive(tmp_path / "smoke", patience=0):  # its own part in the run before ended with it
        pass
