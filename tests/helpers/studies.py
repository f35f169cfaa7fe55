"""Tiny studies whose predictions are written by hand, without training."""

from __future__ import annotations

import numpy as np

from sspcore.core.files import write_json
from sspcore.core.images import write_image
from sspcore.data.truth import exact_labels
from sspcore.study import Study

DATASET = "uavid"

TINY = {
    "rendering.releases.uavid.train_sequences": 1,
    "rendering.releases.uavid.frames": 19,
    "rendering.workers": 1,
    "clips.uavid.clip_length": 9,
}


def write_predictions(study: Study, name: str, noise: float, key: str | None = None) -> None:
    """The truth with a share of 8x8 blocks set to class 0, as if the system had been run."""
    train_key = study.train_key(name, DATASET)
    folder = study.workspace.run(DATASET, study.seed, name, key or train_key)
    rng = np.random.default_rng(0)
    size = study.profile.input_size
    for clip in study.clips(DATASET, "val"):
        (folder / "predictions" / clip.name).mkdir(parents=True, exist_ok=True)
        for k, number in enumerate(clip.numbers):
            labels = exact_labels(study.truth_root(DATASET), clip, k, size)
            hit = np.kron(rng.random((size[0] // 8, size[1] // 8)) < noise, np.ones((8, 8), bool))
            write_image(
                folder / "predictions" / clip.name / f"{number:06d}.png",
                np.where(hit | (labels == 255), 0, labels).astype(np.uint8),
            )
    write_json(folder / "predictions" / "key.json", {"key": study.keys.predictions(name, DATASET)})
    write_json(folder / "scores" / "row.json", {"system": name})
