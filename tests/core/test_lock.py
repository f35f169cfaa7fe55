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
from sspcore.core.lock import at_work_on, exclusive, stay_in_run
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


MAKER = """
import sys, time
from pathlib import Path
from sspcore.core.lock import at_work_on
folder = Path(sys.argv[1])
print("begun", flush=True)
for number in range(20):
    with at_work_on(folder):
        folder.mkdir()  # fails if another process is in here
        time.sleep(0.01)
        folder.rmdir()
"""
HOLDER_OF_A_PART = """
import sys, time
from pathlib import Path
from sspcore.core.lock import at_work_on
with at_work_on(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
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


def test_one_process_at_a_time_makes_an_artefact_and_no_lock_is_left(tmp_path):
    makers = [started(MAKER, str(tmp_path / "runs" / "artefact")) for _ in range(3)]
    assert [maker.wait(timeout=60) for maker in makers] == [0, 0, 0]
    assert list((tmp_path / "runs").iterdir()) == []


def test_who_is_at_work_on_an_artefact_is_named_and_its_death_sets_it_free(tmp_path):
    other = started(HOLDER_OF_A_PART, str(tmp_path / "part"))
    problem = rf"part: process {other.pid} on \S+ has been at work on it for 0 s; stop it, then run again"
    with pytest.raises(ArtefactError, match=problem), at_work_on(tmp_path / "part", patience=0.2):
        pass
    with at_work_on(tmp_path / "another part", patience=0.0):
        pass
    other.kill()
    other.wait()
    with at_work_on(tmp_path / "part", patience=0.0):
        assert (tmp_path / ".part.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []
