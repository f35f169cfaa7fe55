"""Keys of a study's artefacts: settings, keys of what an artefact is made from, and the code that makes it.

    release --> clips --> training (--> teacher's labels --> training) --> predictions --> scores

A stage's code is followed from the module of this package that makes its artefact (see `sspcore.core.code`). Following
ends at the modules in TABLES: what they say of one system, profile or file format is part of the keys as values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sspcore.core.code import code_key
from sspcore.core.store import stable_hash
from sspcore.models.config import FORMAT
from sspcore.models.description import BuildableSpec
from sspcore.models.spec import ImageModelSpec
from sspcore.models.systems import FLOW_METHODS, METHOD_MODULES, TEACHER, SystemSpec, image_spec, system
from sspcore.motion.readings import flow_under, fusion_flow, registrator_under
from sspcore.study.profiles import Profile

TABLES = frozenset({
    "sspcore.models.checkpoint", "sspcore.models.hub", "sspcore.models.systems", "sspcore.study", "sspcore.study.profiles",
})

# Readings of the conventions by what they change; those of SSP are among its options.
METHOD_READINGS: dict[str, tuple[str, ...]] = {  # what a method is trained with
    "dff": ("feature_warp",), "netwarp": ("feature_warp",), "tcb_ppm": ("tcb_weights",),
}
STREAM_READINGS = {"netwarp": ("netwarp_state",), "tcb_ppm": ("tcb_start",), "tcb_ocr": ("tcb_start",)}
LOSS_READINGS = ("flow_warp", "soft_occlusion", "outside_view")  # L_tc
FUSION_READINGS = ("flow_warp", "outside_view", "occlusion")  # and the updates of its flow
COMPARES = ("ssp",)  # methods that output consecutive frames in training


def made_by(*modules: str) -> str:
    """The code behind an artefact that is made by these modules of the package."""
    return code_key(*modules, without=TABLES)


def system_code(spec: SystemSpec, image: BuildableSpec) -> str:
    """The code of a system on an image model: its method's, and what builds it; not that of other methods."""
    functions = (f"METHODS.{spec.method}", "build", "start_from", "freeze_image")
    own = () if isinstance(image, ImageModelSpec) else ("sspcore.models.build",)
    return made_by(METHOD_MODULES[spec.method], *own, *(f"sspcore.models.systems:{name}" for name in functions))


@dataclass(frozen=True)
class Keys:
    """Keys under one profile and training seed."""

    profile: Profile
    seed: int
    release: Callable[[str], Any]  # fingerprint of a data set's raw release

    def clips(self, dataset: str) -> str:
        """Of the prepared data."""
        return stable_hash([self.profile.key(f"clips.{dataset}"), self.release(dataset), made_by("sspcore.data.prepare")])

    def motion(self, dataset: str, kind: str) -> str:
        """Of motion between the prepared frames; `kind` is "flow" or "registration"."""
        return stable_hash([self.clips(dataset), made_by(f"sspcore.motion.{kind}")])

    def training(self, name: str, dataset: str) -> str:
        """Of a trained system."""
        spec, recipe = system(name).under(self.profile.conventions), None
        start = spec.start(self.profile.equal_steps)
        sections = ["input_size", "teacher_size", "held_out", "held_out_fold", f"models.{spec.image_model}"]
        sections += ["flow", "registration", "register_crops"]
        augmentation = None
        if spec.recipe is not None:
            recipe = self.profile.recipe(spec.recipe, dataset).key()
            sections.append("recurrent_window")
            augmentation = self.profile.augmentation.key(1 if spec.kind == "image" else 2)
        if spec.method in FLOW_METHODS:
            sections.append("train_flow")
        if self.profile.machine.precision != "float32":
            sections.append("machine.precision")
        return stable_hash([
            FORMAT, spec.key(), recipe, augmentation, self.profile.key(*sections), self._readings(spec, dataset),
            self.clips(dataset), self.seed, None if start is None else self.training(start, dataset),
            self.labels(dataset, self.fused(spec)) if spec.teacher else None,
            made_by("sspcore.study.fitting", "sspcore.motion.flow", "sspcore.motion.registration"),
            system_code(spec, image_spec(name, self.profile)),
        ])

    def _readings(self, spec: SystemSpec, dataset: str) -> dict[str, str]:
        """The readings of the conventions that training a system takes; those of SSP are among its options."""
        conventions, names = self.profile.conventions, [*METHOD_READINGS.get(spec.method, ())]
        if spec.recipe is not None and spec.method in COMPARES and self.profile.recipe(spec.recipe, dataset).lambda_tc > 0:
            names += LOSS_READINGS
        readings = conventions.of(*names)
        if self.profile.train_flow and spec.method in FLOW_METHODS:
            readings["raft_input"] = conventions.raft_input
        by_flow = spec.options is not None and (spec.options.gate is not None or spec.options.registration == "flow")
        if by_flow or {"feature_warp", "flow_warp"} & readings.keys():  # it sees flow
            readings["flow"] = flow_under(self.profile.flow, conventions)
        if spec.options is not None and spec.options.registration == "homography":
            readings["registration"] = registrator_under(self.profile.registration, conventions)
        return readings

    def fused(self, spec: SystemSpec) -> bool:
        """Whether a distilled system learns from fused labels: video systems do unless the profile says otherwise."""
        return spec.kind == "video" and self.profile.fuse_teacher

    def labels(self, dataset: str, fused: bool) -> str:
        """Of the teacher's labels of the training frames."""
        if not fused:
            if self.profile.distil_from == "truth":
                teacher = self.profile.key("distil_from", "held_out", "held_out_fold") + self.clips(dataset)
            else:
                teacher = self.training(TEACHER, dataset)
            return stable_hash([teacher, self.profile.key("input_size"), made_by("sspcore.training.distill")])
        conventions = self.profile.conventions
        settings = fusion_flow(self.profile.flow, conventions), conventions.of(*FUSION_READINGS)
        return stable_hash([self.labels(dataset, fused=False), settings, made_by("sspcore.training.fusion")])

    def predictions(self, name: str, dataset: str) -> str:
        """Of a system's label maps."""
        readings = self.profile.conventions.of(*STREAM_READINGS.get(system(name).method, ()))
        scored_at = self.profile.key("score_teacher_at") if system(name).image_model == "teacher" else None
        return stable_hash([self.training(name, dataset), readings, scored_at, made_by("sspcore.study.predicting")])

    def scores(self, name: str, dataset: str) -> str:
        """Of a system's row of the results table."""
        settings = self._metric_flow(), self.profile.conventions.of("tc"), self.profile.spec(dataset).moving
        return stable_hash([self.predictions(name, dataset), settings, made_by("sspcore.study.scoring")])

    def flow_error(self, dataset: str) -> str:
        """Of the error of the metric's flow."""
        settings = self._metric_flow(), self.profile.key("input_size", "held_out", "held_out_fold")
        return stable_hash([self.motion(dataset, "flow"), settings, made_by("sspcore.evaluation.clips")])

    def _metric_flow(self) -> str:
        return flow_under(self.profile.metric_flow, self.profile.conventions)
