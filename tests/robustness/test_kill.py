"""A killed run ends in the tables of an undisturbed one of another number of workers: three kills of the smallest run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import kill
from benchmarks.kill import Point

# One notebook makes everything that its tables need.
SMALLEST = ["--datasets", "uavid", "--systems", "Base,SSP", "--only", "08"]
POINTS = (
    Point("UAVid: rendering: all done", 0.5), Point("UAVid: training Base: done", 0.5), Point("UAVid: scoring Base: done", 0.0),
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_three_kills_end_in_identical_tables(tmp_path):
    report = kill.run_chains(POINTS, 3, SMALLEST, tmp_path, undisturbed=["--workers", "1"])
    assert report["kills"] == report["identical"] == 3, report


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_the_run_is_killed_so_long_after_its_text_and_not_before(tmp_path, monkeypatch):
    def start(repository: Path, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        log.write_text("a: started\n")
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"], start_new_session=True)

    monkeypatch.setattr(kill, "start", start)
    status, after = kill.run(tmp_path, [], tmp_path / "log", Point("a: ", 0.3))
    assert status is None and 0.3 <= after < 1.5
    assert kill.run(tmp_path, [], tmp_path / "log", Point("b: ", 0.0))[0] == 0


def test_tables_differ_by_their_values_and_not_by_the_minutes(tmp_path):
    def tables(miou: float, minutes: float) -> dict[str, str]:
        folder = tmp_path / "data" / "smoke" / "figures" / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        for name in kill.TABLES:
            (folder / name).write_text(str(miou))
        (folder / "results.json").write_text(json.dumps({"provenance": {"minutes": minutes}, "rows": [miou]}))
        return kill.tables(tmp_path)

    assert tables(0.5, 1.2) == tables(0.5, 3.4)
    ours, theirs = tables(0.6, 1.2), tables(0.5, 1.2)
    assert all(ours[name] != theirs[name] for name in kill.TABLES)
