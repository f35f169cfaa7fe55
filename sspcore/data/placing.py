"""Which picture a label file is of, or an image that a COCO file names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco
from sspcore.data.datasets import DatasetSpec

Fields = dict[str, str]  # of a layout, with what stands for them in a file's path
Files = dict[str, dict[int, Any]]  # paths by kind and frame number; "entries": names in COCO files


class Name(NamedTuple):
    """A video or a still; the split is "" where no layout names it."""

    split: str
    name: str

    def fits(self, fields: Fields) -> bool:
        """Whether a layout's fields may mean it."""
        return fields.get("sequence", self.name) == self.name and fields.get("split", self.split).lower() == self.split


class Pictures(defaultdict[Name, Files]):
    """Files of all videos, or of all stills."""

    def __init__(self) -> None:
        super().__init__(lambda: defaultdict(dict))


def place_files(
    found: Iterable[tuple[Path, Fields]], kind: str, videos: Pictures, stills: Pictures, spec: DatasetSpec
) -> Iterator[str]:
    """Put label files to their pictures; a line for those that no picture can have.

    Args:
        kind: "labels" or "vdd" of videos, "still_labels".
    Raises: ReleaseError if a file may be of several videos, or a COCO file cannot be read.
    """
    early: list[Path] = []
    for path, fields in found:
        if "still" in fields:
            stills[Name(fields.get("split", "").lower(), still_name(fields))]["labels"].setdefault(0, path)
        elif "frame" not in fields:
            yield from _place_entries(path, fields, {} if kind == "still_labels" else videos, stills, spec)
        else:
            files = videos[_video(path, fields, videos, spec)]
            number = int(fields["frame"]) - (0 if files["frames"] else spec.first_frame)
            if number < 0:
                early.append(path)
            else:
                files[kind].setdefault(number, path)
    if early:
        first = f"before the first frame, whose number is {spec.first_frame} (first_frame:)"
        yield f"{early[0]}: is {first}; {len(early)} such files are not used"


def still_name(fields: Fields) -> str:
    """Name of a still; that of its folder goes before it where the layout has one."""
    return "_".join(fields[field] for field in ("sequence", "still") if field in fields)


def _video(path: Path, fields: Fields, videos: Pictures, spec: DatasetSpec) -> Name:
    if "sequence" in fields:
        return Name(fields.get("split", "").lower(), fields["sequence"])
    names = [name for name in videos if name.fits(fields)]
    if len(names) != 1:
        which = f"may be of {len(names)} videos" if names else "is of no video that is there"
        raise ReleaseError(f"{path}: {which}; name {{sequence}} under files: labels: of {spec.title}")
    return names[0]


def _place_entries(path: Path, fields: Fields, videos: Pictures, stills: Pictures, spec: DatasetSpec) -> Iterator[str]:
    """Put the images that a COCO file names to their pictures."""
    images = defaultdict(list)
    for pictures, kind in ((videos, "frames"), (stills, "still")):
        for name in filter(lambda name: name.fits(fields) or pictures is stills, pictures):
            for number, picture in pictures[name][kind].items():
                images[picture.stem.lower()].append((pictures[name], number, picture))
    lost = []
    files_of_videos = {name: files for name, files in videos.items() if files["video"] and name.fits(fields)}
    for entry in coco.frames(path):
        parts = PurePath(entry.replace("\\", "/")).with_suffix("").parts
        found = images.get(parts[-1].lower(), []) if parts else []
        found = _closest(found, parts) or _in_video(parts, files_of_videos, spec)
        if found is None:
            lost.append(entry)
        else:
            files, number = found
            if number not in files["labels"]:
                files["labels"][number], files["entries"][number] = path, entry
    if empty := coco.unlabelled(path):
        yield f"{path}: {len(empty)} of its images, such as {empty[0]}, have no annotation and do not count as labelled"
    if lost:
        yield f"{path}: {lost[0]}: is no picture of {spec.title} ({len(lost)} such images); correct its names, or files:"


def _closest(found: list[tuple[Files, int, Path]], parts: tuple[str, ...]) -> tuple[Files, int] | None:
    """Of pictures with the right name, the one whose folders agree best with `parts`; None if several agree alike."""
    def agreeing(picture: Path) -> int:
        pairs = zip(reversed(picture.parent.parts), reversed(parts[:-1]), strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a.lower() != b.lower()), min(len(picture.parts), len(parts)) - 1)

    ranked = sorted(found, key=lambda each: -agreeing(each[2]))
    if not ranked or len(ranked) > 1 and agreeing(ranked[0][2]) == agreeing(ranked[1][2]):
        return None
    return ranked[0][0], ranked[0][1]


def _in_video(parts: tuple[str, ...], videos: dict[Name, Files], spec: DatasetSpec) -> tuple[Files, int] | None:
    """The frame of a video file that a name means: "flight1/frame_000120", or "flight1_000120"; None if it does not say."""
    numbers = re.findall(r"\d+", parts[-1]) if parts else []
    if len(videos) != 1:
        text = "/".join(parts).lower()
        # the longest name first: flight10 before flight1
        named = [name for name in sorted(videos, key=lambda name: -len(name.name)) if _says(text, name.name.lower())]
        videos = {name: videos[name] for name in named[:1]}
    if not numbers or not videos or int(numbers[-1]) < spec.first_frame:
        return None
    (files,) = videos.values()
    return files, int(numbers[-1]) - spec.first_frame


def _says(text: str, name: str) -> bool:
    return re.search(rf"(^|/){re.escape(name)}(/|[^a-z0-9].*\d)", text) is not None
