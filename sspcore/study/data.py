"""The data of a study: release, clips and motion, and how its stages are run."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from typing_extensions import Self

from sspcore.core.errors import ArtefactError, ProfileError, ReleaseError
from sspcore.core.files import note_output
from sspcore.core.lock import stay_in_run
from sspcore.core.machine import one_thread, worker_count
from sspcore.core.paths import Workspace
from sspcore.core.provenance import run_began
from sspcore.core.store import stage
from sspcore.core.types import Size
from sspcore.data.check import Checked, require_release
from sspcore.data.clips import Clip, hold_out, load_clips
from sspcore.data.datasets import DatasetSpec
from sspcore.data.prepare import prepare_clips
from sspcore.data.truth import TruthFlow
from sspcore.motion.cache import FlowStore, HomographyStore
from sspcore.motion.flow import FlowEstimator, build_flow
from sspcore.motion.readings import flow_under, fusion_flow, registrator_under
from sspcore.motion.registration import Registrator, build_registrator
from sspcore.study import places
from sspcore.study.keys import Keys
from sspcore.study.own import Sources, claim, with_own
from sspcore.study.places import RESUMES, Place
from sspcore.study.profiles import SEED_LIMIT, Profile, available_profiles, load_profile, overridden
from sspcore.synthetic import missing_sequences, release_key, render_release

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class StudyData:
    """What all stages of a study stand on, under one profile and training seed.

    `force` names kinds of stages ("prepare", "train", "label", "predict", "evaluate") to make again: once per run of
    `sspcore.study.reproduce`, whose chapters share artefacts, else once per study.
    """

    profile: Profile
    seed: int  # of training
    release_root: Path | None  # holds uavid/ and ruralscapes/; None where the profile renders them, and for data of one's own
    workspace: Workspace
    force: frozenset[str] = frozenset()
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    # Seconds since the epoch: what was made since then is not forced again.
    began: float = field(default_factory=lambda: run_began(time.time()))
    read_only: bool = False  # nothing is made: a missing or stale artefact raises ArtefactError
    # Asked to make a goal, such as ("train", "SSP", "uavid"), before this process looks for it; see `sspcore.study.engine`.
    maker: Callable[[Any, tuple[Any, ...]], None] | None = field(default=None, repr=False, compare=False)
    _memory: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, profile: str, seed: int | None = None, data: str | Path | None = None, force: Iterable[str] = (),
        overrides: dict[str, Any] | None = None, root: Path | None = None, read_only: bool = False,
        maker: Callable[[Any, tuple[Any, ...]], None] | None = None, dataset: Sources | None = None,
    ) -> Self:
        """A study by the name of its profile (`available_profiles`: "smoke", "demo", "paper", ...), or by a YAML file's path.

        Args:
            seed: default: the profile's.
            data: folder of the real releases, for profiles that do not render.
            overrides: dotted profile settings, for ablations.
            root: folder of artefacts; default: the repository's data folder.
            maker: see the attribute.
            dataset: YAML files that describe data sets of one's own, or folders that hold a dataset.yaml; they take the place
                of the profile's. Their artefacts lie in a folder of their own, `<profile>+<data set>`.
        Raises: ProfileError, or ReleaseError if the profile needs real data and no folder is given.
        """
        loaded = load_profile(profile, overrides)
        if seed is not None and not 0 <= seed < SEED_LIMIT:
            raise ProfileError(f"--seed {seed}: take 0 or more, below 2^63")
        if dataset is not None:
            if data is not None:
                raise ProfileError("--data and --dataset: give one of them; a data set's own file says where it lies")
            loaded = with_own(loaded, dataset)
        elif loaded.rendering is None and data is None:
            raise ReleaseError(
                f"profile {loaded.name} needs the real releases: pass --data DIR with DIR/uavid and DIR/ruralscapes "
                "(layouts in data/README.md)"
            )
        study = cls(
            loaded, loaded.seed if seed is None else seed, None if data is None else Path(data),
            Workspace(loaded.folder) if root is None else Workspace(loaded.folder, Path(root)), frozenset(force),
            read_only=read_only, maker=maker,
        )
        if dataset is not None and not read_only:
            claim(study.workspace, loaded)
        stay_in_run()
        return study

    def changed(self, overrides: Mapping[str, Any]) -> Self:
        """This study under other settings: dotted settings of the profile, as `open` takes them."""
        checked = {key: value for key, value in self._memory.items() if key[0] == "checked"}  # the data stay what they are
        return replace(self, profile=overridden(self.profile, overrides), _memory=checked) if overrides else self

    @property
    def figures(self) -> Path:
        """Where tables and pictures of this run go."""
        return self.workspace.figures

    # ------------------------------------------------------------------ keys

    @cached_property
    def keys(self) -> Keys:
        """Keys of all artefacts."""
        return Keys(self.profile, self.seed, self._release_key)

    def clips_key(self, dataset: str) -> str:
        """Identity of the prepared data."""
        return self.keys.clips(dataset)

    def train_key(self, name: str, dataset: str) -> str:
        """Identity of a trained system."""
        return self.keys.training(name, dataset)

    def folder(self, name: str, dataset: str) -> Path:
        """Folder of a system's artefacts. It carries the training key, so that an ablation never overwrites its origin."""
        return self.workspace.run(dataset, self.seed, name, self.train_key(name, dataset))

    def _release_key(self, dataset: str) -> Any:
        if self.is_real:
            return self._once(("release key", dataset), lambda: self.checked(dataset).key())
        rendering = self.profile.rendering
        return release_key(dataset, rendering.releases[dataset], rendering.seed)  # known before it is rendered

    # ------------------------------------------------------------------ data

    @property
    def data_origin(self) -> str:
        """Which data the numbers are from, in words."""
        count, fold = self.profile.held_out, self.profile.held_out_fold
        note = f"; scored on {count} training sequences held out for choices, fold {fold}" if count else ""
        note += "; students distilled from the exact truth" if self.profile.distil_from == "truth" else ""
        note += f"; {readings}" if (readings := self.profile.conventions.in_words()) else ""
        if self.release_root is not None:
            return f"real releases{note}"
        note += "; smoke run: no result" if self.profile.name == "smoke" else ""
        if self.profile.described:
            return f"own data{note}"
        return f"rendered data, not the real data set{note}"

    @property
    def is_real(self) -> bool:
        """Whether the data are not rendered: real releases, or data sets of one's own."""
        return self.release_root is not None or bool(self.profile.described)

    def spec(self, dataset: str) -> DatasetSpec:
        """The data set's description. Raises ProfileError if the profile does not know it."""
        return self.profile.spec(dataset)

    def titles(self, datasets: Iterable[str]) -> dict[str, str]:
        """Data set -> its title."""
        return {name: self.spec(name).title for name in datasets}

    def release(self, dataset: str) -> Path:
        """The raw release, rendered if the profile says so."""
        return self._once(("release", dataset), lambda: self._release(dataset))

    def _release(self, dataset: str) -> Path:
        spec, rendering = self.spec(dataset), self.profile.rendering
        if self.is_real:
            return spec.root or self.release_root / dataset
        settings, root = rendering.releases[dataset], self.release_folder(dataset)
        if self.read_only:
            if not root.is_dir():
                raise self._missing(f"{spec.title}: release", root)
            return root / dataset
        for stale in self.workspace.releases.glob(f"{dataset}-*"):
            if stale != root:
                shutil.rmtree(stale)
        note_output(root)
        return render_release(dataset, settings, rendering.seed, root, rendering.workers)

    def release_folder(self, dataset: str) -> Path:
        """Where a rendered release lies, with its truth beside it."""
        rendering = self.profile.rendering
        return self.workspace.releases / f"{dataset}-{release_key(dataset, rendering.releases[dataset], rendering.seed)}"

    def unrendered(self, dataset: str) -> list[str]:
        """Sequences of a rendered release that are not there yet; none of a real one."""
        if self.is_real:
            return []
        rendering = self.profile.rendering
        return missing_sequences(dataset, rendering.releases[dataset], rendering.seed, self.release_folder(dataset))

    def checked(self, dataset: str) -> Checked:
        """What is sound of a real release, looked at once; raises ReleaseError if the data set cannot go on."""
        return self._once(("checked", dataset), lambda: require_release(
            self.release_root, self.spec(dataset), self.workspace, worker_count("auto")
        ))

    def truth_root(self, dataset: str) -> Path | None:
        """Exact truth of a rendered release, None for real data."""
        if self.profile.described:
            return None
        release = self.release(dataset)
        truth = release.with_name(f"{release.name}_truth")
        return truth if truth.is_dir() else None

    def prepare(self, dataset: str) -> Path:
        """Stage: raw release -> clips."""
        self.ask("prepare", dataset)
        spec, release, rules = self.spec(dataset), self.release(dataset), self.profile.clips[dataset]
        sequences = self.checked(dataset).sequences if self.is_real else None  # what we rendered is sound
        workers = worker_count("auto") if self.is_real else 1
        return self._stage(
            places.clips(self, dataset), lambda out: prepare_clips(release, spec, rules, out, workers, sequences),
        )

    def clips(self, dataset: str, split: str) -> list[Clip]:
        """The prepared clips of a split ("train" or "val"); see `held_out` in the profile."""
        def load() -> list[Clip]:
            held_out, fold = self.profile.held_out, self.profile.held_out_fold
            clips = load_clips(self.prepare(dataset), "train" if held_out else split, self.profile.frame_cache_mb)
            clips = [replace(clip, spec=self.spec(dataset).alone) for clip in clips]  # colours, moving: as they are now
            return hold_out(clips, held_out, split, fold) if held_out else clips
        return self._once(("clips", dataset, split), load)

    def flows(self, dataset: str, estimator: str | None = None, size: Size | None = None) -> FlowStore:
        """Flow between neighbouring frames; default estimator: the profile's `flow`, default size: the students'.

        RAFT's input follows the profile's conventions.
        """
        root = self.workspace.motion(dataset) / f"flow-{self.keys.motion(dataset, 'flow')}"
        return FlowStore(root, self.flow_estimator(estimator), size or self.profile.input_size)

    def flow_estimator(self, name: str | None = None) -> FlowEstimator:
        """An estimator of flow under the profile's conventions, made once; default: the profile's `flow`."""
        name = flow_under(name or self.profile.flow, self.profile.conventions)
        return self._once(("flow", name), lambda: build_flow(name, self.device))

    def fusion_flows(self, dataset: str) -> FlowStore:
        """The flow that teacher labels are fused along."""
        return self.flows(dataset, fusion_flow(self.profile.flow, self.profile.conventions))

    def exact_flows(self, dataset: str, size: Size | None = None) -> TruthFlow | None:
        """Exact flow of rendered data, None for real data; default size: the students'."""
        truth = self.truth_root(dataset)
        return None if truth is None else TruthFlow(truth, size or self.profile.input_size)

    @property
    def registrator(self) -> Registrator:
        """The profile's estimator of homographies, made once."""
        name = registrator_under(self.profile.registration, self.profile.conventions)
        return self._once(("registrator",), lambda: build_registrator(name, device=self.device))

    def homographies(self, dataset: str) -> HomographyStore:
        """Registrations of consecutive frames at the student's size."""
        root = self.workspace.motion(dataset) / f"registration-{self.keys.motion(dataset, 'registration')}"
        return HomographyStore(root, self.registrator, self.profile.input_size)

    # -------------------------------------------------------------- run stages

    def _once(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """A value worked out at first use and remembered for the life of the study."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def ask(self, *goal: Any) -> None:
        """Have a goal made elsewhere, if there is a maker."""
        if self.maker is not None and not self.read_only:
            self._once(("asked", str(goal)), lambda: self.maker(self, goal))

    def _stage(self, place: Place, build: Callable[[Path], None]) -> Path:
        if self.read_only:
            if not place.is_made():
                raise self._missing(place.title, place.folder)
            return place.folder

        def make(out: Path) -> None:
            with one_thread():
                build(out)

        return self._once(("stage", str(place.folder)), lambda: stage(
            place.title, place.folder, place.key, make, place.forced_at, place.kind in RESUMES
        ))

    def _missing(self, what: str, where: Path) -> ArtefactError:
        name, own = self.profile.name, " --dataset FILE" if self.profile.described else ""
        profile = name if name in available_profiles() else f"FILE (the one of profile {name})"
        return ArtefactError(
            f"{where}: no finished run of seed {self.seed} under these settings ({what}); run "
            f"`sspcore reproduce --profile {profile} --seed {self.seed}{own}` with the same systems first"
        )
