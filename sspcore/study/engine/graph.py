"""The graph of a study: which tasks make what was asked for, as far as it is not there yet.

    render a sequence --> prepare it --> register, flow of a clip --> train --> predict a clip --> score
                                                           train the teacher --> label a clip --> fuse it --> train

A task that only brings the parts of an artefact together carries the artefact's seal; the parts lie in its working folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from sspcore.data.windows import labelled_ends, strided_ends
from sspcore.models.systems import FLOW_METHODS, TEACHER, SystemSpec, system
from sspcore.motion.names import uses_raft
from sspcore.study import Study, places
from sspcore.study.engine.data_tasks import DataPlanner, Names, identity, megapixels, name_of
from sspcore.study.engine.task import Task
from sspcore.study.profiles import Profile

TCB_WINDOW = 4  # frames of a window of TCB


class Planner(DataPlanner):
    """All tasks of a study.

    Args:
        controls: that are wanted: they are predicted together with their image models, which so see each frame once.
    """

    def __init__(
        self, study: Study, tasks: dict[str, Task], several: bool = False, controls: Sequence[str] = ()
    ) -> None:
        super().__init__(study, tasks, several)
        self._controls = controls
        self._goals |= {
            "train": self._train, "labels": self._labels, "fused": self._fused, "predict": self._predict,
            "evaluate": self._evaluate, "flow_error": self._flow_error,
        }

    def changed(self, asked: Iterable[tuple[Mapping[str, Any], str, str]]) -> Names:
        """The tasks that score systems under changes of the profile: (changes, system, data set) each."""
        goals = (Planner(self.study.changed(each), self.tasks).goal("evaluate", *row) for each, *row in asked)
        return tuple(dict.fromkeys(chain.from_iterable(goals)))

    def _train(self, name: str, dataset: str) -> Iterable[str]:
        spec, study = system(name), self.study
        if spec.recipe is None:
            return self.goal("train", spec.starts_from, dataset)
        place = places.training(study, name, dataset)
        if place.is_made():
            return ()
        recipe = study.profile.recipe(spec.recipe, dataset)
        needs = [*self.goal("prepare", dataset)]
        if (start := study.start(spec)) is not None:
            needs += self.goal("train", start, dataset)
        if spec.teacher:
            needs += self.goal("fused" if study.keys.fused(spec) else "labels", dataset)
        registers, flows = _motion_of(spec, study.profile)
        length = _window(spec, study.profile.recurrent_window)
        if registers and not study.profile.register_crops:
            needs += chain(*self._register(dataset, "train"))
        if flows or (spec.method == "ssp" and recipe.lambda_tc > 0):  # L_tc compares outputs of neighbours, registered or not
            needs += chain(*self._flow(dataset, "train", "strided" if spec.teacher else "windows", length))
        ends = strided_ends if spec.teacher else partial(labelled_ends, length=length, first=bool(study.profile.described))
        steps = recipe.epochs * recipe.steps(sum(len(ends(clip)) for clip in self.clips(dataset, "train")))
        return (self._add(
            "train", identity(place), place.title + self._seed, "train", (name, dataset), needs,
            steps * recipe.batch_size * length * megapixels(recipe.crop), f"train {name}", device=True,
        ),)

    def _labels(self, dataset: str) -> Iterable[str]:
        place, profile = places.labels(self.study, dataset), self.study.profile
        if place.is_made():
            return ()
        teacher = () if profile.distil_from == "truth" else self.goal("train", TEACHER, dataset)
        needs = (*teacher, *self.goal("prepare", dataset))
        parts = [
            self._part(place, "label", clip.name, "label", f"labelling {clip.name}", (dataset, clip.name), needs,
                       len(clip) * megapixels(profile.teacher_size), "label", device=True)
            for clip in self.clips(dataset, "train")
        ]
        return (self._whole(place, "labels", (dataset,), parts),)

    def _fused(self, dataset: str) -> Iterable[str]:
        place, profile = places.fused(self.study, dataset), self.study.profile
        if place.is_made():
            return ()
        labels, flows = self.goal("labels", dataset), self._flow(dataset, "train", "pairs")
        parts = [
            self._part(place, "fuse", clip.name, "fuse", f"fusing {clip.name}", (dataset, clip.name), (*labels, *flow),
                       len(clip) * megapixels(profile.input_size), "fuse")
            for clip, flow in zip(self.clips(dataset, "train"), flows, strict=True)
        ]
        return (self._whole(place, "fused", (dataset,), parts),)

    # --------------------------------------------------- prediction and scores

    def _predict(self, name: str, dataset: str) -> Iterable[str]:
        place = places.predictions(self.study, name, dataset)
        if place.is_made():
            return ()
        whole = name_of("seal", identity(place))
        if whole in self.tasks:  # put there for another study, perhaps together with its controls
            return (whole,)
        return (self._whole(place, "predict", (name, dataset), self._once(
            ("parts", self._together(name), dataset), lambda: self._predict_clips(self._together(name), dataset)
        )),)

    def _together(self, name: str) -> Names:
        """The systems that are streamed together with one, itself included."""
        spec = system(name)
        image = spec.starts_from if spec.kind == "control" else name
        group = (image, *(each for each in self._controls if system(each).starts_from == image))
        return group if name in group and len(group) > 1 else (name,)

    def _predict_clips(self, names: Names, dataset: str) -> Names:
        first, specs = places.predictions(self.study, names[0], dataset), [system(name) for name in names]
        motions = [_motion_of(spec, self.study.profile) for spec in specs]
        clips = self.clips(dataset, "val")
        needs = [[*self.goal("train", names[0], dataset), *self.goal("prepare", dataset)] for _ in clips]
        if any(registers for registers, _ in motions):
            needs = [[*wanted, *task] for wanted, task in zip(needs, self._register(dataset, "val"), strict=True)]
        if any(flows for _, flows in motions):
            needs = [[*wanted, *task] for wanted, task in zip(needs, self._flow(dataset, "val", "previous"), strict=True)]
        image = names[0] if specs[0].kind != "control" else specs[0].starts_from
        rate = f"predict {image} and controls" if len(names) > 1 else f"predict {image}"
        whom = f"{names[0]} and {len(names) - 1} controls" if len(names) > 1 else names[0]
        return tuple(
            self._add(
                "predict", [*identity(first), names, clip.name], self._title(dataset, f"predicting {clip.name} with {whom}"),
                "predict part", (names, dataset, clip.name), wanted,
                len(clip) * megapixels(self.study.input_size(specs[0])), rate, device=True,
            )
            for clip, wanted in zip(clips, needs, strict=True)
        )

    def _evaluate(self, name: str, dataset: str) -> Iterable[str]:
        place, profile = places.scores(self.study, name, dataset), self.study.profile
        if place.is_made():
            return ()
        needs = (*self.goal("predict", name, dataset), *self.goal("prepare", dataset))
        size = self.study.scored_size(system(name))
        needs = (*needs, *chain(*self._flow(dataset, "val", "next", size=size)))
        frames = sum(map(len, self.clips(dataset, "val")))
        return (self._add(
            "score", identity(place), place.title + self._seed, "evaluate", (name, dataset), needs,
            frames * megapixels(size), "score", device=uses_raft(profile.metric_flow),
        ),)

    def _flow_error(self, dataset: str) -> Iterable[str]:
        place = places.flow_error(self.study, dataset)
        if place.is_made() or self.study.is_real:
            return ()
        frames = sum(map(len, self.clips(dataset, "val")))
        needs = (*self.goal("prepare", dataset), *chain(*self._flow(dataset, "val", "next")))
        return (self._add(
            "score", identity(place), place.title, "flow_error", (dataset,), needs,
            frames * megapixels(self.study.profile.input_size), "score flow error",
        ),)


def _motion_of(spec: SystemSpec, profile: Profile) -> tuple[bool, bool]:
    """Whether a system registers frames, and whether it wants their flow given, when it streams."""
    registers = spec.options is not None and spec.options.registration == "homography"
    by_flow = spec.options is not None and (spec.options.gate is not None or spec.options.registration == "flow")
    return registers, by_flow or (spec.method in FLOW_METHODS and not profile.train_flow)


def _window(spec: SystemSpec, recurrent: int) -> int:
    """Frames of a training window."""
    if spec.kind == "image":
        return 1
    return TCB_WINDOW if spec.method.startswith("tcb") else recurrent if spec.recurrent else 2
