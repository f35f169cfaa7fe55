"""A rendered flight as a person has their own: one video, and a few frames labelled in CVAT and exported as masks.

It is laid out like neither UAVid nor RuralScapes, and its labels have other names and colours than the classes of either.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from pydantic import Field

from sspcore.core.classes import IGNORE
from sspcore.core.code import code_key
from sspcore.core.errors import SspError
from sspcore.core.files import note_output, read_json, write_json
from sspcore.core.settings import Section
from sspcore.synthetic.builder import Thing
from sspcore.synthetic.footage import VideoFile, film, write_png
from sspcore.synthetic.world import make_world

VIDEO, LABELS, MARK = "flight.mp4", "labels", ".rendered.json"
FPS = 12
_BRANCH = 2  # of the seed; 0 and 1 are the two releases
# name of a label -> its colour, and what of the world an annotator gives it to; all else is background
_CLASSES: dict[str, tuple[tuple[int, int, int], tuple[Thing, ...]]] = {
    "street": ((170, 120, 160), (Thing.ROAD, Thing.PAVING)),
    "building": ((205, 85, 60), (Thing.WALL, Thing.ROOF)),
    "greenery": ((80, 150, 60), (Thing.LOW_VEGETATION, Thing.TREE)),
    "water": ((60, 130, 210), (Thing.WATER,)),
    "car": ((140, 30, 200), (Thing.MOVING_CAR, Thing.STATIC_CAR)),
    "person": ((240, 200, 40), (Thing.PERSON,)),
}
NAMES = tuple(_CLASSES)


class FlightSettings(Section):
    """What is rendered.

    Attributes:
        size: (H, W) of the video.
        frames: of the video, at 12 a second.
        labelled_every: frames from one label to the next; the first is at frame 0.
        seed: of everything random.
    """

    size: tuple[int, int]
    frames: int = Field(ge=1)
    labelled_every: int = Field(ge=1)
    seed: int = Field(0, ge=0)


def render_flight(folder: Path, settings: FlightSettings, truth: Path | None = None) -> Path:
    """Render a video and the labels of a few of its frames, as CVAT exports them ("Segmentation mask").

    Args:
        folder: receives flight.mp4, labels/ and .rendered.json, which names the files that were rendered; all others are left
            alone, labels that a person has added among them. What is there of the same settings is not rendered again.
        truth: for tests: receives the label of every frame, {frame:06d}.png of ids in the order of `NAMES`.
    Returns: folder.
    Raises: SspError if the folder holds a video or labels that were not rendered here; ReleaseError.
    """
    key = {"note": "rendered by sspcore, not filmed", **settings.model_dump(mode="json"), "renderer": code_key(__name__)}
    mark, own = folder / MARK, (folder / LABELS, folder / VIDEO)
    known = read_json(mark) if mark.exists() else {}
    former = known.pop("files", [])
    if truth is None and known == key and all(path.exists() for path in own):
        note_output(folder / VIDEO)
        return folder
    if not known and any(path.exists() for path in own):
        raise SspError(f"{folder}: holds a video or labels that were not rendered here; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".flight_", dir=folder) as temporary:
        new = Path(temporary)
        _render(new, settings, truth)
        made = [path.relative_to(new).as_posix() for path in sorted(new.rglob("*")) if path.is_file()]
        ours = [name for name in made if name in former or not (folder / name).exists()]  # a person's label stays
        write_json(mark, {"note": key["note"], "files": sorted({*former, *ours})})  # of no key until all is there
        _put(new, folder, ours, former)
    write_json(mark, key | {"files": ours})
    return folder


def _put(source: Path, folder: Path, names: list[str], former: list[str]) -> None:
    """Move the files `names` from a folder into another one, in place of `former` ones."""
    for name in former:
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(folder / name)


def _render(folder: Path, settings: FlightSettings, truth: Path | None) -> None:
    world_seed, sensor_seed = np.random.SeedSequence([settings.seed, _BRANCH]).spawn(2)
    colours, ids = np.zeros((len(Thing), 3), np.uint8), np.full(len(Thing), IGNORE, np.uint8)
    for number, (colour, things) in enumerate(_CLASSES.values()):
        colours[list(things)], ids[list(things)] = colour, number
    world, size = make_world(world_seed, False, 0), settings.size
    video, labelled = VideoFile(folder / VIDEO, FPS, size), []
    for number, (view, image) in enumerate(film(world, sensor_seed, size, settings.frames, FPS)):
        video.write(image)
        if number % settings.labelled_every == 0:
            labelled.append(f"frame_{number:06d}")
            write_png(folder / LABELS / "SegmentationClass" / f"{labelled[-1]}.png", colours[view.thing])
        if truth is not None:
            write_png(truth / f"{number:06d}.png", ids[view.thing])
    video.close()
    rows = {"background": (0, 0, 0), **{name: colour for name, (colour, _) in _CLASSES.items()}}
    lines = ["# label:color_rgb:parts:actions", *(f"{name}:{r},{g},{b}::" for name, (r, g, b) in sorted(rows.items()))]
    _write_lines(folder / LABELS / "labelmap.txt", lines)
    _write_lines(folder / LABELS / "ImageSets" / "Segmentation" / "default.txt", labelled)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
