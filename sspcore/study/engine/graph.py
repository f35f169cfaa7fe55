"""The graph of a study: which tasks make what was asked for, as far as it is not there yet.

    render a sequence --> prepare it --> register, flow of a clip --> train --> predict a clip --> score
                                                           train the teacher --> label a clip --> fuse it --> train

A task that only brings the parts of an artefact together carries the artefact's seal; the parts lie in its working folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from sspcore.models.systems import TEACHER, SystemSpec, system
from sspcore.study import Study, places
from sspcore.study.engine.data_tasks import DataPlanner, identity, megapixels
from sspcore.study.engine.task import Task

TCB_WINDOW = 4  # frames of a window of TCB


class Planner(DataPlanner):
    """All tasks of a study."""

    def __init__(self, study: Study, tasks: dict[str, Task], several: bool = False) -> None:
        super().__init__(study, tasks, several)
        self._goals |= {
            "train": self._train, "labels": self._labels, "fused": self._fused, "predict": self._predict,
            "evaluate": self._evaluate, "flow_error": self._flow_error,
        }

    def _train(self, name: str, dataset: str) -> Iterable[str]:
        spec, study = system(name), self.study
        if spec.recipe is None:
            return self.goal("train", spec.starts_from, dataset)
        place = places.training(study, name, dataset)
        if place.is_made():
            return ()
        recipe = study.profile.recipe(spec.recipe, dataset)
        needs = [*self.goal("prepare", dataset)]
        if spec.starts_from is not None:
            needs += self.goal("train", spec.starts_from, dataset)
        if spec.teacher:
            needs += self.goal("fused" if study.keys.fused(spec) else "labels", dataset)
        registers, flows = _motion_of(spec)
        length = _window(spec, study.profile.recurrent_window)
        if registers:
            needs += self._register(dataset, "train")
        if flows or (registers and recipe.lambda_tc > 0):
            needs += self._flow(dataset, "train", "strided" if spec.teacher else "windows", length)
        clips = self.clips(dataset, "train")
        windows = sum(
            len(clip) // 2 if spec.teacher else sum(k > 0 or length == 1 for k in clip.labelled) for clip in clips
        )
        steps = recipe.epochs * -(-windows * recipe.repeats // recipe.batch_size)
        return (self._add(
            "train", identity(place), place.title + self._seed, "train", (name, dataset), needs,
            steps * recipe.batch_size * length * megapixels(recipe.crop), f"train {name}", device=True,
        ),)

    def _labels(self, dataset: str) -> Iterable[str]:
        place, profile = places.labels(self.study, dataset), self.study.profile
        if place.is_made():
            return ()
        needs = (*self.goal("train", TEACHER, dataset), *self.goal("prepare", dataset))
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
            self._part(place, "fuse", clip.name, "fuse", f"fusing {clip.name}", (dataset, clip.name), (*labels, flow),
                       len(clip) * megapixels(profile.input_size), "fuse")
            for clip, flow in zip(self.clips(dataset, "train"), flows, strict=True)
        ]
        return (self._whole(place, "fused", (dataset,), parts),)

    # --------------------------------------------------- prediction and scores

    def _predict(self, name: str, dataset: str) -> Iterable[str]:
        place, spec = places.predictions(self.study, name, dataset), system(name)
        if place.is_made():
            return ()
        registers, flows = _motion_of(spec)
        needs = [*self.goal("train", name, dataset), *self.goal("prepare", dataset)]
        clips = self.clips(dataset, "val")
        motion = [[] for _ in clips]
        for names in (
            self._register(dataset, "val") if registers else (), self._flow(dataset, "val", "previous") if flows else (),
        ):
            for wanted, task in zip(motion, names, strict=False):
                wanted.append(task)
        size = self.study.input_size(spec)
        rate = f"predict {spec.starts_from if spec.kind == 'control' else name}"
        parts = [
            self._part(place, "predict part", clip.name, "predict", f"predicting {clip.name} with {name}",
                       (name, dataset, clip.name), (*needs, *wanted), len(clip) * megapixels(size), rate, device=True)
            for clip, wanted in zip(clips, motion, strict=True)
        ]
        return (self._whole(place, "predict", (name, dataset), parts),)

    def _evaluate(self, name: str, dataset: str) -> Iterable[str]:
        place, profile = places.scores(self.study, name, dataset), self.study.profile
        if place.is_made():
            return ()
        needs = (*self.goal("predict", name, dataset), *self.goal("prepare", dataset), *self._flow(dataset, "val", "next"))
        frames = sum(map(len, self.clips(dataset, "val")))
        return (self._add(
            "score", identity(place), place.title + self._seed, "evaluate", (name, dataset), needs,
            frames * megapixels(profile.input_size), "score", device=profile.metric_flow.startswith("raft"),
        ),)

    def _flow_error(self, dataset: str) -> Iterable[str]:
        place = places.flow_error(self.study, dataset)
        if place.is_made() or self.study.release_root is not None:
            return ()
        frames = sum(map(len, self.clips(dataset, "val")))
        needs = (*self.goal("prepare", dataset), *self._flow(dataset, "val", "next"))
        return (self._add(
            "score", identity(place), place.title, "flow_error", (dataset,), needs,
            frames * megapixels(self.study.profile.input_size), "score flow error",
        ),)


def _motion_of(spec: SystemSpec) -> tuple[bool, bool]:
    """Whether a system registers frames, and whether it wants their flow, when it streams."""
    registers = spec.method == "ssp" and spec.options is not None and spec.options.registration == "homography"
    return registers, spec.method in ("dff", "netwarp")


def _window(spec: SystemSpec, recurrent: int) -> int:
    """Frames of a training window."""
    if spec.kind == "image":
        return 1
    return TCB_WINDOW if spec.method.startswith("tcb") else recurrent if spec.recurrent else 2
