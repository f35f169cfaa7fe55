"""A study: one profile, one seed, and the stages that lead from a raw release to results.

    render --> prepare --> train --> predict --> evaluate

Each stage is a method that makes its artefact if it is missing or stale and returns where it lies; a stage calls those
that it depends on, so any of them can be asked for first. Notebooks and the command line call nothing else.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.files import note_output, read_json, write_json
from sspcore.core.images import write_png
from sspcore.core.lock import join_run
from sspcore.core.machine import worker_count
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.progress import tqdm
from sspcore.core.provenance import provenance, run_began
from sspcore.core.store import made_since, resumable_stage, stable_hash, stage
from sspcore.core.types import VideoSegmenter
from sspcore.data.augment import ImageAugmentation, WindowAugmentation
from sspcore.data.check import Checked, require_release
from sspcore.data.clips import Clip, load_clips
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.prepare import natural_key, prepare_clips, release_key_of
from sspcore.data.statistics import class_shares
from sspcore.data.truth import TruthFlow
from sspcore.data.windows import WindowDataset, WindowRef, labelled_windows, strided_windows
from sspcore.evaluation.clips import evaluate_system, flow_error, read_prediction
from sspcore.inference.stream import Segmented, clip_motion, segment_video
from sspcore.models.systems import (
    SYSTEMS,
    SystemSpec,
    build,
    control,
    encoder_start,
    freeze_image,
    image_spec,
    stand_in,
    start_from,
    system,
)
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator
from sspcore.study.profiles import SEED_LIMIT, Profile, load_profile
from sspcore.synthetic import RENDERER_VERSION, render_release
from sspcore.training.distill import OCCLUSION_RULES, LabelStore, fuse_clips, label_clips
from sspcore.training.distributed import launch
from sspcore.training.loop import HISTORY, WEIGHTS, Training, load_weights, train
from sspcore.training.losses import Objective, balanced_weights, build_objective

log = logging.getLogger(__name__)
T = TypeVar("T")

# Raised when a stage's code changes what it writes, so that artefacts of the former code are not taken for its own.
STAGE_VERSIONS = {"clips": 1, "train": 3, "label": 2, "predict": 2, "evaluate": 1}
TEACHER = "Teacher"


@dataclass(frozen=True)
class Study:
    """All stages under one profile and training seed.

    Attributes:
        profile: the numbers.
        seed: of training.
        release_root: folder of real releases (`<root>/uavid`, `<root>/ruralscapes`); None where the profile renders them.
        workspace: where artefacts lie.
        force: kinds of stages ("prepare", "train", "label", "predict", "evaluate") to make anew: once per run of
            `sspcore.study.reproduce`, whose chapters share artefacts, else once per study.
        device: where models run.
        began: what was made since then (seconds since the epoch) is not forced again.
    """

    profile: Profile
    seed: int
    release_root: Path | None
    workspace: Workspace
    force: frozenset[str] = frozenset()
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    began: float = field(default_factory=lambda: run_began(time.time()))
    _memory: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, profile: str, seed: int | None = None, data: str | Path | None = None,
        force: Iterable[str] = (),
        overrides: dict[str, Any] | None = None, root: Path | None = None,
    ) -> Study:
        """A study by the name of its profile.

        Args:
            profile: "smoke", "demo", "paper", or the path of a YAML file.
            seed: of training; default: the profile's.
            data: folder of the real releases, for profiles that do not render.
            force: kinds of stages to make anew.
            overrides: dotted profile settings, for ablations.
            root: folder of artefacts; default: the repository's data folder.
        Raises: ProfileError, or ReleaseError if the profile needs real data and no folder is given.
        """
        loaded = load_profile(profile, overrides)
        if seed is not None and not 0 <= seed < SEED_LIMIT:
            raise ProfileError(f"--seed {seed}: take 0 or more, below 2^63")
        if loaded.rendering is None and data is None:
            raise ReleaseError(
                f"profile {loaded.name} needs the real releases: pass --data DIR with DIR/uavid and DIR/ruralscapes "
                "(layouts in data/README.md)"
            )
        workspace = Workspace(loaded.name) if root is None else Workspace(loaded.name, Path(root))
        study = cls(
            loaded, loaded.seed if seed is None else seed, None if data is None else Path(data), workspace,
            frozenset(force),
        )
        study._once(("run",), join_run)  # open as long as the study lives
        return study

    @property
    def figures(self) -> Path:
        """Where tables and pictures go."""
        return REPOSITORY / self.profile.figures

    # ------------------------------------------------------------------ data

    @property
    def data_origin(self) -> str:
        """Which data the numbers are from, in words."""
        held_out = self.profile.held_out
        note = f"; scored on {held_out} training sequences held out for choices" if held_out else ""
        if self.release_root:
            return f"real releases{note}"
        note += "; smoke run: no result" if self.profile.name == "smoke" else ""
        return f"rendered data, not the real data set{note}"

    def spec(self, dataset: str) -> DatasetSpec:
        """The data set's specification. Raises ProfileError if the profile does not know it."""
        if dataset not in SPECS or dataset not in self.profile.clips:
            raise ProfileError(f"data set '{dataset}' is unknown; choose from {', '.join(self.profile.clips)}")
        return SPECS[dataset]

    def release(self, dataset: str) -> Path:
        """The raw release, rendered if the profile says so."""
        return self._once(("release", dataset), lambda: self._release(dataset))

    def _release(self, dataset: str) -> Path:
        spec = self.spec(dataset)
        rendering = self.profile.rendering
        if self.release_root is not None or rendering is None:
            return self.release_root / dataset
        settings = rendering.releases[dataset]
        key = stable_hash([settings.model_dump(mode="json"), rendering.seed, RENDERER_VERSION])
        root = self.workspace.releases / f"{dataset}-{key}"
        for stale in self.workspace.releases.glob(f"{dataset}-*"):
            if stale != root:
                shutil.rmtree(stale)
        log.info("%s: rendering (sequences that are complete are skipped)", spec.title)
        note_output(root)
        return render_release(dataset, settings, rendering.seed, root, rendering.workers)

    def checked(self, dataset: str) -> Checked:
        """What is sound of a real release, looked at once; raises ReleaseError if the data set cannot go on."""
        return self._once(("checked", dataset), lambda: require_release(
            self.release_root, self.spec(dataset), self.workspace, worker_count("auto")
        ))

    def truth_root(self, dataset: str) -> Path | None:
        """Exact truth of a rendered release, None for real data."""
        release = self.release(dataset)
        truth = release.with_name(f"{release.name}_truth")
        return truth if truth.is_dir() else None

    def clips_key(self, dataset: str) -> str:
        """Identity of the prepared data."""
        return self._once(("clips key", dataset), lambda: stable_hash([
            self.profile.key(f"clips.{dataset}"), self._release_key(dataset), STAGE_VERSIONS["clips"]
        ]))

    def _release_key(self, dataset: str) -> list[tuple[str, int]]:
        return self.checked(dataset).key() if self.release_root else release_key_of(self.release(dataset), dataset)

    def prepare(self, dataset: str) -> Path:
        """Stage: raw release -> clips."""
        spec, release, rules = self.spec(dataset), self.release(dataset), self.profile.clips[dataset]
        sequences = self.checked(dataset).sequences if self.release_root else None  # what we rendered is sound
        workers = worker_count("auto") if self.release_root else 1
        return self._stage(
            "prepare", f"{spec.title}: preparing clips", self.workspace.clips(dataset), self.clips_key(dataset),
            lambda out: prepare_clips(release, spec, rules, out, workers, sequences),
        )

    def clips(self, dataset: str, split: str) -> list[Clip]:
        """The prepared clips of a split ("train" or "val"); see `held_out` in the profile."""
        return self._once(("clips", dataset, split), lambda: self._clips(dataset, split))

    def _clips(self, dataset: str, split: str) -> list[Clip]:
        held_out = self.profile.held_out
        clips = load_clips(self.prepare(dataset), "train" if held_out else split, self.profile.frame_cache_mb)
        if not held_out:
            return clips
        sequences = sorted({clip.sequence for clip in clips}, key=natural_key)
        if held_out >= len(sequences):
            raise ProfileError(f"held_out: {held_out} of {len(sequences)} training sequences leave none to train on")
        scored = set(sequences[-held_out:])
        return [clip for clip in clips if (clip.sequence in scored) == (split == "val")]

    def flows(self, dataset: str, estimator: str | None = None) -> FlowStore:
        """Flow between neighbouring frames at the student's size; default estimator: the profile's `flow`."""
        root = self.workspace.motion(dataset) / self.clips_key(dataset)
        return FlowStore(root, build_flow(estimator or self.profile.flow, self.device), self.profile.input_size)

    def exact_flows(self, dataset: str) -> TruthFlow | None:
        """Exact flow of rendered data, None for real data."""
        truth = self.truth_root(dataset)
        return None if truth is None else TruthFlow(truth, self.profile.input_size)

    def homographies(self, dataset: str) -> HomographyStore:
        """Registrations of consecutive frames at the student's size."""
        root = self.workspace.motion(dataset) / self.clips_key(dataset)
        return HomographyStore(root, build_registrator(self.profile.registration), self.profile.input_size)

    # ---------------------------------------------------------------- models

    def controls(self, systems: Iterable[str] = ()) -> list[str]:
        """Names of the constant-alpha controls that the profile asks for: on Base, and on KD Base if it is among `systems`."""
        images = ["Base", *(name for name in ("KD Base",) if name in systems)]
        return [control(alpha, image).name for image in images for alpha in self.profile.constant_alphas]

    def train_key(self, name: str, dataset: str) -> str:
        """Identity of a trained system."""
        spec = system(name)
        sections = ["input_size", "teacher_size", "held_out", f"models.{spec.image_model}", "flow", "registration"]
        recipe = None
        if spec.recipe is not None:
            recipe = self.profile.recipe(spec.recipe, dataset).key()
            sections.append("recurrent_window")
        start = None if spec.starts_from is None else self.train_key(spec.starts_from, dataset)
        if spec.teacher:
            sections += ["fuse_teacher", "occlusion"]
        if self.profile.machine.precision != "float32":
            sections.append("machine.precision")
        return stable_hash([
            spec.key(), recipe, self.profile.key(*sections), start,
            self.train_key(TEACHER, dataset) if spec.teacher else None,
            self.clips_key(dataset), self.seed, STAGE_VERSIONS["train"],
        ])

    def train(self, name: str, dataset: str) -> Path:
        """Stage: clips -> trained weights; trains the system it starts from first. A killed run goes on."""
        spec = system(name)
        if spec.recipe is None:  # a control has nothing to learn: its weights are those it starts from
            return self.train(spec.starts_from, dataset)
        if spec.starts_from is not None:
            self.train(spec.starts_from, dataset)
        return self._stage(
            "train", f"{SPECS[dataset].title}: training {name}", self._folder(name, dataset) / "training",
            self.train_key(name, dataset), lambda out: self._train(spec, dataset, out),
        )

    # ------------------------------------------------------------ distillation

    def teacher_labels(self, dataset: str) -> LabelStore:
        """Stage: the teacher's logits of every training frame."""
        size, name = self.profile.input_size, SPECS[dataset].title
        key = stable_hash([self.train_key(TEACHER, dataset), size, STAGE_VERSIONS["label"]])

        def label(out: Path) -> None:
            teacher, clips = self.model(TEACHER, dataset), self.clips(dataset, "train")
            label_clips(teacher, clips, LabelStore(out), self.profile.teacher_size, size, self.device)

        folder = self._folder(TEACHER, dataset) / "labels"
        return LabelStore(self._stage("label", f"{name}: teacher labels", folder, key, label))

    def fused_labels(self, dataset: str) -> LabelStore:
        """Stage: the teacher's labels, fused over pairs of frames through bidirectional flow."""
        source = self.teacher_labels(dataset)
        key = stable_hash([
            self.train_key(TEACHER, dataset), self.profile.key("input_size", "flow", "occlusion"), STAGE_VERSIONS["label"]
        ])

        def fuse(out: Path) -> None:
            rule = OCCLUSION_RULES[self.profile.occlusion]
            fuse_clips(self.clips(dataset, "train"), source, LabelStore(out), self.flows(dataset), rule)

        folder = self._folder(TEACHER, dataset) / f"labels-fused-{key[:8]}"
        return LabelStore(self._stage("label", f"{SPECS[dataset].title}: fusing labels", folder, key, fuse))

    def labels_for(self, spec: SystemSpec, dataset: str) -> LabelStore:
        """The teacher labels that a distilled system learns from: fused for video systems, unfused for single frames."""
        fused = spec.kind == "video" and self.profile.fuse_teacher
        return self.fused_labels(dataset) if fused else self.teacher_labels(dataset)

    def history(self, name: str, dataset: str) -> list[dict[str, float]]:
        """Training history of a system, one entry an epoch."""
        return read_json(self.train(name, dataset) / HISTORY)

    def model(self, name: str, dataset: str) -> VideoSegmenter:
        """The trained system, in eval mode."""
        spec = system(name)
        weights = load_weights(self.train(name, dataset) / WEIGHTS)
        model = build(name, SPECS[dataset].n_classes, self.profile, load_weights=False)
        if spec.recipe is None:
            start_from(model, weights)
        else:
            model.load_state_dict(weights)
        return model.to(self.device).eval()

    def _train(self, spec: SystemSpec, dataset: str, out: Path) -> None:
        job = self.training(spec.name, dataset, out)
        processes = self.profile.machine.process_count(job.recipe.batch_size, self.device)
        if processes == 1:
            train(job)
        else:
            job.dataset.warm(job.workers)
            launch("sspcore.study.worker", {
                "profile": self.profile.model_dump(mode="json"), "seed": self.seed,
                "root": str(self.workspace.root.absolute()),
                "release_root": None if self.release_root is None else str(self.release_root.absolute()),
                "device": self.device.type, "system": spec.name, "dataset": dataset,
            }, out, spec.name, processes)

    def training(self, name: str, dataset: str, out: Path) -> Training:
        """What the training loop is given for a system; what it starts from must be trained already.

        Raises: ArtefactError if the weights that it starts from are missing.
        """
        spec = system(name)
        recipe = self.profile.recipe(spec.recipe, dataset)
        torch.manual_seed(self.seed)
        model = build(spec.name, SPECS[dataset].n_classes, self.profile)
        if spec.starts_from is not None:
            weights = self._folder(spec.starts_from, dataset) / "training" / WEIGHTS
            trained = start_from(model, load_weights(weights), str(weights))
        else:
            pretrained = encoder_start(image_spec(spec.name, self.profile)) != "scratch"
            trained = {n for n, _ in model.named_parameters() if pretrained and n.startswith("encoder.")}
        fresh = frozenset(n for n, _ in model.named_parameters() if n not in trained)
        if recipe.freeze_image:
            freeze_image(model, name)
        processes = self.profile.machine.process_count(recipe.batch_size, self.device)
        return Training(
            name=f"{spec.name} on {SPECS[dataset].title}", model=model, objective=self._objective(spec, dataset),
            dataset=self._windows(spec, model, dataset), recipe=recipe, seed=self.seed, fresh=fresh,
            folder=out, device=self.device, workers=worker_count(self.profile.loader_workers, processes),
            machine=self.profile.machine,
        )

    def _objective(self, spec: SystemSpec, dataset: str) -> Objective:
        recipe = self.profile.recipe(spec.recipe, dataset)
        weights = None
        if recipe.class_balance:
            shares = class_shares(self.clips(dataset, "train"), SPECS[dataset], self.profile.input_size)
            weights = balanced_weights(list(shares.values()), recipe.class_balance)
        return build_objective(recipe, spec.teacher, weights)

    def _windows(self, spec: SystemSpec, model: VideoSegmenter, dataset: str) -> WindowDataset:
        recipe = self.profile.recipe(spec.recipe, dataset)
        compares = model.window - model.context > 1 and recipe.lambda_tc > 0  # L_tc wants flow, whatever the model
        return WindowDataset(
            self._window_refs(spec, model, dataset), model.window, self.input_size(spec),
            ImageAugmentation(recipe.crop) if model.window == 1 else WindowAugmentation(recipe.crop, recipe.zoom), self.seed,
            homographies=self.homographies(dataset) if "homography" in model.needs else None,
            flows=self.flows(dataset) if "flow" in model.needs or compares else None,
            teacher=self.labels_for(spec, dataset).read if spec.teacher else None,
        )

    def _window_refs(self, spec: SystemSpec, model: VideoSegmenter, dataset: str) -> list[WindowRef]:
        clips = self.clips(dataset, "train")
        return strided_windows(clips, model.window) if spec.teacher else labelled_windows(clips, model.window)

    def input_size(self, spec: SystemSpec) -> tuple[int, int]:
        """(H, W) that a system sees: the teacher's is larger."""
        return self.profile.teacher_size if spec.image_model == "teacher" else self.profile.input_size

    # --------------------------------------------------- prediction and scores

    def predict(self, name: str, dataset: str) -> Path:
        """Stage: trained weights -> label maps of all validation clips, streamed frame by frame."""
        key = stable_hash([self.train_key(name, dataset), STAGE_VERSIONS["predict"]])
        return self._stage(
            "predict", f"{SPECS[dataset].title}: predicting with {name}", self._folder(name, dataset) / "predictions", key,
            lambda out: self._predict(name, dataset, out),
        )

    def segment(self, name: str, dataset: str, clip: Clip) -> list[Segmented]:
        """A trained system streamed over one clip, everything kept (logits, state), for pictures."""
        return list(self.stream(self.model(name, dataset), name, dataset, clip))

    def stream(self, model: VideoSegmenter, name: str, dataset: str, clip: Clip) -> Iterator[Segmented]:
        """A clip through `model`, which is the system `name`, with the motion of the study's stores."""
        size = self.input_size(system(name))
        motion = clip_motion(
            clip,
            self.homographies(dataset) if "homography" in model.needs else None,
            self.flows(dataset) if "flow" in model.needs else None,
        )
        images = (clip.frame(position, size) for position in range(len(clip)))
        return segment_video(model, images, motion, size, self.profile.input_size, self.device)

    def label_maps(self, name: str, dataset: str, clip: Clip) -> list[np.ndarray]:
        """The predicted label maps (H, W) of one validation clip, as they were written to disk."""
        folder = self.predict(name, dataset)
        return [read_prediction(folder, clip, position) for position in range(len(clip))]

    def _predict(self, name: str, dataset: str, out: Path) -> None:
        model, clips = self.model(name, dataset), self.clips(dataset, "val")
        frames = failed = 0
        with tqdm(total=sum(map(len, clips)), desc=f"{name} on {SPECS[dataset].title}", unit="frame") as bar:
            for clip in clips:
                (out / clip.name).mkdir(parents=True)
                results = self.stream(model, name, dataset, clip)
                for number, result in zip(clip.numbers, results, strict=True):
                    write_png(out / clip.name / f"{number:06d}.png", result.labels)
                    frames += 1
                    failed += not result.registered
                    bar.update(1)
        rate = failed / (frames - len(clips)) if "homography" in model.needs else None
        write_json(out / "stream.json", {"frames": frames, "registration_fallback_rate": rate})

    def evaluate(self, name: str, dataset: str) -> dict[str, Any]:
        """Stage: label maps -> the system's row of the results table."""
        predictions = self.predict(name, dataset)
        key = stable_hash([
            read_json(predictions / "key.json")["key"], self.profile.key("metric_flow"), STAGE_VERSIONS["evaluate"]
        ])
        folder = self._stage(
            "evaluate", f"{SPECS[dataset].title}: scoring {name}", self._folder(name, dataset) / "scores", key,
            lambda out: write_json(out / "row.json", self._row(name, dataset, predictions)),
        )
        return read_json(folder / "row.json")

    def _row(self, name: str, dataset: str, predictions: Path) -> dict[str, Any]:
        classes = SPECS[dataset]
        model = build(name, classes.n_classes, self.profile, load_weights=False)
        figures = evaluate_system(
            self.clips(dataset, "val"), predictions, classes, self.flows(dataset, self.profile.metric_flow),
            self.exact_flows(dataset), self.profile.input_size,
        )
        return {
            "system": name, "kind": system(name).kind, "dataset": dataset,
            "miou": figures.pop("miou"), "tc": figures.pop("tc"), **figures,
            "params_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 4),
            "encoder": image_spec(name, self.profile).encoder, "encoder_start": encoder_start(image_spec(name, self.profile)),
            "stand_in": stand_in(name, self.profile), "training_steps": self.training_steps(name, dataset),
            "registration_fallback_rate": read_json(predictions / "stream.json")["registration_fallback_rate"],
        }

    def training_steps(self, name: str, dataset: str) -> int:
        """Optimiser steps that a system's weights have seen, its starting weights' included."""
        spec = system(name)
        steps = 0 if spec.starts_from is None else self.training_steps(spec.starts_from, dataset)
        if spec.recipe is None:
            return steps
        recipe = self.profile.recipe(spec.recipe, dataset)
        model = build(name, SPECS[dataset].n_classes, self.profile, load_weights=False)
        windows = len(self._window_refs(spec, model, dataset))
        return steps + recipe.epochs * -(-windows * recipe.repeats // recipe.batch_size)

    def flow_error(self, dataset: str) -> float | None:
        """Mean end-point error (pixels) of the metric's flow on the validation clips; None where no exact flow is."""
        truth = self.truth_root(dataset)
        if truth is None:
            return None
        sections = self.profile.key("metric_flow", "input_size", "held_out")
        key = stable_hash([self.clips_key(dataset), sections, STAGE_VERSIONS["evaluate"]])

        def measure(out: Path) -> None:
            flows = self.flows(dataset, self.profile.metric_flow)
            error = flow_error(self.clips(dataset, "val"), flows, truth, self.profile.input_size)
            write_json(out / "error.json", {"epe": error})

        folder = self.workspace.motion(dataset) / "metric-flow-error"
        made = self._stage("evaluate", f"{SPECS[dataset].title}: error of the flow", folder, key, measure)
        return read_json(made / "error.json")["epe"]

    def results(self, systems: list[str], datasets: list[str]) -> dict[str, Any]:
        """All rows with their provenance: the content of results.json."""
        in_order = [name for name in SYSTEMS if name in systems]  # as in the paper's table
        names = dict.fromkeys([*in_order, *systems, *self.controls(systems)])  # a control may be asked for by name too
        rows = [self.evaluate(name, dataset) for dataset in datasets for name in names]
        origin = provenance(self.profile.name, self.seed, stable_hash([self.clips_key(name) for name in datasets]))
        origin |= {
            "data": self.data_origin, "metric_flow": self.profile.metric_flow,
            "metric_flow_epe_px": {name: self.flow_error(name) for name in datasets},
            "minutes": round((time.time() - run_began()) / 60, 1),
        }
        return {"provenance": origin, "rows": rows}

    # ----------------------------------------------------------------- private

    def _folder(self, name: str, dataset: str) -> Path:
        """Folder of a system's artefacts. It carries the training key, so that an ablation never overwrites its origin."""
        return self.workspace.run(dataset, self.seed, name, self.train_key(name, dataset))

    def _once(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """A value worked out at first use and remembered for the life of the study."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def _stage(self, kind: str, title: str, folder: Path, key: str, build_artefact: Callable[[Path], None]) -> Path:
        make = resumable_stage if kind in ("prepare", "train", "label") else stage
        force = kind in self.force and not made_since(folder, self.began)
        return self._once(("stage", str(folder)), lambda: make(title, folder, key, build_artefact, force))
