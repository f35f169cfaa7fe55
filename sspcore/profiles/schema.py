"""The typed shape of a profile, its loading from YAML, and the checks that its values make sense together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sspcore.data.specs import SPECS
from sspcore.data.synthetic import ReleaseSettings
from sspcore.errors import ProfileError
from sspcore.flow import FLOW_NAMES
from sspcore.machine import MachineSettings
from sspcore.models.image import STRIDE, ImageModelSpec
from sspcore.models.registry import SYSTEMS, SystemSpec, control, system
from sspcore.profiles.reading import read_yaml, yes_for_a_number
from sspcore.registration import REGISTRATOR_NAMES

Size = tuple[int, int]
PROFILE_FOLDER = Path(__file__).parent
CONTROL_IMAGE = "Base"
SEED_LIMIT = 2**63  # what every generator takes


def _positive(size: Size) -> Size:
    if min(size) < 1:
        raise ValueError(f"{size[0]}x{size[1]}: height and width must be positive")
    return size


def _fits_networks(size: Size) -> Size:
    if min(size) < 1 or any(side % STRIDE for side in size):
        raise ValueError(f"{size[0]}x{size[1]}: height and width must be positive multiples of {STRIDE}")
    return size


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r}: artefacts lie in a folder of this name: take letters, digits, '.', '_' and '-'")
    return name


def _lies_inside(folder: str) -> str:
    path = PurePath(folder)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{folder!r}: name a folder inside the repository, relative to it")
    return folder


InputSize = Annotated[Size, AfterValidator(_fits_networks)]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClipRules(_Section):
    """How a raw release becomes clips (METHOD section 8). Frames are counted in frames taken, not in source frames.

    Attributes:
        frame_step: every n-th source frame is taken.
        clip_length: frames of a clip.
        min_clip_length: shorter clips are dropped.
        drop_first, drop_last: whether the first / last frame taken of a video is left out.
        require_label: whether a clip without a label is dropped.
        store_size: (H, W) of stored frames and labels; None keeps the release's size.
        image_format: "png" (lossless) or "jpg" (quality 95).
    """

    frame_step: int = Field(ge=1)
    clip_length: int = Field(ge=2)
    min_clip_length: int = Field(ge=2)
    drop_first: bool = True
    drop_last: bool = False
    require_label: bool = True
    store_size: Annotated[Size, AfterValidator(_positive)] | None = None
    image_format: Literal["png", "jpg"] = "png"

    @model_validator(mode="after")
    def _some_clips_are_kept(self) -> ClipRules:
        if self.min_clip_length > self.clip_length:
            raise ValueError(f"min_clip_length ({self.min_clip_length}) is above clip_length ({self.clip_length})")
        return self


class Rendering(_Section):
    """What the renderer is asked for; `None` in a profile means a real release is expected."""

    seed: Seed = 0
    workers: int = Field(2, ge=1)
    releases: dict[str, ReleaseSettings]


class Recipe(_Section):
    """One training run: schedule, batch, crop and loss weights (METHOD section 5 has the published ones).

    Attributes:
        epochs: passes over the training windows.
        schedule_epochs: length of the cosine schedule (the published runs stop before its end).
        warmup_epochs: linear warm-up.
        batch_size: windows a step.
        lr: base learning rate; the schedule starts and ends at `lr * final_lr_ratio`.
        head_lr_factor: learning-rate factor of parts that do not start from trained weights.
        crop: (H, W) of training crops.
        zoom: range of the random zoom of pairs and windows (single frames: 0.9 .. 1.4).
        lambda_tc: weight of the temporal-consistency loss (lambda, or lambda_kd for distillation).
        temperature: of the distillation loss.
        repeats: how often the training windows are gone through in one epoch.
        freeze_image: of SSP train only what is around its image model, which stays as it was trained.
        class_balance: exponent by which classes weigh less in the loss the more pixels they have (`balanced_weights`).
    """

    epochs: int = Field(ge=1)
    schedule_epochs: int = Field(ge=1)
    warmup_epochs: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.05, ge=0)
    final_lr_ratio: float = Field(1e-4, ge=0, le=1)
    head_lr_factor: float = Field(1.0, gt=0)
    crop: InputSize
    zoom: tuple[float, float] = (1.1, 1.4)
    lambda_tc: float = Field(0.5, ge=0)
    temperature: float = Field(2.0, gt=0)
    repeats: int = Field(1, ge=1)
    auxiliary_weight: float = Field(0.4, ge=0)
    freeze_image: bool = False
    class_balance: float = Field(0.0, ge=0, le=1)

    def key(self) -> dict[str, Any]:
        """The recipe as JSON values for the keys of artefacts; what came later is in them only where it is used."""
        later = ("freeze_image", "class_balance")
        return self.model_dump(mode="json", exclude={name for name in later if not getattr(self, name)})

    @field_validator("zoom")
    @classmethod
    def _zoom_is_a_range(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if not 0 < zoom[0] <= zoom[1]:
            raise ValueError(f"{list(zoom)}: expected the smaller factor first, both above 0")
        return zoom

    @model_validator(mode="after")
    def _schedule_covers_epochs(self) -> Recipe:
        if self.schedule_epochs < self.epochs:
            raise ValueError(f"schedule_epochs ({self.schedule_epochs}) is shorter than epochs ({self.epochs})")
        return self


class Profile(_Section):
    """Everything a run depends on.

    Attributes:
        name, description: the profile's name and one line for people.
        seed: of training.
        datasets, systems: what is run by default.
        input_size: (H, W) of every student's input and of all label maps that are scored.
        teacher_size: (H, W) of the teacher's input.
        recurrent_window: frames of a training window of the recurrent systems.
        flow: estimator used in losses, distillation and by the flow-based systems.
        metric_flow: estimator of the TC metric.
        registration: estimator of the homography.
        occlusion: reading of M_occ that teacher labels are fused with: "followed" along the flow, or "same-pixel", the
            reference's.
        fuse_teacher: whether video students learn from fused teacher labels.
        rendering: what the renderer makes, or None for real releases.
        clips: rules of preparation per data set.
        models: image models by role.
        training: recipes by name.
        held_out: that many training sequences (the last by name) take the place of the validation split, to choose
            settings on without looking at the reported split; 0 in a reported run.
        constant_alphas: controls in the table.
        loader_workers: processes that read training windows, for each training process; "auto": by the machine's cores.
        machine: how training uses the machine; of its settings only `precision` is part of artefact keys, and only where it
            is not float32.
        figures: where tables and pictures go, relative to the repository.
    """

    name: Annotated[str, AfterValidator(_names_a_folder)]
    description: str
    seed: Seed = 0
    datasets: tuple[str, ...]
    systems: tuple[str, ...]
    input_size: InputSize
    teacher_size: InputSize
    recurrent_window: int = Field(6, ge=2)
    flow: str
    metric_flow: str
    registration: str
    occlusion: Literal["followed", "same-pixel"] = "followed"
    fuse_teacher: bool = True
    rendering: Rendering | None
    clips: dict[str, ClipRules]
    models: dict[str, ImageModelSpec]
    training: dict[str, Recipe]
    held_out: int = Field(0, ge=0)
    constant_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.3, 0.5, 0.7, 0.9)
    loader_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    machine: MachineSettings = MachineSettings()
    frame_cache_mb: int = Field(512, ge=0)
    figures: Annotated[str, AfterValidator(_lies_inside)]

    def recipe(self, name: str, dataset: str) -> Recipe:
        """The recipe `name`, or `name@dataset` where the profile has one for that data set.

        Raises: ProfileError if the profile has neither.
        """
        for key in (f"{name}@{dataset}", name):
            if key in self.training:
                return self.training[key]
        raise ProfileError(f"profile {self.name}: training.{name} is missing; add the recipe, or run systems without it")

    def key(self, *sections: str) -> str:
        """Hash of the named sections ("clips.uavid", "training.video", ...), for the keys of artefacts."""
        tree = self.model_dump(mode="json")
        return stable_hash({section: _dig(tree, section) for section in sections})


def choose_datasets(profile: Profile, asked: Iterable[str], setting: str) -> list[str]:
    """The data sets asked for, each once.

    Args:
        setting: where they were asked for, for errors: "--datasets".
    Raises: ProfileError if none is named, or one that the profile has no clip rules or no rendering for.
    """
    names = list(dict.fromkeys(asked))
    _refuse(names, [name for name in names if name not in profile.clips], profile.clips, setting)
    if profile.rendering is not None:
        for name in names:
            if name not in profile.rendering.releases:
                raise ProfileError(f"{setting}: {name} needs rendering.releases.{name}, which is missing; add it")
    return names


def choose_systems(profile: Profile, asked: Iterable[str], datasets: Iterable[str], setting: str) -> list[str]:
    """The systems asked for, each once, by their names in the table; Base in front, asked for or not.

    Base is the image model of the constant-alpha controls and what tables and pictures compare with.

    Args:
        asked: systems, or controls ("Constant alpha 0.5"); hidden ones are refused.
        datasets: what they are run on.
        setting: where they were asked for, for errors: "--systems".
    Raises: ProfileError if none is named, one is unknown, or the profile lacks a recipe or model that one is built from.
    """
    found = {name: _askable(name) for name in asked}
    known = [*(name for name, spec in SYSTEMS.items() if not spec.hidden), "a control such as 'Constant alpha 0.5'"]
    _refuse(list(found), [name for name, spec in found.items() if spec is None], known, setting)
    names = list(dict.fromkeys([CONTROL_IMAGE, *(spec.name for spec in found.values())]))
    datasets = list(datasets)
    for name in names:
        for spec in _built_from(system(name)):
            needed = [] if spec.image_model in profile.models else [f"models.{spec.image_model}"]
            if spec.recipe is not None:
                needed += [
                    f"training.{spec.recipe}" for dataset in datasets
                    if not {spec.recipe, f"{spec.recipe}@{dataset}"} & profile.training.keys()
                ]
            if needed:
                raise ProfileError(
                    f"{setting}: {name} needs {needed[0]}, which is missing in profile {profile.name}; add it, or leave "
                    f"{name} out"
                )
    return names


def _askable(name: str) -> SystemSpec | None:
    """The system of a name that may be asked for; None if it is unknown or a hidden step on the way to others."""
    try:
        spec = system(name)
    except ProfileError:
        return None
    shown = SYSTEMS[spec.starts_from] if spec.kind == "control" else spec
    return None if shown.hidden else spec


def _built_from(spec: SystemSpec) -> Iterator[SystemSpec]:
    """The system, those that its training starts from, and the teacher it learns from."""
    yield spec
    if spec.starts_from is not None:
        yield from _built_from(system(spec.starts_from))
    if spec.teacher:
        yield from _built_from(SYSTEMS["Teacher"])


def _refuse(asked: list[str], unknown: list[str], known: Iterable[str], setting: str) -> None:
    choice = f"choose from {', '.join(known)}"
    if not asked:
        raise ProfileError(f"{setting}: none is named; {choice}")
    if unknown:
        raise ProfileError(f"{setting} {','.join(unknown)}: unknown; {choice}")


def stable_hash(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def available_profiles() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml"))


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """The profile `name`, with dotted overrides applied.

    Args:
        name: one of `available_profiles()`, or the path of a YAML file.
        overrides: dotted key -> value, e.g. {"training.video.lambda_tc": 0.2}; the key must exist.
    Raises: ProfileError naming the profile, the key and what is wrong with it.
    """
    path = PROFILE_FOLDER / f"{name}.yaml" if name in available_profiles() else Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ProfileError(f"profile '{name}' is unknown; choose from {', '.join(available_profiles())} or a YAML file")
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ProfileError(f"{path.name}: expected a mapping of settings at the top level")
    profile = _validate(tree, path.name)
    if overrides:
        tree = profile.model_dump(mode="json")
        for key, value in overrides.items():
            _override(tree, key, value, path.name)
        profile = _validate(tree, path.name)
    return profile


def _validate(tree: dict[str, Any], source: str) -> Profile:
    try:
        profile = Profile.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ProfileError(f"profile {source}: {where}: {problem}{more}; correct this setting") from error
    for setting in yes_for_a_number(tree, profile.model_dump(mode="json")):
        raise ProfileError(f"profile {source}: {setting}: is yes or no where a number belongs; correct this setting")
    for setting, problem in _contradictions(profile):
        raise ProfileError(f"profile {source}: {setting}: {problem}; correct this setting")
    datasets = choose_datasets(profile, profile.datasets, f"profile {source}: datasets")
    choose_systems(profile, profile.systems, datasets, f"profile {source}: systems")
    return profile


def _contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
    """Settings that are of the right type and cannot be run, and what is wrong with each."""
    for name, known in (("flow", FLOW_NAMES), ("metric_flow", FLOW_NAMES), ("registration", REGISTRATOR_NAMES)):
        if getattr(profile, name) not in known:
            yield name, f"'{getattr(profile, name)}' is unknown; choose from {', '.join(known)}"
    releases = {} if profile.rendering is None else profile.rendering.releases
    for section, names in (("clips", profile.clips), ("rendering.releases", releases)):
        for name in names:
            if name not in SPECS:
                yield f"{section}.{name}", f"data set is unknown; choose from {', '.join(SPECS)}"
    for name, release in releases.items():
        if min(release.size) < 1:
            yield f"rendering.releases.{name}.size", "height and width must be positive"
    of_teacher = {spec.recipe for spec in SYSTEMS.values() if spec.image_model == "teacher"}
    for key, recipe in profile.training.items():
        name, _, dataset = key.partition("@")
        if "@" in key and dataset not in profile.clips:
            yield f"training.{key}", f"data set '{dataset}' is unknown; choose from {', '.join(profile.clips)}"
        role = "teacher_size" if name in of_teacher else "input_size"
        (height, width), (crop_height, crop_width) = getattr(profile, role), recipe.crop
        if crop_height > height or crop_width > width:
            yield f"training.{key}.crop", f"{crop_height}x{crop_width} is larger than {role}, {height}x{width}"
    controls = [control(alpha).name for alpha in profile.constant_alphas]
    if len(set(controls)) < len(controls):
        yield "constant_alphas", f"{list(profile.constant_alphas)} holds a value twice"


def _dig(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise ProfileError(f"profile setting '{dotted}' does not exist (no '{part}')")
        tree = tree[part]
    return tree


def _override(tree: dict[str, Any], dotted: str, value: Any, source: str) -> None:
    *parents, last = dotted.split(".")
    node = _dig(tree, ".".join(parents)) if parents else tree
    if not isinstance(node, dict) or last not in node:
        raise ProfileError(f"profile {source}: override '{dotted}' names no existing setting; correct the key")
    node[last] = value
