"""The typed shape of a profile and its loading from YAML."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sspcore.data.synthetic import ReleaseSettings
from sspcore.errors import ProfileError
from sspcore.models.image import ImageModelSpec

Size = tuple[int, int]
PROFILE_FOLDER = Path(__file__).parent


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    store_size: Size | None = None
    image_format: Literal["png", "jpg"] = "png"


class Rendering(_Section):
    """What the renderer is asked for; `None` in a profile means a real release is expected."""

    seed: int = 0
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
    """

    epochs: int = Field(ge=1)
    schedule_epochs: int = Field(ge=1)
    warmup_epochs: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.05, ge=0)
    final_lr_ratio: float = Field(1e-4, ge=0, le=1)
    head_lr_factor: float = Field(1.0, gt=0)
    crop: Size
    zoom: tuple[float, float] = (1.1, 1.4)
    lambda_tc: float = Field(0.5, ge=0)
    temperature: float = Field(2.0, gt=0)
    repeats: int = Field(1, ge=1)
    auxiliary_weight: float = Field(0.4, ge=0)

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
        figures: where tables and pictures go, relative to the repository.
    """

    name: str
    description: str
    seed: int = 0
    datasets: tuple[str, ...]
    systems: tuple[str, ...]
    input_size: Size
    teacher_size: Size
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
    constant_alphas: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    loader_workers: int = Field(0, ge=0)
    frame_cache_mb: int = Field(512, ge=0)
    figures: str

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
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ProfileError(f"{path.name}: not readable as YAML ({str(error).splitlines()[0]}); mend the file") from error
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
        return Profile.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise ProfileError(f"profile {source}: {where}: {problem}{more}; correct this setting") from error


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
