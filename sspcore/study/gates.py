"""What a gate between homography and flow chooses on rendered data, judged by exact labels, without any model (notebook 12)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from sspcore.core.classes import IGNORE
from sspcore.core.images import to_tensor
from sspcore.core.types import Motion
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_labels
from sspcore.inference.motion import motion_for
from sspcore.models.gate import homography_holds, pixels_of
from sspcore.models.spec import Gate
from sspcore.models.systems import build
from sspcore.motion import geometry
from sspcore.study.stages import Study

Table = dict[str, dict[str, float | None]]
# What notebook 12 compares; the median is the published rule.
Choice = Gate | Literal["homography", "flow"]
GATES: dict[str, Choice] = {"homography": "homography", "flow": "flow"} | {
    f"gate, threshold {threshold}, reach {reach}": Gate(threshold=threshold, reach=reach)
    for threshold in ("median", 0.0, 0.5, 0.8, 1.0) for reach in (0, 1)
}


PUBLISHED = "gate, threshold median, reach 0"


@dataclass(frozen=True)
class Pasts:
    """The true labels of a frame, and what two motions make of those of the frame before.

    Attributes:
        labels: (H, W) uint8 of the frame, 255 ignored.
        by_homography, by_flow: (H, W) uint8, the previous frame's labels brought there; 255 where they have no source.
        motion: between the two frames.
    """

    labels: np.ndarray
    by_homography: np.ndarray
    by_flow: np.ndarray
    motion: Motion

    def chosen(self, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
        """The labels (H, W) that a gate, or one motion alone, hands on, and where they are the flow's, (H, W) bool."""
        size = self.labels.shape
        flows = np.full(size, choice == "flow")
        if isinstance(choice, Gate):
            flows = ~pixels_of(homography_holds(self.motion.correspondences, size, choice), size)[0, 0].numpy()
        return np.where(flows, self.by_flow, self.by_homography), flows


def pasts(study: Study, dataset: str, clip: Clip, positions: list[int]) -> Iterator[Pasts]:
    """The pasts of frames of a rendered clip, at these positions (>= 1), by the study's registrations and flow."""
    size, truth = study.profile.input_size, study.truth_root(dataset)
    homographies, flows = study.homographies(dataset), study.flows(dataset)
    registered, matches = homographies.clip(clip), homographies.correspondences(clip)
    for k in positions:
        labels, before = (exact_labels(truth, clip, position, size) for position in (k, k - 1))
        motion = Motion(registered.at(k)[None], flows.between(clip, k, k - 1)[None], matches.at(k)[None])
        source = torch.from_numpy(before)[None, None]
        warps = (
            geometry.warp_by_homography(source, motion.H_prev_to_cur, "nearest"),
            geometry.warp_by_flow(source, motion.flow_to_prev, "nearest"),
        )
        yield Pasts(labels, *(torch.where(valid, values, IGNORE)[0, 0].numpy() for values, valid in warps), motion)


def wrong_pasts(
    study: Study, dataset: str, choices: Mapping[str, Choice], split: str = "train", sequences: frozenset[str] | None = None,
) -> Table:
    """How often a gate hands on a past that names the wrong class, over the labelled frames of a split.

    The training split by default: settings of a gate are chosen on it, never on the reported one. A past without a source
    counts nowhere, nor do ignored pixels.

    Args:
        choices: by name: a gate, or one motion everywhere.
        sequences: only these; None: all.
    Returns: name -> "wrong (%)" of all pixels, "wrong, moving (%)" of those whose true class moves, "by flow (%)" of
        pixels; None where there is no such pixel. Empty for real data, whose frames have no exact labels.
    """
    if study.truth_root(dataset) is None:
        return {}
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6))
    moving_ids = study.spec(dataset).moving_ids
    for clip in study.clips(dataset, split):
        if sequences is not None and clip.sequence not in sequences:
            continue
        for each in pasts(study, dataset, clip, [k for k in clip.labelled if k > 0]):
            moving = np.isin(each.labels, moving_ids)
            for name, choice in choices.items():
                past, flows = each.chosen(choice)
                known = (each.labels != IGNORE) & (past != IGNORE)
                wrong = known & (past != each.labels)
                counts[name] += [
                    wrong.sum(), known.sum(), (wrong & moving).sum(), (known & moving).sum(), flows.sum(), flows.size
                ]
    columns = ("wrong (%)", "wrong, moving (%)", "by flow (%)")
    return {
        name: {
            column: float(100 * part / whole) if whole else None
            for column, part, whole in zip(columns, found[::2], found[1::2], strict=True)
        }
        for name, found in counts.items()
    }


def compared_gates(study: Study, datasets: Sequence[str]) -> Table:
    """`wrong_pasts` of each motion, of the published gate and of the best other one; "<name>, <title>" -> figures."""
    rows: Table = {}
    for dataset in datasets:
        found = wrong_pasts(study, dataset, GATES)
        shown = ["homography", "flow", PUBLISHED, *least_wrong(found)]
        rows |= {f"{name}, {study.spec(dataset).title}": found[name] for name in shown if name in found}
    return rows


def least_wrong(found: Table) -> list[str]:
    """The name of that gate of a table of `wrong_pasts` which is wrong least often and chooses otherwise than the published
    one; or none."""
    others = [name for name in found if name.startswith("gate") and found[name] != found.get(PUBLISHED)]
    return sorted(others, key=lambda name: found[name]["wrong (%)"])[:1]


@torch.inference_mode()
def frame_times(
    study: Study, dataset: str, names: Sequence[str] = ("SSP", "SSP (gate)"), frames: int = 9,
    of: Callable[[Iterable[float]], float] = min,
) -> Table:
    """Milliseconds of one frame of a stream: the least (or what `of` takes) over a few frames of the first validation clip.

    The systems take turns on each frame, so that they share whatever else the machine does; weights are random.

    Returns: name -> "motion (ms)" for registration and flow, "network (ms)", "all (ms)", and "ratio" of all to the first's.
    """
    clip, size = study.clips(dataset, "val")[0], study.profile.input_size
    models = {
        name: build(name, study.spec(dataset).n_classes, study.profile, load_weights=False).to(study.device).eval()
        for name in names
    }
    sources = {name: motion_for(model, lambda: study.registrator, study.flow_estimator) for name, model in models.items()}
    states = dict.fromkeys(names)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    images = [clip.frame(k, size) for k in range(min(frames, len(clip)))]
    for k, image in enumerate(images):
        for name, model in models.items():
            began = time.perf_counter()
            motion = sources[name](k, images[k - 1], image).motion.to(study.device) if k else None
            moved = time.perf_counter()
            logits, states[name] = model.step(to_tensor(image)[None].to(study.device), states[name], motion)
            float(logits.sum())  # waits for the device
            if k:
                spent[name].append((moved - began, time.perf_counter() - moved))
    rows: Table = {}
    for name, times in spent.items():
        motion_ms, network_ms = (1e3 * of(part) for part in zip(*times, strict=True))
        rows[name] = {"motion (ms)": motion_ms, "network (ms)": network_ms, "all (ms)": motion_ms + network_ms}
    first = rows[names[0]]["all (ms)"]
    return {name: row | {"ratio": row["all (ms)"] / first} for name, row in rows.items()}
