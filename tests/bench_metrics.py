"""Time and memory of all metrics on one 736x1280 clip from disk: python tests/bench_metrics.py [--frames 100].

Predictions and dense truth are PNG files, flow is a float16 memory map, as in an evaluation whose flow is cached. The
scene is smooth regions and small moving blobs under a drifting camera. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from sspcore.metrics import FrameRecord, MetricSuite

N_CLASSES, MOVING = 12, (8, 9)


def write_clip(folder: Path, frames: int, height: int, width: int) -> None:
    """PNGs of truth and prediction, and flow_next.npy / flow_previous.npy of shape (frames, 2, H, W)."""
    rng = np.random.default_rng(0)
    room = 4 * frames
    coarse = rng.random((8, (height + room) // 160, (width + room) // 160), dtype=np.float32)
    layers = [cv2.resize(layer, (width + room, height + room), interpolation=cv2.INTER_CUBIC) for layer in coarse]
    ground = np.argmax(layers, axis=0).astype(np.uint8)
    flows = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (frames, 2, height, width))
        for name in ("flow_next", "flow_previous")
    }
    wobble = cv2.resize(rng.normal(size=(10, 16)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    blobs = rng.uniform((0, 0), (width, height), (60, 2))
    for k in range(frames):
        x, y = 3 * k, 2 * k
        truth = ground[y : y + height, x : x + width].copy()
        for i, (left, top) in enumerate((blobs + (7 * k, 2 * k)) % (width, height)):
            cv2.rectangle(truth, (int(left), int(top)), (int(left) + 24, int(top) + 14), int(MOVING[i % 2]), -1)
        prediction = cv2.medianBlur(truth, 5)
        patches = rng.integers(0, 1000, (height // 8, width // 8)).astype(np.uint8)
        noise = cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)
        prediction[noise == 0] = rng.integers(N_CLASSES)
        cv2.imwrite(str(folder / f"truth_{k:03d}.png"), truth)
        cv2.imwrite(str(folder / f"prediction_{k:03d}.png"), prediction)
        for name, sign in (("flow_next", -1), ("flow_previous", 1)):
            flows[name][k, 0], flows[name][k, 1] = sign * 3 + wobble, sign * 2 - wobble


def score(folder: Path, frames: int, names: tuple[str, ...] | None) -> dict[str, float]:
    """One pass over the clip on disk."""
    suite = MetricSuite(N_CLASSES, names, moving=MOVING)
    suite.start_clip()
    for k in range(frames):
        truth, prediction = (
            cv2.imread(str(folder / f"{kind}_{k:03d}.png"), cv2.IMREAD_GRAYSCALE) for kind in ("truth", "prediction")
        )
        # opened anew for each frame: a map kept open holds every page read so far
        flow_next, flow_previous = (
            np.load(folder / f"{name}.npy", mmap_mode="r")[k] for name in ("flow_next", "flow_previous")
        )
        suite.update(FrameRecord(prediction, truth, flow_next, flow_previous))
    return suite.compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=(736, 1280), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--each", action="store_true", help="time every metric alone as well (decoding included)")
    arguments = parser.parse_args()
    cv2.setNumThreads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in a process of its own: its memory is not the metrics'
        writer = multiprocessing.get_context("spawn").Process(
            target=write_clip, args=(folder, arguments.frames, *arguments.size)
        )
        writer.start()
        writer.join()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, cpu = time.perf_counter(), time.process_time()
        values = score(folder, arguments.frames, None)
        report = {
            "frames": arguments.frames,
            "size": list(arguments.size),
            "seconds_per_frame": (time.perf_counter() - started) / arguments.frames,
            "cpu_seconds_per_frame": (time.process_time() - cpu) / arguments.frames,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "peak_mib_before_scoring": before / 1024,
            "values": values,
        }
        if arguments.each:
            report["seconds_per_frame_alone"] = {}
            for metric in values:
                started = time.perf_counter()
                score(folder, arguments.frames, (metric,))
                report["seconds_per_frame_alone"][metric] = (time.perf_counter() - started) / arguments.frames
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
