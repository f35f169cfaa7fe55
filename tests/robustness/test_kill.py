"""A killed run ends in the tables of an undisturbed one: three kills of the smallest run, and the driver's own parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kill
from sspcore.core.checksums import first_damage, manifest, read_array, write_array
from sspcore.core.errors import ArtefactError
from sspcore.core.lock import exclusive, stay_in_run
from sspcore.core.paths import REPOSITORY
from sspcore.core.store import is_fresh, stage

SMALLEST = ["--datasets", "uavid", "--systems", "Base,SSP"]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_three_kills_end_in_identical_tables(tmp_path):
    report = kill.run_chains(3, 3, seed=1, arguments=SMALLEST, folder=tmp_path)
    assert report["kills"] == report["identical"] == 3, report
    assert len({point["at_work"] for point in report["points"]}) > 1, "all kills hit the same moment"


def test_kill_points_lie_in_equal_parts_and_follow_the_seed():
    marks = [(0.0, ""), (10.0, "a: "), (55.0, "b: "), (100.0, "")]
    points = kill.kill_points(marks, 10, seed=3)
    assert points == kill.kill_points(marks, 10, seed=3)
    shares = [share for share, _ in points]
    assert [int(10 * share / kill.LATEST) for share in shares[:7]] == list(range(7))
    assert 0.7 * kill.LATEST <= shares[7] <= max(shares) <= 0.55 + kill.LAST_STRETCH * 0.45, "the last stretch may be shorter"
    assert {(point.line, point.then) for _, point in points} == {("", "a: "), ("a: ", "b: "), ("b: ", "")}
    assert all(point.delay >= 0 for _, point in points)
    assert points != kill.kill_points(marks, 10, seed=4)


def quick_run(tmp_path, monkeypatch, says: str) -> Path:
    """Stands for the run: says its lines at once, then works for long."""
    def start(repository, arguments, log):
        log.write_text(says)
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)

    monkeypatch.setattr(kill, "start", start)
    return tmp_path / "log"


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_a_run_that_has_become_quicker_is_killed_when_it_names_the_next_thing(tmp_path, monkeypatch):
    log = quick_run(tmp_path, monkeypatch, "a: started\nb: started\n")
    after, at_work = kill.killed_after(tmp_path, [], log, kill.Point("a: ", 30.0, "b: "))
    assert after < 10 and at_work == "b: started"
    after, at_work = kill.killed_after(tmp_path, [], log, kill.Point("b: ", 0.5, ""))
    assert 0.5 <= after < 10


def test_tables_that_differ_are_named_and_moments_are_not(tmp_path):
    def tables(miou: float, minutes: float) -> dict[str, str]:
        folder = tmp_path / "data" / "smoke" / "figures" / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        row = {"system": "Base", "dataset": "uavid", "miou": miou}
        (folder / "results.json").write_text(json.dumps({"provenance": {"minutes": minutes}, "rows": [row]}))
        for name in kill.TABLES[1:]:
            moment = f"<th>minutes</th><td class='fact'>{minutes}</td>" if "html" in name else ""
            (folder / name).write_text(f"{miou} {moment}")
        return kill.tables(tmp_path)

    assert kill.differences(tables(0.5, 1.2), tables(0.5, 3.4)) == []
    assert kill.differences(tables(0.6, 1.2), tables(0.5, 1.2)) == [*kill.TABLES, "row Base, uavid"]


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    lambda path: path.write_bytes(b""),
    lambda path: path.unlink(),
], ids=["cut off", "a flipped bit", "emptied", "deleted"])
def test_a_damaged_artefact_is_made_anew(tmp_path, damage, caplog):
    made = []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "weights.bin").write_bytes(b"weights")

    folder = stage("it", tmp_path / "it", "k", build)
    assert stage("it", folder, "k", build) == folder and len(made) == 1
    damage(folder / "deep" / "weights.bin")
    assert not is_fresh(folder, "k")
    stage("it", folder, "k", build)
    assert len(made) == 2 and (folder / "deep" / "weights.bin").read_bytes() == b"weights"


def test_large_folders_are_compared_by_size(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr("sspcore.core.checksums.SUMMED_BYTES", 4)
    recorded = manifest(tmp_path)
    assert recorded == {"a": [5]}
    (tmp_path / "a").write_bytes(b"54321")
    assert first_damage(tmp_path, recorded) is None
    (tmp_path / "a").write_bytes(b"123")
    assert first_damage(tmp_path, recorded) == "a"


def test_arrays_carry_their_checksum(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    write_array(tmp_path / "a.npy", array)
    assert np.array_equal(read_array(tmp_path / "a.npy"), array)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array), "np.load reads it too"
    data = bytearray((tmp_path / "a.npy").read_bytes())
    for position in (len(data) - 1, len(data) // 2):
        flipped = bytearray(data)
        flipped[position] ^= 1
        (tmp_path / "a.npy").write_bytes(flipped)
        assert read_array(tmp_path / "a.npy") is None
    np.save(tmp_path / "a.npy", array)
    assert read_array(tmp_path / "a.npy") is None, "without a checksum nothing vouches for it"


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
    with pytest.raises(ArtefactError, match=rf"smoke: another run \(process {first.pid}\) is at work there"), exclusive(
        tmp_path / "smoke"
    ):
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
