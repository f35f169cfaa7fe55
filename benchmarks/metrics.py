"""Time and memory of all metrics on one 736x1280 clip from disk: python benchmarks/metrics.py [--json FILE].

The path of `sspcore evaluate` for a second system: label maps and labels on every frame are PNG files, flow is
in the cache. The scene is smooth regions and small moving blobs under a drifting camera.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import common
from sspcore.evaluation.folders import FolderClip, clip_records, find_clips
from sspcore.metrics import MetricSuite
from sspcore.motion.cache import FlowStore

N_CLASSES, MOVING, THREADS = 12, (8, 9), 2
DRIFT = (3, 2)  # of the camera, pixels a frame
MAX_FRAMES = 255  # frame k is a plain image of grey value k, which tells the stand-in flow its direction


class DriftFlow:
    """Stand-in for an estimator: the camera's drift and a smooth wobble."""

    name = "drift"

    def __init__(self, height: int, width: int) -> None:
        wobble = np.random.default_rng(0).normal(size=(10, 16)).astype(np.float32)
        self.wobble = torch.from_numpy(cv2.resize(wobble, (width, height), interpolation=cv2.INTER_CUBIC))

    def __call__(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        sign = -1 if source[0, 0, 0, 0] < target[0, 0, 0, 0] else 1
        return torch.stack([sign * DRIFT[0] + self.wobble, sign * DRIFT[1] - self.wobble])[None]


def the_clip(folder: Path) -> FolderClip:
    return find_clips(folder / "predictions", folder / "frames", folder / "labels")[0]


def write_clip(folder: Path, frames: int, height: int, width: int) -> None:
    """PNGs of labels, predictions and frames, and the flow cache."""
    for kind in ("predictions", "frames", "labels"):
        (folder / kind).mkdir()
    rng = np.random.default_rng(0)
    room = 4 * frames
    coarse = rng.random((8, (height + room) // 160, (width + room) // 160), dtype=np.float32)
    layers = [cv2.resize(layer, (width + room, height + room), interpolation=cv2.INTER_CUBIC) for layer in coarse]
    ground = np.argmax(layers, axis=0).astype(np.uint8)
    blobs = rng.uniform((0, 0), (width, height), (60, 2))
    for k in range(frames):
        x, y = DRIFT[0] * k, DRIFT[1] * k
        truth = ground[y : y + height, x : x + width].copy()
        for i, (left, top) in enumerate((blobs + (7 * k, 2 * k)) % (width, height)):
            cv2.rectangle(truth, (int(left), int(top)), (int(left) + 24, int(top) + 14), int(MOVING[i % 2]), -1)
        prediction = cv2.medianBlur(truth, 5)
        patches = rng.integers(0, 1000, (height // 8, width // 8)).astype(np.uint8)
        noise = cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)
        prediction[noise == 0] = rng.integers(N_CLASSES)
        frame = np.full((height, width, 3), k, np.uint8)
        for kind, image in (("labels", truth), ("predictions", prediction), ("frames", frame)):
            cv2.imwrite(str(folder / kind / f"{k:03d}.png"), image)
    flows = FlowStore(folder / "cache", DriftFlow(height, width), None)
    for _ in clip_records(the_clip(folder), N_CLASSES, flows):
        pass


def score(folder: Path, size: tuple[int, int], names: tuple[str, ...] | None) -> dict[str, float]:
    """One pass over the clip on disk."""
    suite = MetricSuite(N_CLASSES, names, moving=MOVING)
    suite.start_clip()
    flows = FlowStore(folder / "cache", DriftFlow(*size), None)
    for record in clip_records(the_clip(folder), N_CLASSES, flows):
        suite.update(record)
    if flows.computed:
        raise RuntimeError(f"{flows.computed} flows were estimated, though all should lie in the cache")
    return suite.compute()


def measure(frames: int, size: tuple[int, int], each: bool) -> dict[str, Any]:
    """Write the clip, score it and report time and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in a process of its own: its memory is not the metrics'
        writer = multiprocessing.get_context("spawn").Process(target=write_clip, args=(folder, frames, *size))
        writer.start()
        writer.join()
        load = os.getloadavg()[0]  # of other work; above a fraction of a core the seconds are no figure of this code
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, cpu = time.perf_counter(), time.process_time()
        values = score(folder, size, None)
        report = {
            "frames": frames,
            "size": list(size),
            "threads": THREADS,
            "load_average": load,
            "seconds_per_frame": (time.perf_counter() - started) / frames,
            "cpu_seconds_per_frame": (time.process_time() - cpu) / frames,
            "flows_estimated": 0,  # `score` raises if there was one
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "peak_mib_before_scoring": before / 1024,
            "values": values,
        }
        if each:
            report["seconds_per_frame_alone"] = {}
            for metric in values:
                started = time.perf_counter()
                score(folder, size, (metric,))
                report["seconds_per_frame_alone"][metric] = (time.perf_counter() - started) / frames
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, choices=range(2, MAX_FRAMES + 1), metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=(736, 1280), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--each", action="store_true", help="time every metric alone as well (decoding included)")
    common.add_json(parser, "metrics_benchmark")
    arguments = parser.parse_args()
    cv2.setNumThreads(THREADS)
    torch.set_num_threads(THREADS)
    report = measure(arguments.frames, tuple(arguments.size), arguments.each)
    common.write(report, arguments, "metrics (synthetic clip)")


if __name__ == "__main__":
    main()
