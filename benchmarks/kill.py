"""Kill the smoke run at fixed points, let it finish, and compare its results with those of an undisturbed run.

    python benchmarks/kill.py --json figures/robustness.json

The run is `./reproduce.sh --profile smoke` in copies of the repository. It is started, killed with SIGKILL (its whole
process group) and started again, several times, and then left to end: a chain. A point is a text and a number of seconds:
the run is killed so long after it has logged the text. At the end the tables are compared, all but the time that the run took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
from bad_inputs import run_all

TABLES = ("results.json", "results.md", "results.csv", "results.tex")
STILL_AT_WORK = "processes that a killed run started are still at work"


class Point(NamedTuple):
    """Kill `seconds` after the run has logged `text`."""

    text: str
    seconds: float


POINTS = (  # in the order of a run; a chain takes every n-th
    Point("profile smoke", 0), Point("profile smoke", 6), Point("notebook 00_start_here: done", 0),
    Point("UAVid: rendering: all done", 0), Point("RuralScapes: rendering: all done", 0),
    Point("UAVid: preparing: all done", 0.1), Point("RuralScapes: preparing: all done", 1),
    Point("UAVid: registering: all done", 0.5),
    Point("UAVid: training Base (start): done", 0), Point("UAVid: training Base (start): done", 2),
    Point("UAVid: training Base: done", 0.4), Point("UAVid: training SSP: done", 0), Point("UAVid: scoring Base: done", 0),
    Point("RuralScapes: training Base (start): done", 1.2), Point("RuralScapes: training Base: done", 1),
    Point("UAVid: scoring SSP: done", 0.2), Point("RuralScapes: training SSP: done", 0.4),
    Point("RuralScapes: scoring SSP: done", 0), Point("notebook 03_base_and_ssp_training: done", 3),
    Point("notebook 08_tables_and_figures: done", 1),
)


def copy_repository(target: Path) -> Path:
    """The committed and changed files of the repository, without anything generated."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=common.REPOSITORY, capture_output=True,
        check=True,
    ).stdout.decode().split("\0")
    for name in filter(None, names):
        if (common.REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(common.REPOSITORY / name, target / name)
    return target


def start(repository: Path, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The run in a process group of its own; what it prints goes to `log`. It uses the environment that is active here."""
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "PYTHONPATH": "", "SSPCORE_PROGRESS": "off"}
    log.unlink(missing_ok=True)  # the kernel of a killed run may still write into the former one
    with log.open("wb") as file:
        return subprocess.Popen(
            ["bash", "./reproduce.sh", "--profile", "smoke", *arguments], cwd=repository, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )


def run(repository: Path, arguments: list[str], log: Path, point: Point | None = None) -> tuple[int | None, float]:
    """Run to the end, or kill at a point. A start that waited in vain for a killed run's processes is repeated, as it says.

    Returns: status, None if killed, and seconds since the start.
    """
    while True:
        process, began, seen = start(repository, arguments, log), time.monotonic(), None
        while process.poll() is None:
            if point is not None and seen is None and point.text in log.read_text(errors="replace"):
                seen = time.monotonic()
            if seen is not None and time.monotonic() - seen >= point.seconds:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None, round(time.monotonic() - began, 1)
            time.sleep(0.02)
        if STILL_AT_WORK not in log.read_text(errors="replace"):
            return process.returncode, round(time.monotonic() - began, 1)


def finish(repository: Path, arguments: list[str], log: Path) -> dict[str, str]:
    """Run to the end; returns the tables. Raises RuntimeError with the end of the log if the run fails."""
    status, _ = run(repository, arguments, log)
    if status != 0:
        raise RuntimeError(f"the run ended with status {status}: {log.read_text(errors='replace')[-1500:]}")
    return tables(repository)


def tables(repository: Path) -> dict[str, str]:
    """The tables of a smoke run, without the minutes that it took."""
    folder = repository / "data" / "smoke" / "figures" / "tables"
    found = {name: (folder / name).read_text(encoding="utf-8") for name in TABLES}
    results = json.loads(found["results.json"])
    del results["provenance"]["minutes"]
    return found | {"results.json": json.dumps(results, indent=1)}


def run_chains(
    points: Sequence[Point], per_chain: int, arguments: list[str], folder: Path, undisturbed: Sequence[str] = ()
) -> dict[str, Any]:
    """The undisturbed run, with further options of its own, then chains of kills; returns the report without provenance."""
    expected = finish(copy_repository(folder / "undisturbed"), [*arguments, *undisturbed], folder / "undisturbed.log")
    chains, report = -(-len(points) // per_chain), []
    for chain in range(chains):
        copy, log, kills = copy_repository(folder / f"chain{chain}"), folder / f"chain{chain}.log", []
        for point in points[chain::chains]:
            status, after = run(copy, arguments, log, point)
            if status is None:
                kills.append({"text": point.text, "seconds": point.seconds, "after": after})
        found = finish(copy, arguments, log)
        report.append({"kills": kills, "differing": [name for name in TABLES if found[name] != expected[name]]})
        shutil.rmtree(copy)
    return {
        "kills": sum(len(each["kills"]) for each in report),
        "identical": sum(len(each["kills"]) for each in report if not each["differing"]), "chains": report,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Status 0 if every kill ended in identical tables and every bad input in its expected outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=len(POINTS), help=f"the first of the points (default: {len(POINTS)})")
    parser.add_argument("--per-chain", type=int, default=5, help="kills in a row before the run is left to end (default: 5)")
    common.add_json(parser, "robustness")
    parser.add_argument("rest", nargs="*", help="further options of the run, after --")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        report = run_chains(POINTS[: options.kills], options.per_chain, options.rest, Path(name))
        outcomes = run_all(Path(name) / "bad")
    report |= {"bad_inputs": len(outcomes), "as_expected": sum(bool(each["as_expected"]) for each in outcomes)}
    common.write(report, options, "smoke")
    return int(report["identical"] < report["kills"] or report["as_expected"] < report["bad_inputs"])


if __name__ == "__main__":
    sys.exit(main())
