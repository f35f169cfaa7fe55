"""A study: one profile, one seed, and the stages that lead from a raw release to results.

    render --> prepare --> train --> predict --> evaluate

Each stage is a method that makes its artefact if it is missing or stale and returns where it lies; a stage calls those
that it depends on, so any of them can be asked for first. Notebooks and the command line call nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.core.errors import ProfileError
from sspcore.core.files import read_json, write_json
from sspcore.core.images import resize_labels
from sspcore.core.machine import give_back_gpu_memory
from sspcore.core.provenance import provenance, run_began
from sspcore.core.store import stable_hash
from sspcore.core.types import Size, VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.evaluation.clips import flow_error, read_prediction
from sspcore.inference.motion import MotionSource, motion_for
from sspcore.inference.stream import Segmented
from sspcore.models.checkpoint import WEIGHTS, read_config, read_weights, save_checkpoint
from sspcore.models.config import CheckpointConfig, system_config
from sspcore.models.systems import FLOW_METHODS, SystemSpec, build, control, image_spec, start_from, system
from sspcore.motion.readings import flow_under, registrator_under
from sspcore.study import fitting, places, predicting, scoring
from sspcore.study.data import StudyData
from sspcore.study.keys import TEACHER
from sspcore.study.results import row_names
from sspcore.training.distill import LabelStore, label_by_truth, label_clips
from sspcore.training.distributed import launch
from sspcore.training.fusion import fuse_clips
from sspcore.training.loop import HISTORY, Training, train


@dataclass(frozen=True)
class Study(StudyData):
    """All stages under one profile and training seed; see `StudyData` for its attributes."""

    # ---------------------------------------------------------------- training

    def train(self, name: str, dataset: str) -> Path:
        """Stage: clips -> checkpoint folder, with history.json; first trains what it starts from. A killed run goes on."""
        spec = system(name)
        if spec.recipe is None:  # a control has nothing to learn: its weights are those it starts from
            return self.train(spec.starts_from, dataset)
        self.ask("train", name, dataset)
        if (start := self.start(spec)) is not None:
            self.train(start, dataset)
        return self._stage(places.training(self, name, dataset), lambda out: self._train(name, dataset, out))

    def _train(self, name: str, dataset: str, out: Path) -> None:
        job = self.training(name, dataset, out)
        processes = self.profile.machine.process_count(job.recipe.batch_size, self.device)
        if processes == 1:
            train(job)
            return
        job.dataset.warm(job.workers)
        give_back_gpu_memory()  # what was warmed with, or done before, would be missing to the processes on the same GPUs
        launch("sspcore.study.worker", {
            "profile": self.profile.model_dump(mode="json"), "seed": self.seed,
            "root": str(self.workspace.root.absolute()),
            "release_root": None if self.release_root is None else str(self.release_root.absolute()),
            "device": self.device.type, "system": name, "dataset": dataset,
        }, out, name, processes)

    def training(self, name: str, dataset: str, out: Path) -> Training:
        """What the training loop is given for a system; see `fitting.training`."""
        job = fitting.training(self, name, dataset, out)
        return replace(job, save=lambda model: save_checkpoint(out, model, self.config(name, dataset), overwrite=True))

    def fit(self, model: VideoSegmenter, name: str, dataset: str, out: Path | str) -> Path:
        """Train a model of your own as the system `name` is trained, and write its checkpoint into `out`; see `fitting.fit`."""
        return fitting.fit(self, model, name, dataset, Path(out))

    def config(self, name: str, dataset: str) -> CheckpointConfig:
        """What a checkpoint of the system says of itself."""
        profile = self.profile
        return system_config(
            name, image_spec(name, profile), self.spec(dataset), self.input_size(system(name)), profile.recurrent_window,
            conventions=profile.conventions, train_flow=profile.train_flow and system(name).method in FLOW_METHODS,
            registration=registrator_under(profile.registration, profile.conventions),
            flow=flow_under(profile.flow, profile.conventions),
            interpolation=profile.clips[dataset].interpolation(self.input_size(system(name))),
            data=f"{self.spec(dataset).title}: {self.data_origin}",
            provenance=provenance(profile.name, self.seed, self.clips_key(dataset)),
        )

    def history(self, name: str, dataset: str) -> list[dict[str, float]]:
        """Training history of a system, one entry an epoch."""
        return read_json(self.train(name, dataset) / HISTORY)

    def model(self, name: str, dataset: str) -> VideoSegmenter:
        """The trained system, in eval mode."""
        spec = system(name)
        folder = self.train(name, dataset)
        weights = read_weights(folder / WEIGHTS)
        model = build(name, self.spec(dataset).n_classes, self.profile, load_weights=False)
        if spec.recipe is None:
            start_from(model, weights)
        else:
            model.load_state_dict(weights)
            model.config = read_config(folder)
        return model.to(self.device).eval()

    def teacher_labels(self, dataset: str) -> LabelStore:
        """Stage: the teacher's logits of every training frame."""
        self.ask("labels", dataset)
        return LabelStore(self._stage(
            places.labels(self, dataset),
            lambda out: self.label(dataset, self.clips(dataset, "train"), out, lambda: self.model(TEACHER, dataset)),
        ))

    def label(self, dataset: str, clips: list[Clip], out: Path, teacher: Callable[[], VideoSegmenter]) -> None:
        """Write the teacher's logits of some training clips into the folder `out`, or the truth's (see `distil_from`)."""
        profile, store = self.profile, LabelStore(out)
        if profile.distil_from == "truth":
            if (truth := self.truth_root(dataset)) is None:
                raise ProfileError("distil_from: exact labels of every frame are known of rendered data only; take teacher")
            label_by_truth(truth, clips, store, profile.input_size)
            return
        batch = profile.machine.label_batch
        label_clips(teacher(), clips, store, profile.teacher_size, profile.input_size, self.device, batch)

    def fused_labels(self, dataset: str) -> LabelStore:
        """Stage: the teacher's labels, fused over pairs of frames through bidirectional flow."""
        self.ask("fused", dataset)
        return LabelStore(self._stage(
            places.fused(self, dataset), lambda out: self.fuse(dataset, self.clips(dataset, "train"), out)
        ))

    def fuse(self, dataset: str, clips: list[Clip], out: Path) -> None:
        """Write the fused logits of some training clips into the folder `out`."""
        fuse_clips(clips, self.teacher_labels(dataset), LabelStore(out), self.fusion_flows(dataset), self.profile.conventions)

    def start(self, spec: SystemSpec) -> str | None:
        """System whose checkpoint a system's training starts from; None: the encoder's weights."""
        return spec.start(self.profile.equal_steps)

    def labels_for(self, spec: SystemSpec, dataset: str) -> LabelStore:
        """The teacher labels that a distilled system learns from: fused for video systems, unfused for single frames."""
        return self.fused_labels(dataset) if self.keys.fused(spec) else self.teacher_labels(dataset)

    def input_size(self, spec: SystemSpec) -> Size:
        """(H, W) that a system sees: the teacher's is larger."""
        return self.profile.teacher_size if spec.image_model == "teacher" else self.profile.input_size

    def scored_size(self, spec: SystemSpec) -> Size:
        """(H, W) of a system's label maps on disk, which it is scored at."""
        return self.input_size(spec) if self.profile.score_teacher_at == "teacher_size" else self.profile.input_size

    # --------------------------------------------------- prediction and scores

    def predict(self, name: str, dataset: str) -> Path:
        """Stage: trained weights -> label maps of all validation clips, streamed frame by frame."""
        self.ask("predict", name, dataset)
        return self._stage(
            places.predictions(self, name, dataset), lambda out: predicting.write_predictions(self, name, dataset, out)
        )

    def segment(self, name: str, dataset: str, clip: Clip) -> list[Segmented]:
        """A trained system streamed over one clip, everything kept (logits, state), for pictures."""
        return list(self.stream(self.model(name, dataset), name, dataset, clip))

    def motion(self, model: VideoSegmenter, dataset: str, clip: Clip, start: int = 0) -> MotionSource:
        """The motion that a model needs of a clip, from the study's stores; the stream begins at frame `start`."""
        return motion_for(model, lambda: self.homographies(dataset), lambda: self.flows(dataset), clip, start)

    def stream(self, model: VideoSegmenter, name: str, dataset: str, clip: Clip, start: int = 0) -> Iterator[Segmented]:
        """A clip from frame `start` on through `model`, which is the system `name`."""
        return predicting.stream(self, model, name, dataset, clip, start)

    def label_maps(self, name: str, dataset: str, clip: Clip) -> list[np.ndarray]:
        """The predicted label maps of one validation clip at the students' size (H, W), by nearest pixel where they differ."""
        folder, size = self.predict(name, dataset), self.profile.input_size
        return [resize_labels(read_prediction(folder, clip, position), size) for position in range(len(clip))]

    def evaluate(self, name: str, dataset: str) -> dict[str, Any]:
        """Stage: label maps -> the system's row of the results table."""
        self.ask("evaluate", name, dataset)
        predictions = self.predict(name, dataset)
        folder = self._stage(
            places.scores(self, name, dataset),
            lambda out: scoring.write(scoring.row(self, name, dataset, predictions), out),
        )
        return read_json(folder / scoring.ROW)

    def counts(self, name: str, dataset: str) -> list[dict[str, Any]]:
        """What a system's row rests on, clip by clip, in the order of the validation clips; see `evaluate_system`."""
        self.evaluate(name, dataset)
        return read_json(places.scores(self, name, dataset).folder / scoring.CLIPS)

    def train_all(self, names: Iterable[str], datasets: Iterable[str]) -> None:
        """Train several systems on several data sets, side by side where there is a maker."""
        names, datasets = tuple(names), tuple(datasets)
        self.ask("train all", names, datasets)
        for dataset in datasets:
            for name in names:
                self.train(name, dataset)

    def evaluate_all(self, names: Iterable[str], datasets: Iterable[str]) -> list[dict[str, Any]]:
        """Rows of several systems on several data sets, data set by data set."""
        names, datasets = tuple(names), tuple(datasets)
        self.ask("evaluate all", names, datasets)
        return [self.evaluate(name, dataset) for dataset in datasets for name in names]

    def flow_error(self, dataset: str) -> float | None:
        """Mean end-point error (pixels) of the metric's flow on the validation clips; None where no exact flow is."""
        truth = self.truth_root(dataset)
        if truth is None:
            return None

        def measure(out: Path) -> None:
            flows = self.flows(dataset, self.profile.metric_flow)
            error = flow_error(self.clips(dataset, "val"), flows, truth, self.profile.input_size)
            write_json(out / "error.json", {"epe": error})

        self.ask("flow_error", dataset)
        return read_json(self._stage(places.flow_error(self, dataset), measure) / "error.json")["epe"]

    def controls(self, systems: Iterable[str] = ()) -> list[str]:
        """Names of the constant-alpha controls that the profile asks for: on Base, and on KD Base if it is among `systems`."""
        images = ["Base", *(name for name in ("KD Base",) if name in systems)]
        return [control(alpha, image).name for image in images for alpha in self.profile.constant_alphas]

    def results(self, systems: list[str], datasets: list[str]) -> dict[str, Any]:
        """The content of results.json: provenance and rows of systems and controls, in the order of the paper's table."""
        names = row_names(self, systems)
        rows = self.evaluate_all(names, datasets)
        return {"provenance": self.origin(datasets), "titles": self.titles(datasets), "rows": rows}

    def origin(self, datasets: Iterable[str]) -> dict[str, Any]:
        """Where the numbers of a table come from."""
        keys = stable_hash([self.clips_key(name) for name in datasets])
        return provenance(self.profile.name, self.seed, keys) | {
            "data": self.data_origin, "metric_flow": flow_under(self.profile.metric_flow, self.profile.conventions),
            "metric_flow_epe_px": {name: self.flow_error(name) for name in datasets},
            "minutes": round((time.time() - run_began()) / 60, 1),
        }
