"""`run_camera.py` of a bundle beside `sspcore stream`: the same class maps, and the frame rate of both.

The bundle is of the packaged checkpoint. Agreement is over the packaged clip as it is, and enlarged and cut to sizes that leave
a margin in the network's frame. The rate is of programs as a user starts them, without outputs, on onnxruntime, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import common

CHECKPOINT = common.REPOSITORY / "data" / "sample"
FRAMES = CHECKPOINT / "clips" / "val" / "seq19_000025" / "frames"
SIZES = {"192x320": (192, 320), "720x1280": (720, 1280), "400x540": (400, 540)}
TIMED = (720, 1280)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, default=120, help="of each timed run")
    parser.add_argument("--rounds", type=int, default=3, help="0: agreement and sizes alone, which no load changes")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = folder / "bundle"
        ours("export", "--checkpoint", CHECKPOINT, "--out", bundle)
        sizes = {path.relative_to(bundle).as_posix(): path.stat().st_size for path in bundle.rglob("*") if path.is_file()}
        figures = {
            "run_camera_lines": len((bundle / "run_camera.py").read_text(encoding="utf-8").splitlines()),
            "bundle_mb": round(sum(sizes.values()) / 1e6, 2), "step_onnx_mb": round(sizes["step.onnx"] / 1e6, 2),
            "golden_mb": round(sizes["golden.npz"] / 1e6, 2),
            "scripts_mb": round(sum(size for name, size in sizes.items() if name.endswith(".py")) / 1e6, 3),
            "identical_to_stream": {title: agreement(bundle, folder / title, size) for title, size in SIZES.items()},
        }
        if options.rounds:
            video = folder / "timed.avi"
            write_video(video, cut_to(TIMED), options.frames)
            figures |= {"timed": f"{options.frames} frames of {TIMED[0]}x{TIMED[1]}", **rates(bundle, video, options.rounds)}
        return figures


def agreement(bundle: Path, folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Share of pixels with the same class, over all frames and in the worst."""
    images = folder / "images"
    images.mkdir(parents=True)
    for k, image in enumerate(cut_to(size)):
        cv2.imwrite(str(images / f"{k:06d}.png"), image)
    ours("stream", images, "--bundle", bundle, "--masks", folder / "stream")
    camera(bundle, images, "--masks", folder / "camera")
    names = [path.name for path in sorted(images.iterdir())]
    maps = [[cv2.imread(str(folder / way / name), cv2.IMREAD_UNCHANGED) for name in names] for way in ("stream", "camera")]
    same = [float((a == b).mean()) for a, b in zip(*maps, strict=True)]
    return {"frames": len(same), "mean": statistics.mean(same), "min": min(same)}


def rates(bundle: Path, video: Path, rounds: int) -> dict[str, Any]:
    """Medians over rounds, in which the two take turns: frames a second, and p50 of their times in milliseconds."""
    taken: dict[str, list[dict[str, Any]]] = {"sspcore stream": [], "run_camera.py": []}
    for _ in range(rounds):
        for way, run in (("sspcore stream", stream_report), ("run_camera.py", camera_report)):
            taken[way].append(run(bundle, video))
    rows = {way: {"fps": statistics.median(each["fps"] for each in found)} for way, found in taken.items()}
    for way, found in taken.items():
        for name in ("latency_ms", "network_ms", "registration_ms"):
            rows[way][name] = statistics.median(each[name]["p50"] for each in found)
    return {**rows, "fps_camera_to_stream": rows["run_camera.py"]["fps"] / rows["sspcore stream"]["fps"]}


def stream_report(bundle: Path, video: Path) -> dict[str, Any]:
    return json.loads(ours("stream", video, "--bundle", bundle, "--provider", "cpu"))


def camera_report(bundle: Path, video: Path) -> dict[str, Any]:
    return json.loads(camera(bundle, video, "--runtime", "onnxruntime"))


def ours(*arguments: object) -> str:
    return _run([sys.executable, "-m", "sspcore", *map(str, arguments)], common.REPOSITORY)


def camera(bundle: Path, *arguments: object) -> str:
    """As on the device: nothing of ours on the path."""
    return _run([sys.executable, "run_camera.py", *map(str, arguments), "--headless"], bundle)


def _run(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def cut_to(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The packaged clip at another size (H, W), the middle of it where the aspects differ, BGR."""
    for path in sorted(FRAMES.iterdir()):
        image = cv2.imread(str(path))
        factor = max(wanted / given for wanted, given in zip(size, image.shape[:2], strict=True))
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        top, left = ((given - wanted) // 2 for wanted, given in zip(size, image.shape[:2], strict=True))
        yield np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def write_video(path: Path, frames: Iterator[np.ndarray], n_frames: int) -> None:
    """The frames forth and back until there are so many: it has no cut."""
    forth = list(frames)
    turn = [*forth, *forth[-2:0:-1]]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, forth[0].shape[1::-1])
    for k in range(n_frames):
        writer.write(turn[k % len(turn)])
    writer.release()
