"""What a prepared data set holds: class shares and label density, for notebook 01 and for honest tables."""

from __future__ import annotations

import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.data.clips import Clip
from sspcore.data.datasets import DatasetSpec


def class_shares(clips: list[Clip], spec: DatasetSpec, size: tuple[int, int]) -> dict[str, float]:
    """Share of each class in the labelled pixels of all labelled frames (ignored pixels left out)."""
    counts = np.zeros(256, np.int64)
    for clip in clips:
        for position in clip.labelled:
            counts += np.bincount(clip.label(position, size).ravel(), minlength=256)
    labelled = max(1, int(counts[:IGNORE].sum()))
    return {name: float(counts[i] / labelled) for i, name in enumerate(spec.classes)}


def summary(clips: list[Clip]) -> dict[str, int]:
    """Number of sequences, clips, frames and labelled frames."""
    return {
        "sequences": len({clip.sequence for clip in clips}),
        "clips": len(clips),
        "frames": sum(len(clip) for clip in clips),
        "labelled frames": sum(len(clip.labelled) for clip in clips),
    }
