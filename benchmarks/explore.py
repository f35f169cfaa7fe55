"""Response of the explorers to a slider: python benchmarks/explore.py [--browser] [--json FILE].

In the kernel: from the slider's new value to the pictures' bytes; where other work takes the machine, the CPU time is the
figure of this code. With --browser: from the key on the slider to the new pictures on the screen, JupyterLab in headless
Chromium. What the profile has not made yet is made first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

import common
from helpers.browser import chromium, explorer_of, find_chromium, focus_slider, jupyterlab, response, run_notebook
from sspcore.explore import pair_explorer, systems_explorer
from sspcore.explore.live import Live
from sspcore.study import Study

PATIENCE = 580.0


def summary(milliseconds: list[float]) -> dict[str, float | int]:
    """Median and the slow end."""
    ordered = sorted(milliseconds)
    return {
        "changes": len(ordered), "median_ms": round(statistics.median(ordered), 1),
        "p90_ms": round(ordered[int(0.9 * (len(ordered) - 1))], 1), "largest_ms": round(ordered[-1], 1),
    }


def sweep(live: Live, control: Any, values: list[Any]) -> dict[str, float | int]:
    """Set a control to each value in turn; each must bring new pictures."""
    times, cpu = [], []
    for value in values:
        version, began, cpu_began = live.stage.version, time.perf_counter(), time.process_time()
        control.value = value
        times.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - cpu_began))
        if live.stage.version != version + 1:
            raise RuntimeError(f"{control.description} = {value} drew {live.stage.version - version} times, not once")
    return summary(times) | {"cpu_median_ms": round(statistics.median(cpu), 1)}


def there_and_back(control: Any, changes: int) -> list[int]:
    """So many values of a slider, up and down its range, beginning with another one than it has."""
    values = [value for value in range(control.min, control.max + 1) if value != control.value]
    return list(islice(cycle(values + values[-2:0:-1]), changes))


def kernel(study: Study, dataset: str, changes: int) -> dict[str, Any]:
    """Both explorers, no browser attached."""
    pair = Live({dataset: partial(pair_explorer, study, dataset)})
    frame, gap = pair.controls["frame"], pair.controls["gap"]
    report: dict[str, Any] = {
        "02: frame, first visits": sweep(pair, frame, there_and_back(frame, frame.max - frame.min)),
        "02: frame": sweep(pair, frame, there_and_back(frame, changes)),
        "02: c2": sweep(pair, pair.controls["c2"], [0.1 * (1 + k % 30) for k in range(changes)]),
    }
    frame.value = frame.max
    report["02: gap"] = sweep(pair, gap, there_and_back(gap, changes))
    gap.value, pair.controls["estimator"].value = gap.min, "exact"
    report["02: frame, exact flow"] = sweep(pair, frame, there_and_back(frame, changes))
    names = [name for name in ("Base", "SSP", "KD-SSP") if name in study.profile.systems]
    began = time.perf_counter()
    systems = Live({dataset: partial(systems_explorer, study, dataset, names)})
    report["07: first visit of a clip, s"] = round(time.perf_counter() - began, 2)
    report["07: frame"] = sweep(systems, systems.controls["frame"], there_and_back(systems.controls["frame"], changes))
    return report


def browser(profile: str, changes: int) -> dict[str, Any]:
    """Notebook 02 in JupyterLab: the frame slider, moved by the keyboard."""
    with tempfile.TemporaryDirectory() as name, jupyterlab(Path(name), profile, PATIENCE) as lab, chromium(PATIENCE) as page:
        run_notebook(page, lab, "02_warps_and_occlusion.ipynb")
        explorer = explorer_of(page)
        focus_slider(page, "frame")
        keys = ["ArrowRight"] * 8 + ["ArrowLeft"] * 16 + ["ArrowRight"] * 8
        times = [response(page, explorer, keys[k % len(keys)]) for k in range(changes)]
        version = page.context.browser.version
    return {"browser": version, "02: frame": summary(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--dataset", default="uavid")
    parser.add_argument("--changes", type=int, default=40, help="changes of each slider (default: 40)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--browser", action="store_true", help="measure in Chromium too")
    common.add_json(parser, "explorers")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = Study.open(options.profile)
    report: dict[str, Any] = {
        "dataset": options.dataset, "data": study.data_origin, "input_size": list(study.profile.input_size),
        "flow": study.profile.flow, "threads": options.threads, "load_average": os.getloadavg()[0],
        "kernel": kernel(study, options.dataset, options.changes),
    }
    if options.browser:
        if find_chromium() is None:
            parser.error("--browser: Chromium is not installed (Debian: apt install chromium)")
        report["load_average_browser"] = os.getloadavg()[0]
        report["in_the_browser"] = browser(options.profile, options.changes)
    common.write(report, options, f"explore ({study.profile.name})", study.seed, study.clips_key(options.dataset))


if __name__ == "__main__":
    main()
