"""Which label is of which picture, or of which frame of which video: by names, by numbers, and by looking where both may be."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sspcore.core.errors import ReleaseError
from sspcore.core.images import read_image
from sspcore.data.annotations import coco
from sspcore.data.draft.files import Found, spread
from sspcore.data.layouts import number_of
from sspcore.data.video import count_frames, read_video

FEWEST_FRAMES = 10  # in a folder of frames
ALIKE = 0.8  # correlation of thumbnails from which on two pictures may be neighbours in a video
_THUMBNAIL = (48, 27)

Stems = dict[str, str]


@dataclass(frozen=True)
class Link:
    """A label file and what it is of.

    Attributes:
        label: the file; a COCO file is of many pictures.
        sequence: the video or folder of frames; "" for a still.
        core: the part of its name that stands for the frame or the still; "" for a COCO file.
        picture: the still, or a copy of the frame.
    """

    label: Path
    sequence: str
    core: str
    picture: Path | None = None


@dataclass(frozen=True)
class Pictures:
    """Where pictures come from: video files and folders of frames by the names of their sequences, and folders of stills."""

    videos: dict[str, Path]
    frames: dict[str, list[Path]]
    stills: dict[Path, list[Path]]

    @property
    def sequences(self) -> set[str]:
        return {*self.videos, *self.frames}


def sorted_pictures(found: Found) -> Pictures:
    """The pictures of a folder as videos, frames and stills."""
    videos = dict(zip(_own_names([video.with_suffix("") for video in found.videos], found), found.videos, strict=True))
    folders: defaultdict[Path, list[Path]] = defaultdict(list)
    for picture in found.pictures:
        folders[picture.parent].append(picture)
    of_frames = [folder for folder, pictures in folders.items() if folder != found.root and are_frames(pictures)]
    names = _own_names(of_frames, found)
    frames = {name: folders[folder] for name, folder in zip(names, of_frames, strict=True)}
    return Pictures(videos, frames, {folder: pictures for folder, pictures in folders.items() if folder not in of_frames})


def _own_names(paths: list[Path], found: Found) -> list[str]:
    """What each path has to itself: its last name, or that of a folder above (flight1/video, flight2/video)."""
    parts = [path.relative_to(found.root).parts for path in paths]
    for up in range(1, min(map(len, parts), default=0) + 1):
        names = [each[-up] for each in parts]
        if len({*names}) == len(names):
            return names
    return ["_".join(each) for each in parts]


def are_frames(pictures: list[Path]) -> bool:
    """Whether pictures are the frames of one video: numbered, of one size, neighbours alike."""
    names = [re.fullmatch(r"(.*?)(\d+)", picture.stem) for picture in pictures]
    if len(pictures) < FEWEST_FRAMES or not all(names) or len({name[1] for name in names if name}) > 1:
        return False
    sample = spread(range(len(pictures) - 1), 5)
    alike = [likeness(thumbnail(pictures[k]), thumbnail(pictures[k + 1])) for k in sample]
    return float(np.median(alike)) >= ALIKE


def thumbnail(source: Path | np.ndarray) -> np.ndarray | None:
    """A small grey copy of a picture (H, W, 3) or of a file, None if it cannot be read."""
    try:
        image = read_image(source, cv2.IMREAD_GRAYSCALE) if isinstance(source, Path) else source
    except ReleaseError:
        return None
    image = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return image if image.ndim == 2 else image.mean(2)


def likeness(first: np.ndarray | None, second: np.ndarray | None) -> float:
    """Correlation of two thumbnails, from -1 to 1; 0 where one is missing or without any contrast."""
    if first is None or second is None or first.std() < 1 or second.std() < 1:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def links(labels: Iterable[Path], pictures: Pictures, found: Found) -> list[Link]:
    """What each label file with a picture of its own is of; a line is noted for folders of labels that are of nothing."""
    folders: defaultdict[Path, list[Path]] = defaultdict(list)
    for label in labels:
        folders[label.parent].append(label)
    linked: list[Link] = []
    for folder, files in folders.items():
        of_folder = _links_of(folder, files, pictures, found)
        if len(of_folder) < len(files):
            found.notes.append(
                f"{found.place(folder)}: {len(files) - len(of_folder)} of {len(files)} labels are of no picture and no video "
                "here; call each like its picture, or put them in a folder called like the video, named by their frames"
            )
        linked += of_folder
    return _one_of_each(linked, found)


def _one_of_each(linked: list[Link], found: Found) -> list[Link]:
    """Links without those of folders that label the same pictures again, in other colours or numbers."""
    folders: defaultdict[Path, list[Link]] = defaultdict(list)
    for link in linked:
        folders[link.label.parent].append(link)
    taken: set[tuple[str, str, Path | None]] = set()
    for folder, links in sorted(folders.items(), key=lambda item: -len(item[1])):
        own = {(link.sequence, link.core, link.picture) for link in links}
        if len(own & taken) * 2 > len(own):
            found.notes.append(f"{found.place(folder)}: labels of pictures that have labels elsewhere; these are not used")
            del folders[folder]
        taken |= own
    return [link for link in linked if link.label.parent in folders]


def _links_of(folder: Path, files: list[Path], pictures: Pictures, found: Found) -> list[Link]:
    parts = folder.relative_to(found.root).parts
    named = next((part for part in reversed(parts) if part in pictures.sequences), None)
    if named is not None and all(number_of(path.stem) for path in files):
        return [Link(path, named, number_of(path.stem)) for path in files]
    prefixed = [Link(path, *match) for path in files if (match := _prefixed(path.stem, pictures.sequences))]
    if len(prefixed) * 2 > len(files):
        return prefixed
    matched, near = _nearest(folder, files, pictures)
    by_stem = {picture.stem: picture for picture in near}
    of = {path: by_stem[matched[path.stem][1]] for path in files if path.stem in matched}
    if len(pictures.videos) == 1 and all(number_of(path.stem) for path in files):
        (sequence,) = pictures.videos
        extract = next(((path, picture) for path, picture in of.items()), None)
        if not extract or first_frame_seen(pictures.videos[sequence], extract[1], int(number_of(extract[0].stem))) is not None:
            return [Link(path, sequence, number_of(path.stem), of.get(path)) for path in files]
    of_frames = next((name for name, frames in pictures.frames.items() if frames is near), "")
    return [
        Link(path, of_frames, number_of(path.stem) if of_frames else matched[path.stem][0], picture)
        for path, picture in of.items()
    ]


def _prefixed(stem: str, sequences: Iterable[str]) -> tuple[str, str] | None:
    """Sequence and number of a name such as flight_000012."""
    fits = [name for name in sequences if stem.startswith(name) and re.fullmatch(r"\D*\d+\D*", stem[len(name):])]
    name = max(fits, key=len, default=None)
    return None if name is None else (name, number_of(stem))


def _nearest(folder: Path, files: list[Path], pictures: Pictures) -> tuple[dict[str, tuple[str, str]], list[Path]]:
    """The folder of pictures that most labels of a folder fit, the nearest of several, and how they fit (see `paired`)."""
    groups = [*pictures.stills.values(), *pictures.frames.values()]
    fits = [(paired([path.stem for path in files], [path.stem for path in group]), group) for group in groups]
    steps = [len(Path(os.path.relpath(folder, group[0].parent)).parts) for group in groups]
    best = max(range(len(fits)), key=lambda k: (len(fits[k][0]), -steps[k]), default=None)
    return ({}, []) if best is None or len(fits[best][0]) * 2 <= len(files) else fits[best]


def paired(labels: list[str], pictures: list[str]) -> dict[str, tuple[str, str]]:
    """For names of labels that belong to one of a picture: the part that both share, and the picture's name.

    The same name, the picture's name with something before or behind it (x_mask), or each with something of its own (img_3,
    label_3).
    """
    known = {*pictures}
    best = {label: (label, label) for label in labels if label in known}
    for label in spread(labels, 3):
        inside = max((name for name in pictures if name in label), key=len, default="")
        if inside:
            before, _, behind = label.partition(inside)
            cores = {each: each[len(before): len(each) - len(behind)] for each in labels if _within(each, before, behind)}
            best = max(best, {each: (core, core) for each, core in cores.items() if core in known}, key=len)
    if len(best) * 2 <= len(labels):
        shared = dict(zip(_stripped(pictures), pictures, strict=True))
        own = {each: (core, shared[core]) for each, core in zip(labels, _stripped(labels), strict=True) if core in shared}
        best = max(best, own, key=len)
    return best


def _within(name: str, before: str, behind: str) -> bool:
    return name.startswith(before) and name.endswith(behind) and len(name) >= len(before) + len(behind)


def _stripped(names: list[str]) -> list[str]:
    """Names without what all begin with and what all end with, numbers left whole."""
    before = re.sub(r"\d+$", "", os.path.commonprefix(names))
    behind = re.sub(r"^\d+", "", os.path.commonprefix([name[::-1] for name in names])[::-1])
    return [name if len(names) < 2 else name[len(before): len(name) - len(behind)] for name in names]


def first_frame_seen(video: Path, picture: Path, number: int) -> int | None:
    """Number that a picture's name gives to the first frame of a video that it was taken from: 0 or 1; None if it was not."""
    try:
        wanted = {k for k in (number, number - 1) if 0 <= k < count_frames(video)}
        seen = {k: likeness(thumbnail(image), thumbnail(picture)) for k, image in read_video(video, wanted)}
    except ReleaseError:
        return None
    best = max(seen, key=lambda k: seen[k], default=None)
    return None if best is None or seen[best] < ALIKE else number - best


def coco_links(files: Iterable[Path], pictures: Pictures, found: Found) -> list[Link]:
    """What COCO files are of: stills if there are pictures of their names, else frames."""
    linked = []
    stills = {picture.stem: picture for group in pictures.stills.values() for picture in group}
    for path in files:
        names = [Path(name) for name in coco.frames(path)]
        of_stills = [name for name in names if name.stem in stills]
        video = next(iter(pictures.videos.values())) if len(pictures.videos) == 1 else None
        numbered = bool(names) and all(number_of(name.stem) for name in names)
        still = stills[of_stills[0].stem] if of_stills else None
        if still and not (video and numbered and first_frame_seen(video, still, int(number_of(still.stem))) is not None):
            linked.append(Link(path, "", "", still))
        elif pictures.sequences and numbered:
            parts = path.relative_to(found.root).with_suffix("").parts
            named = next((part for part in reversed(parts) if part in pictures.sequences), next(iter(pictures.sequences)))
            linked.append(Link(path, named, "", still))
        else:
            found.notes.append(f"{found.place(path)}: its {len(names)} images are not here; put them beside it, then run again")
    return linked
