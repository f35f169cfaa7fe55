"""A first dataset.yaml as text, with a line for each entry that says what it means and how it came about."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from sspcore.core.classes import Colour, class_spec
from sspcore.data.draft.files import Found
from sspcore.data.draft.labels import Contents
from sspcore.data.draft.plan import Plan

_KINDS = {
    "video": "video files; a sequence is called like its file, or as {sequence} says",
    "frames": "videos as folders of images; {frame} is the number",
    "labels": "labels of frames, by the number of the frame",
    "stills": "single pictures with a label of their own",
    "still_labels": "labels of the stills",
}


def written(plan: Plan, contents: Contents, found: Found, prefix: str) -> str:
    """The text of the file.

    Args:
        prefix: the folder that was looked at, as a path from the file's own: "" if that is the same, else ending in "/".
    """
    return "\n".join(_lines(plan, contents, found, prefix)) + "\n"


def _lines(plan: Plan, contents: Contents, found: Found, prefix: str) -> Iterator[str]:
    yield "# A first description by `sspcore init-dataset`: read it through and correct what was guessed wrongly."
    yield f"title: {_scalar(found.root.resolve().name or 'My flight')}"
    yield ""
    yield f"# Classes and their display colours. Labels were read in {contents.read}" + (
        f"; names come from {contents.source}." if contents.source else "; nothing says what they are called: give them names."
    )
    yield "classes:"
    for name, colour in _colours(contents).items():
        yield f"  {_scalar(name)}: {list(colour)}{_count(name, contents)}"
    yield "# Classes of things that move by themselves, guessed from their names: they are scored on their own, too."
    yield f"moving: {_listing(contents.moving)}"
    yield ""
    if any(code is not None for code in contents.labels.values()):
        yield "# What each name is in the label images: a colour (red, green, blue), or a number (grey or palette)."
        yield "labels:"
        for name, code in contents.labels.items():
            yield f"  {_scalar(name)}: {list(code) if isinstance(code, tuple) else code}"
    else:
        yield "# Names in the label files."
        yield f"labels: {_listing(contents.labels)}"
    yield "# The class of labels that are not called like one; null: ignored. Several labels may be one class."
    if contents.ignored:
        yield "# What is ignored is neither learned nor scored, and overlays show some class there. To see it as a class"
        yield f"# of its own, add its name under classes and take its line out here: {', '.join(contents.ignored)}."
    yield "label_classes:" if contents.ignored else "label_classes: {}"
    for name in contents.ignored:
        yield f"  {_scalar(name)}: null{_count(name, contents)}"
    if contents.unit == "shapes":
        yield "# Class of pixels that no shape covers; null: ignored. If everything was outlined, name the class of the rest."
        yield f"unlabelled: {_scalar(contents.unlabelled)}"
    yield ""
    yield "# Where the files lie, from this file's folder on. A {field} is text within one name, '*' any text, '.*' any suffix."
    yield "files:"
    for kind, layout in plan.files.items():
        yield f"  {kind}: {_scalar(prefix + layout)}    # {_KINDS[kind]}"
    if plan.first_frame is not None:
        how = f": {plan.why}" if plan.why else " (a guess: CVAT counts from 0, ffmpeg from 1)"
        yield f"# Number that label files give to a video's first frame{how}."
        yield f"first_frame: {plan.first_frame}"
    yield ""
    yield from _split(plan)
    yield "# Every n-th frame of videos; without this line as the profile says."
    yield "# frame_step: 2"


def _split(plan: Plan) -> Iterator[str]:
    if plan.by_split:
        yield "# The folders train and val ({split} above) say what is for validation."
    elif plan.validation:
        yield "# Sequences and stills for validation, by name or pattern ('seq1*'); all others are for training."
        yield from _held_out(plan)
        yield f"validation: {_listing(plan.validation)}"
    if plan.share:
        yield "# The last part of each video is for validation, and of the stills the last ones, if `validation` names none."
        if not plan.validation:
            yield from _held_out(plan)
        yield "# Neighbours look alike: it is better to name whole videos or places, as in  validation: [flight7, 'village_*']"
        yield f"validation_share: {plan.share}"


def _held_out(plan: Plan) -> Iterator[str]:
    """What that comes to in this folder, if a share is held out."""
    last = f"their last {plan.share:.0%}".replace("%", " %")
    videos = [f"videos: {last}"] if {"video", "frames"} & plan.files.keys() else []
    stills = [f"stills: {', '.join(plan.validation) or last}"] if plan.stills else []
    if plan.share:
        yield f"# Here, for validation: {'; '.join(videos + stills)}."


def _colours(contents: Contents) -> dict[str, Colour]:
    """Display colours of the classes: those of the labels, where they have some, else far apart."""
    given = [contents.labels.get(name) for name in contents.classes]
    chosen = class_spec(contents.classes).palette
    if all(isinstance(colour, tuple) for colour in given):
        return {name: colour for name, colour in zip(contents.classes, given, strict=True) if isinstance(colour, tuple)}
    return dict(zip(contents.classes, chosen, strict=True))


def _count(name: str, contents: Contents) -> str:
    if name not in contents.counts:
        return ""
    count, total = contents.counts[name], sum(contents.counts.values())
    return f"    # {count:,} {contents.unit}, {count / max(1, total):.2%}"


def _scalar(value: object) -> str:
    """A text, number or null as YAML has it within a line."""
    return yaml.safe_dump([value], default_flow_style=True, width=2**16, allow_unicode=True).strip()[1:-1]


def _listing(values: object) -> str:
    return "[" + ", ".join(map(_scalar, values)) + "]"
