"""The pictures of a run: their order, their titles, and what to see in each. The page and notebook 08 read them here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from IPython.display import Image, Markdown, display


@dataclass(frozen=True)
class Caption:
    """What is said of a picture.

    Attributes:
        title: a heading.
        text: what is drawn, then what to see.
        of_run: whether `sspcore.report.pictures.write_figures` writes it; the others have chapters of their own.
    """

    title: str
    text: str
    of_run: bool = True


PICTURES: dict[str, Caption] = {
    name: Caption(**entry)
    for name, entry in yaml.safe_load(Path(__file__).with_name("captions.yaml").read_text(encoding="utf-8")).items()
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
