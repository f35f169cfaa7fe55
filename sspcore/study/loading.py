"""A system with its weights, for the command lines of export and runtime."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.types import VideoSegmenter
from sspcore.data.datasets import DatasetSpec
from sspcore.models.systems import build, start_from
from sspcore.study.profiles import Profile
from sspcore.training.loop import load_weights

MAX_SIDE = 16_384  # pixels; beyond that memory is all that would be learnt


def load_system(name: str, dataset: DatasetSpec, profile: Profile, checkpoint: Path | None) -> VideoSegmenter:
    """A system in eval mode, with a checkpoint's weights, or with fresh ones (seed 0) for checks that need none.

    Raises: ProfileError for an unknown system, ArtefactError if the checkpoint is another system's.
    """
    torch.manual_seed(0)
    model = build(name, dataset.n_classes, profile, load_weights=False)
    if checkpoint is not None:
        weights = load_weights(checkpoint)
        lost = sorted(set(model.state_dict()) - set(weights))
        if lost:
            raise ArtefactError(
                f"{checkpoint}: no weights for {lost[0]}; it is not a checkpoint of {name} under the profile {profile.name}"
            )
        start_from(model, weights, str(checkpoint))
    return model.eval()


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) of "736x1280"."""
    sides = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if sides is None or not all(1 <= int(side) <= MAX_SIDE for side in sides.groups()):
        raise ProfileError(f"--size {text}: write HEIGHTxWIDTH, e.g. 736x1280, each 1 to {MAX_SIDE}")
    return int(sides[1]), int(sides[2])
