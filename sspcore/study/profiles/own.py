"""A profile on data sets of one's own: their clips, frame size and crops, and how long an epoch is.

A profile's numbers are made for its own data sets. For others it keeps what a run costs, the number of pixels and of training
steps, and takes the shape of the frames and the frame step from the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from pydantic import Field

from sspcore.core.errors import ProfileError
from sspcore.core.settings import STRIDE, Section
from sspcore.core.types import Size
from sspcore.data.datasets import DatasetSpec
from sspcore.models.systems import SYSTEMS
from sspcore.study.profiles.files import Tree

OWN = "own"  # the section of `clips` that holds for data sets of one's own
_DISTILLED = {spec.recipe for spec in SYSTEMS.values() if spec.teacher}


class OwnData(Section):
    """How a profile is run on data sets of one's own.

    Attributes:
        systems: run by default; a file that extends the profile and says `systems` changes these too.
        labelled, distilled: training windows of an epoch of recipes that learn from labels, and from the teacher: as many as
            the profile's own data sets have, so that few labels make no short training and many none that takes days.
    """

    systems: tuple[str, ...]
    labelled: int = Field(ge=1)
    distilled: int = Field(ge=1)


def on_own(tree: Tree, specs: Sequence[DatasetSpec], described: Tree, shape: Size) -> Tree:
    """The settings of a profile, changed for data sets of one's own in place of its own.

    Args:
        tree: of the profile, as JSON.
        specs: the data sets; `described`: the same as JSON, by name.
        shape: (H, W) of their frames.
    Raises: ProfileError if the profile does not say how they are to be prepared, or they disagree on the frame size.
    """
    rules, own = tree["clips"].get(OWN), tree["own"]
    if rules is None or own is None:
        section = "own" if own is None else f"clips.{OWN}"
        raise ProfileError(f"profile {tree['name']}: {section} is missing, for data sets of your own; add it, as in demo.yaml")
    size, teacher = _sizes(tree, specs, shape)
    of_teacher = {spec.recipe for spec in SYSTEMS.values() if spec.image_model == "teacher"}
    recipes = {}
    for name, recipe in tree["training"].items():
        if "@" in name:  # of another data set
            continue
        role = "teacher_size" if name in of_teacher else "input_size"
        crop = fitted_crop(recipe["crop"], tree[role], teacher if name in of_teacher else size)
        windows = recipe["epoch_windows"] or own["distilled" if name in _DISTILLED else "labelled"]
        recipes[name] = recipe | {"crop": crop, "epoch_windows": windows}
    stored = rules["store_size"] and fitted(rules["store_size"], size[0] / size[1])
    clips = {spec.name: rules | {"store_size": stored, "frame_step": spec.frame_step or rules["frame_step"]} for spec in specs}
    places = ", ".join(f"{spec.title} in {spec.root}" for spec in specs)
    return tree | {
        "description": f"data: {places}; networks and training as in {tree['name']}",
        "datasets": [spec.name for spec in specs], "described": described, "rendering": None, "clips": clips,
        "systems": own["systems"], "input_size": size, "teacher_size": teacher, "training": recipes, "publish_to": None,
    }


def _sizes(tree: Tree, specs: Sequence[DatasetSpec], shape: Size) -> tuple[Size, Size]:
    """Frame sizes of the students and of the teacher."""
    given = {spec.input_size: spec for spec in specs if spec.input_size is not None}
    if len(given) > 1:
        first, second, *_ = given.values()
        raise ProfileError(f"{second.title}: its input_size differs from that of {first.title}; give both the same one")
    if not given:
        return tuple(fitted(tree[role], shape[0] / shape[1]) for role in ("input_size", "teacher_size"))
    (size,) = given
    larger = math.sqrt(math.prod(tree["teacher_size"]) / math.prod(tree["input_size"]))
    return size, fitted((size[0] * larger, size[1] * larger), size[0] / size[1])


def fitted(size: Sequence[float], ratio: float) -> Size:
    """The (H, W) in multiples of STRIDE that comes nearest to the number of pixels of `size` and to a ratio H / W."""
    pixels = math.prod(size)
    ideal = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
    sides = [{max(STRIDE, STRIDE * rounded(side / STRIDE)) for rounded in (math.floor, math.ceil)} for side in ideal]
    return min(product(*sides), key=lambda it: abs(math.log(it[0] / it[1] / ratio)) + abs(math.log(it[0] * it[1] / pixels)))


def fitted_crop(crop: Size, size: Size, new: Size) -> Size:
    """A training crop of frames (H, W) of `size` as one of frames of a `new` size: the same share of either side.

    A crop of wide frames is turned for high ones.
    """
    if (size[0] < size[1]) != (new[0] <= new[1]):
        crop, size = (crop[1], crop[0]), (size[1], size[0])
    parts = (cut * there / whole / STRIDE for cut, whole, there in zip(crop, size, new, strict=True))
    return tuple(min(there, max(STRIDE, STRIDE * round(part))) for part, there in zip(parts, new, strict=True))
