"""Where pictures and labels lie, as layouts, and how they are split: what a first dataset.yaml says of them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco
from sspcore.data.datasets.reading import VALIDATION_SHARE
from sspcore.data.draft.files import Found
from sspcore.data.draft.layouts import Template, label_template, merged, picture_template, video_template
from sspcore.data.draft.pairs import Link, Pictures, coco_links, first_frame_seen, links, sorted_pictures
from sspcore.data.layouts import number_of
from sspcore.data.releases import natural_order
from sspcore.data.video import count_frames

_HELD_OUT = re.compile(r"(?i)(val|valid|validation|test|testing|eval|dev)_")  # folders before the names of stills
FEWEST_VIDEOS = 4  # labelled, from which on whole videos are for validation


@dataclass
class Plan:
    """What a description says of a folder's files.

    Attributes:
        files: layout of each kind.
        images, shapes, collections: label images, LabelMe files and COCO files that are used.
        stills: names of the labelled stills.
        validation: names for validation; empty: a share, or a folder for each split.
        share: of what `validation` does not name, for validation; 0 if nothing of it is.
        by_split: whether there is a folder for each split.
        first_frame: number that labels give to a video's first frame, None where labels are of no video file.
        why: how that is known, "" if it is a guess.
    """

    files: dict[str, str] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)
    shapes: list[Path] = field(default_factory=list)
    collections: list[Path] = field(default_factory=list)
    stills: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    share: float = 0.0
    by_split: bool = False
    first_frame: int | None = None
    why: str = ""


def planned(found: Found) -> Plan:
    """The layouts of what was found; what does not fit is noted.

    Raises: ReleaseError if there are no pictures, or no labels of them.
    """
    pictures = sorted_pictures(found)
    if not found.videos and not found.pictures:
        raise ReleaseError(f"{found.root}: holds no video and no picture; give the folder of your videos, pictures and labels")
    forms = {
        "images": links(found.label_images, pictures, found), "shapes": links(found.labelme, pictures, found),
        "collections": coco_links(found.coco, pictures, found),
    }
    form = _most_used(forms, found)
    plan = Plan()
    of_frames = [link for link in forms[form] if link.sequence]
    of_stills = [link for link in forms[form] if not link.sequence]
    of_frames, of_stills = _plan_frames(plan, of_frames, pictures, found), _plan_stills(plan, of_stills, pictures, found)
    stills = {each for group in pictures.stills.values() for each in group}
    if others := len(stills - {picture for picture, _ in _labelled(forms[form], pictures)}):
        found.notes.append(f"{others} pictures without a label, and of no video, are not used")
    setattr(plan, form, [link.label for link in (*of_frames, *of_stills)])
    if not {"labels", "still_labels"} & plan.files.keys():
        raise ReleaseError(
            f"{found.root}: holds no labels of its pictures; label some frames with a tool such as CVAT or LabelMe, put the "
            "files there and run again" + "".join(f" ({note})" for note in found.notes[:1])
        )
    if of_frames and "video" in plan.files:
        plan.first_frame, plan.why = _first_frame(of_frames, pictures)
    plan.by_split = any("{split}" in layout for layout in plan.files.values())
    if not plan.by_split:
        plan.validation = _validation(of_frames, plan.stills, found)
        videos_are_left = bool(pictures.sequences) and not pictures.sequences.intersection(plan.validation)
        if videos_are_left or not plan.validation:
            plan.share = _share(of_frames, pictures, plan.first_frame or 0)
    return plan


def _most_used(forms: dict[str, list[Link]], found: Found) -> str:
    """The form that most pictures are labelled in; the others are noted."""
    titles = {"images": "label images", "shapes": "LabelMe files", "collections": "COCO files"}
    counts = {
        form: sum(1 if link.core else len(coco.frames(link.label)) for link in linked) for form, linked in forms.items()
    }
    most = max(counts, key=lambda form: counts[form])
    for form, count in counts.items():
        if form != most and count:
            found.notes.append(f"{titles[form]} of {count} pictures are not used, but {titles[most]} of {counts[most]}")
    return most


def _plan_frames(plan: Plan, linked: list[Link], pictures: Pictures, found: Found) -> list[Link]:
    """Layouts of videos, of folders of frames and of their labels; returns the labels that they fit."""
    root, many = found.root, len(pictures.sequences) > 1
    templates = [label_template(link, root) for link in linked]
    if many and any("{sequence}" in "".join(template) for template in templates):
        named = [k for k, template in enumerate(templates) if "{sequence}" in "".join(template) or not linked[k].core]
        if len(named) < len(linked):
            found.notes.append(
                f"{len(linked) - len(named)} labels do not say which video they are of; put them in a folder called like it"
            )
        linked, templates = [linked[k] for k in named], [templates[k] for k in named]
    videos = {video_template(path, root, name): path for name, path in pictures.videos.items()}
    frames = {picture_template(each, root, name): each for name, group in pictures.frames.items() for each in group}
    for kind, known in (("video", videos), ("frames", frames)):
        if known:
            plan.files[kind] = _layout([*known], found, "videos" if kind == "video" else "frames")[0]
    if linked:
        plan.files["labels"], kept = _layout(templates, found, "labels of videos")
        linked = [linked[k] for k in kept]
    if not many and linked and "{sequence}" not in plan.files["labels"]:
        for kind, known in (("video", pictures.videos), ("frames", pictures.frames)):
            if known:  # one video: its name need not come twice
                plan.files[kind] = plan.files[kind].replace("{sequence}", next(iter(known)))
    return linked


def _plan_stills(plan: Plan, linked: list[Link], pictures: Pictures, found: Found) -> list[Link]:
    """Layouts of stills and of their labels; returns the labels that they fit."""
    if linked:
        labelled = _labelled(linked, pictures)
        of_labels = [label_template(link, found.root) for link in linked]
        of_stills = [picture_template(picture, found.root, "", core) for picture, core in labelled]
        by_coco = not linked[0].core
        varied = "{sequence}" if by_coco or _own_folders(of_labels) == _own_folders(of_stills) else "*"
        plan.files["stills"], fit = merged(of_stills, varied)
        plan.files["still_labels"], kept = _layout(of_labels, found, "labels of stills", "*" if by_coco else varied)
        linked = [linked[k] for k in kept if by_coco or k in {*fit}]
        plan.stills = [_still_name(*labelled[k], plan.files["stills"], found.root) for k in fit]
    return linked


def _labelled(linked: list[Link], pictures: Pictures) -> list[tuple[Path, str]]:
    """The pictures that labels are of, with the part of their names that stands for them; a COCO file names many."""
    names = {Path(name).stem for link in linked if not link.core for name in coco.frames(link.label)}
    named = [(each, each.stem) for group in pictures.stills.values() for each in group if each.stem in names]
    return named + [(link.picture, _core_of(link, link.picture)) for link in linked if link.core and link.picture]


def _still_name(picture: Path, core: str, layout: str, root: Path) -> str:
    """What a still is called: its folder's name goes before its own where the layout has one."""
    names = layout.split("/")
    if "{sequence}" not in names:
        return core
    return f"{picture.relative_to(root).parts[names.index('{sequence}')]}_{core}"


def _core_of(link: Link, picture: Path) -> str:
    return link.core if link.core in picture.stem else picture.stem


def _own_folders(templates: list[Template]) -> list[set[str]]:
    """Folders above each file that are not above all."""
    folders = [{*template[:-1]} for template in templates]
    return [each - set.intersection(*folders) for each in folders]


def _layout(templates: list[Template], found: Found, what: str, varied: str = "*") -> tuple[str, list[int]]:
    layout, kept = merged(templates, varied)
    if others := len(templates) - len(kept):
        found.notes.append(f"{others} {what} lie elsewhere than the other {len(kept)} ({layout}) and are not used; move them")
    return layout, kept


def _numbers(linked: list[Link]) -> dict[str, list[int]]:
    """Numbers of the labelled frames of each sequence, in order."""
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for link in linked:
        texts = [link.core] if link.core else [number_of(Path(name).stem) for name in coco.frames(link.label)]
        numbers[link.sequence] |= {int(text) for text in texts if text}
    return {name: sorted(known) for name, known in numbers.items() if known}


def _share(linked: list[Link], pictures: Pictures, first_frame: int) -> float:
    """Share at the end of each video for validation: the usual one, or as much as has a label in it, up to a half."""
    needed = []
    for name, numbers in _numbers(linked).items():
        if name in pictures.frames:
            every = sorted(int(number_of(path.stem)) for path in pictures.frames[name])
            total, last = len(every), sum(number < numbers[-1] for number in every)
        else:
            total, last = _frames(pictures.videos[name]), numbers[-1] - first_frame
        if total > last and len(numbers) > 1:
            needed.append(1 - last / total)
    share = max(VALIDATION_SHARE, math.ceil(20 * min(needed, default=0)) / 20)
    return share if share <= 0.5 else VALIDATION_SHARE


def _first_frame(linked: list[Link], pictures: Pictures) -> tuple[int, str]:
    """Number that labels give to a video's first frame, and how that is known, "" if it is a guess."""
    numbers = _numbers(linked)
    seen = [link for link in linked if link.picture and number_of(link.picture.stem) and link.sequence in pictures.videos]
    for link in sorted(seen, key=lambda link: int(number_of(link.picture.stem)))[:2]:  # the first: a video is read up to there
        video, number = pictures.videos[link.sequence], int(number_of(link.picture.stem))
        first = first_frame_seen(video, link.picture, number)
        if first is not None:
            return first, f"{link.picture.name} looks like frame {number - first} of {video.name}"
    for name, known in numbers.items():
        if 0 in known:
            return 0, "there is a label of number 0"
        if name in pictures.videos and known[-1] >= _frames(pictures.videos[name]) > 0:
            return 1, f"the last label of {name} has the number of its frames"
    step = math.gcd(*(number - known[0] for known in numbers.values() for number in known))
    if step > 1 and all(number % step == 1 for known in numbers.values() for number in known):
        return 1, f"labels are {step} frames apart from 1 on"
    return (1, "") if any(1 in known for known in numbers.values()) else (0, "")


def _frames(video: Path) -> int:
    try:
        return count_frames(video)
    except ReleaseError:
        return 0


def _validation(of_frames: list[Link], stills: list[str], found: Found) -> list[str]:
    """Names and patterns for validation, none if nothing speaks for some.

    They come from a list beside the labels (CVAT, Pascal VOC), from folders called valid or test, from the last of several
    labelled videos, or from the last groups of stills with names alike ("village_3"), which may be of one place.
    """
    known = {*stills, *(link.sequence for link in of_frames)}
    for listed in sorted(found.root.rglob("ImageSets/*/val.txt")):
        names = [Path(line.strip()).name for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()]
        if names := [name for name in names if name in known]:
            return names
    labelled = sorted({link.sequence for link in of_frames}, key=natural_order)
    if labelled:
        return labelled[-max(1, round(VALIDATION_SHARE * len(labelled))):] if len(labelled) >= FEWEST_VIDEOS else []
    if held := sorted({match[1] for name in stills if (match := _HELD_OUT.match(name))}):
        return [f"{name}_*" for name in held]
    groups = Counter(re.sub(r"\d*$", "", name) for name in stills)
    chosen: list[str] = []
    for name in sorted(groups, key=natural_order, reverse=True):
        if sum(groups[each] for each in chosen) < VALIDATION_SHARE * groups.total():
            chosen.append(name)
    few = min(groups.values(), default=0) < 2 or sum(groups[each] for each in chosen) > groups.total() / 2
    return [] if few else [f"{name}*" for name in chosen]
