"""What a data set is: classes, forms of its labels, split, and where its files lie."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from sspcore.core.classes import IGNORE, ClassSpec, Colour
from sspcore.core.settings import InputSize

FileKind = Literal["video", "frames", "labels", "vdd", "stills", "still_labels"]
MAX_CLASSES = 254  # ids are bytes, and two of them have other meanings

_FIELDS = {  # of a kind's layout: what it must name, what it may name beside
    "video": (set(), {"split", "sequence"}),
    "frames": ({"frame"}, {"split", "sequence"}),
    "labels": ({"frame"}, {"split", "sequence"}),
    "vdd": ({"frame"}, {"split", "sequence"}),
    "stills": ({"still"}, {"split", "sequence"}),
    "still_labels": ({"still"}, {"split", "sequence"}),
}


@dataclass(frozen=True)
class DatasetSpec(ClassSpec):
    """A data set as its file describes it.

    Attributes:
        files: path of each kind of file below the data set's folder, with {split}, {sequence}, {frame} and {still}; "*" is
            any text within one name, the ending ".*" any suffix of that kind of file. A folder in brackets is where the
            release has it, but archives may lack it.
        labels: what each name is in the labels: a colour, or an id (grey and palette images).
        label_classes: class of a name in the labels, None where it is ignored; left out: the class of that name.
        unlabelled: class of pixels that no polygon covers (COCO, LabelMe), None where they are ignored.
        first_frame: number that names of label files give to the first frame of a video file.
        validation: names of validation sequences and stills, or patterns of them ("tile_*").
        validation_share: of each video that `validation` does not name: the share at its end that is for validation. Of
            stills the last ones, if `validation` names none.
        frame_step: every n-th frame is taken; None: as the profile says.
        input_size: (H, W) of the students' input; None: from the profile and the shape of the frames.
        sequence: regular expression of a sequence's name.
        sources: where each kind of file is published.
        archives: regular expression found in the names of its archives.
        root: folder that `files` are relative to; None: `<name>` below the folder of the real releases.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    files: dict[FileKind, str]
    labels: dict[str, Colour | int]
    label_classes: dict[str, str | None] = field(default_factory=dict)
    unlabelled: str | None = None
    first_frame: Annotated[int, Field(ge=0)] = 0
    validation: tuple[str, ...] = ()
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    frame_step: Annotated[int, Field(ge=1)] | None = None
    input_size: InputSize | None = None
    sequence: str = "[^/]+?"
    sources: dict[FileKind, str] = field(default_factory=dict)
    archives: str = ""
    root: Path | None = None

    def __post_init__(self) -> None:
        if fault := next(self._faults(), None):
            raise ValueError(fault)

    def _faults(self) -> Iterator[str]:
        yield from self._class_faults()
        yield from self._label_faults()
        yield from self._file_faults()
        if not self.validation and not self.validation_share and not any("{split}" in path for path in self.files.values()):
            yield "validation: is missing; name sequences, or give a validation_share such as 0.25"

    def _class_faults(self) -> Iterator[str]:
        if not 1 < self.n_classes <= MAX_CLASSES:
            yield f"classes: {self.n_classes} are given; give 2 to {MAX_CLASSES}"
        for values in (self.classes, self.palette):
            if twice := _first_twice(values):
                yield f"classes: {twice} is given twice; keep one of the two"
        if wrong := [colour for colour in self.palette if not _is_colour(colour)]:
            yield f"classes: {wrong[0]} is no colour; give red, green and blue from 0 to 255"
        for setting, names in (("moving", self.moving), ("unlabelled", [self.unlabelled] if self.unlabelled else [])):
            if unknown := sorted(set(names).difference(self.classes)):
                yield f"{setting}: {', '.join(unknown)}: no such class; choose from {', '.join(self.classes)}"

    def _label_faults(self) -> Iterator[str]:
        coded = list(self.labels.values())
        if len({isinstance(each, int) for each in coded}) > 1:
            yield "labels: colours and ids are mixed; give every name a colour, or every name an id"
        for name, code in self.labels.items():
            if isinstance(code, int) and not 0 <= code < 2**16:
                yield f"labels: {name}: {code} is no id; give a number from 0 to 65535"
            elif not isinstance(code, int) and not _is_colour(code):
                yield f"labels: {name}: {code} is no colour; give red, green and blue from 0 to 255"
        if twice := _first_twice(coded):
            named = [name for name, code in self.labels.items() if code == twice]
            yield f"labels: {named[0]} and {named[1]} have the same {'id' if isinstance(twice, int) else 'colour'} {twice}"
        if unknown := sorted(self.label_classes.keys() - self.labels):
            yield f"label_classes: {', '.join(unknown)}: no such label; choose from {', '.join(self.labels)}"
        choice = f"choose from {', '.join(self.classes)}, or null to ignore it"
        for name in self.labels:
            if (each := self.label_classes.get(name, name)) is not None and each not in self.classes:
                setting = f"label_classes: {name}" if name in self.label_classes else "labels"
                hint = choice if name in self.label_classes else f"say under label_classes which it is; {choice}"
                yield f"{setting}: {each}: no such class; {hint}"

    def _file_faults(self) -> Iterator[str]:
        if not {"video", "frames", "stills"} & self.files.keys():
            yield "files: video is missing (or frames, or stills); say where the pictures lie"
        for pictures, kind in ((("video", "frames"), "labels"), (("stills",), "still_labels")):
            if kind in self.files and not set(pictures) & self.files.keys():
                yield f"files: {pictures[0]} is missing, which {kind} are of; say where they lie"
        if not {"labels", "still_labels"} & self.files.keys():
            yield "files: labels is missing; say where the labels lie"
        if "stills" in self.files and "still_labels" not in self.files:
            yield "files: still_labels is missing; say where the labels of the stills lie"
        for kind, layout in self.files.items():
            yield from _layout_faults(kind, layout)
        for kinds in (("video", "frames", "labels", "vdd"), ("stills", "still_labels")):
            layouts = [self.files[kind] for kind in kinds if kind in self.files and not _is_json(self.files[kind])]
            with_split = ["{split}" in layout for layout in layouts]
            if any(with_split) and not all(with_split):
                without, other = layouts[with_split.index(False)], layouts[with_split.index(True)]
                yield f"files: {without}: must name {{split}}, as {other} does"
        if "vdd" in self.files and not ({"building", "roof", "water"} <= set(self.classes) and "clutter" in self.labels):
            yield "files: vdd: that layer refines building and clutter of UAVid, which are not all there; take it out"
        try:
            if named := [*re.compile(self.sequence).groupindex]:
                yield f"sequence: {self.sequence}: the group {named[0]} has a name; write it as (...)"
        except re.error as error:
            yield f"sequence: {self.sequence}: no regular expression ({error}); correct it"

    @property
    def label_names(self) -> dict[str, int]:
        """Class id, or IGNORE, of each name in the labels."""
        classes = {name: self.label_classes.get(name, name) for name in self.labels}
        return {name: IGNORE if each is None else self.id_of(each) for name, each in classes.items()}

    @property
    def label_colours(self) -> dict[Colour, int]:
        """Class id, or IGNORE, of each colour in the label images; empty where these hold ids."""
        names = self.label_names
        return {code: names[name] for name, code in self.labels.items() if not isinstance(code, int)}

    @property
    def label_ids(self) -> dict[int, int]:
        """Class id, or IGNORE, of each id in the label images; empty where these hold colours. 255 means ignored if unnamed."""
        names = self.label_names
        coded = {code: names[name] for name, code in self.labels.items() if isinstance(code, int)}
        return {IGNORE: IGNORE, **coded} if coded else {}

    @property
    def key(self) -> list[object]:
        """What clips depend on: not the display colours, nor what moves (see scores), nor where files are published or lie."""
        coded = sorted(self.label_colours.items()) or sorted(self.label_ids.items())
        split = self.validation, self.validation_share
        labels = sorted(self.label_names.items()), self.unlabelled, self.first_frame
        return [self.classes, coded, labels, split, self.files, self.sequence]

    def is_validation(self, name: str) -> bool:
        """Whether `validation` names a sequence or still, by its name or by a pattern."""
        patterns = [unicodedata.normalize("NFC", each) for each in self.validation]
        return any(name == each or fnmatchcase(name, each) for each in patterns)

    def layout(self, kind: FileKind) -> str:
        """Path of a kind of file below the data set's folder, with its fields."""
        return self.files[kind] if self.root else re.sub(r"[][]", "", self.files[kind])

    def path(self, kind: FileKind, split: str, sequence: str, frame: str = "") -> str:
        """Where a file of a release lies below its folder."""
        return self.layout(kind).format(split=split, sequence=sequence, frame=frame)


def _is_colour(code: Colour) -> bool:
    return all(0 <= value <= 255 for value in code)


def _is_json(layout: str) -> bool:
    return layout.lower().endswith(".json")


def _first_twice(values: Iterable[object]) -> object | None:
    seen: set[object] = set()
    return next((value for value in values if value in seen or seen.add(value)), None)


def _layout_faults(kind: FileKind, layout: str) -> Iterator[str]:
    """What is wrong with one path under `files`."""
    try:
        parts = [part for part in Formatter().parse(layout) if part[1] is not None]
    except ValueError as error:
        yield f"files: {kind}: {layout}: {error}; write fields as {{sequence}}"
        return
    fields = {name for _, name, _, _ in parts}
    if formatted := [name for _, name, form, conversion in parts if form or conversion]:
        yield f"files: {kind}: {layout}: a field takes no format; write {{{formatted[0]}}}"
    must, may = _FIELDS[kind]
    if _is_json(layout):  # one COCO file may hold the labels of many pictures
        must, may = set(), may | must
    if unknown := sorted(fields - must - may):
        known = ", ".join(f"{{{name}}}" for name in sorted(must | may))
        yield f"files: {kind}: {layout}: {{{unknown[0]}}} is no field of it; it may name {known}"
    for name in sorted(must - fields):
        yield f"files: {kind}: {layout}: must name {{{name}}}"
    path = PurePosixPath(layout)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*\\", layout) or not path.parts:
        yield f"files: {kind}: {layout}: leads outside the data set's folder; write it relative to that folder, with /"
