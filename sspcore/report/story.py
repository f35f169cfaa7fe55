"""Pictures that need a whole study: which clip tells the story, and the set that notebook 08 writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sspcore.data.clips import Clip
from sspcore.report import figures
from sspcore.report.style import save
from sspcore.study import Study

STRIP_FRAMES = 4


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
        truth=[clip.label(k, size) if k in clip.labelled else None for k in positions],
        spec=study.spec(dataset),
        title=f"{study.spec(dataset).title}, {clip.name}: magenta = label changed along the flow ({study.data_origin})",
    )


def alpha_story(study: Study, dataset: str, system: str = "SSP", columns: int = 4) -> Figure:
    """Alpha over frames of the first validation clip."""
    clip = study.clips(dataset, "val")[0]
    results = study.segment(system, dataset, clip)
    chosen = np.linspace(1, len(clip) - 1, columns).round().astype(int)
    return figures.alpha_strip(
        [clip.frame(k, study.profile.input_size) for k in chosen],
        [results[k].state.alpha[0, 0].cpu().numpy() for k in chosen],
        f"{system} on {study.spec(dataset).title}, {clip.name} ({study.data_origin})",
    )


def write_figures(
    study: Study, results: dict[str, Any], systems: list[str], datasets: list[str], folder: Path
) -> list[Path]:
    """The picture set of a run as PNG and PDF; returns the PNG paths."""
    written = []
    for dataset in datasets:
        rows = [row for row in results["rows"] if row["dataset"] == dataset]
        title = f"{study.spec(dataset).title}, {study.data_origin}"
        pictures = {
            "flicker": flicker_story(study, dataset, systems),
            "frontier": figures.frontier(rows, title),
            "frontier_moving": figures.frontier(rows, f"Moving classes: {title}", accuracy="miou_moving"),
            "per_class_iou": figures.per_class([row for row in rows if row["kind"] != "control"], title),
        }
        trained = {name: study.history(name, dataset) for name in systems}
        pictures["training"] = figures.training_curves(trained, title)
        if "SSP" in systems:
            pictures["alpha"] = alpha_story(study, dataset)
        written += [save(picture, folder, f"{dataset}_{name}") for name, picture in pictures.items()]
    return written
