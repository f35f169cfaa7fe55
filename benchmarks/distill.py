"""What the label store and the precomputed motion bring: python benchmarks/distill.py [--profile demo] [--json FILE].

Measured in one run, at the profile's sizes, on its (rendered) training clips:

  store  bytes of the label store against full-size float32 logits; reading a pair from it against reading the pair from
         compressed npz of full-size logits, one file a frame, so that nothing but the pair is unpacked
  step   a KD-SSP training step (loading, forward, loss, backward, update) as it is, and the same step with three flow
         estimations inside it, as the paper's reference does: RAFT with 20 updates for L_tc, twice 15 for the fusion

Logits are real network outputs: of the teacher's network with random weights, or with --teacher of the trained teacher.
RAFT has random weights: its speed does not depend on them. With --teacher the labels are compared too: full-size logits
against stored ones brought to full size, on training frames. That is not the student's mIoU, which would take two
trainings that differ by more than the labels do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import common
from sspcore.core.images import to_tensor
from sspcore.core.types import VideoSegmenter, Window
from sspcore.data.augmentation import Augmenter
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_labels
from sspcore.data.windows import WindowDataset, collate, strided_windows
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.models.image import ImageSegmenter
from sspcore.models.interface import upsample
from sspcore.models.systems import build, system
from sspcore.motion.flow import RAFTFlow
from sspcore.study import TEACHER, Study
from sspcore.training.distill import LabelStore, label_clips
from sspcore.training.fusion import fuse_clips, fuse_pair
from sspcore.training.loop import build_optimiser
from sspcore.training.losses import distillation, distilled

STUDENT = "KD-SSP"
UPDATES = {"consistency": 20, "fusion": 15}  # of RAFT, as in the reference


def teacher_of(study: Study, options: argparse.Namespace) -> ImageSegmenter:
    """The trained teacher, or its network with random weights."""
    if options.teacher:
        return study.model(TEACHER, options.dataset)
    torch.manual_seed(0)
    model = build(TEACHER, study.spec(options.dataset).n_classes, study.profile, load_weights=False).eval()
    frame = to_tensor(study.clips(options.dataset, "train")[0].frame(0, study.profile.teacher_size))[None]
    with torch.no_grad():  # logits spread about as a trained network's
        model.classifier.weight.mul_(3 / model.decode(model.encode(frame)).std())
    return model


@torch.inference_mode()
def full_logits(teacher: ImageSegmenter, clip: Clip, position: int, study: Study) -> Tensor:
    """The teacher's logits (1, C, H, W) of a frame at the student's full size, float32."""
    frame = to_tensor(clip.frame(position, study.profile.teacher_size))[None]
    return upsample(teacher.decode(teacher.encode(frame)), study.profile.input_size)


def clock() -> np.ndarray:
    """Milliseconds on the wall and of this process on the CPU; the latter is little changed by other work on the machine."""
    return 1000 * np.array([time.perf_counter(), time.process_time()])


def medians(times: list[np.ndarray], name: str) -> dict[str, float]:
    """Wall and CPU milliseconds of differences of `clock`, the first left out as a warm-up."""
    wall, cpu = np.median(times[1:], axis=0)
    return {f"{name}_ms": float(wall), f"{name}_cpu_ms": float(cpu)}


def timed(action: Callable[[Any], object], arguments: list[Any]) -> list[np.ndarray]:
    """What `clock` shows for each call."""
    times = []
    for argument in arguments:
        began = clock()
        action(argument)
        times.append(clock() - began)
    return times


def bench_store(
    study: Study, teacher: ImageSegmenter, clip: Clip, store: LabelStore, folder: Path, repeats: int
) -> dict[str, Any]:
    """Bytes a frame, and milliseconds to read a random pair; both readers find their files in the page cache."""
    for position in range(len(clip)):
        np.savez_compressed(folder / f"{position:04d}.npz", logits=full_logits(teacher, clip, position, study)[0].numpy())

    def from_npz(positions: list[int]) -> Tensor:
        frames = []
        for position in positions:
            with np.load(folder / f"{position:04d}.npz") as stored:
                frames.append(torch.from_numpy(stored["logits"]))
        return torch.stack(frames)

    pairs = [[int(k), int(k) + 1] for k in np.random.default_rng(0).integers(0, len(clip) - 1, repeats + 1)]
    ours = medians(timed(lambda pair: store.read(clip, pair), pairs), "pair")
    theirs = medians(timed(from_npz, pairs), "pair_npz")
    size, full = store.path(clip).stat().st_size, 4 * from_npz([0]).numel() * len(clip)
    packed = sum(path.stat().st_size for path in folder.glob("*.npz"))
    return {
        "frames": len(clip), "bytes_per_frame": size / len(clip), "bytes_per_frame_full_size": full / len(clip),
        "bytes_per_frame_npz": packed / len(clip), "share_of_full_size": size / full, "share_of_npz": size / packed,
        **ours, **theirs, "times_faster": theirs["pair_npz_ms"] / ours["pair_ms"],
        "times_faster_cpu": theirs["pair_npz_cpu_ms"] / ours["pair_cpu_ms"],
    }


class Step:
    """One training step of the student, with the motion read from disk or estimated by RAFT inside it."""

    def __init__(self, study: Study, dataset: str, clips: list[Clip], labels: LabelStore, estimated: bool) -> None:
        self.recipe = study.profile.recipe(system(STUDENT).recipe, dataset)
        self.conventions = study.profile.conventions
        self.raft: dict[str, RAFTFlow] = {}
        if estimated:
            self.raft = {name: RAFTFlow.untrained(updates) for name, updates in UPDATES.items()}
        self.windows = WindowDataset(
            strided_windows(clips), 2, study.profile.input_size,
            Augmenter(study.profile.augmentation.steps(2), self.recipe.crop), 0,
            homographies=study.homographies(dataset), flows=None if estimated else study.flows(dataset), teacher=labels.read,
        )
        torch.manual_seed(0)
        self.model: VideoSegmenter = build(STUDENT, study.spec(dataset).n_classes, study.profile, load_weights=False).train()
        self.optimiser = build_optimiser(self.model, self.recipe, frozenset())
        self.objective: Callable[..., dict[str, Tensor]] = distilled(self.recipe.lambda_tc, self.recipe.temperature)
        self.parts: dict[str, list[np.ndarray]] = {"load": [], "flow_and_fusion": [], "train": []}

    def __call__(self, number: int) -> None:
        began = clock()
        first = number * self.recipe.batch_size
        indices = [(first + i) % len(self.windows) for i in range(self.recipe.batch_size)]
        window = collate([self.windows[number, index] for index in indices])
        loaded = clock()
        if self.raft:
            window = self.with_estimated_motion(window)
        estimated = clock()
        losses = self.objective(self.model(window), window)
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        self.optimiser.step()
        parts = (loaded - began, estimated - loaded, clock() - estimated)
        for name, times in zip(self.parts, parts, strict=True):
            self.parts[name].append(times)

    @torch.no_grad()
    def with_estimated_motion(self, window: Window) -> Window:
        """The window with L_tc's flow and fused labels worked out from its frames."""
        previous, current = window.frames[:, 0], window.frames[:, 1]
        flow_to_prev = self.raft["consistency"](current, previous)
        there, back = self.raft["fusion"](previous, current), self.raft["fusion"](current, previous)
        fused = fuse_pair(window.teacher[:, 0], window.teacher[:, 1], there, back, self.conventions)
        return Window(window.frames, window.H_prev_to_cur, flow_to_prev[:, None], window.labels, torch.stack(fused, dim=1))


def bench_step(study: Study, dataset: str, clips: list[Clip], stores: dict[str, LabelStore], repeats: int) -> dict[str, Any]:
    """Milliseconds of a step both ways, turn about, so that other work on the machine burdens both alike."""
    for clip in clips:  # first use computes and stores: that is the stage before the loop, not the loop
        for k in range(1, len(clip)):
            study.flows(dataset).between(clip, k, k - 1)
        study.homographies(dataset).clip(clip)
    steps = {
        "stored": Step(study, dataset, clips, stores["fused"], estimated=False),
        "estimated": Step(study, dataset, clips, stores["unfused"], estimated=True),
    }
    for number in range(repeats + 1):
        for step in steps.values():
            step(number)
    found = {}
    for name, step in steps.items():
        found[name] = medians([sum(parts) for parts in zip(*step.parts.values(), strict=True)], "step")
        for part, times in step.parts.items():
            found[name] |= medians(times, part)
    recipe = steps["stored"].recipe
    return {
        "batch_size": recipe.batch_size, "crop": list(recipe.crop), "raft_updates": UPDATES, "repeats": repeats, **found,
        "times_faster": found["estimated"]["step_ms"] / found["stored"]["step_ms"],
        "times_faster_cpu": found["estimated"]["step_cpu_ms"] / found["stored"]["step_cpu_ms"],
    }


def compare_labels(
    study: Study, dataset: str, teacher: ImageSegmenter, clips: list[Clip], store: LabelStore, frames: int
) -> dict[str, Any]:
    """Full-size logits against stored ones at full size: agreement, KL as the student's loss sees it, mIoU of both."""
    size, truth, spec = study.profile.input_size, study.truth_root(dataset), study.spec(dataset)
    temperature = study.profile.recipe(system(STUDENT).recipe, dataset).temperature
    suites = {name: MetricSuite(spec.n_classes, ("miou",)) for name in ("full_size", "stored")}
    places = [(clip, k) for clip in clips for k in range(len(clip))]
    chosen = [places[k] for k in np.linspace(0, len(places) - 1, min(frames, len(places))).round().astype(int)]
    agree, divergence = [], []
    for suite in suites.values():
        suite.start_clip()
    for clip, k in chosen:
        logits = {"full_size": full_logits(teacher, clip, k, study)}
        logits["stored"] = F.interpolate(store.read(clip, [k]), size, mode="bilinear", align_corners=False)
        maps = {name: values[0].argmax(0).to(torch.uint8).numpy() for name, values in logits.items()}
        agree.append(float((maps["full_size"] == maps["stored"]).mean()))
        divergence.append(float(distillation(logits["stored"], logits["full_size"], temperature)))
        for name, suite in suites.items():
            if truth is not None:
                suite.update(FrameRecord(prediction=maps[name], target=exact_labels(truth, clip, k, size)))
    found = {
        "frames": len(chosen), "same_label": statistics.mean(agree), "kl": statistics.mean(divergence),
        "temperature": temperature,
        "note": "labels compared on training frames; not the student's mIoU, which was not measured by training twice",
    }
    if truth is not None:
        found |= {f"miou_{name}": suite.compute()["miou"] for name, suite in suites.items()}
    return found


def measure(study: Study, options: argparse.Namespace) -> dict[str, Any]:
    """All parts."""
    dataset = options.dataset
    clips, profile = study.clips(dataset, "train")[: options.clips], study.profile
    teacher = teacher_of(study, options)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {kind: LabelStore(folder / kind) for kind in ("unfused", "fused")}
        label_clips(teacher, clips, stores["unfused"], profile.teacher_size, profile.input_size)
        fuse_clips(clips, stores["unfused"], stores["fused"], study.flows(dataset), profile.conventions)
        report: dict[str, Any] = {
            "logits": "trained teacher" if options.teacher else "the teacher's network with random weights",
            "dataset": dataset, "input_size": list(profile.input_size), "teacher_size": list(profile.teacher_size),
            "threads": torch.get_num_threads(), "load_average": load,
            "store": bench_store(study, teacher, clips[0], stores["unfused"], folder, options.reads),
            "step": bench_step(study, dataset, clips, stores, options.steps),
        }
        if options.teacher:
            report["labels"] = compare_labels(study, dataset, teacher, clips, stores["unfused"], options.frames)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--dataset", default="uavid")
    parser.add_argument("--seed", type=int, help="training seed of the teacher (default: the profile's)")
    parser.add_argument("--data", help="folder of the real releases, for --profile paper")
    parser.add_argument("--teacher", action="store_true", help="take the trained teacher (trains it if it is missing)")
    parser.add_argument("--clips", type=int, default=4, help="training clips to label (default: 4)")
    parser.add_argument("--reads", type=int, default=200, help="pairs to read (default: 200)")
    parser.add_argument("--steps", type=int, default=10, help="steps of each kind to time (default: 10)")
    parser.add_argument("--frames", type=int, default=48, help="frames whose labels are compared (default: 48)")
    parser.add_argument("--threads", type=int, default=1)
    common.add_json(parser, "distill_benchmark")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = Study.open(options.profile, options.seed, options.data)
    report = measure(study, options)
    common.write(report, options, f"distill ({study.profile.name})", study.seed, study.clips_key(options.dataset))


if __name__ == "__main__":
    main()
