"""Streaming at the source's size against an earlier commit: frames a second and memory. Not a test, run by hand.

    python benchmarks/source_size.py --frames 2000 --rounds 1 --json figures/stream.json
    python benchmarks/source_size.py --frames 100 --rounds 3

The packaged system segments a video of a moving texture by `sspcore stream`, of the earlier commit and of this checkout in
turn, so that both meet the same load of the machine. Memory is the resident set of the process and of an encoder it starts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

import common
from helpers.media import texture
from sspcore.core.files import read_json

OUTPUTS = {"nothing": (), "masks": ("--masks", "masks"), "overlay": ("--out", "overlay.mp4")}
LOOP = 100  # different frames; the texture then moves back
POLL = 0.1  # seconds


def write_video(path: Path, size: tuple[int, int], n_frames: int) -> None:
    """A camera that pans over a texture and back, MPEG-4 part 2, which decodes fast."""
    height, width = size
    step = 4
    ground = cv2.resize(texture((height // 8, (width + step * LOOP) // 8)), (width + step * LOOP, height))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    for k in range(n_frames):
        x = step * min(k % (2 * LOOP), 2 * LOOP - k % (2 * LOOP))
        writer.write(np.ascontiguousarray(ground[:, x : x + width]))
    writer.release()


def unpacked(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    archive = folder / "before.tar"
    subprocess.run([shutil.which("git"), "-C", str(common.REPOSITORY), "archive", "-o", str(archive), commit], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "before", filter="data")
    archive.unlink()
    return folder / "before"


def resident(process: psutil.Process) -> float:
    """MiB of a process and of what it started; 0 once it has ended."""
    try:
        return sum(each.memory_info().rss for each in (process, *process.children())) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def measured(tree: Path, video: Path, outputs: tuple[str, ...], threads: int) -> dict[str, float]:
    """Frames a second and MiB of one run of the command of a tree."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sspcore", "stream", str(video), *outputs, "--report", "report.json"]
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads), "SSPCORE_PROGRESS": "plain"}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        began, seen, watched = time.perf_counter(), [], psutil.Process(process.pid)
        while process.poll() is None:
            seen.append(resident(watched))
            time.sleep(POLL)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: status {process.returncode} in {tree}")
        seconds, report = time.perf_counter() - began, read_json(Path(folder) / "report.json")
    early, late = (statistics.median(seen[round(a * len(seen)) : round(b * len(seen))]) for a, b in ((0.3, 0.4), (0.8, 0.95)))
    return {
        "fps": report["fps"], "frames": report["frames"], "wall_seconds": seconds, "peak_mib": max(seen),
        "growth_mib": late - early,
    }


def compared(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of both trees, and how much faster this one is, pair by pair."""
    rows = {
        name: {key: round(statistics.median(run[key] for run in taken), 2) for key in taken[0]} for name, taken in runs.items()
    }
    ratios = [now["fps"] / before["fps"] for before, now in zip(runs["before"], runs["now"], strict=True)]
    return rows | {"fps_ratio": round(statistics.median(ratios), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="ecada2c", help="commit to compare with (default: the last at the network's size)")
    parser.add_argument("--sizes", default="1080x1920,2160x3840")
    parser.add_argument("--outputs", default=",".join(OUTPUTS), help=f"default: {','.join(OUTPUTS)}")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    common.add_json(parser, "stream")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "frames": options.frames, "rounds": options.rounds, "before": options.before,
        "encoder": "ffmpeg" if shutil.which("ffmpeg") else "OpenCV", "load_average": os.getloadavg()[0], "sizes": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trees = {"before": unpacked(options.before, folder), "now": common.REPOSITORY}
        for name in options.sizes.split(","):
            video = folder / f"{name}.mp4"
            write_video(video, tuple(map(int, name.split("x"))), options.frames)
            rows = report["sizes"][name] = {}
            for kind in options.outputs.split(","):
                runs: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
                for _ in range(options.rounds):
                    for which, tree in trees.items():
                        runs[which].append(measured(tree, video, OUTPUTS[kind], options.threads))
                rows[kind] = compared(runs)
                print(name, kind, rows[kind], file=sys.stderr)
            video.unlink()
    common.write(report, options, "packaged sample")


if __name__ == "__main__":
    main()
