"""One rendered sequence: its files in the layout of UAVid or RuralScapes, and its exact truth beside them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from sspcore.core.checksums import first_damage, manifest
from sspcore.core.code import code_key
from sspcore.core.errors import ArtefactError
from sspcore.core.files import read_json
from sspcore.core.settings import Section
from sspcore.core.store import stable_hash
from sspcore.data.datasets import SPECS, DatasetSpec, FileKind
from sspcore.data.truth import write_flow_png
from sspcore.synthetic.builder import label_tables
from sspcore.synthetic.camera import ground_homography
from sspcore.synthetic.footage import VideoFile, film, write_png
from sspcore.synthetic.render import View, flow_between
from sspcore.synthetic.world import World, make_world

log = logging.getLogger(__name__)

# Imported with the format of truth, and of no effect on what is rendered.
_READERS = frozenset({"sspcore.data.clips", "sspcore.motion.geometry"})


class ReleaseSettings(Section):
    """Size of a rendered release.

    Attributes:
        size: (H, W) of the frames.
        train_sequences, val_sequences: how many of each.
        frames: prepared frames a sequence, counting frame 0; source frames are rendered up to the last of these.
        frame_step: source frames from one prepared frame to the next.
        label_interval: prepared frames from one label to the next; the first is at frame 0.
        fps: source frames a second of the videos.
    """

    size: tuple[int, int]
    train_sequences: int = Field(ge=0)
    val_sequences: int = Field(ge=0)
    frames: int = Field(ge=2)
    frame_step: int = Field(ge=1)
    label_interval: int = Field(ge=1)
    fps: int = Field(ge=1)

    @property
    def source_frames(self) -> int:
        """Frames of a video."""
        return (self.frames - 1) * self.frame_step + 1


@dataclass(frozen=True)
class SequenceJob:
    """A sequence to render: the number `index` of its split, below `root`."""

    dataset: str
    settings: ReleaseSettings
    seed: int
    root: Path
    split: str
    name: str
    index: int

    @property
    def spec(self) -> DatasetSpec:
        return SPECS[self.dataset]

    @property
    def key(self) -> dict:
        """What it looks like depends on; not on the numbers of sequences."""
        settings = self.settings.model_dump(mode="json", exclude={"train_sequences", "val_sequences"})
        own = {"seed": self.seed, "split": self.split, "index": self.index, "settings": settings}
        return own | {"renderer": renderer_key(self.dataset)}

    def file(self, kind: FileKind, number: int = 0) -> Path:
        """Where a file of the release goes, relative to the root."""
        return Path(self.dataset, self.spec.path(kind, self.split, self.name, f"{number:06d}"))

    @property
    def truth(self) -> Path:
        """Folder of the truth, relative to the root."""
        return Path(f"{self.dataset}_truth", self.name)

    @property
    def parts(self) -> list[Path]:
        """Files and folders that bear its name, relative to the root, the truth last: it marks the sequence as complete."""
        files = [self.file(kind) for kind in self.spec.files]
        own = [next(path for path in (*reversed(file.parents), file) if self.name in path.name) for file in files]
        return [*dict.fromkeys(own), self.truth]


def renderer_key(dataset: str) -> str:
    """The code that pictures and truth come from, and what the data set's labels are like."""
    return stable_hash([code_key(__name__, without=_READERS), SPECS[dataset].key])


class _Writer:
    """Files of one sequence in a temporary folder, at the paths that they will have below the root."""

    def __init__(self, job: SequenceJob, folder: Path) -> None:
        self._job, self._folder = job, folder
        self._before: tuple[int, View] | None = None
        self._homographies: dict[int, list] = {}
        self._colours, self._classes, self._vdd = label_tables(job.spec)
        self._truth = folder / job.truth
        for part in ("labels", "flow_backward", "flow_forward"):
            (self._truth / part).mkdir(parents=True)
        self._file = folder / job.file("video")
        self._video = VideoFile(self._file, job.settings.fps, job.settings.size)

    def frame(self, image: np.ndarray) -> None:
        """The next frame of the video, (H, W, 3) uint8 RGB."""
        self._video.write(image)

    def label(self, number: int, image: np.ndarray, view: View) -> None:
        """The label images of a source frame, as the release has them."""
        write_png(self._folder / self._job.file("labels", number), self._colours[view.thing])
        if self._job.dataset == "uavid":
            write_png(self._file.parent / "Images" / f"{number:06d}.png", image)
        if "vdd" in self._job.spec.files:
            write_png(self._folder / self._job.file("vdd", number), self._vdd[view.thing])

    def truth(self, world: World, number: int, view: View) -> None:
        """Exact labels of a prepared frame, its flow to the one before and back, and the homography from there."""
        write_png(self._truth / "labels" / f"{number:06d}.png", self._classes[view.thing])
        if self._before is not None:
            before, earlier = self._before
            self._homographies[number] = ground_homography(earlier.camera, view.camera).tolist()
            write_flow_png(self._truth / "flow_backward" / f"{number:06d}.png", *flow_between(world, view, earlier))
            write_flow_png(self._truth / "flow_forward" / f"{before:06d}.png", *flow_between(world, earlier, view))
        self._before = number, view

    def finish(self) -> None:
        """Close the video and move everything to its place, the truth last."""
        self._video.close()
        job, settings = self._job, self._job.settings
        content = {
            "size": list(settings.size), "frames": list(range(0, settings.source_frames, settings.frame_step)),
            "frame_step": settings.frame_step, "seed": job.seed, "H_prev_to_cur": self._homographies,
            "key": job.key, "files": manifest(self._folder),
        }
        (self._truth / "truth.json").write_text(json.dumps(content, indent=1))
        for part in job.parts:
            (job.root / part).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._folder / part, job.root / part)


def is_complete(job: SequenceJob) -> bool:
    """Whether a sequence is there under the same settings, its files as they were written."""
    path = job.root / job.truth / "truth.json"
    if not path.is_file():
        return False
    try:
        content = read_json(path)
        if content["key"] != job.key or not all((job.root / part).exists() for part in job.parts):
            return False
        damaged = first_damage(job.root, content.get("files", {}))
    except (ArtefactError, ValueError, TypeError, KeyError, AttributeError):
        damaged = path.relative_to(job.root)
    if damaged is not None:
        log.warning("%s: missing or damaged; the sequence is rendered again", job.root / damaged)
    return damaged is None


def render(job: SequenceJob) -> int:
    """Render a sequence, whatever is there of it; returns its number of source frames."""
    cv2.setNumThreads(1)
    settings = job.settings
    branch = [job.seed, int(job.dataset == "ruralscapes"), int(job.split == "val"), job.index]
    world_seed, sensor_seed = np.random.SeedSequence(branch).spawn(2)
    world = make_world(world_seed, job.dataset == "ruralscapes", job.index)
    for path in (job.root / part for part in reversed(job.parts)):  # the truth, which is the mark of completeness, first
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    job.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{job.dataset}_{job.name}_", dir=job.root) as temporary:
        writer = _Writer(job, Path(temporary))
        footage = film(world, sensor_seed, settings.size, settings.source_frames, settings.fps)
        for number, (view, image) in enumerate(footage):
            writer.frame(image)
            if number % settings.frame_step:
                continue
            if number // settings.frame_step % settings.label_interval == 0:
                writer.label(number, image, view)
            writer.truth(world, number, view)
        writer.finish()
    return settings.source_frames
