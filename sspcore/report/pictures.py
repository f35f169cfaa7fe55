"""The pictures of a whole run: which there are, and how they are drawn, beside other work or by chapter 08."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sspcore.models.systems import system
from sspcore.report import figures, movie
from sspcore.report.captions import PICTURES
from sspcore.report.collect import (
    alpha_picture,
    drift_picture,
    flicker_picture,
    fuses,
    learned_alpha,
    step_picture,
    strip_systems,
    teacher_picture,
    typical_clip,
)
from sspcore.report.frontier import frontier
from sspcore.report.spread import of_seed, seed_rows, seeds_of
from sspcore.report.style import drawn_since, origin_line, save, save_set
from sspcore.study import Study, places
from sspcore.study.plan import trainings

OF_ROWS = ("frontier", "frontier_moving", "per_class_iou", "per_class_tc")  # drawn from results.json alone


def of_videos(study: Study, dataset: str, systems: Sequence[str]) -> dict[str, Callable[[], Figure | None]]:
    """Pictures of videos and histories by name: how each is drawn; None where the run has nothing to draw it from."""
    learned = learned_alpha(systems)
    pictures: dict[str, Callable[[], Figure | None]] = {
        "flicker": lambda: flicker_picture(study, dataset, strip_systems(systems)),
        "training": lambda: training_picture(study, dataset, systems),
        "drift": lambda: drift_picture(study, dataset, systems),
    }
    if learned:
        pictures["method"] = lambda: step_picture(study, dataset, learned)
        pictures["alpha"] = lambda: alpha_picture(study, dataset, learned)
    if fuses(study, systems):
        pictures["teacher"] = lambda: teacher_picture(study, dataset)
    return pictures


def training_picture(study: Study, dataset: str, systems: Sequence[str]) -> Figure:
    """Losses of the systems that are trained, and of what they start from, where its history is there."""
    equal_steps = study.profile.equal_steps
    names = [
        name for name in trainings(systems, equal_steps)
        if name in systems or places.training(study, name, dataset).is_made()
    ]
    going_on = [name for name in names if system(name).start(equal_steps) is not None]
    histories = {name: study.history(name, dataset) for name in names}
    return figures.training_curves(histories, study.spec(dataset).title, going_on)


def of_rows(study: Study, results: Mapping[str, Any], dataset: str) -> dict[str, Callable[[], Figure | None]]:
    """Pictures of the rows of the table, which of several training seeds show all."""
    title, n_seeds = study.spec(dataset).title, len(seeds_of(results["provenance"]))
    mean = f" (mean of {n_seeds} seeds)" if n_seeds > 1 else ""
    rows = [row for row in seed_rows(results) if row["dataset"] == dataset]
    real = [row for row in results["rows"] if row["dataset"] == dataset and row["kind"] != "control"]
    moving = any(row["miou_moving"] is not None for row in rows)
    return {
        "frontier": lambda: frontier(rows, title),
        "per_class_iou": lambda: figures.per_class(real, f"{title}: IoU of each class{mean}"),
        "per_class_tc": lambda: figures.per_class(real, f"{title}: TC of each class{mean}", "per_class_tc"),
        "frontier_moving": lambda: frontier(rows, f"{title}, moving classes", accuracy="miou_moving") if moving else None,
    }


def draw_videos(study: Study, dataset: str, systems: Sequence[str], datasets: Sequence[str]) -> None:
    """Draw the pictures of videos of one data set of a run, and the movie of its first, into the run's figures.

    A run does this beside other work, before chapter 08, which then finds them (`write_figures`).
    """
    origin = study.origin(datasets)
    for name, draw in of_videos(study, dataset, systems).items():
        if (picture := draw()) is not None:
            save(picture, study.figures, f"{dataset}_{name}", origin)
    if dataset == datasets[0]:
        write_movie(study, dataset, systems, origin, study.figures)


def write_figures(
    study: Study, results: Mapping[str, Any], systems: Sequence[str], datasets: Sequence[str], folder: Path
) -> list[Path]:
    """The picture set of a run as PNG and PDF, with its provenance; returns the PNG paths.

    Of several training seeds the pictures of the rows show all; those of videos and histories show the study's own, and stay
    as they are where this run has drawn them already (`draw_videos`). Nothing is trained: what a run has no system for is
    left out. Pictures of this set that the run does not have (of other data sets, of systems left out) are removed.
    """
    of_all, of_one = results["provenance"], of_seed(results["provenance"], study.seed)
    written: list[Path] = []
    for origin, in_rows in ((of_all, True), (of_one, False)):
        pictures: dict[str, Figure] = {}
        kept: list[str] = []
        for dataset in datasets:
            drawings = of_rows(study, results, dataset) if in_rows else of_videos(study, dataset, systems)
            for name, draw in drawings.items():
                key = f"{dataset}_{name}"
                if not in_rows and drawn_since(folder, key, study.began):
                    kept.append(key)
                elif (picture := draw()) is not None:
                    pictures[key] = picture
        names = [name for name, caption in PICTURES.items() if caption.of_run and (name in OF_ROWS) == in_rows]
        written += [*save_set(pictures, folder, origin, names, datasets, kept), *(folder / f"{key}.png" for key in kept)]
    order = [f"{dataset}_{name}" for dataset in datasets for name in PICTURES]
    return sorted(written, key=lambda path: order.index(path.stem))


def write_movie(
    study: Study, dataset: str, systems: Sequence[str], origin: Mapping[str, Any], folder: Path
) -> Path | None:
    """A run's `<dataset>_movie.gif` and `.mp4`: a typical clip with the labels of the first and the last of `strip_systems`.

    Args:
        origin: provenance of the results, written below the pictures.
    Returns: the GIF's path. One that this run has drawn already stays. None where there are only stills.
    """
    if drawn_since(folder, f"{dataset}_movie", study.began, ("gif", "mp4")):
        return folder / f"{dataset}_movie.gif"
    shown = strip_systems(systems)
    if (clip := typical_clip(study, dataset, shown[0])) is None:
        return None
    flows, spec = study.flows(dataset), study.spec(dataset)
    frames = [clip.frame(k, study.profile.input_size) for k in range(len(clip))]
    backward = [flows.between(clip, k, k - 1).numpy() for k in range(1, len(clip))]
    panels = [movie.photo_panel(f"{spec.title}, {clip.name}", frames)]
    for name in dict.fromkeys((shown[0], shown[-1])):
        panels.append(movie.label_panel(name, frames, study.label_maps(name, dataset, clip), backward, spec))
    return movie.write(panels, spec, origin_line(of_seed(origin, study.seed)), folder / f"{dataset}_movie.gif")
