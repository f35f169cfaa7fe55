"""Latency of the step: the engine alone, and with the copies of a real stream. Percentiles, as JSON.

    python3 bench_engine.py [--bundle .] [--onnx] [--seconds 30] [--out bench.json]

Before: `sudo nvpmodel -m 0` (MAXN) and `sudo jetson_clocks`; log `tegrastats` beside it and let the board get warm.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
from step_runner import EngineRunner, OnnxRunner, command_line, read_golden


def timed(work, seconds, warm_up=20):
    """Call `work(k)` for so many seconds. Returns p50, p95, p99 of one call in milliseconds, and how many there were."""
    for k in range(warm_up):
        work(k)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work(warm_up + len(times))
        times.append(time.perf_counter() - began)
    p50, p95, p99 = np.percentile(np.array(times) * 1e3, (50, 95, 99)).round(3).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "n": len(times)}


def bench(runner, golden, seconds, warm_up=20):
    """Latency with copies (frame in, class map out), and, of an engine, of the network alone."""
    frames, homographies = golden["frames"], golden["H_cur_to_prev"]
    runner.step(frames[0])

    def step(k):
        runner.step(frames[k % len(frames)], homographies[k % len(frames)])

    rows = {"with_copies": timed(step, seconds, warm_up)}
    if isinstance(runner, EngineRunner):
        def launch(_):
            runner.launch()
            runner.cuda.synchronise(runner.stream)

        rows["engine_alone"] = timed(launch, seconds, warm_up)
    return rows


def machine():
    """What the figures belong to."""
    facts = {"machine": platform.machine()}
    for name in ("/proc/device-tree/model", "/etc/nv_tegra_release"):
        if Path(name).is_file():
            facts[Path(name).name] = Path(name).read_text(errors="replace").strip("\0\n")
    try:
        facts["power_mode"] = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        facts["power_mode"] = "unknown (no nvpmodel)"
    return facts


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runner = OnnxRunner(options.bundle) if options.onnx else EngineRunner(options.bundle)
    rows = bench(runner, read_golden(options.bundle), options.seconds)
    text = json.dumps({"bundle": runner.sidecar["system"], "size": runner.size, **machine(), **rows}, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
