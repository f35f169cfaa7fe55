"""The pictures of a run: their order, their titles, and what to see in each. Pages and notebook 08 read them here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from IPython.display import Image, Markdown, display


@dataclass(frozen=True)
class Caption:
    """What is said of a picture.

    Attributes:
        title: a heading.
        text: what is drawn, then what to see.
        of_run: whether `sspcore.report.collect.write_figures` writes it; the others have chapters of their own.
    """

    title: str
    text: str
    of_run: bool = True


PICTURES: dict[str, Caption] = {
    "method": Caption(
        "The method",
        "One step on a real frame; every panel is a tensor of the trained system. Features are shown by their first three "
        "principal components. What to see: alpha is low on what moves or is newly in view, there the output is this frame's "
        "own; elsewhere the registered past mends what this frame alone gets wrong.",
    ),
    "flicker": Caption(
        "Where labels flicker",
        "Consecutive frames of the stretch on which the first system shown changes its mind most; magenta marks labels that "
        "differ from the label of the same point one frame before. What to see: magenta on ground that nothing has happened "
        "to, and how much of it each system leaves.",
    ),
    "frontier": Caption(
        "Accuracy, consistency, cost",
        "Each system at its mIoU and TC; a marker's area is its multiply-adds for a frame. What to see: up and to the right "
        "is better, small is cheap; a system has earned its consistency where it lies above the constant-alpha curve of its "
        "own image model.",
    ),
    "frontier_moving": Caption(
        "Accuracy of moving classes",
        "The same with the mIoU of classes that move by themselves. What to see: plain averaging leaves ghosts behind what "
        "moves, so its curve bends down earlier.",
    ),
    "per_class_iou": Caption(
        "Accuracy class by class",
        "IoU of every class. What to see: columns that are dark for all systems are classes that are rare or small; rows that "
        "differ within a column show where a method gains or loses.",
    ),
    "per_class_tc": Caption(
        "Consistency class by class",
        "TC of every class, averaged over the videos that show it. What to see: whether a system is steadier on all classes "
        "or only on large and still ones; to be read beside the IoU of the same class.",
    ),
    "drift": Caption(
        "Does the recurrence drift?",
        "Streams scored apart for every position in their clips. Above: mIoU minus the image model's on the very same frames; "
        "below: labels that change from frame to frame. What to see: errors that pile up would bend a curve down with the "
        "frames, as averaging with a large constant does; a stream started again half-way shows what the long past brings or "
        "costs where it meets the other again.",
    ),
    "alpha": Caption(
        "What alpha has learned",
        "Frames and the weight of the past. What to see: dark where things move or enter the view, bright on still ground.",
    ),
    "teacher": Caption(
        "Fusing the teacher's labels",
        "A pair of training frames: where a point is hidden in the other frame, and the teacher's labels before and after "
        "fusion. What to see: less magenta after fusion, and nothing smeared over what was hidden.",
    ),
    "training": Caption(
        "Training",
        "Losses by epoch. What to see: whether a curve has flattened out by its end; different losses do not compare.",
    ),
    "ablations": Caption(
        "Ablations",
        "SSP with one thing changed at a time. What to see: a part earns its place where taking it away moves the point "
        "towards the constant-alpha curve or below it.",
        of_run=False,
    ),
    "frontier_seeds": Caption(
        "Accuracy and consistency over training seeds",
        "Means, with bars from the least to the greatest value. What to see: differences smaller than the bars are not "
        "decided.",
        of_run=False,
    ),
    "frontier_moving_seeds": Caption(
        "Accuracy of moving classes over training seeds",
        "The same for classes that move by themselves.",
        of_run=False,
    ),
    "frontier_all": Caption(
        "Systems and controls",
        "Accuracy over consistency with the trivial controls of chapter 11. What to see: what does nothing at all can be "
        "perfectly consistent.",
        of_run=False,
    ),
}


def find_pictures(folder: Path, datasets: Iterable[str], name: str) -> dict[str, Path]:
    """Data set -> the PNG of that picture, of those data sets that have it."""
    paths = {dataset: folder / f"{dataset}_{name}.png" for dataset in datasets}
    return {dataset: path for dataset, path in paths.items() if path.is_file()}


def show(folder: Path, datasets: Iterable[str], name: str) -> None:
    """Display a picture (a key of PICTURES) of every data set that has it in a notebook, its caption below."""
    found = find_pictures(folder, datasets, name)
    for path in found.values():
        display(Image(path, width=900))
    display(Markdown(PICTURES[name].text if found else f"*{PICTURES[name].title}: this run has nothing to draw it from.*"))
