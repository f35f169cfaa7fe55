"""Layouts that fit given files: what they have in common stays, what differs becomes a field or "*"."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sspcore.data.draft.pairs import Link
from sspcore.data.layouts import SPLITS

Template = tuple[str, ...]


def video_template(video: Path, root: Path, sequence: str) -> Template:
    """The names of a path from the folder to a video file, with its field."""
    path = video.relative_to(root)
    if path.stem == sequence:
        return _with_fields(path, "", "{sequence}")
    return _with_fields(path, sequence, _escaped(path.stem))


def picture_template(picture: Path, root: Path, sequence: str, core: str = "") -> Template:
    """The names of a path from the folder to a frame of a sequence, or to a still, with their fields."""
    return _template(picture.relative_to(root), sequence, core)


def label_template(link: Link, root: Path) -> Template:
    """The names of a path from the folder to a label file, with its fields."""
    path = link.label.relative_to(root)
    if link.core:
        return _template(path, link.sequence, link.core)
    name = "{sequence}" if path.stem == link.sequence else _escaped(path.stem)
    return _with_fields(path, "" if path.stem == link.sequence else link.sequence, name)


def _template(path: Path, sequence: str, core: str) -> Template:
    stem = path.stem
    if not sequence:
        before, _, behind = stem.rpartition(core) if stem.endswith(core) and not stem.startswith(core) else stem.partition(core)
        return _with_fields(path, "", f"{_escaped(before)}{{still}}{_escaped(behind)}")
    before, _, behind = re.split(r"(\d+)(?=\D*$)", stem, maxsplit=1)
    if before.startswith(sequence):
        return _with_fields(path, "", f"{{sequence}}{_escaped(before[len(sequence):])}{{frame}}{_escaped(behind)}")
    return _with_fields(path, sequence, f"{_escaped(before)}{{frame}}{_escaped(behind)}")


def _with_fields(path: Path, sequence: str, name: str) -> Template:
    """Names of a path with {sequence} for the last folder that is called so, and another name of the file."""
    folders = [_escaped(part) for part in path.parts[:-1]]
    if sequence in path.parts[:-1]:
        folders[len(folders) - 1 - path.parts[-2::-1].index(sequence)] = "{sequence}"
    return (*folders, name + path.suffix.lower())


def _escaped(text: str) -> str:
    """A text without the meaning of its braces."""
    return text.replace("{", "{{").replace("}", "}}")


def merged(templates: list[Template], varied: str = "*") -> tuple[str, list[int]]:
    """One layout of many files, and which of them it fits; the others lie elsewhere or are called in another way.

    Args:
        varied: what stands for the first folder whose name differs.
    """
    depth = Counter(map(len, templates)).most_common(1)[0][0]
    kept = [k for k, template in enumerate(templates) if len(template) == depth]
    layout: list[str] = []
    for column in range(depth - 1):
        names = {templates[k][column] for k in kept}
        if len(names) == 1:
            layout += names
        elif names.issuperset(SPLITS):
            kept = [k for k in kept if templates[k][column] in SPLITS]
            layout.append("{split}")
        else:
            layout.append(_generalised(names) if varied == "*" or varied in layout else varied)
    name, fits = _merged_name([templates[k][-1] for k in kept])
    return "/".join([*layout, name]), [k for k, fit in zip(kept, fits, strict=True) if fit]


def _merged_name(names: list[str]) -> tuple[str, list[bool]]:
    """One pattern of file names, and which of them it fits."""
    stems = sorted({PurePosixPath(name).stem for name in names})
    suffixes = {PurePosixPath(name).suffix for name in names}
    ending = suffixes.pop() if len(suffixes) == 1 else ".*"
    if len(stems) == 1:
        return stems[0] + ending, [True] * len(names)
    if all("{frame}" in stem for stem in stems):
        befores, behinds = zip(*(stem.split("{frame}") for stem in stems), strict=True)
        return f"{_generalised(befores)}{{frame}}{_generalised(behinds)}{ending}", [True] * len(names)
    if not any("{still}" in stem for stem in stems):
        splits = {stem.replace(split, "{split}") for stem in stems for split in SPLITS if split in stem}
        by_split = len(splits) == 1 and len(stems) == len(SPLITS)
        return (splits.pop() if by_split else _generalised(stems)) + ending, [True] * len(names)
    most = Counter(names).most_common(1)[0][0]
    return most, [name == most for name in names]


def _generalised(texts: Iterable[str]) -> str:
    """What texts begin with and end with, and "*" for what lies between."""
    different = sorted({*texts})
    if len(different) == 1:
        return different[0]
    before = os.path.commonprefix(different)
    rest = [text[len(before):] for text in different]
    behind = os.path.commonprefix([text[::-1] for text in rest])[::-1]
    # not within a field
    return before[: before.rindex("{")] + "*" if before.count("{") > before.count("}") else f"{before}*{behind}"
