"""What NVIDIA's compiler makes of the steps of three systems, and how far float16 departs from float32 over a rotating rollout.

Engines: fresh weights, at both sizes. Agreement: trained weights, the packaged SSP unless --checkpoint names others, as they
are and with alpha pushed near 1, where nothing is forgotten and errors add up.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch

from sspcore.core.paths import SAMPLE
from sspcore.data.datasets import UAVID
from sspcore.export.bundle import export_bundle
from sspcore.export.check import GraphError, check_model
from sspcore.export.device.step_runner import ONNX, OnnxRunner
from sspcore.export.graph import export_graph
from sspcore.export.rollout import drift, summary, synthetic_rollout
from sspcore.export.rtx import compile_step
from sspcore.export.step import StepModule, StepOptions
from sspcore.inference.sources import open_source
from sspcore.models.checkpoint import load_checkpoint
from sspcore.models.systems import build
from sspcore.study.profiles import load_profile

SYSTEMS = ("SSP", "KD-SSP", "SSP-R")
PROFILES = ("demo", "paper")
AMPERE_AND_NEWER = ("sm80", "sm86", "sm89", "sm120")
TURING = "sm75"
PUSHED = 5.0  # added to alpha's score: a weight of the past of 0.99 where it was one half


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=PROFILES, help="sizes and networks of the engines")
    parser.add_argument("--checkpoint", nargs="+", default=[], help="trained SSPs of the agreement (default: the packaged one)")
    parser.add_argument("--frames", type=int, default=100, help="of the rollout")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    engines = {
        f"{system}, {profile}, {precision}": compiled(system, profile, precision)
        for profile in options.profiles for system in options.systems for precision in ("fp32", "fp16")
    }
    agreement = {
        f"{Path(checkpoint).name}, {name}": agrees(checkpoint, pushed, options.frames)
        for checkpoint in options.checkpoint or [str(SAMPLE)]
        for name, pushed in (("as trained", 0.0), ("alpha near 1", PUSHED))
    }
    return {"engines": engines, "agreement": agreement}


def compiled(system: str, profile: str, precision: str) -> dict[str, Any]:
    """Nodes and types of a step as NVIDIA's parser reads them, engines for each GPU, and what Turing's refusal says."""
    loaded = load_profile(profile)
    torch.manual_seed(0)
    model = build(system, UAVID.n_classes, loaded, load_weights=False).eval()
    began = time.perf_counter()
    graph = export_graph(StepModule(model, StepOptions(loaded.input_size, precision=precision)))
    seconds = round(time.perf_counter() - began, 1)
    row: dict[str, Any] = {
        "size": list(loaded.input_size), "nodes": len(graph.graph.node), "export_seconds": seconds,
        "checked_for": [target for target in ("trt-10.3", "trt-10.16") if check_model(graph, target)],
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / ONNX
        onnx.save(graph, path)
        row |= {"onnx_bytes": path.stat().st_size, **compile_step(path, AMPERE_AND_NEWER)}
        try:
            row["engines"] |= compile_step(path, (TURING,))["engines"]
        except GraphError as error:
            row["refused"] = {TURING: str(error)}
    return row


def agrees(checkpoint: Path | str, pushed: float, n_frames: int) -> dict[str, Any]:
    """float16 against float32, both by onnxruntime, over a camera that turns above a frame of the packaged clip and above
    random spots."""
    model, config = load_checkpoint(Path(checkpoint))
    with torch.no_grad():
        model.eval().similarity.head[-1].bias.add_(pushed)
    size = config.input_size
    with open_source(str(next((SAMPLE / "clips").rglob("frames")))) as source:
        picture = next(image for image in source if image is not None)
    rollouts = {
        "a frame": synthetic_rollout(size, n_frames, picture=picture), "random spots": synthetic_rollout(size, n_frames)
    }
    with TemporaryDirectory() as folder:
        for precision in ("fp32", "fp16"):
            options, golden = StepOptions(size, precision=precision), synthetic_rollout(size, 2)
            export_bundle(model, config, options, "trt-10.3", golden, Path(folder) / precision)
        half, full = (OnnxRunner(Path(folder) / precision) for precision in ("fp16", "fp32"))
        return {name: summary(drift(half, full, rollout, name)) for name, rollout in rollouts.items()}
