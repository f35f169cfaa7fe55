"""Speed of preparation against reading and writing alone: python benchmarks/prepare.py [--json FILE].

One sequence of 2560x1440, a texture under a moving camera (no rendered scene: codecs and files take the same time for it),
with a colour label and a VDD label every 100 frames, becomes clips by the rules of the profile `paper`. Reading and writing
alone is OpenCV's VideoCapture and imwrite in a plain loop over the same frames, in the same format. Both run on one core,
a few times in turns; the figures are of the fastest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import common
from sspcore.data.datasets import UAVID, VDD_ROOF
from sspcore.data.footage import Sequence
from sspcore.data.prepare import Job, plan_clips, prepare_sequence
from sspcore.study.profiles import load_profile

DRIFT = (6, 3)  # of the camera, pixels a frame
LABEL_INTERVAL = 100
TARGET = 0.8


def write_sequence(folder: Path, frames: int, height: int, width: int) -> Sequence:
    """A video with one frame more than is taken (the first is dropped), and its labels."""
    rng = np.random.default_rng(0)
    room = (DRIFT[1] * (frames + 1), DRIFT[0] * (frames + 1))
    ground = np.zeros((height + room[0], width + room[1], 3), np.float32)
    for cell, weight in ((64, 110), (16, 80), (4, 50)):  # coarse to fine, as ground seen from the air has
        noise = rng.random((ground.shape[0] // cell + 2, ground.shape[1] // cell + 2, 3), dtype=np.float32)
        ground += weight * cv2.resize(noise, (ground.shape[1], ground.shape[0]), interpolation=cv2.INTER_CUBIC)
    ground = ground.clip(0, 255).astype(np.uint8)
    video = folder / "images.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 20, (width, height))
    for k in range(frames + 1):
        x, y = DRIFT[0] * k, DRIFT[1] * k
        writer.write(np.ascontiguousarray(ground[y: y + height, x: x + width]))
    writer.release()
    labels, vdd = {}, {}
    colours = np.array(list(UAVID.labels.values()), np.uint8)
    for number in range(0, frames + 1, LABEL_INTERVAL):
        coarse = rng.integers(0, len(colours), (height // 80, width // 80))
        image = cv2.resize(colours[coarse][..., ::-1], (width, height), interpolation=cv2.INTER_NEAREST)
        labels[number], vdd[number] = folder / f"{number:06d}.png", folder / f"vdd_{number:06d}.png"
        cv2.imwrite(str(labels[number]), image)
        cv2.imwrite(str(vdd[number]), np.full((height, width), VDD_ROOF, np.uint8))
    return Sequence("seq1", "train", video, labels, vdd)


def read_and_write(video: Path, out: Path, suffix: str, options: list[int]) -> int:
    """OpenCV alone: decode every frame, write all but the first; returns how many."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    written = 0
    capture.grab()
    while True:
        decoded, image = capture.read()
        if not decoded:
            capture.release()
            return written
        written += 1
        cv2.imwrite(str(out / f"{written:06d}{suffix}"), image, options)


def timed(work: Callable[[Path], object], folder: Path) -> dict[str, float]:
    """Wall and CPU seconds of a call that writes into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, cpu = time.perf_counter(), time.process_time()
    work(folder)
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def measure(frames: int, size: tuple[int, int], times: int) -> dict[str, Any]:
    """Both, in turns."""
    rules = load_profile("paper").clips["uavid"].model_copy(update={"store_size": size, "min_clip_length": 2})
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if rules.image_format == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sequence = write_sequence(folder, frames, *size)
        rules = rules.model_copy(update={"require_label": frames >= LABEL_INTERVAL})
        clips = plan_clips(frames + 1, set(sequence.labels), rules)
        kept = sum(map(len, clips))
        if kept != frames:
            raise RuntimeError(f"{frames} frames give clips of {kept}; take a multiple of 100, or fewer than 100")
        load = os.getloadavg()[0]  # of other work; above a fraction of a core the wall seconds are no figure of this code
        ours, alone = [], []
        for _ in range(times):
            ours.append(timed(lambda out: prepare_sequence(Job(sequence, UAVID, rules, out, clips)), folder / "out"))
            alone.append(timed(
                lambda out: read_and_write(sequence.video, out, f".{rules.image_format}", options), folder / "out"
            ))
        labelled = sum(number in sequence.labels for clip in clips for number in clip)
        report: dict[str, Any] = {
            "frames": frames, "size": list(size), "labels": labelled, "format": rules.image_format, "times": times,
            "video": "synthetic moving texture, mp4v", "video_mb": sequence.video.stat().st_size / 1e6, "cores": 1,
            "load_average": load,
        }
    for name, runs in (("preparation", ours), ("reading_and_writing_alone", alone)):
        wall, cpu = min(run["seconds"] for run in runs), min(run["cpu_seconds"] for run in runs)
        report[name] = {"frames_per_second": frames / wall, "frames_per_cpu_second": frames / cpu}
    shares = {
        unit: report["preparation"][unit] / report["reading_and_writing_alone"][unit]
        for unit in ("frames_per_second", "frames_per_cpu_second")
    }
    return report | {"share": shares, "target": TARGET, "reached": min(shares.values()) >= TARGET}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=(1440, 2560), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--times", type=int, default=3, help="of either, in turns")
    common.add_json(parser, "prepare_benchmark")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    report = measure(arguments.frames, tuple(arguments.size), arguments.times)
    common.write(report, arguments, "prepare (synthetic video)")


if __name__ == "__main__":
    main()
