"""Layouts that fit given files: what they have in common stays, what differs becomes a field or "*"."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath

from sspcore.data.draft.pairs import Link
from sspcore.data.layouts import SPLITS

Template = tuple[str, ...]


def picture_template(picture: Path, root: Path, sequence: str, core: str = "") -> Template:
    """The names of a path from the folder to a video, frame or still, with its fields."""
    stem, suffix = picture.stem, picture.suffix.lower()
    if core:
        return (*picture.relative_to(root).parts[:-1], _of_still(stem, core) + suffix)
    return _of_sequence(picture.relative_to(root), sequence, suffix)


def video_template(video: Path, root: Path, sequence: str) -> Template:
    """The names of a path from the folder to a video file, with its field."""
    parts = video.relative_to(root).parts[:-1]
    if video.stem == sequence:
        return (*parts, "{sequence}" + video.suffix.lower())
    return (*parts[:-1], "{sequence}", "*" + video.suffix.lower())


def label_template(link: Link, root: Path) -> Template:
    """The names of a path from the folder to a label file, with its fields."""
    path, suffix = link.label.relative_to(root), link.label.suffix.lower()
    if not link.core:
        return path.parts
    if not link.sequence:
        return (*path.parts[:-1], _of_still(path.stem, link.core) + suffix)
    return _of_sequence(path, link.sequence, suffix)


def _of_still(stem: str, core: str) -> str:
    """A name with {still} for a part of it, which stands at its front, at its end, or within."""
    before, _, behind = stem.rpartition(core) if stem.endswith(core) and not stem.startswith(core) else stem.partition(core)
    return f"{before}{{still}}{behind}"


def _of_sequence(path: Path, sequence: str, suffix: str) -> Template:
    """Of a frame: its number and the name of its sequence, in its own name and as a folder."""
    parts = list(path.parts[:-1])
    name = re.sub(r"\d+(?=\D*$)", "{frame}", path.stem)
    if name.startswith(sequence):
        name = "{sequence}" + name[len(sequence):]
    elif sequence in parts:
        parts[len(parts) - 1 - parts[::-1].index(sequence)] = "{sequence}"
    return (*parts, name + suffix)


def merged(templates: list[Template], varied: str = "*") -> tuple[str, list[int]]:
    """One layout of many files, and which of them it fits; the others lie elsewhere or are called in another way.

    Args:
        varied: what stands for a folder whose name differs.
    """
    depth = Counter(map(len, templates)).most_common(1)[0][0]
    kept = [k for k, template in enumerate(templates) if len(template) == depth]
    layout = []
    for column in range(depth - 1):
        names = {templates[k][column] for k in kept}
        if len(names) > 1 and names.issuperset(SPLITS):
            kept = [k for k in kept if templates[k][column] in SPLITS]
            names = {"{split}"}
        layout.append(next(iter(names)) if len(names) == 1 else "*" if varied in layout else varied)
    name, fits = _merged_name([templates[k][-1] for k in kept])
    return "/".join([*layout, name]), [k for k, fit in zip(kept, fits, strict=True) if fit]


def _merged_name(names: list[str]) -> tuple[str, list[bool]]:
    """One pattern of file names, and which of them it fits."""
    if {*names} and {name.lower() for name in names} <= {f"instances_{split}.json" for split in SPLITS} and len({*names}) > 1:
        return "instances_{split}.json", [True] * len(names)
    stems = {PurePosixPath(name).stem for name in names}
    suffixes = {PurePosixPath(name).suffix for name in names}
    ending = suffixes.pop() if len(suffixes) == 1 else ".*"
    if len(stems) == 1:
        return stems.pop() + ending, [True] * len(names)
    parts = {stem.partition("{frame}")[::2] for stem in stems if "{frame}" in stem}
    if len(parts) == len(stems) and len({behind for _, behind in parts}) == 1:
        shared = os.path.commonprefix([before[::-1] for before, _ in parts])[::-1]
        return f"*{shared}{{frame}}{next(iter(parts))[1]}{ending}", [True] * len(names)
    most = Counter(names).most_common(1)[0][0]
    return most, [name == most for name in names]
