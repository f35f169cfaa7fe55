"""Pictures that need a whole study: which clip tells the story, and the set that notebook 08 writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sspcore.data.clips import Clip
from sspcore.data.datasets import SPECS
from sspcore.data.truth import true_labels
from sspcore.models.systems import system
from sspcore.report import figures
from sspcore.report.captions import PICTURES
from sspcore.report.drift import drift_story
from sspcore.report.frontier import frontier
from sspcore.report.method import method_story
from sspcore.report.style import remove_pictures, save
from sspcore.report.teacher import teacher_panels
from sspcore.study import Study

STRIP_FRAMES = 4
STRIP_SYSTEMS = ("Base", "NetWarp", "TCB_ocr", "SSP", "KD-SSP")


def flicker_shares(study: Study, dataset: str, clip: Clip, system: str) -> np.ndarray:
    """Share of pixels that change along the flow, for each frame from the second on."""
    labels, flows = study.label_maps(system, dataset, clip), study.flows(dataset)
    return np.array([
        figures.flicker_mask(labels[k], labels[k - 1], flows.between(clip, k, k - 1).numpy()).mean()
        for k in range(1, len(clip))
    ])


def most_flickering(study: Study, dataset: str, system: str) -> tuple[Clip, int]:
    """Validation clip and last frame of the stretch of STRIP_FRAMES frames on which the system flickers most."""
    best: tuple[float, Clip, int] | None = None
    for clip in study.clips(dataset, "val"):
        shares = flicker_shares(study, dataset, clip, system)
        n = min(STRIP_FRAMES, len(shares))
        means = np.convolve(shares, np.ones(n) / n, mode="valid")
        start = int(means.argmax())
        if best is None or means[start] > best[0]:
            best = (float(means[start]), clip, start + n)
    return best[1], best[2]


def flicker_story(study: Study, dataset: str, systems: list[str]) -> Figure:
    """Consecutive frames of the stretch on which the first system flickers most, with all systems' labels."""
    clip, last = most_flickering(study, dataset, systems[0])
    positions = list(range(max(0, last - STRIP_FRAMES), last + 1))
    size, flows = study.profile.input_size, study.flows(dataset)
    predictions = {name: study.label_maps(name, dataset, clip) for name in systems}
    return figures.consecutive_strip(
        frames=[clip.frame(k, size) for k in positions],
        predictions={name: [labels[k] for k in positions] for name, labels in predictions.items()},
        flows_to_prev=[flows.between(clip, k, k - 1).numpy() for k in positions[1:]],
        truth=[true_labels(clip, k, size, study.truth_root(dataset)) for k in positions],
        spec=study.spec(dataset),
        title=f"{study.spec(dataset).title}, {clip.name}, frame k = {positions[1]}",
    )


def alpha_story(study: Study, dataset: str, system: str = "SSP", columns: int = 4) -> Figure:
    """Alpha over frames of the first validation clip."""
    clip = study.clips(dataset, "val")[0]
    results = study.segment(system, dataset, clip)
    chosen = np.linspace(1, len(clip) - 1, columns).round().astype(int)
    return figures.alpha_strip(
        [clip.frame(k, study.profile.input_size) for k in chosen],
        [results[k].state.alpha[0, 0].cpu().numpy() for k in chosen],
        f"{system} on {study.spec(dataset).title}, {clip.name}",
    )


def told(systems: list[str]) -> list[str]:
    """Those systems that a strip of pictures has room for; the first is the one whose flicker is looked for."""
    return [name for name in STRIP_SYSTEMS if name in systems] or systems[:len(STRIP_SYSTEMS)]


def write_figures(
    study: Study, results: dict[str, Any], systems: list[str], datasets: list[str], folder: Path
) -> list[Path]:
    """The picture set of a run as PNG and PDF, with its provenance; returns the PNG paths.

    Nothing is trained: what a run has no system for is left out. Pictures of this set that the run does not have (of
    other data sets, of systems left out) are removed.
    """
    origin, written = results["provenance"], []
    for dataset in datasets:
        title = study.spec(dataset).title
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        trained = {name: study.history(name, dataset) for name in systems if system(name).recipe is not None}
        real = [row for row in rows if row["kind"] != "control"]
        pictures = {
            "flicker": flicker_story(study, dataset, told(systems)),
            "frontier": frontier(rows, title),
            "per_class_iou": figures.per_class(real, f"{title}: IoU of each class"),
            "per_class_tc": figures.per_class(real, f"{title}: TC of each class", "per_class_tc"),
            "training": figures.training_curves(trained, title),
        }
        if any(row["miou_moving"] is not None for row in rows):
            pictures["frontier_moving"] = frontier(rows, f"{title}, moving classes", accuracy="miou_moving")
        learned = learned_alpha(systems)
        if learned is not None:
            pictures["method"] = method_story(study, dataset, learned)
            pictures["alpha"] = alpha_story(study, dataset, learned)
        if fuses(study, systems):
            pictures["teacher"] = teacher_panels(study, dataset)
        drift = drift_story(study, dataset, systems)
        if drift is not None:
            pictures["drift"] = drift
        written += [save(picture, folder, f"{dataset}_{name}", origin) for name, picture in pictures.items()]
    kept = {path.stem for path in written}
    everything = (f"{dataset}_{name}" for dataset in SPECS for name in PICTURES if PICTURES[name].of_story)
    remove_pictures(folder, [name for name in everything if name not in kept])
    return written


def fuses(study: Study, systems: list[str]) -> bool:
    """Whether a run has fused teacher labels: whether one of its systems learned from them."""
    learned = any(system(name).teacher and system(name).kind == "video" for name in systems)
    return learned and study.profile.fuse_teacher


def learned_alpha(systems: list[str]) -> str | None:
    """The first system that has an alpha to show, None if there is none."""
    return next((name for name in systems if system(name).kind == "video" and system(name).options is not None), None)
