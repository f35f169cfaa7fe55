"""Time the engine of this bundle.

    python3 bench_engine.py [--runtime onnxruntime] [--seconds 30] [--out bench.json]

Before it `sudo nvpmodel -m 0` (MAXN) and `sudo jetson_clocks`; log `tegrastats` beside it, let the board get warm.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path

from sspcore.export.device.script import add_runtime, need, open_runner, parser_of, read_golden, run_script

np = need("numpy")

from sspcore.export.device.engine_runner import EngineRunner


def bench(runner, golden, seconds, warm_up=20):
    """Latency with copies (frame in, class map out), and, of an engine, of the network alone."""
    frames, homographies = golden["frames"], golden["H_cur_to_prev"]
    runner.step(frames[0])
    rows = {"with_copies": timed(lambda k: runner.step(frames[k], homographies[k]), len(frames), seconds, warm_up)}
    if isinstance(runner, EngineRunner):
        def launch(_):
            runner.launch()
            runner.wait()

        rows["engine_alone"] = timed(launch, len(frames), seconds, warm_up)
    return rows


def timed(work, n_frames, seconds, warm_up):
    """Call `work(k)` for so many seconds. Returns p50, p95, p99 of one call in milliseconds, and how many there were."""
    for k in range(warm_up):
        work(k % n_frames)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work((warm_up + len(times)) % n_frames)
        times.append(time.perf_counter() - began)
    p50, p95, p99 = np.percentile(np.array(times) * 1e3, (50, 95, 99)).round(3).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "n": len(times)}


def machine():
    """What the figures belong to."""
    facts = {"machine": platform.machine()}
    for path in map(Path, ("/proc/device-tree/model", "/etc/nv_tegra_release")):
        if path.is_file():
            facts[path.name] = path.read_text(errors="replace").strip("\0\n")
    try:
        facts["power_mode"] = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        facts["power_mode"] = "unknown (no nvpmodel)"
    return facts


def main():
    parser = parser_of(__doc__)
    add_runtime(parser)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement (default: 30)")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    runner = open_runner(options)
    rows = bench(runner, read_golden(options.bundle), options.seconds)
    about = {"bundle": runner.sidecar["system"], "size": runner.size, "runtime": runner.name}
    text = json.dumps({**about, **machine(), **rows}, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run_script(main)
