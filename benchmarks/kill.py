"""Kill the smoke run again and again, let it finish, and compare its results with those of an undisturbed one.

    python benchmarks/kill.py --kills 20 --seed 0 --json figures/robustness.json

The run is `./reproduce.sh --profile smoke` in copies of the repository. It is started, killed with SIGKILL (its whole
process group) and started again, several times in a row, and then left to end: a chain. Kill points are drawn from the
seed: the undisturbed run's time is cut into as many equal parts as there are kills, and each part gets one, at random
within it; a chain takes every n-th of them, in order, and waits for each until the run has come as far again. What was at
work then is in the report. At the end the rows of results.json and the tables are compared, all but what names a moment:
see MOMENTS.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from sspcore.core.files import write_json
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash

TABLES = ("results.json", "results.md", "results.csv", "results.tex", "results.html")
# how long the run took: in the provenance of results.json, and as a row of it in results.html
MOMENTS = re.compile(r'("minutes": |<th>minutes</th><td class="fact">|<th>minutes</th><td class=\'fact\'>)[0-9.]+')
LATEST = 0.97  # share of the run after which none is killed: a restarted one is quicker and may have ended by then
LAST_STRETCH = 0.5  # the same for what the run does after it has named the last thing: another load on the machine shortens it
PATIENCE = 3600  # seconds that one start may take


@dataclass(frozen=True)
class Kill:
    """One kill: its chain, when it was due (share of the undisturbed run), after how many seconds, and what was at work."""

    chain: int
    due: float
    after: float
    at_work: str


def copy_repository(target: Path) -> Path:
    """The committed and changed files of the repository, without anything generated."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=REPOSITORY, capture_output=True, check=True
    ).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    return target


def start(repository: Path, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The run in a process group of its own; what it says goes to `log`. It uses the environment that is active here."""
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "PYTHONPATH": "", "SSPCORE_PROGRESS": "off"}
    log.unlink(missing_ok=True)  # the kernel of a killed run may still write into the former one
    with log.open("wb") as file:
        return subprocess.Popen(
            ["bash", "./reproduce.sh", "--profile", "smoke", *arguments], cwd=repository, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )


def finish(repository: Path, arguments: list[str], log: Path) -> None:
    """Run to the end. Raises RuntimeError with the run's last words if it fails."""
    process = start(repository, arguments, log)
    if process.wait(timeout=PATIENCE) != 0:
        raise RuntimeError(f"the run ended with status {process.returncode}: {log.read_text(errors='replace')[-1500:]}")


@dataclass(frozen=True)
class Point:
    """When to kill: `delay` seconds after the run has named `line`, or as soon as it names what comes `then`.

    The latter counts where the machine has become quicker since the undisturbed run; "" is the start and the end.
    """

    line: str
    delay: float
    then: str


def killed_after(repository: Path, arguments: list[str], log: Path, point: Point) -> tuple[float, str] | None:
    """Start the run, and kill it at a point; what it names may be begun anew or skipped.

    Returns: seconds since the start, and what it had named last; None if it ended before.
    """
    process, began, seen = start(repository, arguments, log), time.monotonic(), None
    while process.poll() is None:
        text = log.read_text(errors="replace")
        if seen is None and point.line in text:
            seen = time.monotonic()
        late = bool(point.then) and point.then in text
        if seen is not None and (late or time.monotonic() - seen >= point.delay):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            named = re.findall(r"(?m)^\s*(\S.*?: (?:started|running|up to date|done).*)$", text)
            return time.monotonic() - began, named[-1].strip() if named else "nothing yet"
        time.sleep(0.05)
    return None


def timeline(repository: Path, arguments: list[str], log: Path) -> list[tuple[float, str]]:
    """An undisturbed run: when it named each thing that it began, in seconds since its start; its end comes last."""
    process, began = start(repository, arguments, log), time.monotonic()
    marks = [(0.0, "")]
    read = 0
    while (status := process.poll()) is None or read < log.stat().st_size:
        text = log.read_bytes()
        for line in text[read:].decode(errors="replace").splitlines():
            if named := re.match(r"(.+?: )(?:started|running)", line.strip()):
                marks.append((time.monotonic() - began, named[1]))
        read = len(text)
        time.sleep(0.05)
    if status != 0:
        raise RuntimeError(f"the undisturbed run ended with status {status}: {log.read_text(errors='replace')[-1500:]}")
    return [*marks, (time.monotonic() - began, "")]


def kill_points(marks: list[tuple[float, str]], kills: int, seed: int) -> list[tuple[float, Point]]:
    """(share of the run, point) of each kill, in order of time."""
    end, last, rng = marks[-1][0], marks[-2][0], random.Random(seed)
    points = []
    for k in range(kills):
        moment = LATEST * end * (k + rng.random()) / kills
        if moment > last:
            moment = min(moment, last + LAST_STRETCH * (end - last))
        before = max(i for i, mark in enumerate(marks[:-1]) if mark[0] <= moment)
        said, line = marks[before]
        points.append((moment / end, Point(line, moment - said, marks[before + 1][1])))
    return points


def tables(repository: Path) -> dict[str, str]:
    """The tables of a smoke run, without moments."""
    folder = repository / "data" / "smoke" / "figures" / "tables"
    return {name: MOMENTS.sub(r"\1", (folder / name).read_text(encoding="utf-8")) for name in TABLES}


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names of tables that differ; of results.json the rows are compared first, so that the report says which."""
    differing = [name for name in expected if found[name] != expected[name]]
    if "results.json" in differing:
        ours, theirs = (_rows(each["results.json"]) for each in (found, expected))
        differing += [f"row {a['system']}, {a['dataset']}" for a, b in zip(ours, theirs, strict=False) if a != b]
    return differing


def _rows(text: str) -> list[dict[str, Any]]:
    return json.loads(text.replace('"minutes": ', '"minutes": null'))["rows"]


def run_chains(kills: int, per_chain: int, seed: int, arguments: list[str], folder: Path) -> dict[str, Any]:
    """The undisturbed run, then chains of kills; returns the report without provenance."""
    quiet = copy_repository(folder / "quiet")
    marks = timeline(quiet, arguments, folder / "quiet.log")
    expected, points = tables(quiet), kill_points(marks, kills, seed)
    chains = -(-kills // per_chain)
    done: list[Kill] = []
    identical, outcomes = 0, []
    for chain in range(chains):
        copy = copy_repository(folder / f"chain{chain}")
        own = points[chain::chains]
        for due, point in own:
            hit = killed_after(copy, arguments, folder / f"chain{chain}.log", point)
            if hit is not None:
                done.append(Kill(chain, round(due, 3), round(hit[0], 1), hit[1]))
        finish(copy, arguments, folder / f"chain{chain}.log")
        differing = differences(tables(copy), expected)
        hits = sum(kill.chain == chain for kill in done)
        identical += 0 if differing else hits
        outcomes.append({"chain": chain, "kills": hits, "differing": differing})
        shutil.rmtree(copy)
    return {
        "kills": len(done), "identical": identical, "seed": seed, "undisturbed_seconds": round(marks[-1][0], 1),
        "chains": outcomes, "points": [asdict(kill) for kill in done],
    }


def bad_inputs(folder: Path) -> dict[str, int]:
    """How many bad inputs there are, and how many had the expected outcome (see bad_inputs.py)."""
    from bad_inputs import run_all

    outcomes = run_all(folder)
    return {"bad_inputs": len(outcomes), "as_expected": sum(bool(each["as_expected"]) for each in outcomes)}


def main(arguments: Iterable[str] | None = None) -> int:
    """Status 0 if every kill ended in identical tables and every bad input in its expected outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per-chain", type=int, default=5, help="kills in a row before the run is left to end (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the kill points")
    parser.add_argument("--json", type=Path, help="write the report with its provenance, e.g. figures/robustness.json")
    parser.add_argument("rest", nargs="*", help="further options of the run, after --")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        report = run_chains(options.kills, options.per_chain, options.seed, options.rest, Path(name))
        (Path(name) / "bad").mkdir()
        report = report | bad_inputs(Path(name) / "bad")
    print(json.dumps(report, indent=1))
    if options.json is not None:
        key = stable_hash([options.kills, options.per_chain, options.seed, options.rest])
        write_json(options.json, report | {"provenance": provenance("smoke", options.seed, key)})
    return int(report["identical"] < report["kills"] or report["as_expected"] < report["bad_inputs"])


if __name__ == "__main__":
    sys.exit(main())
