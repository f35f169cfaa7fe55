"""Where pictures and labels lie, as layouts, and how they are split: what a first dataset.yaml says of them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco
from sspcore.data.draft.files import Found
from sspcore.data.draft.layouts import Template, label_template, merged, picture_template, video_template
from sspcore.data.draft.pairs import Link, Pictures, coco_links, first_frame_seen, links, number_of, sorted_pictures
from sspcore.data.releases import natural_order
from sspcore.data.video import count_frames

SHARE = 0.25  # of what is labelled, for validation
FEWEST_VIDEOS = 4  # labelled, from which on whole videos are for validation


@dataclass
class Plan:
    """What a folder's files come to.

    Attributes:
        files: layout of each kind.
        images, shapes, collections: label images, LabelMe files and COCO files that are used.
        validation: names for validation; empty: a share, or a folder for each split.
        shared: whether a share of what `validation` does not name is for validation.
        by_split: whether there is a folder for each split.
        first_frame: number that labels give to a video's first frame, None where labels are of no video file.
        why: how that is known, "" if it is a guess.
    """

    files: dict[str, str] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)
    shapes: list[Path] = field(default_factory=list)
    collections: list[Path] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    shared: bool = False
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
    of_frames = _plan_frames(plan, of_frames, pictures, found)
    of_stills = _plan_stills(plan, of_stills, pictures, found)
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
        plan.validation = _validation(of_frames, of_stills, found)
        videos_are_left = bool(pictures.sequences) and not pictures.sequences.intersection(plan.validation)
        plan.shared = videos_are_left or not plan.validation
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
        told = [k for k, template in enumerate(templates) if "{sequence}" in "".join(template) or not linked[k].core]
        if len(told) < len(linked):
            found.notes.append(
                f"{len(linked) - len(told)} labels do not say which video they are of; put them in a folder called like it"
            )
        linked, templates = [linked[k] for k in told], [templates[k] for k in told]
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
    labelled = {link.picture for link in linked}
    stills = [each for group in pictures.stills.values() for each in group]
    if linked and not linked[0].core:
        names = {Path(name).stem for link in linked for name in coco.frames(link.label)}
        labelled = {each for each in stills if each.stem in names}
        templates = [picture_template(each, found.root, "", each.stem) for each in stills if each in labelled]
        of_labels = [label_template(link, found.root) for link in linked]
        plan.files["stills"], _ = _layout(templates, found, "stills", "{sequence}")
        plan.files["still_labels"], kept = _layout(of_labels, found, "COCO files")
        linked = [linked[k] for k in kept]
    elif linked:
        of_labels = [label_template(link, found.root) for link in linked]
        of_stills = [picture_template(link.picture, found.root, "", _core_of(link)) for link in linked if link.picture]
        varied = "{sequence}" if _own_folders(of_labels) == _own_folders(of_stills) else "*"
        plan.files["stills"], fit = merged(of_stills, varied)
        plan.files["still_labels"], kept = _layout(of_labels, found, "labels of stills", varied)
        linked = [linked[k] for k in sorted({*fit} & {*kept})]
    if others := len(stills) - len(labelled & {*stills}):
        found.notes.append(f"{others} pictures without a label, and of no video, are not used")
    return linked


def _core_of(link: Link) -> str:
    return link.core if link.picture is None or link.core in link.picture.stem else link.picture.stem


def _own_folders(templates: list[Template]) -> list[set[str]]:
    """Folders above each file that are not above all."""
    folders = [{*template[:-1]} for template in templates]
    return [each - set.intersection(*folders) for each in folders]


def _layout(templates: list[Template], found: Found, what: str, varied: str = "*") -> tuple[str, list[int]]:
    layout, kept = merged(templates, varied)
    if others := len(templates) - len(kept):
        found.notes.append(f"{others} {what} lie elsewhere than the other {len(kept)} ({layout}) and are not used; move them")
    return layout, kept


def _first_frame(linked: list[Link], pictures: Pictures) -> tuple[int, str]:
    """Number that labels give to a video's first frame, and how that is known, "" if it is a guess."""
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for link in linked:
        texts = [link.core] if link.core else [number_of(Path(name).stem) for name in coco.frames(link.label)]
        numbers[link.sequence] |= {int(text) for text in texts if text}
    for link in linked:
        number = link.core or (link.picture and number_of(link.picture.stem))
        if link.picture and number and link.sequence in pictures.videos:
            seen = first_frame_seen(pictures.videos[link.sequence], link.picture, int(number))
            if seen is not None:
                video = pictures.videos[link.sequence].name
                return seen, f"{link.picture.name} looks like frame {int(number) - seen} of {video}"
    for name, known in numbers.items():
        if 0 in known:
            return 0, "there is a label of number 0"
        if name in pictures.videos and known and max(known) >= _frames(pictures.videos[name]) > 0:
            return 1, f"the last label of {name} has the number of its frames"
    step = math.gcd(*(number - min(known) for known in numbers.values() for number in known))
    if step > 1 and all(number % step == 1 for known in numbers.values() for number in known):
        return 1, f"labels are {step} frames apart from 1 on"
    return (1, "") if any(1 in known for known in numbers.values()) else (0, "")


def _frames(video: Path) -> int:
    try:
        return count_frames(video)
    except ReleaseError:
        return 0


def _validation(of_frames: list[Link], of_stills: list[Link], found: Found) -> list[str]:
    """Names for validation: those of a list beside the labels (CVAT, Pascal VOC), the last of several labelled videos, or the
    last groups of stills with names alike ("village_3"), which may be of one place; none if there are no such groups.
    """
    known = {*(link.core for link in of_stills), *(link.sequence for link in of_frames)}
    for listed in sorted(found.root.rglob("ImageSets/*/val.txt")):
        names = [Path(line.strip()).name for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()]
        if names := [name for name in names if name in known]:
            return names
    labelled = sorted({link.sequence for link in of_frames if link.core}, key=natural_order)
    if of_frames:
        return labelled[-max(1, round(SHARE * len(labelled))):] if len(labelled) >= FEWEST_VIDEOS else []
    groups = Counter(re.sub(r"\d*$", "", link.core) for link in of_stills)
    chosen: list[str] = []
    for name in sorted(groups, key=natural_order, reverse=True):
        if sum(groups[each] for each in chosen) < SHARE * groups.total():
            chosen.append(name)
    few = len(groups) < 2 or min(groups.values()) < 2 or sum(groups[each] for each in chosen) > groups.total() / 2
    return [] if few else [f"{name}*" for name in chosen]
