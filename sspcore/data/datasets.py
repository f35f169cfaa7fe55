"""What a data set is: classes, colours, split and layout of UAVid and RuralScapes (paper, section 4; METHOD section 8).

Each is a file beside this module, `<name>.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, Literal

import numpy as np
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from sspcore.core.classes import IGNORE, ClassSpec, Colour
from sspcore.core.errors import ReleaseError

_FOLDER = Path(__file__).parent
_NO_COLOUR = 254
VDD_ROOF, VDD_WATER = 5, 6  # grey ids of the VDD layer that refine building and clutter

FileKind = Literal["video", "labels", "vdd"]


@dataclass(frozen=True)
class DatasetSpec(ClassSpec):
    """A data set as its file describes it.

    Attributes:
        labels: colour of each name in the release's label images.
        validation: names of the published validation sequences.
        files: path of each kind of file below the release's folder, with {split}, {sequence} and {frame}; a folder in
            brackets is where the release has it, but archives may lack it.
        label_classes: class of a name in the label images, None where it is ignored; left out: the class of that name.
        sequence: regular expression of a sequence's name.
        sources: where each kind of file is published.
        archives: regular expression found in the names of its archives.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    labels: dict[str, Colour]
    validation: tuple[str, ...]
    files: dict[FileKind, str]
    label_classes: dict[str, str | None] = field(default_factory=dict)
    sequence: str = "[^/]+"
    sources: dict[FileKind, str] = field(default_factory=dict)
    archives: str = ""

    def __post_init__(self) -> None:
        if fault := next(self._faults(), None):
            raise ValueError(fault)

    def _faults(self) -> Iterator[str]:
        named = {*self.moving, *(self.label_classes.get(name, name) for name in self.labels)} - {None}
        if unknown := sorted(named.difference(self.classes)):
            yield f"{', '.join(unknown)}: no such class; choose from {', '.join(self.classes)}"
        if unknown := sorted(self.label_classes.keys() - self.labels):
            yield f"label_classes: {', '.join(unknown)}: no such label; choose from {', '.join(self.labels)}"
        colours = [*self.palette, *self.labels.values()]
        if wrong := [colour for colour in colours if not all(0 <= value <= 255 for value in colour)]:
            yield f"{wrong[0]} is no colour; give red, green and blue from 0 to 255"
        if len(set(self.labels.values())) < len(self.labels):
            yield "labels: two names have the same colour"
        for kind in ("video", "labels"):
            if kind not in self.files:
                yield f"files: {kind} is missing"
        for path in self.files.values():
            fields = {field for _, field, _, _ in Formatter().parse(path)} - {None}
            if not {"sequence"} <= fields <= {"split", "sequence", "frame"}:
                yield f"files: {path}: must name {{sequence}}, and may name {{split}} and {{frame}}"

    @property
    def label_colours(self) -> dict[Colour, int]:
        """Class id, or IGNORE, of each colour in the label images."""
        classes = {name: self.label_classes.get(name, name) for name in self.labels}
        return {self.labels[name]: IGNORE if each is None else self.id_of(each) for name, each in classes.items()}

    @property
    def key(self) -> list[object]:
        """What artefacts depend on: not the display colours, nor where files are published."""
        return [self.classes, sorted(self.label_colours.items()), self.moving, self.validation, self.files]

    def path(self, kind: FileKind, split: str, sequence: str, frame: str = "") -> str:
        """Where a file lies below the release's folder."""
        return self.files[kind].replace("[", "").replace("]", "").format(split=split, sequence=sequence, frame=frame)


def read_spec(path: Path) -> DatasetSpec:
    """The data set that a YAML file describes; its name is the file's.

    Raises: ReleaseError naming the file and what is wrong in it.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = content.pop("classes")
        given = {"name": path.stem, "classes": list(classes), "palette": list(classes.values())}
        for key in given.keys() & content:
            raise KeyError(f"{key}: follows from classes and the file's name")
        return TypeAdapter(DatasetSpec).validate_python(content | given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ReleaseError(f"{path}: {place and place + ': '}{first['msg']}; see {_FOLDER / 'uavid.yaml'}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ReleaseError(f"{path}: not the description of a data set ({error!r}); see {_FOLDER / 'uavid.yaml'}") from error


SPECS = {name: read_spec(_FOLDER / f"{name}.yaml") for name in ("uavid", "ruralscapes")}
UAVID, RURALSCAPES = SPECS.values()


def colours_to_ids(label_rgb: np.ndarray, spec: DatasetSpec, source: str) -> np.ndarray:
    """Class ids and IGNORE (H, W) uint8 of a label image (H, W, 3) uint8 RGB.

    Raises: ReleaseError naming `source`, the file, if a colour is not one of the data set's.
    """
    packed = (label_rgb[..., 0].astype(np.int32) << 16) | (label_rgb[..., 1].astype(np.int32) << 8) | label_rgb[..., 2]
    ids = _ids_of_colours(tuple(spec.label_colours.items()))[packed]
    unknown = ids == _NO_COLOUR
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        raise ReleaseError(
            f"{source}: colour {tuple(int(c) for c in label_rgb[y, x])} at x={x}, y={y} is not a label colour of "
            f"{spec.title} ({unknown.sum()} such pixels); use the release's lossless PNG labels"
        )
    return ids


@lru_cache(maxsize=2)
def _ids_of_colours(colours: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """Class id of each of the 2^24 colours: one look-up for a pixel is several times faster than a comparison for a class."""
    table = np.full(1 << 24, _NO_COLOUR, np.uint8)
    for (r, g, b), class_id in colours:
        table[(r << 16) | (g << 8) | b] = class_id
    return table


def merge_vdd(ids: np.ndarray, clutter: np.ndarray, vdd: np.ndarray) -> np.ndarray:
    """UAVid ids refined by the VDD layer: roof where it says roof over building, water where it says water over clutter.

    Args:
        ids: (H, W) uint8 UAVid class ids.
        clutter: (H, W) bool, pixels labelled clutter in the colour image.
        vdd: (H, W) uint8 grey ids of the VDD layer.
    Returns: (H, W) uint8, a new array.
    """
    merged = ids.copy()
    merged[(vdd == VDD_ROOF) & (ids == UAVID.id_of("building"))] = UAVID.id_of("roof")
    merged[(vdd == VDD_WATER) & clutter] = UAVID.id_of("water")
    return merged
