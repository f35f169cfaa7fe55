"""Part `providers` of export.py: one step by torch and by the runtimes of a bundle that are here, frame by frame in turn.

    python benchmarks/export.py --part providers --json figures/export.json

demo: the packaged SSP, trained, 192x320. paper: SSP on Hiera-S, 736x1280, fresh weights with alpha near 1, where errors last.
What other processes take falls on all runtimes alike, so ratios are what to read; milliseconds belong to an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sspcore.core.paths import SAMPLE
from sspcore.core.progress import tqdm
from sspcore.core.types import Motion
from sspcore.data.datasets import UAVID
from sspcore.export import Rollout, StepOptions, export_bundle, synthetic_rollout
from sspcore.inference import Backend, TorchBackend, open_bundle
from sspcore.inference.providers import installed_providers
from sspcore.models.checkpoint import load_checkpoint, system_config
from sspcore.models.systems import build, image_spec
from sspcore.study.profiles import load_profile
from stream import near_one

WARM_UP = 2  # frames whose times do not count
KINDS = {"onnxruntime": ("cpu", False), "openvino": ("openvino", False), "openvino, bfloat16": ("openvino", True)}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", default="demo,paper", help="which steps (default: demo,paper)")
    parser.add_argument("--demo-frames", type=int, default=60)
    parser.add_argument("--paper-frames", type=int, default=8)


def system(step: str) -> tuple[Any, Any]:
    """The model of a step in eval mode and its config."""
    if step == "demo":
        return load_checkpoint(SAMPLE)
    torch.manual_seed(0)
    profile = load_profile(step)
    model = near_one(build("SSP", UAVID.n_classes, profile, load_weights=False).eval())
    return model, system_config("SSP", image_spec("SSP", profile), UAVID, profile.input_size)


def timed(backends: dict[str, Backend], rollout: Rollout) -> dict[str, dict[str, float]]:
    """Milliseconds a frame of each backend, and how far it is from torch; each frame goes through all before the next."""
    names = list(backends)
    times: dict[str, list[float]] = {name: [] for name in names}
    same, apart = ({name: [] for name in names} for _ in range(2))
    for k in tqdm(range(len(rollout.frames)), desc="providers", unit="frame"):
        H = rollout.motion(k)
        moved = None if H is None else Motion(H_prev_to_cur=torch.from_numpy(np.linalg.inv(H.astype(np.float64))).float()[None])
        answers = {}
        for name in names[k % len(names):] + names[:k % len(names)]:
            began = time.perf_counter()
            answers[name] = backends[name].step(rollout.frames[k], lambda moved=moved: moved)
            times[name].append(1e3 * (time.perf_counter() - began))
        for name, answer in answers.items():
            same[name].append(float((answer.labels == answers["torch"].labels).mean()))
            apart[name].append(float((answer.logits - answers["torch"].logits).abs().max()))
    middle = {name: statistics.median(taken[WARM_UP:]) for name, taken in times.items()}
    return {name: {
        "ms_a_frame": round(middle[name], 2), "torch_over_it": round(middle["torch"] / middle[name], 3),
        "onnxruntime_over_it": round(middle["onnxruntime"] / middle[name], 3),
        "identical_mean": statistics.fmean(same[name]), "logits_max_difference": max(apart[name]),
    } for name in names}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"installed": installed_providers()}
    frames = {"demo": options.demo_frames, "paper": options.paper_frames}
    for step in options.steps.split(","):
        model, config = system(step)
        size = tuple(config.input_size)
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            export_bundle(model, config, StepOptions(size), "trt-10.3", synthetic_rollout(size, 3), bundle)
            megabytes = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) / 1e6
            backends: dict[str, Backend] = {"torch": TorchBackend(model, size)}
            for name, (provider, lower) in KINDS.items():
                if provider in figures["installed"]:
                    backends[name] = open_bundle(bundle, provider, options.threads, lower)[0]
            rows = timed(backends, synthetic_rollout(size, frames[step] + WARM_UP, seed=3))
        figures[f"{step}, {size[0]}x{size[1]}"] = {"frames": frames[step], "bundle_mb": round(megabytes, 1), "runtimes": rows}
    return figures
