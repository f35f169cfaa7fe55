"""How long the start page takes: python benchmarks/tour.py [--json figures/tour.json].

Executes notebooks/00_start_here.ipynb in a fresh kernel, the sample's flow not yet estimated, alone and beside a process that
keeps one core busy. Takes the time from the start of the kernel (`Run all`) to the first moving picture and to the end, the
processor time in all, which other work on the machine hardly changes, and the memory of the kernel. Files may still be in the
machine's memory from earlier runs; the load average says what else it did. One core of a small container: `taskset -c 0`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import common
from engine_run import busy_core
from sspcore.report.sample import open_sample
from sspcore.study.chapters import NOTEBOOKS

START_PAGE = NOTEBOOKS / "00_start_here.ipynb"


def measure(runs: int, keep: Path | None) -> dict[str, Any]:
    """Seconds of each run, alone and beside a busy process; the last executed notebook goes to `keep`."""
    sample, load = open_sample(), os.getloadavg()[0]
    seconds = {}
    for name, other in {"alone": contextlib.nullcontext, "beside_a_busy_process": busy_core}.items():
        with other():
            seconds[name] = executions(runs, keep)
    files = [path for path in sample.folder.rglob("*") if path.is_file()]
    return {
        "seconds": seconds, "runs": runs, "load_average_before": load, "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "cores": len(os.sched_getaffinity(0)), "kernel_memory_gb": round(_children().ru_maxrss / 1e6, 2),
        "sample_mb": round(sum(path.stat().st_size for path in files) / 1e6, 2),
    }


def executions(runs: int, keep: Path | None) -> dict[str, list[float]]:
    """Seconds to the first moving picture and to the end, and of processor time, of each run."""
    sample = open_sample()
    seconds: dict[str, list[float]] = {"to_first_moving_picture": [], "to_the_end": [], "of_processor_time": []}
    for _ in range(runs):
        shutil.rmtree(sample.flows.root, ignore_errors=True)
        shown: list[float] = []

        def on_executed(cell: nbformat.NotebookNode, seen: list[float] = shown, **_: Any) -> None:
            if any("image/gif" in output.get("data", {}) for output in cell.outputs):
                seen.append(time.perf_counter())

        notebook = nbformat.read(START_PAGE, as_version=4)
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}},
            on_cell_executed=on_executed,
        )
        before, began = _children_seconds(), time.perf_counter()
        client.execute()
        seconds["to_the_end"].append(round(time.perf_counter() - began, 1))
        seconds["of_processor_time"].append(round(_children_seconds() - before, 1))
        seconds["to_first_moving_picture"].append(round(shown[0] - began, 1))
    if keep is not None:
        nbformat.write(notebook, keep)
    return seconds


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _children_seconds() -> float:
    return _children().ru_utime + _children().ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="executions, each in a fresh kernel (default: 3)")
    parser.add_argument("--keep", type=Path, help="write the executed notebook here")
    common.add_json(parser, "tour")
    options = parser.parse_args()
    origin = open_sample().config.provenance
    report = measure(options.runs, options.keep)
    common.write(report, options, f"tour (sample of {origin['profile']})", origin["seed"], origin["data_key"])


if __name__ == "__main__":
    main()
