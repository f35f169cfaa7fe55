"""Where each stage of a study leaves its artefact, and under which key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sspcore.core.store import is_fresh, made_since, working_folder
from sspcore.study.keys import TEACHER

if TYPE_CHECKING:
    from sspcore.study.data import StudyData

RESUMES = frozenset({"prepare", "train", "label", "predict"})  # kinds of stages that go on where they were killed


@dataclass(frozen=True)
class Place:
    """A stage's artefact.

    Attributes:
        kind: of stage, as `force` names it: "prepare", "train", "label", "predict", "evaluate".
        title: what is made, for people.
        folder, key: see `sspcore.core.store.stage`.
        forced_at: when the run began that makes it again; None: it is made if it is not there.
    """

    kind: str
    title: str
    folder: Path
    key: str
    forced_at: float | None = None

    @property
    def working(self) -> Path:
        """Where it is made, and where its parts may lie before."""
        return working_folder(self.folder, self.key, self.forced_at)

    def is_made(self) -> bool:
        """Whether there is nothing to do."""
        return (self.forced_at is None or made_since(self.folder, self.forced_at)) and is_fresh(self.folder, self.key)


def place(study: StudyData, kind: str, what: str, folder: Path, key: str, dataset: str) -> Place:
    """The place of one stage of a study."""
    forced = study.began if kind in study.force and not made_since(folder, study.began) else None
    return Place(kind, f"{study.spec(dataset).title}: {what}", folder, key, forced)


def clips(study: StudyData, dataset: str) -> Place:
    """The prepared data."""
    return place(study, "prepare", "preparing clips", study.workspace.clips(dataset), study.keys.clips(dataset), dataset)


def training(study: StudyData, name: str, dataset: str) -> Place:
    """A system's checkpoint."""
    folder, key = study.folder(name, dataset) / "training", study.keys.training(name, dataset)
    return place(study, "train", f"training {name}", folder, key, dataset)


def labels(study: StudyData, dataset: str) -> Place:
    """The teacher's logits of every training frame."""
    name = "labels" if study.profile.distil_from == "teacher" else "labels-of-truth"
    folder, key = study.folder(TEACHER, dataset) / name, study.keys.labels(dataset, fused=False)
    return place(study, "label", "teacher labels", folder, key, dataset)


def fused(study: StudyData, dataset: str) -> Place:
    """The teacher's logits, fused over pairs of frames."""
    key = study.keys.labels(dataset, fused=True)
    return place(study, "label", "fusing labels", study.folder(TEACHER, dataset) / f"labels-fused-{key[:8]}", key, dataset)


def predictions(study: StudyData, name: str, dataset: str) -> Place:
    """A system's label maps of the validation clips."""
    folder, key = study.folder(name, dataset) / "predictions", study.keys.predictions(name, dataset)
    return place(study, "predict", f"predicting with {name}", folder, key, dataset)


def scores(study: StudyData, name: str, dataset: str) -> Place:
    """A system's row of the results table."""
    return place(
        study, "evaluate", f"scoring {name}", study.folder(name, dataset) / "scores", study.keys.scores(name, dataset), dataset
    )


def flow_error(study: StudyData, dataset: str) -> Place:
    """The error of the metric's flow."""
    folder, key = study.workspace.motion(dataset) / "metric-flow-error", study.keys.flow_error(dataset)
    return place(study, "evaluate", "error of the flow", folder, key, dataset)
