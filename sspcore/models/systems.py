"""The one table of systems: name -> how it is built, trained and streamed (paper, the results table).

Names are those of the paper's results table. Beside its twelve stand two of ours (SSP-R, KD-SSP-R), a hidden start that
several systems are trained on from, controls without any training (`control`), and SSP with one part changed
(`ABLATIONS`, no rows of that table).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.types import VideoSegmenter
from sspcore.models.build import build_image
from sspcore.models.controls import AVERAGING, CONTROL_EXAMPLES, Control, make_control, named_control
from sspcore.models.description import BuildableSpec
from sspcore.models.dff import DFF
from sspcore.models.filter import MajorityVote, OneEuro
from sspcore.models.netwarp import NetWarp
from sspcore.models.pretrained import encoder_start as encoder_start
from sspcore.models.spec import FilterOptions, Gate, ImageModelSpec, SSPOptions
from sspcore.models.ssp import SSP
from sspcore.models.tcb import TCB
from sspcore.motion.raft import RAFT

START = "Base (start)"

# Encoders of the paper by role of image model, to tell what a profile lets stand in for them.
PAPER_ENCODERS: dict[str, str] = {
    "teacher": "tu-sam2_hiera_base_plus",
    "segformer_b2": "mit_b2",
    "segformer_b3": "mit_b3",
    "convnext_s": "tu-convnext_small",
    "base": "tu-sam2_hiera_small",
}


class ModelSettings(Protocol):
    """What building a system reads of a profile."""

    models: Mapping[str, BuildableSpec]
    recurrent_window: int
    conventions: Conventions
    train_flow: bool


@dataclass(frozen=True)
class SystemSpec:
    """One system.

    Attributes:
        name: as in the paper's table.
        kind: "image", "video", or "control" (built on a trained system, not trained itself).
        image_model: role of its image model in `profile.models`.
        method: what is built around the image model, one of METHODS.
        recipe: name of the training recipe in `profile.training`; None where the weights are those that it starts from.
        objective: "supervised" by labels, or "distillation" by the teacher's logits.
        starts_from: system whose checkpoint training starts from, as published; None: the encoder's weights.
        equal_start: the same under a profile with `equal_steps`, where it differs (see `start`).
        options: of SSP and of filters; None for the other methods.
        recurrent: trained on windows of `profile.recurrent_window` frames instead of the method's own.
        hidden: a step on the way, no row of the table.
    """

    name: str
    kind: Literal["image", "video", "control"]
    image_model: str
    method: str
    recipe: str | None
    objective: Literal["supervised", "distillation"] = "supervised"
    starts_from: str | None = None
    equal_start: str | None = None
    options: SSPOptions | FilterOptions | None = None
    recurrent: bool = False
    hidden: bool = False

    @property
    def teacher(self) -> bool:
        """Whether training needs the teacher's logits."""
        return self.objective == "distillation"

    def start(self, equal_steps: bool) -> str | None:
        """System whose checkpoint training starts from; None: the encoder's weights.

        `equal_steps`: all supervised systems on the base model go on from one hidden training (START) and so have had the
        same number of steps. As published, video models go on from the trained Base, which they so outnumber.
        """
        return self.equal_start if equal_steps and self.equal_start is not None else self.starts_from

    def under(self, conventions: Conventions) -> SystemSpec:
        """This system with the options that it has under the conventions."""
        return self if self.options is None else replace(self, options=self.options.under(conventions))

    def key(self) -> dict[str, Any]:
        """What makes this system what it is, as JSON values: for the keys of artefacts.

        Names are not part of it, nor is what training starts from: that has a key of its own.
        """
        others = ("name", "hidden", "starts_from", "equal_start")
        identity = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in others}
        return identity | {"options": None if self.options is None else self.options.key()}


Options = SSPOptions | FilterOptions | None
METHODS: dict[str, Callable[[nn.Module, Options, int, Conventions, RAFT | None], VideoSegmenter]] = {
    "image": lambda image, options, window, conventions, raft: image,
    "dff": lambda image, options, window, conventions, raft: DFF(image, conventions=conventions, raft=raft),
    "netwarp": lambda image, options, window, conventions, raft: NetWarp(
        image, conventions, raft, random_flow_cnn=raft is not None  # both as published, or neither
    ),
    "tcb_ppm": lambda image, options, window, conventions, raft: TCB(image, "ppm", conventions),
    "tcb_ocr": lambda image, options, window, conventions, raft: TCB(image, "ocr", conventions),
    "ssp": lambda image, options, window, conventions, raft: SSP(image, options, window),  # its options say it all
    "filter_vote": lambda image, options, window, conventions, raft: MajorityVote(image, options),
    "filter_euro": lambda image, options, window, conventions, raft: OneEuro(image, options),
}

STAGED_METHODS = ("dff", "netwarp", "tcb_ppm", "tcb_ocr")  # they work between the stages of an image model
FLOW_METHODS = ("dff", "netwarp")  # they use flow, given or estimated by a RAFT of their own

# Where each method's code lies: what keys of artefacts follow in place of the table above, which imports all methods.
METHOD_MODULES: dict[str, str] = {name: f"sspcore.models.{name.split('_')[0]}" for name in METHODS}

_SSP = SSPOptions()
_SSP_R = SSPOptions(evidence=True, classes=True)

TEACHER = "Teacher"
SYSTEMS: dict[str, SystemSpec] = {
    spec.name: spec
    for spec in (
        SystemSpec(TEACHER, "image", "teacher", "image", "teacher"),
        SystemSpec("SegFormer-b2", "image", "segformer_b2", "image", "image_baseline"),
        SystemSpec("SegFormer-b3", "image", "segformer_b3", "image", "image_baseline"),
        SystemSpec("ConvNeXt-S + UPerNet", "image", "convnext_s", "image", "image_baseline"),
        SystemSpec(START, "image", "base", "image", "image_start", hidden=True),  # with `equal_steps` alone
        SystemSpec("Base", "image", "base", "image", "image", equal_start=START),
        SystemSpec("KD Base", "image", "base", "image", "kd_image", "distillation", equal_start=START),
        SystemSpec("DFF", "video", "base", "dff", "flow_video", starts_from="Base", equal_start=START),
        SystemSpec("NetWarp", "video", "base", "netwarp", "flow_video", starts_from="Base", equal_start=START),
        SystemSpec("TCB_ppm", "video", "base", "tcb_ppm", "tcb", starts_from="Base", equal_start=START),
        SystemSpec("TCB_ocr", "video", "base", "tcb_ocr", "tcb", starts_from="Base", equal_start=START),
        SystemSpec("SSP", "video", "base", "ssp", "video", starts_from="Base", equal_start=START, options=_SSP),
        SystemSpec("KD-SSP", "video", "base", "ssp", "kd_video", "distillation", "KD Base", options=_SSP),
        # Ours: their recipes leave the image model as it is, so they always go on from the finished one.
        SystemSpec("SSP-R", "video", "base", "ssp", "recurrent", starts_from="Base", options=_SSP_R, recurrent=True),
        SystemSpec(
            "KD-SSP-R", "video", "base", "ssp", "kd_recurrent", "distillation", "KD Base", options=_SSP_R, recurrent=True
        ),
    )
}

OURS = ("SSP-R", "KD-SSP-R")
PAPER_SYSTEMS: tuple[str, ...] = tuple(name for name, spec in SYSTEMS.items() if not spec.hidden and name not in OURS)


def _variants(base: str, changes: dict[str, dict[str, Any]]) -> dict[str, SystemSpec]:
    """A system with one part changed at a time: trained and streamed like it, no row of the results table."""
    specs = [replace(SYSTEMS[base], name=f"{base} ({part})", hidden=True, **change) for part, change in changes.items()]
    return {spec.name: spec for spec in specs}


ABLATIONS = _variants("SSP", {
    "cosine similarity": {"options": SSPOptions(similarity="cosine")},
    "no registration": {"options": SSPOptions(registration="identity")},
    # alpha 0 everywhere, P_k = S_k: what training with L_tc brings without the recurrence
    "no interpolation": {"options": SSPOptions(similarity="constant", alpha=0.0)},
    "alpha not masked": {"options": SSPOptions(mask_alpha=False)},
    "gate": {"options": SSPOptions(gate=Gate())},
    # no training of their own: the trained SSP streamed with a past from elsewhere
    "gate at inference": {"options": SSPOptions(gate=Gate()), "recipe": None, "starts_from": "SSP", "equal_start": None},
    "flow at inference": {
        "options": SSPOptions(registration="flow"), "recipe": None, "starts_from": "SSP", "equal_start": None,
    },
    # only the encoder has pretrained weights: decoder and head never saw a label before video training
    "untrained image model": {"starts_from": None, "equal_start": None},
})

RECURRENT_ABLATIONS = _variants("SSP-R", {
    "no recurrence": {"recurrent": False},  # trained on pairs, as the paper trains
    "no evidence": {"options": _SSP},
    "no classes": {"options": SSPOptions(evidence=True)},
    "with variance": {"options": SSPOptions(evidence=True, classes=True, variance=True)},
})


def control(alpha: float, image: str = "Base") -> SystemSpec:
    """Plain temporal averaging along the registration on a trained image system: the control of every table.

    Args:
        alpha: weight of the past, 0..1.
        image: image system whose checkpoint it takes; other than "Base" it is named in brackets.
    """
    return _spec_of(make_control(AVERAGING, alpha, image))


def _spec_of(found: Control) -> SystemSpec:
    role = SYSTEMS[found.image].image_model
    return SystemSpec(found.name, "control", role, found.method, None, starts_from=found.image, options=found.options)


def system(name: str) -> SystemSpec:
    """The system of a name, controls and ablations included. Raises: ProfileError for an unknown one."""
    for table in (SYSTEMS, ABLATIONS, RECURRENT_ABLATIONS):
        if name in table:
            return table[name]
    found = named_control(name)
    if found and found.image in SYSTEMS and SYSTEMS[found.image].kind == "image":
        return _spec_of(found)
    known = ", ".join(key for key, spec in SYSTEMS.items() if not spec.hidden)
    raise ProfileError(f"system {name!r} is unknown; choose from {known}, or {CONTROL_EXAMPLES}")


def build(name: str, n_classes: int, profile: ModelSettings, *, load_weights: bool = True) -> VideoSegmenter:
    """A system, ready to be trained or to take a checkpoint.

    Args:
        name: see `system`.
        n_classes: of the data set.
        profile: its `models`, `recurrent_window`, `conventions` and `train_flow` are read.
        load_weights: whether pretrained weights are loaded, the encoder's and RAFT's; False where a checkpoint follows anyway.
    Raises: ProfileError for an unknown system or encoder, WeightsError if pretrained weights cannot be had.
    """
    spec = system(name).under(profile.conventions)
    image = build_image(image_spec(name, profile), n_classes, load_weights)
    window = profile.recurrent_window if spec.recurrent else 2
    raft = own_flow(profile.conventions) if profile.train_flow and spec.method in FLOW_METHODS else None
    if raft is not None and load_weights:
        raft.load()
    return assemble(spec.method, image, spec.options, window, profile.conventions, raft)


def own_flow(conventions: Conventions) -> RAFT:
    """The RAFT that one of FLOW_METHODS holds as a part and trains along, its weights as initialised."""
    return RAFT(imagenet=conventions.raft_input == "imagenet")


def assemble(
    method: str, image: nn.Module, options: Options, window: int, conventions: Conventions = CORRECTED,
    raft: RAFT | None = None,
) -> VideoSegmenter:
    """A method of METHODS around an image model.

    `options` are SSP's or a filter's, `window` SSP's, `conventions` other methods', `raft` (their own flow) of FLOW_METHODS.
    """
    # Channels last in memory: a fifth less time a training step on a CPU, and what tensor cores want on a GPU.
    return METHODS[method](image, options, window, conventions, raft).to(memory_format=torch.channels_last)


def freeze_image(model: VideoSegmenter, name: str) -> None:
    """Let training change only what is around the image model. Raises ProfileError for a system that is not SSP."""
    if not isinstance(model, SSP):
        raise ProfileError(f"training.{system(name).recipe}.freeze_image: {name} is not SSP; leave it out")
    model.freeze_image()


def image_spec(name: str, profile: ModelSettings) -> BuildableSpec:
    """The image model that a profile gives a system."""
    role = system(name).image_model
    if role not in profile.models:
        raise ProfileError(f"models.{role}: missing in the profile, system {name!r} needs it; add it")
    return profile.models[role]


def stand_in(name: str, profile: ModelSettings) -> str | None:
    """What stands in for the paper's encoder ("convnext_atto for convnext_small"); None if it is the paper's own."""
    spec, papers = image_spec(name, profile), PAPER_ENCODERS[system(name).image_model]
    same = isinstance(spec, ImageModelSpec) and spec.encoder.split(".")[0] == papers
    return None if same else f"{spec.title} for {papers.removeprefix('tu-')}"


def start_from(model: VideoSegmenter, state_dict: Mapping[str, Tensor], source: str = "checkpoint") -> set[str]:
    """Load a checkpoint to go on from: of the same system, or of the image system that a video system is built on.

    Returns: names of the parameters and buffers that were loaded, and those of a RAFT of its own, which `build` gives trained
        weights; the others belong to new parts.
    Raises: ArtefactError if an image model's entry is missing, an entry has no place, or shapes differ.
    """
    state = dict(state_dict)
    nested = hasattr(model, "image")
    if nested and not any(key.startswith("image.") for key in state):
        state = {f"image.{key}": value for key, value in state.items()}
    expected = model.state_dict()
    # The same system's checkpoint is complete; an image system's may lack the new parts and nothing else.
    new_parts = nested and all(key.startswith("image.") for key in state)
    lost = [key for key in expected if key not in state and (key.startswith("image.") or not new_parts)]
    surplus = [key for key in state if key not in expected]
    differing = [key for key, value in state.items() if key in expected and value.shape != expected[key].shape]
    for keys, problem in ((lost, "no weights for"), (surplus, "no place for"), (differing, "other shapes at")):
        if keys:
            raise ArtefactError(
                f"{source}: {problem} {keys[0]} ({len(keys)} in all); it belongs to another model or profile; retrain"
            )
    model.load_state_dict(state, strict=False)
    return set(state) | {key for key in expected if key.startswith("raft.")}
