"""Figures of export and runtime on this machine, for notebook 10 and the docs: not a test, run by hand.

    python benchmarks/stream.py --profile demo --size 192x320 --frames 100
    python benchmarks/stream.py --profile paper --parts parity --parity-frames 100

Weights are fresh unless checkpoints are given: speed does not depend on them; parity is measured with logits scaled up
and alpha near 1, the case in which errors last longest. Each part is written to the file as soon as it is measured.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
import psutil
import torch

from sspcore.core.files import read_json, write_json
from sspcore.core.provenance import provenance
from sspcore.core.types import VideoSegmenter
from sspcore.data.datasets import UAVID
from sspcore.export import StepOptions, TorchRunner, drift, find_problems, summary, synthetic_rollout
from sspcore.export.bundle import export_bundle
from sspcore.export.check import load_limits
from sspcore.export.device.step_runner import ONNX, OnnxRunner
from sspcore.export.rollout import breakdown
from sspcore.inference import BundleBackend, Source, TorchBackend, live_motion, motion_for, run
from sspcore.models.checkpoint import load_checkpoint, system_config
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.models.systems import build, image_spec
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator
from sspcore.study.profiles import Profile, load_profile

log = logging.getLogger("bench")
GOLDEN_FRAMES = 20
MOTIONS = {"rotating": True, "shifting": False}


def loaded(name: str, profile: Profile, checkpoint: Path | None) -> VideoSegmenter:
    """A system in eval mode: a checkpoint, or fresh weights."""
    if checkpoint is not None:
        return load_checkpoint(checkpoint)[0]
    torch.manual_seed(0)
    return build(name, UAVID.n_classes, profile, load_weights=False).eval()


def near_one(model: VideoSegmenter) -> VideoSegmenter:
    """The hard case for parity: fresh weights with alpha pushed to about 0.95 and logits that differ clearly."""
    with torch.no_grad():
        model.image.classifier.weight.mul_(20)
        model.similarity.head[-1].bias.add_(3.0)
    return model


def export_of(model: VideoSegmenter, system: str, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """A bundle with a short golden rollout."""
    config = system_config(system, image_spec(system, load_profile(options.profile)), UAVID, options.size)
    golden = synthetic_rollout(options.size, GOLDEN_FRAMES, reset_at=GOLDEN_FRAMES * 3 // 4)
    return export_bundle(model, config, StepOptions(options.size), "trt-10.3", golden, out)


def parity(models: dict[str, VideoSegmenter], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Export, check for each target, and onnxruntime against torch over long rollouts."""
    model = models["SSP"] if "SSP" in options.checkpoints else near_one(models["SSP"])
    began = time.perf_counter()
    sidecar = export_of(model, "SSP", options, folder / "parity")
    seconds = time.perf_counter() - began
    graph = onnx.load(folder / "parity" / ONNX)
    rows = {}
    for name in options.motions.split(","):
        rollout = synthetic_rollout(options.size, options.parity_frames, MOTIONS[name])
        torch_runner = TorchRunner(model, options.size)
        rows[name] = summary(drift(OnnxRunner(folder / "parity", options.threads), torch_runner, rollout, f"parity, {name}"))
    return {
        "nodes": sidecar["nodes"], "opset": sidecar["opset"], "export_seconds": round(seconds, 1),
        "problems": {target: len(find_problems(graph, target)) for target in load_limits()["targets"]}, "rollouts": rows,
    }


def stream(models: dict[str, VideoSegmenter], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """SSP and Base by torch and onnxruntime, all through the runtime; rounds are interleaved, medians reported."""
    backends = {}
    for name, model in models.items():
        export_of(model, name, options, folder / name)
        backends[name, "torch"] = TorchBackend(model, options.size)
        backends[name, "onnxruntime"] = BundleBackend(OnnxRunner(folder / name, options.threads))
    frames = list(synthetic_rollout(options.size, options.frames, seed=3).frames)
    taken: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in backends}
    for repeat in range(options.rounds + 1):
        for (name, kind), backend in backends.items():
            motion = motion_for(backend, lambda: build_registrator("lk"), lambda: build_flow("dis-medium"))
            report = run(Source(iter(frames), False, 12.0, len(frames)), backend, motion, title=f"{name}, {kind}")
            if repeat > 0:  # the first round warms up
                taken[name, kind].append(report.summary())
    rows = {f"{name}, {kind}": _medians(summaries) for (name, kind), summaries in taken.items()}
    for kind in ("torch", "onnxruntime"):
        rows[f"SSP / Base, {kind}"] = rows[f"SSP, {kind}"]["fps"] / rows[f"Base, {kind}"]["fps"]
    return rows


def _medians(summaries: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over rounds; `over_network`: time between class maps, over the time of the network alone."""
    row = {"fps": statistics.median(s["fps"] for s in summaries)}
    for name in ("latency_ms", "network_ms", "registration_ms", "waited_ms", "interval_ms"):
        row[name] = statistics.median(s[name]["p50"] for s in summaries)
    return row | {"over_network": row["interval_ms"] / (row["network_ms"] - row["waited_ms"])}


def parts_of_a_step(models: dict[str, VideoSegmenter], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Median milliseconds of the parts of one SSP step by torch."""
    return breakdown(models["SSP"], synthetic_rollout(options.size, 12), build_registrator("lk"))


def memory(models: dict[str, VideoSegmenter], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Growth of the resident set over 2,000 frames of a tiny SSP, after a warm-up of 200."""
    torch.manual_seed(0)
    size = (64, 96)
    tiny = SSP(ImageSegmenter(ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none"), 8))
    backend, frames = TorchBackend(tiny, size), list(synthetic_rollout(size, 50).frames)
    resident = []
    for n_frames in (200, options.memory_frames):
        loop = (frames[k % len(frames)] for k in range(n_frames))
        run(Source(loop, False, 12.0, n_frames), backend, live_motion(build_registrator("lk")), title="memory")
        gc.collect()
        resident.append(psutil.Process().memory_info().rss / 2**20)
    return {"size": "64x96", "frames": options.memory_frames, "warm_mib": resident[0], "growth_mib": resident[1] - resident[0]}


PARTS = {"parity": parity, "stream": stream, "breakdown": parts_of_a_step, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--size", help="HEIGHTxWIDTH (default: the profile's)")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"default: {','.join(PARTS)}")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parity-frames", type=int, default=100)
    parser.add_argument("--motions", default=",".join(MOTIONS), help=f"of the parity rollouts (default: {','.join(MOTIONS)})")
    parser.add_argument("--memory-frames", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both back ends")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="SYSTEM=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("figures/export.json"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    profile = load_profile(options.profile)
    options.size = tuple(map(int, options.size.split("x"))) if options.size else tuple(profile.input_size)
    options.checkpoints = {name: Path(file) for name, file in (item.split("=", 1) for item in options.checkpoint)}
    origin = provenance(profile.name, 0, "synthetic plane") | {
        "threads": options.threads, "load_average": os.getloadavg()[0],
        "weights": "trained" if options.checkpoints else "fresh",
    }
    title = f"{profile.name}, {options.size[0]}x{options.size[1]}"
    for part in options.parts.split(","):
        models = {name: loaded(name, profile, options.checkpoints.get(name)) for name in ("SSP", "Base")}
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[part](models, options, Path(folder))
        log.info("%s, %s: %s", title, part, figures)
        kept = read_json(options.out) if options.out.is_file() else {}
        kept.setdefault(title, {})[part] = {"provenance": origin, "figures": figures}
        write_json(options.out, kept)


if __name__ == "__main__":
    main()
