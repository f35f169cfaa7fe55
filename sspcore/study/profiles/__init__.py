"""Profiles: every number that a run depends on, validated, in one typed object.

A profile is a YAML file beside this module (`smoke`, `demo`, `paper`, ...), or a file of one's own that may say only what
differs from another one (`extends: paper`, see `read_settings`). An ablation is one overridden value:
`load_profile("demo", {"training.video.lambda_tc": 0.2})`. An unknown key or an impossible value is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.errors import ProfileError
from sspcore.core.machine import MachineSettings
from sspcore.core.settings import InputSize, Section
from sspcore.core.store import stable_hash
from sspcore.core.types import Size
from sspcore.data.augmentation import Augmentation
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.prepare import ClipRules
from sspcore.models.controls import CONTROL_EXAMPLES
from sspcore.models.description import BuildableSpec, TorchvisionSpec, place
from sspcore.models.systems import STAGED_METHODS, SYSTEMS, SystemSpec, system
from sspcore.study.profiles.checks import contradictions
from sspcore.study.profiles.files import PROFILE_FOLDER as PROFILE_FOLDER
from sspcore.study.profiles.files import available_profiles as available_profiles
from sspcore.study.profiles.files import dig, override, read_settings
from sspcore.study.profiles.own import OWN, OwnData, on_own
from sspcore.synthetic import FlightSettings, ReleaseSettings
from sspcore.training.recipe import Recipe

CONTROL_IMAGE = "Base"
SEED_LIMIT = 2**63  # what every generator takes


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r}: artefacts lie in a folder of this name: take letters, digits, '.', '_' and '-'")
    return name


def _lies_inside(folder: str) -> str:
    path = PurePath(folder)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{folder!r}: name a folder inside the repository, relative to it")
    return folder


Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


class Rendering(Section):
    """What the renderer is asked for."""

    seed: Seed = 0
    workers: int = Field(2, ge=1)
    releases: dict[str, ReleaseSettings]
    flight: FlightSettings | None = None  # the one of chapter 13


class Profile(Section):
    """Everything a run depends on. Sizes are (H, W) in pixels."""

    name: Annotated[str, AfterValidator(_names_a_folder)]
    description: str  # one line for people
    seed: Seed = 0  # of training
    datasets: tuple[str, ...]  # run by default, as are `systems`
    systems: tuple[str, ...]
    input_size: InputSize  # of every student's input and of its label maps
    teacher_size: InputSize  # of the teacher's input
    # Size that the teacher's own row is scored at, with flow at that size for TC: its own, as published, or the students'.
    score_teacher_at: Literal["teacher_size", "input_size"] = "teacher_size"
    # Ours: all supervised systems on the base model go on from one hidden training, so each has had the same number of steps.
    # As published, Base starts from the encoder's weights and video models from the trained Base.
    equal_steps: bool = False
    recurrent_window: int = Field(6, ge=2)  # frames of a training window of the recurrent systems
    flow: str  # estimator in losses, in distillation, and without `train_flow` in the systems that use flow
    train_flow: bool = True  # DFF and NetWarp hold a RAFT of 8 updates that learns with them; as published
    metric_flow: str  # estimator of the TC metric
    registration: str  # estimator of the homography
    # Whether training windows are registered as the model sees them, augmented, in every epoch (published), or whole frames
    # once, whose homographies follow crop and flip. Prediction registers whole frames.
    register_crops: bool = True
    conventions: Conventions = CORRECTED  # readings where the reference slips; all of its with "reference"
    fuse_teacher: bool = True  # whether video students learn from fused teacher labels
    # Whose labels students are distilled from; "truth": exact labels of rendered data in the teacher's place, an upper bound.
    distil_from: Literal["teacher", "truth"] = "teacher"
    rendering: Rendering | None  # None: real releases are expected
    clips: dict[str, ClipRules]  # rules of preparation per data set; under "own" for data sets of one's own
    described: dict[str, DatasetSpec] = {}  # data sets of one's own by name, in place of those that ship with the package
    own: OwnData | None = None  # how the profile is run on such data sets
    models: dict[str, BuildableSpec]  # image models by role
    training: dict[str, Recipe]  # recipes by name
    augmentation: Augmentation = Augmentation()  # of training samples; the default is the published one
    # So many training sequences take the place of the validation split, to choose settings without looking at the reported
    # split; 0 in a reported run. Fold 0 is the last of them by name, fold 1 as many before these, and so on.
    held_out: int = Field(0, ge=0)
    held_out_fold: int = Field(0, ge=0)
    constant_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.3, 0.5, 0.7, 0.9)  # controls in the table
    # Processes that read training windows, for each training process; "auto": by the machine's cores.
    loader_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    # Of these only `precision` is part of artefact keys, and only where it is not float32.
    machine: MachineSettings = MachineSettings()
    frame_cache_mb: int = Field(512, ge=0)
    # Where a complete run's tables and pictures are published, relative to the repository; null: its numbers are no result.
    publish_to: Annotated[str, AfterValidator(_lies_inside)] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its artefacts: on data sets of one's own another one than that of any profile.

        No name of a profile or a data set holds a plus.
        """
        return "+".join([self.name, *self.described])

    def spec(self, dataset: str) -> DatasetSpec:
        """A data set's description. Raises: ProfileError if the profile does not know it."""
        known = self.described or SPECS
        if dataset not in known or dataset not in self.clips:
            raise ProfileError(f"data set '{dataset}' is unknown; choose from {', '.join(self.dataset_names)}")
        return known[dataset]

    @property
    def dataset_names(self) -> list[str]:
        """Data sets that it has clip rules for."""
        return [name for name in self.clips if name != OWN]

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
        return stable_hash({section: dig(tree, section) for section in sections})


def choose_datasets(profile: Profile, asked: Iterable[str], setting: str) -> list[str]:
    """The data sets asked for, each once; `setting` is where they were asked for ("--datasets"), for errors.

    Raises: ProfileError if none is named, or one that the profile has no clip rules or no rendering for.
    """
    names = list(dict.fromkeys(asked))
    known = profile.dataset_names
    _refuse(names, [name for name in names if name not in known], known, setting)
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
        setting: where they were asked for, for errors: "--systems".
    Raises: ProfileError if none is named, one is unknown, or the profile lacks a recipe or model that one is built from.
    """
    found = {name: _askable(name) for name in asked}
    known = [*(name for name, spec in SYSTEMS.items() if not spec.hidden), CONTROL_EXAMPLES]
    _refuse(list(found), [name for name, spec in found.items() if spec is None], known, setting)
    names = list(dict.fromkeys([CONTROL_IMAGE, *(spec.name for spec in found.values())]))
    datasets = list(datasets)
    for name in names:
        for spec in _built_from(system(name), profile.equal_steps):
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
            if spec.method in STAGED_METHODS and isinstance(profile.models[spec.image_model], TorchvisionSpec):
                raise ProfileError(
                    f"{setting}: {name} works between the stages of an image model, which models.{spec.image_model} does not "
                    f"have; leave {name} out"
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


def _built_from(spec: SystemSpec, equal_steps: bool) -> Iterator[SystemSpec]:
    """The system, those that its training starts from, and the teacher it learns from."""
    yield spec
    if (start := spec.start(equal_steps)) is not None:
        yield from _built_from(system(start), equal_steps)
    if spec.teacher:
        yield from _built_from(SYSTEMS["Teacher"], equal_steps)


def _refuse(asked: list[str], unknown: list[str], known: Iterable[str], setting: str) -> None:
    choice = f"choose from {', '.join(known)}"
    if not asked:
        raise ProfileError(f"{setting}: none is named; {choice}")
    if unknown:
        raise ProfileError(f"{setting} {','.join(unknown)}: unknown; {choice}")


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """The profile `name`, with dotted overrides applied.

    Args:
        name: one of `available_profiles()`, or the path of a YAML file.
        overrides: dotted key -> value, e.g. {"training.video.lambda_tc": 0.2}; the key must exist.
    Raises: ProfileError naming the profile, the key and what is wrong with it.
    """
    tree, source = read_settings(name)
    profile = _validate(tree, source)
    return overridden(profile, overrides, source) if overrides else profile


def overridden(profile: Profile, overrides: Mapping[str, Any], source: str | None = None) -> Profile:
    """A profile with dotted settings changed; `source`: where it was read, for errors.

    Raises: ProfileError as `load_profile` does.
    """
    source, tree = source or profile.name, profile.model_dump(mode="json")
    for key in sorted(overrides, key=lambda key: "@" in key):  # of a recipe first, then of its data sets
        override(tree, key, overrides[key], source)
    return _validate(tree, source)


def described_by(profile: Profile, specs: Sequence[DatasetSpec], shape: Size) -> Profile:
    """A profile on data sets of one's own, see `sspcore.study.profiles.own.on_own`; `shape`: (H, W) of their frames."""
    described = TypeAdapter(dict[str, DatasetSpec]).dump_python({spec.name: spec for spec in specs}, mode="json")
    return _validate(on_own(profile.model_dump(mode="json"), specs, described, shape), profile.name)


def _validate(tree: dict[str, Any], source: str) -> Profile:
    try:
        # strict, so that yes is no number; from JSON, where a list may be a tuple
        profile = Profile.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = place(first["loc"]) or "(top level)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ProfileError(f"profile {source}: {where}: {problem}{more}; correct this setting") from error
    for setting, problem in contradictions(profile):
        raise ProfileError(f"profile {source}: {setting}: {problem}; correct this setting")
    datasets = choose_datasets(profile, profile.datasets, f"profile {source}: datasets")
    choose_systems(profile, profile.systems, datasets, f"profile {source}: systems")
    return profile
