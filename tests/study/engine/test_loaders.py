"""Processes that read training windows, started by workers of a cluster: they work, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.fakes import diary
from sspcore.core.files import read_json
from sspcore.study import Study, places
from sspcore.study.engine import make as making
from sspcore.study.engine.make import make

SMALL = {
    "rendering.workers": 1, "rendering.releases.uavid.train_sequences": 1, "rendering.releases.uavid.frames": 9,
    "clips.uavid.clip_length": 4, "training.image_start.epochs": 1,
}

RUNNER = """
import sys
from pathlib import Path
from helpers.fakes import acting
from sspcore.study.engine.cluster import local_cluster
from sspcore.study.engine.work import perform

if __name__ == "__main__":
    with local_cluster(1) as client:
        client.submit(perform, acting(Path(sys.argv[1]), "training", deed="load")).result()
"""


@pytest.mark.slow
def test_a_training_of_the_engine_reads_its_windows_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "SHORT", 0.0)  # nothing is short enough for this process
    histories = []
    for loaders in (0, 1):
        study = Study.open("smoke", root=tmp_path / str(loaders), overrides=SMALL | {"loader_workers": loaders})
        make(study, ("train", "Base (start)", "uavid"), workers=1)
        (entry,) = read_json(places.training(study, "Base (start)", "uavid").folder / "history.json")
        histories.append({name: value for name, value in entry.items() if name != "seconds"})
    assert histories[0] == histories[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_run_leaves_neither_workers_nor_their_loaders_behind(tmp_path):
    (tmp_path / "runner.py").write_text(RUNNER)
    paths = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parents[3])))
    runner = subprocess.Popen(
        [sys.executable, str(tmp_path / "runner.py"), str(tmp_path)], env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        until(lambda: (tmp_path / "diary").is_file() and len(diary(tmp_path)) == 2, 120)
        assert runner.poll() is None
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    names, processes = zip(*diary(tmp_path), strict=True)
    assert names == ("training", "loader") and processes[0] != processes[1]
    until(lambda: not any(alive(process) for process in processes), 30)  # torch's loaders look every five seconds


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.2)
