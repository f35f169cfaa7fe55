"""Layouts: paths with fields in them, such as `labels/{sequence}/{frame}.png`, and the files that fit one.

A field is text within one name. "*" stands for any such text, and ".*" at the end for any suffix of that kind of file. Upper
and lower case are taken alike, hidden files are passed over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from string import Formatter

from sspcore.data.datasets import DatasetSpec, FileKind

SPLITS = ("train", "val")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".3gp", ".ogv", ".flv",
)
MASK_LIST, MASK_LIST_HEAD = "masks.csv", ("file", "frame")  # of class maps that sspcore stream wrote into a folder


def matches(root: Path, kind: FileKind, spec: DatasetSpec) -> Iterator[tuple[Path, dict[str, str]]]:
    """Files below `root` that fit the layout of a kind, in the order of their names, with what stands for each field."""
    yield from _matches(root, spec.layout(kind).split("/"), {}, kind, spec)


def _matches(
    folder: Path, layout: list[str], names: dict[str, str], kind: FileKind, spec: DatasetSpec
) -> Iterator[tuple[Path, dict[str, str]]]:
    if not layout:
        yield folder, names
    elif folder.is_dir():
        pattern = re.compile(expression(layout[0], kind, spec, names), re.IGNORECASE)
        for path in sorted(folder.iterdir()):
            name = unicodedata.normalize("NFC", path.name)  # an ü may be written as one letter or as two
            if (match := pattern.fullmatch(name)) and (layout[0].startswith(".") or not name.startswith(".")):
                yield from _matches(path, layout[1:], names | match.groupdict(), kind, spec)


def expression(layout: str, kind: FileKind, spec: DatasetSpec, names: dict[str, str]) -> str:
    """Regular expression of a layout; a field that `names` holds, or that comes again, must be the same."""
    fields = {"split": "|".join(SPLITS), "sequence": f"(?-i:{spec.sequence})", "frame": r"\d+", "still": "[^/]+?"}
    fields = {name: f"(?P<{name}>{pattern})" for name, pattern in fields.items()} | {
        name: re.escape(value) for name, value in names.items()
    }
    layout, ending = unicodedata.normalize("NFC", layout), ""
    if layout.endswith(".*"):
        suffixes = VIDEO_SUFFIXES if kind == "video" else IMAGE_SUFFIXES
        layout, ending = layout.removesuffix(".*"), f"(?:{'|'.join(map(re.escape, suffixes))})"
    found = ""
    for text, field, _, _ in Formatter().parse(layout):
        found += re.escape(text).replace(r"\*", "[^/]*?")
        if field is not None:
            found += fields[field]
            fields[field] = f"(?P={field})" if field not in names else fields[field]
    return found + ending


def number_of(stem: str) -> str:
    """The last number in a name, as it stands there, "" if it has none: "0012" of "frame_0012_mask"."""
    match = re.fullmatch(r".*?(\d+)\D*", stem)
    return match[1] if match else ""


def target_of(name: str, spec: DatasetSpec) -> str | None:
    """Path in the data set's layout of an archive's member, None if preparation does not read it.

    Any folders may come before the layout. A folder in brackets holds copies of the other kinds of files (UAVid7), which
    are not taken.
    """
    above = {part.lower() for part in PurePosixPath(name).parts[:-1]}
    for kind, layout in spec.files.items():
        end = expression(re.sub(r"\[.*?\]", "", layout), kind, spec, {})
        match = re.fullmatch(f"(?:.*/)?{end}", name, re.IGNORECASE)
        others = "".join(other for each, other in spec.files.items() if each != kind)
        if match and not above.intersection(re.findall(r"\[(.*?)/\]", others.lower())):
            names = match.groupdict()
            return spec.path(kind, names.get("split", "").lower(), names["sequence"], names.get("frame", ""))
    return None
