"""Writes rendered sequences as raw releases in the layouts of UAVid and RuralScapes, and their truth beside them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tqdm.auto import tqdm

from sspcore.core.checksums import first_damage, manifest
from sspcore.core.code import code_key
from sspcore.core.errors import ReleaseError
from sspcore.core.lock import stay_in_run
from sspcore.core.store import stable_hash
from sspcore.data.datasets import SPECS, UAVID
from sspcore.data.truth import write_flow_png
from sspcore.synthetic.camera import ground_homography
from sspcore.synthetic.render import View, flow_between, render_view, wrap_centre
from sspcore.synthetic.sensor import random_sensor
from sspcore.synthetic.things import class_table, colour_table, vdd_table
from sspcore.synthetic.world import World, make_world

logger = logging.getLogger(__name__)

DatasetName = Literal["uavid", "ruralscapes"]
# Imported with the format of truth, and of no effect on what is rendered.
_READERS = frozenset({"sspcore.data.clips", "sspcore.motion.geometry"})


class ReleaseSettings(BaseModel):
    """Size of a rendered release.

    Attributes:
        size: (H, W) of the frames.
        train_sequences, val_sequences: how many of each.
        frames: prepared frames a sequence, counting frame 0; source frames are rendered up to the last of these.
        frame_step: source frames from one prepared frame to the next.
        label_interval: prepared frames from one label to the next; the first is at frame 0.
        fps: source frames a second of the videos.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int]
    train_sequences: int = Field(ge=0)
    val_sequences: int = Field(ge=0)
    frames: int = Field(ge=2)
    frame_step: int = Field(ge=1)
    label_interval: int = Field(ge=1)
    fps: int = Field(ge=1)


@dataclass(frozen=True)
class _Job:
    dataset: DatasetName
    settings: ReleaseSettings
    seed: int
    root: Path
    split: str
    name: str
    index: int

    @property
    def key(self) -> dict:
        # the numbers of sequences do not touch what one sequence looks like
        settings = self.settings.model_dump(mode="json", exclude={"train_sequences", "val_sequences"})
        return {"renderer": renderer_key(), "seed": self.seed, "split": self.split, "index": self.index, "settings": settings}

    @property
    def truth(self) -> Path:
        return self.root / f"{self.dataset}_truth" / self.name


def renderer_key() -> str:
    """The code that pictures and truth come from."""
    return code_key(__name__, without=_READERS)


def release_key(settings: ReleaseSettings, seed: int) -> str:
    """Identity of a rendered release: settings, seed and the renderer's code."""
    return stable_hash([settings.model_dump(mode="json"), seed, renderer_key()])


def sequence_names(dataset: DatasetName, settings: ReleaseSettings) -> list[tuple[str, str]]:
    """(split, name) of every sequence of a release.

    Raises: ReleaseError if more validation sequences are asked for than the data set has.
    """
    spec = SPECS[dataset]
    if settings.val_sequences > len(spec.validation):
        raise ReleaseError(
            f"val_sequences={settings.val_sequences}: {spec.title} has {len(spec.validation)}; ask for at most these"
        )
    numbers = (i for i in range(1 if dataset == "uavid" else 43, 10_000))
    pattern = "seq{}" if dataset == "uavid" else "DJI_{:04d}"
    names = (name for name in map(pattern.format, numbers) if name not in spec.validation)
    train = [("train", next(names)) for _ in range(settings.train_sequences)]
    return train + [("val", name) for name in spec.validation[: settings.val_sequences]]


def _write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image[..., ::-1] if image.ndim == 3 else image
    if not cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 2]):
        raise ReleaseError(f"{path}: cannot be written; check the folder and the free space")


class _SequenceWriter:
    """Files of one sequence in a temporary folder, at the paths that they will have below the root."""

    def __init__(self, job: _Job, folder: Path) -> None:
        self.job, self.folder, self._frames = job, folder, 0
        spec = SPECS[job.dataset]
        self._colours, self._classes, self._vdd = colour_table(spec), class_table(spec), vdd_table()
        self._release, truth = folder / job.dataset, folder / f"{job.dataset}_truth" / job.name
        self._truth = truth
        for part in ("labels", "flow_backward", "flow_forward"):
            (truth / part).mkdir(parents=True)
        if spec is UAVID:
            self._base = self._release / f"uavid_{job.split}" / job.name
            video = self._base / "images.mp4"
        else:
            video = self._release / "videos" / f"{job.name}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        self._video_file = video
        height, width = job.settings.size
        self._video = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), job.settings.fps, (width, height))
        if not self._video.isOpened():
            raise ReleaseError(
                f"{video}: this OpenCV cannot write mp4v video; install opencv-python-headless from the lock file"
            )

    def frame(self, image: np.ndarray) -> None:
        self._video.write(np.ascontiguousarray(image[..., ::-1]))
        self._frames += 1

    def label(self, number: int, image: np.ndarray, view: View) -> None:
        job, colours = self.job, self._colours[view.thing]
        if job.dataset == "uavid":
            _write_png(self._base / "Images" / f"{number:06d}.png", image)
            _write_png(self._base / "Labels" / f"{number:06d}.png", colours)
            vdd = self._release / "UAVid7" / f"uavid_{job.split}" / job.name / "VDD_Labels"
            _write_png(vdd / f"{number:06d}.png", self._vdd[view.thing])
        else:
            folder = self._release / "labels" / "manual_labels" / job.name
            _write_png(folder / f"segfull_{job.name}_{number:06d}.png", colours)

    def truth(self, world: World, previous: tuple[int, View] | None, number: int, view: View) -> None:
        _write_png(self._truth / "labels" / f"{number:06d}.png", self._classes[view.thing])
        if previous is None:
            return
        before, earlier = previous
        write_flow_png(self._truth / "flow_backward" / f"{number:06d}.png", *flow_between(world, view, earlier))
        write_flow_png(self._truth / "flow_forward" / f"{before:06d}.png", *flow_between(world, earlier, view))

    def finish(self, frames: list[int], homographies: dict[int, np.ndarray]) -> None:
        """Close the video and move everything to its place, the truth last: it marks the sequence as complete."""
        self._video.release()
        if _count_frames(self._video_file) != self._frames:  # the writer reports no error, not even of a full disk
            raise ReleaseError(f"{self._video_file}: was not written as a whole; check the free space and run again")
        job = self.job
        content = {
            "size": list(job.settings.size),
            "frames": frames,
            "frame_step": job.settings.frame_step,
            "seed": job.seed,
            "H_prev_to_cur": {str(k): h.tolist() for k, h in homographies.items()},
            "key": job.key,
            "files": manifest(self.folder),
        }
        (self._truth / "truth.json").write_text(json.dumps(content, indent=1))
        for part in _parts(job):
            target = job.root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.folder / part, target)


def _parts(job: _Job) -> list[Path]:
    """Files and folders of a sequence, relative to the root, the truth last."""
    release = Path(job.dataset)
    if job.dataset == "uavid":
        parts = [release / f"uavid_{job.split}" / job.name, release / "UAVid7" / f"uavid_{job.split}" / job.name]
    else:
        parts = [release / "videos" / f"{job.name}.mp4", release / "labels" / "manual_labels" / job.name]
    return [*parts, Path(f"{job.dataset}_truth") / job.name]


def _count_frames(video: Path) -> int:
    """Frames of a video that can be read."""
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _is_complete(job: _Job) -> bool:
    """Whether a sequence is there under the same settings, its files as they were written."""
    path = job.truth / "truth.json"
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_text())
        if content["key"] != json.loads(json.dumps(job.key)) or not all((job.root / part).exists() for part in _parts(job)):
            return False
        damaged = first_damage(job.root, content.get("files", {}))
    except (ValueError, TypeError, KeyError, AttributeError):
        damaged = path.relative_to(job.root)
    if damaged is not None:
        logger.warning("%s: missing or damaged; the sequence is rendered anew", job.root / damaged)
    return damaged is None


def _remove(job: _Job) -> None:
    """Clear what an interrupted run or other settings left, the truth (the mark of completeness) first."""
    for part in reversed(_parts(job)):
        path = job.root / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _image_motion(world: World, time: float, fps: int, focal: float, size: tuple[int, int]) -> tuple[float, float]:
    """Motion in pixels over a frame time of the ground point in the middle of the view."""
    cameras = [world.flight.camera(time + offset / fps, focal, size) for offset in (-0.5, 0.5)]
    matrix = ground_homography(*cameras)
    height, width = size
    middle = np.array([(width - 1) / 2, height * 0.65, 1.0])
    moved = matrix @ middle
    x, y = moved[:2] / moved[2] - middle[:2]
    return float(x), float(y)


def _render_sequence(job: _Job) -> int:
    """Render one sequence; returns its number of source frames."""
    cv2.setNumThreads(1)
    settings = job.settings
    branch = [job.seed, int(job.dataset == "ruralscapes"), int(job.split == "val"), job.index]
    world_seed, sensor_seed = np.random.SeedSequence(branch).spawn(2)
    world = make_world(world_seed, job.dataset == "ruralscapes", job.index)
    rng = np.random.default_rng(sensor_seed)
    sensor = random_sensor(rng, settings.size)
    focal = 0.92 * settings.size[1]
    last = (settings.frames - 1) * settings.frame_step
    wrap_x = wrap_centre(world, last / settings.fps)
    _remove(job)
    job.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{job.dataset}_{job.name}_", dir=job.root) as temporary:
        writer = _SequenceWriter(job, Path(temporary))
        previous: tuple[int, View] | None = None
        homographies: dict[int, np.ndarray] = {}
        for number in range(last + 1):
            time = number / settings.fps
            view = render_view(world, time, focal, settings.size, wrap_x)
            image = sensor.expose(view.image, time, _image_motion(world, time, settings.fps, focal, settings.size), rng)
            writer.frame(image)
            if number % settings.frame_step:
                continue
            if number // settings.frame_step % settings.label_interval == 0:
                writer.label(number, image, view)
            writer.truth(world, previous, number, view)
            if previous is not None:
                homographies[number] = ground_homography(previous[1].camera, view.camera)
            previous = (number, view)
        writer.finish(list(range(0, last + 1, settings.frame_step)), homographies)
    return last + 1


def render_release(dataset: DatasetName, settings: ReleaseSettings, seed: int, root: Path, workers: int = 1) -> Path:
    """Render a raw release and its truth; the same seed gives the same files whatever the number of workers.

    Args:
        dataset: "uavid" or "ruralscapes".
        settings: how much and how large.
        seed: of everything random.
        root: receives `<dataset>/` (the release) and `<dataset>_truth/`.
        workers: processes, one sequence each at a time.
    Returns: the release's folder. Sequences complete under the same settings are skipped.
    Raises: ReleaseError.
    """
    root = Path(root)
    counts = {"train": 0, "val": 0}
    jobs = []
    for split, name in sequence_names(dataset, settings):
        jobs.append(_Job(dataset, settings, seed, root, split, name, counts[split]))
        counts[split] += 1
    todo = [job for job in jobs if not _is_complete(job)]
    if len(todo) < len(jobs):
        logger.info("%s: %d of %d sequences already rendered", root / dataset, len(jobs) - len(todo), len(jobs))
    for stale in root.glob(f".{dataset}_*") if todo else ():  # of a run that was killed
        shutil.rmtree(stale)
    frames = ((settings.frames - 1) * settings.frame_step + 1) * len(todo)
    with tqdm(total=frames, desc=f"render {dataset}", unit="frame", disable=not todo) as bar:
        if workers <= 1 or len(todo) <= 1:
            for job in todo:
                bar.update(_render_sequence(job))
        else:
            with multiprocessing.get_context("spawn").Pool(min(workers, len(todo)), initializer=stay_in_run) as pool:
                for rendered in pool.imap_unordered(_render_sequence, todo):
                    bar.update(rendered)
    return root / dataset
