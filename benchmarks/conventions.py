"""What each of the reference's readings changes on a known example: python benchmarks/conventions.py [--json FILE].

The example is the packaged sample: a trained SSP and a rendered clip with exact labels. Nothing is trained, so readings that
act in training are measured by what they change in the loss and in the labels, not by the model that would come of it.

  step      SSP streamed under each reading: mIoU, TC, share of pixels whose label changes
  loss      L_tc of all pairs (P_k, S_{k-1}), relative to the corrected one
  fusion    the image model's logits taken for a teacher's and fused: share of pixels whose label changes, mIoU
  metrics   TC and VC of the corrected predictions
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import common
from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.core.images import to_tensor
from sspcore.core.progress import configure_logging
from sspcore.evaluation.clips import as_json, clip_records
from sspcore.metrics import MetricSuite
from sspcore.report.sample import Sample, open_sample
from sspcore.training.fusion import fuse_pair
from sspcore.training.losses import temporal_consistency

STEP = ("half_pixel", "past_outside", "past_border")
LOSS = ("flow_warp", "soft_occlusion", "outside_view")
FUSION = ("flow_warp", "outside_view", "occlusion")
ALL = "all"


def readings(fields: tuple[str, ...]) -> Iterator[tuple[str, Conventions]]:
    """Each reading of the reference alone, then these together."""
    for name in fields:
        yield name, Conventions(**REFERENCE.of(name))
    yield ALL, Conventions(**REFERENCE.of(*fields))


def changed(ours: np.ndarray, others: np.ndarray) -> float:
    """Share of pixels whose label differs."""
    return float((ours != others).mean())


def step(sample: Sample) -> dict[str, dict[str, float]]:
    """SSP under each reading, without training it again."""
    model, found = sample.model(), {}
    corrected = np.stack([frame.labels for frame in sample.segment(model)])
    found["corrected"] = sample.scores(corrected)
    options = model.options
    for name, conventions in readings(STEP):
        model.options = options.under(conventions)
        labels = np.stack([frame.labels for frame in sample.segment(model)])
        found[name] = sample.scores(labels) | {"labels_changed": changed(labels, corrected)}
    return found


def pairs(sample: Sample) -> Iterator[int]:
    """Positions of the second frames."""
    yield from range(1, len(sample.clip))


def loss(sample: Sample, alone: list[Tensor], propagated: list[Tensor]) -> dict[str, float]:
    """L_tc of the pairs, summed, in parts of the corrected one."""
    frames = [to_tensor(sample.clip.frame(k, sample.size))[None] for k in range(len(sample.clip))]

    def total(conventions: Conventions) -> float:
        return sum(
            float(temporal_consistency(
                propagated[k], alone[k - 1], frames[k], frames[k - 1], sample.flows.between(sample.clip, k, k - 1)[None],
                conventions,
            )) for k in pairs(sample)
        )

    corrected = total(CORRECTED)
    return {name: total(conventions) / corrected - 1 for name, conventions in readings(LOSS)}


def fusion(sample: Sample, stride4: list[Tensor]) -> dict[str, dict[str, float]]:
    """Fused labels of frames (0, 1), (2, 3), ..., upsampled as the distillation loss does."""

    def labels(conventions: Conventions | None) -> np.ndarray:
        fused = list(stride4)
        for k in range(1, len(fused), 2) if conventions is not None else ():
            there, back = (sample.flows.between(sample.clip, *ends)[None] for ends in ((k - 1, k), (k, k - 1)))
            fused[k - 1], fused[k] = fuse_pair(fused[k - 1], fused[k], there, back, conventions)
        full = F.interpolate(torch.cat(fused), sample.size, mode="bilinear", align_corners=False)
        return full.argmax(1).to(torch.uint8).numpy()

    corrected = labels(CORRECTED)
    found = {"unfused": sample.scores(labels(None)), "corrected": sample.scores(corrected)}
    for name, conventions in readings(FUSION):
        others = labels(conventions)
        found[name] = sample.scores(others) | {"labels_changed": changed(others, corrected)}
    return found


def metrics(sample: Sample, labels: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """TC and VC under both readings."""
    found = {}
    for name, conventions in (("corrected", CORRECTED), ("reference", REFERENCE)):
        suite = MetricSuite(sample.spec.n_classes, ("tc", "vc8", "vc16"), conventions=conventions)
        suite.start_clip()
        for record in clip_records(sample.clip, labels, sample.flows, sample.size):
            suite.update(record)
        found[name] = suite.compute()
    return found


@torch.inference_mode()
def measure(sample: Sample) -> dict[str, Any]:
    """All of it, as JSON values."""
    model = sample.model()
    streamed = sample.segment(model)
    frames = [to_tensor(sample.clip.frame(k, sample.size))[None] for k in range(len(sample.clip))]
    observed = [model.observe(frame) for frame in frames]
    parts: dict[str, Callable[[], Any]] = {
        "step": lambda: step(sample),
        "loss": lambda: loss(sample, [each.logits for each in observed], [each.logits[None] for each in streamed]),
        "fusion": lambda: fusion(sample, [each.logits_stride4 for each in observed]),
        "metrics": lambda: metrics(sample, [each.labels for each in streamed]),
    }
    return {"sample": sample.origin} | {name: as_json(part()) for name, part in parts.items()}


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser("conventions", description=__doc__.splitlines()[0])
    common.add_json(parser, "conventions")
    options = parser.parse_args(arguments)
    configure_logging()
    sample = open_sample()
    common.write(measure(sample), options, "demo", data=sample.origin)  # the sample is of the demo
    return 0


if __name__ == "__main__":
    sys.exit(main())
