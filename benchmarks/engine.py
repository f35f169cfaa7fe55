"""What the engine takes and whether it can be relied on: figures/engine.json, part by part.

    python benchmarks/engine.py demo        one run from nothing with two workers: minutes, memory, first rows, costs of tasks
    python benchmarks/engine.py predict     1 to 16 workers, worked out from its tasks; checked against runs of Base and SSP
    python benchmarks/engine.py busy        a run of Base beside a process that keeps one core busy
    python benchmarks/engine.py identical   tables with 1, 2, 4 workers, and with killed workers (kill.py kills runners)
    python benchmarks/engine.py costs       write the rates of the demo run to sspcore/study/engine/costs.yaml

Runs are made in a fresh clone of what is committed, in the active environment. With --folder they are kept, and parts that need
an earlier run find it there; without, they are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import common
from engine_kills import WorkerKills
from engine_run import Run, busy_core, clone, commit, finish, remove
from sspcore.core.files import read_json, write_json
from sspcore.core.provenance import provenance
from sspcore.study.engine import costs, schedule
from sspcore.study.engine.make import SOON
from sspcore.study.engine.task import Task

FIGURES = common.REPOSITORY / "figures" / "engine.json"
WORKERS = (1, 2, 4, 8, 16)
PAIR = ("Base", "SSP")
LOST = " is lost; begun again"  # what a run says of a task whose worker was killed
ALL_KINDS = ("--systems", "Base,SSP,KD-SSP", "--only", "08")  # each kind of task, and one notebook, which writes the tables


def demo(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole profile from nothing with two workers."""
    home = folder / f"home-{options.profile}"
    remove([home])
    run = finish(repository(folder), home, options.profile, "--workers", str(options.workers))
    tasks = run.tasks()
    write_json(folder / f"tasks-{options.profile}.json", tasks)
    pair = [seconds for row, seconds in run.rows.items() if row.partition(": ")[2] in PAIR and row.startswith(first_of(run))]
    return {
        "profile": options.profile, "workers": options.workers, **measured(run), "tasks": len(tasks),
        "peak_worker_gib": round(max(task["peak_mib"] for task in tasks) / 1024, 2),
        "first_row_minutes": minutes(min(run.rows.values())), "pair_minutes": minutes(max(pair)),
        "rows_minutes": {row: minutes(seconds) for row, seconds in run.rows.items()},
        "outside_tasks_seconds": round(run.seconds - span(tasks), 1), "kinds": by_kind(tasks), "rates": rates(tasks),
    }


def predict(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """List scheduling from measured task times, and how well it predicts measured runs: the demo, and runs of Base and SSP.

    Runs of the pair that are in the folder already are taken as they are.
    """
    report: dict[str, Any] = {}
    runs: dict[str, tuple[list[dict[str, Any]], int]] = {}  # name -> tasks, workers
    noted = folder / f"tasks-{options.profile}.json"
    if noted.exists():
        tasks = read_json(noted)
        runs[f"all systems, {options.workers} workers"] = tasks, options.workers
        path, length = schedule.critical_path(*graph(tasks))
        titles = {task["name"]: task["title"] for task in tasks}
        report |= {
            "minutes": {str(count): minutes(predicted(tasks, count)) for count in WORKERS},
            "critical_path_minutes": minutes(length), "critical_path": [titles[name] for name in path],
        }
    for count in options.counts:
        home = folder / f"home-pair-{count}"
        record = home / options.profile / "engine.json"
        if not record.exists():
            remove([home])
            finish(repository(folder), home, options.profile, "--systems", ",".join(PAIR), "--workers", str(count))
        runs[f"{' and '.join(PAIR)}, {count} workers"] = read_json(record), count
    report["checked"] = [
        {
            "run": name, "from_task_times_of": source, "measured_seconds": round(span(tasks), 1),
            "predicted_seconds": round(found := predicted(tasks, count, seconds), 1),
            "error": round(found / span(tasks) - 1, 3),
        }
        for name, (tasks, count) in runs.items() for source, (others, _) in runs.items()
        if {each["title"] for each in tasks} <= (seconds := {each["title"]: each["seconds"] for each in others}).keys()
    ]
    return {"profile": options.profile, **report}


def busy(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same run quiet and beside a busy process, each from nothing."""
    arguments = ("--systems", "Base", "--datasets", "uavid", "--workers", str(options.workers))
    homes = [folder / "home-quiet", folder / "home-busy"]
    remove(homes)
    quiet = finish(repository(folder), homes[0], options.profile, *arguments)
    with busy_core():
        beside = finish(repository(folder), homes[1], options.profile, *arguments)
    return {
        "profile": options.profile, "workers": options.workers, "run": " ".join(arguments[:4]),
        "quiet_seconds": round(quiet.seconds, 1), "busy_seconds": round(beside.seconds, 1),
        "ratio": round(beside.seconds / quiet.seconds, 2),
    }


def identical(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tables with other numbers of workers and after kills, against one undisturbed run with one worker.

    Runs that are in the folder already are taken as they are.
    """
    where, report = repository(folder), {"profile": options.profile, "run": " ".join(ALL_KINDS)}

    def run(name: str, workers: int, **how: Any) -> Run:
        home = folder / name
        if (home / options.profile / "engine.json").exists():
            return Run(None, home, options.profile, folder / f"{name}.log")
        remove([home])
        return finish(where, home, options.profile, *ALL_KINDS, "--workers", str(workers), **how)

    expected = run("undisturbed-1", 1).tables()
    report["workers"] = {"2": differing(run("undisturbed-2", 2), expected)}
    if "workers" in options.parts:
        report["workers"]["4"] = differing(run("undisturbed-4", 4), expected)
    if "kinds" in options.parts:
        killed = run("killed-workers", 2, poll=WorkerKills(), interval=0.01)
        lost = [line.partition(": worker ")[0] for line in killed.log.read_text(encoding="utf-8").splitlines() if LOST in line]
        report["killed_workers"] = {"in": lost, "differing": differing(killed, expected)}
    return report


def write_costs(options: argparse.Namespace, folder: Path) -> None:
    """The rates of the demo run as costs.yaml."""
    part = read_json(options.json)["demo"]
    path = Path(costs.__file__).with_name("costs.yaml")
    text = path.read_text(encoding="utf-8")
    known = yaml.safe_load(text)["rates"] | {name: each["rate"] for name, each in part["rates"].items()}
    table = {"machine": f"{part['provenance']['machine']}; commit {part['provenance']['commit']}", "rates": known}
    head = text.partition("\n")[0]
    path.write_text(f"{head}\n{yaml.safe_dump(table, sort_keys=False, width=200)}", encoding="utf-8")


# --- of runs and their tasks --------------------------------------------------------------------------------------------


def repository(folder: Path) -> Path:
    """The clone that all runs of a folder share, of the commit that is checked out here."""
    target = folder / "clone"
    if target.is_dir() and commit(target) != commit(common.REPOSITORY):
        remove([target])
    return target if target.is_dir() else clone(target)


def measured(run: Run) -> dict[str, float]:
    """What was seen of a run from outside."""
    return {
        "minutes": minutes(run.seconds), "cpu_minutes": minutes(run.cpu_seconds),
        "peak_gib": round(run.peak_bytes / 2**30, 2),
    }


def first_of(run: Run) -> str:
    """The data set of the row that came first."""
    return min(run.rows, key=run.rows.__getitem__).partition(": ")[0]


def differing(run: Run, expected: dict[str, str]) -> list[str]:
    """Names of the tables that are not as expected; none is what is hoped for."""
    return [name for name, text in run.tables().items() if text != expected[name]]


def graph(tasks: list[dict[str, Any]]) -> tuple[dict[str, Task], dict[str, float]]:
    """The tasks of a record, and their seconds."""
    made = {each["name"]: Task(each["name"], each["kind"], each["title"], None, tuple(each["needs"])) for each in tasks}
    return made, {each["name"]: each["seconds"] for each in tasks}


def predicted(tasks: list[dict[str, Any]], workers: int, taken: dict[str, float] | None = None) -> float:
    """Seconds of a run with another number of workers, by list scheduling under priorities as the run's.

    `taken`: seconds of the tasks in another run, by title.
    """
    known, seconds = graph(tasks)
    seconds = seconds if taken is None else {name: taken[task.title] for name, task in known.items()}
    scores = [each for each in tasks if each["kind"] == "score" and each["title"].endswith(PAIR)]
    first = [[each["name"]] for each in sorted(scores, key=lambda each: each["end"])]
    return schedule.simulate(known, seconds, workers, schedule.priorities(known, seconds, first, SOON)).makespan


def span(tasks: list[dict[str, Any]]) -> float:
    """Seconds from the start of the first task to the end of the last."""
    return max(each["end"] for each in tasks) - min(each["start"] for each in tasks)


def by_kind(tasks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Number, seconds and CPU seconds of the tasks of each kind."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for each in tasks:
        sums[each["kind"]] = [a + b for a, b in zip(sums[each["kind"]], (1, each["seconds"], each["cpu_seconds"]), strict=True)]
    return {kind: {"tasks": n, "seconds": round(a, 1), "cpu_seconds": round(b, 1)} for kind, (n, a, b) in sums.items()}


def rates(tasks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds a unit of every rate, without the moment in which a task begins, and the units that it was measured on."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for each in tasks:
        units, seconds = sums[each["rate"]]
        sums[each["rate"]] = [units + each["units"], seconds + each["seconds"] - costs.BEGIN]
    return {
        rate: {"rate": float(f"{seconds / units:.3g}"), "units": round(units, 3)}
        for rate, (units, seconds) in sums.items() if units > 0 < seconds
    }


def minutes(seconds: float) -> float:
    """Minutes, two decimals."""
    return round(seconds / 60, 2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("demo", "predict", "busy", "identical", "costs"))
    parser.add_argument("--profile", help="default: demo; for identical: smoke")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--counts", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2],
                        help="of predict: workers of the runs of Base and SSP (default: 1,2)")
    parser.add_argument("--folder", type=Path, help="keep clone and runs here")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["workers", "kinds"],
                        help="of identical: workers,kinds")
    parser.add_argument("--json", type=Path, default=FIGURES, help=f"the report (default: {FIGURES})")
    options = parser.parse_args(arguments)
    options.profile = options.profile or ("smoke" if options.part == "identical" else "demo")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.part == "costs":
            write_costs(options, folder)
            return
        part = {"demo": demo, "predict": predict, "busy": busy, "identical": identical}[options.part](options, folder)
    origin = provenance(options.profile, 0, "none")
    report = read_json(options.json) if options.json.exists() else {}
    write_json(options.json, report | {options.part: {"provenance": origin, **part}})
    print(json.dumps(part, indent=2))


if __name__ == "__main__":
    sys.exit(main())
