"""Tasks on data: rendering, preparing, registration and flow, and how any task is put into the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from sspcore.core.store import stable_hash
from sspcore.core.types import Size
from sspcore.data.clips import hold_out
from sspcore.motion.names import uses_lightglue, uses_raft
from sspcore.motion.readings import flow_under, fusion_flow, registrator_under
from sspcore.study import Study, places
from sspcore.study.engine.task import Call, StudySpec, Task
from sspcore.study.outline import PlannedClip, planned_clips
from sspcore.study.places import Place

Names = tuple[str, ...]  # of tasks
STILLS_OF_A_TASK = 32


def study_spec(study: Study) -> StudySpec:
    """A study by values."""
    data = None if study.release_root is None else str(study.release_root.absolute())
    own = [str(spec.root) for spec in study.profile.described.values()]
    return StudySpec(
        study.profile.model_dump_json(), study.seed, data, str(study.workspace.root.absolute()), tuple(sorted(study.force)),
        study.began, tuple(own or filter(None, [data])),
    )


class DataPlanner:
    """The tasks that make a study's data, put into a graph that several studies may share.

    Args:
        tasks: receives them, by name.
        several: whether the graph holds several seeds, so that titles name theirs.
    """

    def __init__(self, study: Study, tasks: dict[str, Task], several: bool = False) -> None:
        self.study, self.tasks, self.spec = study, tasks, study_spec(study)
        self._seed = f" (seed {study.seed})" if several else ""
        self._known: dict[tuple[Any, ...], Any] = {}
        self._goals: dict[str, Callable[..., Iterable[str]]] = {"prepare": self._prepare, "motion": self._motion}

    def goal(self, kind: str, *arguments: Any) -> Names:
        """Names of the tasks that have to be done for a goal of `Study`, such as ("train", "SSP", "uavid"); none if it is made.

        What they need is put into the graph too.
        """
        return self._once((kind, *arguments), lambda: tuple(dict.fromkeys(self._goals[kind](*arguments))))

    def goals(self, goals: Iterable[Sequence[Any]]) -> Names:
        """Of several goals."""
        return tuple(dict.fromkeys(name for goal in goals for name in self.goal(*goal)))

    def clips(self, dataset: str, split: str) -> list[PlannedClip]:
        """The clips that `Study.clips` will have."""
        everything = self._once(("clips", dataset), lambda: planned_clips(
            self.study.profile, dataset, self.study.checked(dataset).sequences if self.study.is_real else None
        ))
        held_out, fold = self.study.profile.held_out, self.study.profile.held_out_fold
        ours = [clip for clip in everything if clip.split == ("train" if held_out else split)]
        return hold_out(ours, held_out, split, fold) if held_out else ours

    def _prepare(self, dataset: str) -> Iterable[str]:
        place = places.clips(self.study, dataset)
        if place.is_made():
            return ()
        size, frames = self._stored_size(dataset), Counter[str]()
        for clip in self._every_clip(dataset):
            frames[clip.sequence] += len(clip)
        rendered = {name: self._render(dataset, name) for name in self.study.unrendered(dataset)}
        names = list(frames)
        # there may be thousands of stills: several in one task
        shares = [[name] for name in names if frames[name] > 1]
        stills = [name for name in names if frames[name] == 1]
        shares += [stills[k: k + STILLS_OF_A_TASK] for k in range(0, len(stills), STILLS_OF_A_TASK)]
        parts = [
            self._part(
                place, "prepare part", ",".join(share), "prepare", f"preparing {share[0]}{more}", (dataset, tuple(share)),
                rendered.get(share[0], ()), sum(frames[name] for name in share) * megapixels(size), "prepare",
            )
            for share in shares for more in (f" and {len(share) - 1} more" if len(share) > 1 else "",)
        ]
        return (self._whole(place, "prepare", (dataset,), [*parts, *(need for names in rendered.values() for need in names)]),)

    def _render(self, dataset: str, sequence: str) -> Names:
        settings = self.study.profile.rendering.releases[dataset]
        folder = self.study.release_folder(dataset)
        return (self._add(
            "render", [str(folder), sequence], self._title(dataset, f"rendering {sequence}", seed=False), "render",
            (dataset, sequence), (), settings.source_frames * megapixels(settings.size), "render",
        ),)

    def _motion(self, dataset: str) -> Iterable[str]:
        """Registrations and flow in both directions of the validation clips, which pictures and explorers show."""
        return (
            *self.goal("prepare", dataset), *chain(*self._register(dataset, "val")),
            *chain(*self._flow(dataset, "val", "next"), *self._flow(dataset, "val", "previous")),
        )

    def _register(self, dataset: str, split: str) -> list[Names]:
        """Of each clip of a split the task that registers its frames; none of a still."""
        prepared, key = self.goal("prepare", dataset), self.study.keys.motion(dataset, "registration")
        registrator = registrator_under(self.study.profile.registration, self.study.profile.conventions)
        return [
            (self._add(
                "register", [dataset, key, clip.split, clip.name, registrator, self.study.profile.input_size],
                self._title(dataset, f"registering {clip.name}", seed=False), "register", (dataset, split, clip.name), prepared,
                len(clip) * megapixels(self.study.profile.input_size), "register",
                device=uses_lightglue(registrator),
            ),) if len(clip) > 1 else ()
            for clip in self.clips(dataset, split)
        ]

    def _flow(self, dataset: str, split: str, which: str, window: int = 2, size: Size | None = None) -> list[Names]:
        """Of each clip of a split the task for its flow; none where no flow is wanted.

        Args:
            which: "next" and "previous" neighbours, both ways in fused "pairs", or in labelled "windows" or "strided" ones.
            size: of the frames; default: the students'.
        """
        profile, prepared = self.study.profile, self.goal("prepare", dataset)
        size = size or profile.input_size
        if which == "pairs":
            estimator = fusion_flow(profile.flow, profile.conventions)
        else:
            estimator = flow_under(profile.metric_flow if which == "next" else profile.flow, profile.conventions)
        names: list[Names] = []
        for clip in self.clips(dataset, split):
            pairs = _pairs(clip, which, window)
            names.append((self._add(
                "flow", [dataset, self.study.keys.motion(dataset, "flow"), clip.split, clip.name, estimator, size, pairs],
                self._title(dataset, f"flow of {clip.name}", seed=False), "flow",
                (dataset, split, clip.name, estimator, size, pairs), prepared, len(pairs) * megapixels(size), "flow",
                device=uses_raft(estimator),
            ),) if pairs else ())
        return names

    # -------------------------------------------------------------- one task

    def _part(
        self, place: Place, method: str, part: str, kind: str, what: str, arguments: tuple[Any, ...], needs: Iterable[str],
        units: float, rate: str, device: bool = False,
    ) -> str:
        title = self._title(arguments[0], what, seed=kind != "prepare")
        return self._add(kind, [*identity(place), part], title, method, arguments, needs, units, rate, device)

    def _whole(self, place: Place, method: str, arguments: tuple[Any, ...], needs: Iterable[str]) -> str:
        """The task that brings the parts of an artefact together."""
        title = place.title + (self._seed if place.kind != "prepare" else "")
        return self._add("seal", identity(place), title, method, arguments, needs, 1.0, "seal")

    def _add(
        self, kind: str, identity: list[Any], title: str, method: str, arguments: tuple[Any, ...], needs: Iterable[str],
        units: float, rate: str, device: bool = False,
    ) -> str:
        name = name_of(kind, identity)
        if name not in self.tasks:
            call = Call(self.spec, method, arguments)
            self.tasks[name] = Task(name, kind, title, call, tuple(dict.fromkeys(needs)), units, rate, device)
        return name

    def _title(self, dataset: str, what: str, seed: bool = True) -> str:
        return f"{self.study.spec(dataset).title}: {what}{self._seed if seed else ''}"

    def _every_clip(self, dataset: str) -> list[PlannedClip]:
        self.clips(dataset, "train")
        return self._known["clips", dataset]

    def _stored_size(self, dataset: str) -> tuple[int, int]:
        rendering = self.study.profile.rendering
        if rendering is not None:
            return rendering.releases[dataset].size
        return self.study.profile.clips[dataset].store_size or self.study.profile.teacher_size

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def name_of(kind: str, identity: list[Any]) -> str:
    """A task's name, from what it makes."""
    return f"{kind}-{stable_hash(identity)}"


def identity(place: Place) -> list[Any]:
    """What tells an artefact from all others, in the names of tasks."""
    return [str(place.folder), place.key, place.forced_at]


def megapixels(size: Sequence[int]) -> float:
    """Of a frame (H, W)."""
    return size[0] * size[1] / 1e6


def _pairs(clip: PlannedClip, which: str, window: int) -> tuple[tuple[int, int], ...]:
    """(source, target) positions of the flow that is wanted of a clip."""
    if which == "next":
        return tuple((k, k + 1) for k in range(len(clip) - 1))
    if which == "previous":
        return tuple((k, k - 1) for k in range(1, len(clip)))
    if which == "pairs":
        return tuple(pair for k in range(1, len(clip), 2) for pair in ((k - 1, k), (k, k - 1)))
    ends = range(1, len(clip), 2) if which == "strided" else [k for k in clip.labelled if k > 0]
    return tuple(sorted({(k, k - 1) for end in ends for k in range(max(1, end - window + 2), end + 1)}))
