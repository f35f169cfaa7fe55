"""A long rendered flight along a street of UAVid's world, with the exact label of every frame: for streams (notebook 07).

Its parts are rendered side by side, each a video and label maps in a folder of its own. The world repeats every PERIOD metres,
so the flight passes the same street several times, each time with other traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from sspcore.core.code import code_key
from sspcore.core.images import read_grey
from sspcore.core.parallel import run_jobs
from sspcore.core.progress import tqdm
from sspcore.core.settings import Section
from sspcore.core.store import stable_hash, stage
from sspcore.data.datasets import UAVID
from sspcore.evaluation.frames import VideoFile as WrittenVideo
from sspcore.synthetic.builder import label_tables
from sspcore.synthetic.camera import random_sensor
from sspcore.synthetic.footage import VideoFile, shot, write_png
from sspcore.synthetic.ground import PERIOD
from sspcore.synthetic.world import World, make_world

VIDEO = "frames.mp4"
FPS = 12
_BRANCH = 3  # of the seed; 0 and 1 are the two releases, 2 the flight of one's own
_FARTHEST = 600.0  # metres: beyond it the finest texture has more texels than OpenCV can count
_BEHIND = 25.0  # metres behind the camera at which the world is cut, as in shorter flights


class LongFlightSettings(Section):
    """What is rendered.

    Attributes:
        size: (H, W) of the video.
        frames: of the flight, at 12 a second.
        part: frames of a part.
        seed: of everything random.
    """

    size: tuple[int, int]
    frames: int = Field(ge=1)
    part: int = Field(250, ge=1)
    seed: int = Field(0, ge=0)

    def key(self) -> str:
        """Identity of what is rendered."""
        code = code_key(__name__, without=frozenset({"sspcore.evaluation.frames"}))
        return stable_hash([self.model_dump(mode="json"), code, UAVID.key])


@dataclass
class LongFlight:
    """Frames and labels of a rendered flight, read in any order; fast in the order of the parts.

    Attributes:
        folder: of the parts.
    """

    folder: Path
    settings: LongFlightSettings
    _open: tuple[int, WrittenVideo] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.settings.frames

    def frame(self, k: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        part, position = divmod(k, self.settings.part)
        if self._open is None or self._open[0] != part:
            self._open = part, WrittenVideo(part_folder(self.folder, part) / VIDEO)
        return self._open[1].read(position)

    def labels(self, k: int) -> np.ndarray:
        """(H, W) uint8 ids of UAVid's classes, 255 ignored."""
        return read_grey(part_folder(self.folder, k // self.settings.part) / f"{k:06d}.png")


def part_folder(folder: Path, part: int) -> Path:
    """Where a part lies."""
    return folder / f"part{part:03d}"


def render_long_flight(folder: Path, settings: LongFlightSettings, workers: int = 1) -> LongFlight:
    """Render the parts that are not there yet; the same seed gives the same files whatever the number of workers."""
    parts = range(-(-settings.frames // settings.part))
    jobs = [(folder, settings, part) for part in parts]
    with tqdm(total=len(jobs), desc="render the long flight", unit="part") as bar:
        for _ in run_jobs(_render_part, jobs, workers):
            bar.update(1)
    return LongFlight(folder, settings)


@lru_cache(maxsize=1)  # parts that one process renders share it
def long_world(settings: LongFlightSettings) -> tuple[World, np.random.SeedSequence]:
    """The world with its flight, and the seed of the sensor. The flight keeps its height and its lane: no roof is met."""
    world_seed, sensor_seed = np.random.SeedSequence([settings.seed, _BRANCH]).spawn(2)
    world = make_world(world_seed, False, 0)
    flight, seconds = world.flight, settings.frames / FPS
    speed = min(flight.velocity[0], (_FARTHEST - flight.start[0]) / seconds)
    return replace(world, flight=replace(flight, velocity=np.array([speed, 0.0, 0.0]))), sensor_seed


def _render_part(job: tuple[Path, LongFlightSettings, int]) -> None:
    folder, settings, part = job
    stage(
        f"long flight, part {part}", part_folder(folder, part), stable_hash([settings.key(), part]),
        lambda out: _write_part(out, settings, part),
    )


def _write_part(out: Path, settings: LongFlightSettings, part: int) -> None:
    cv2.setNumThreads(1)
    world, sensor_seed = long_world(settings)
    sensor = random_sensor(np.random.default_rng(sensor_seed), settings.size)
    noise = np.random.default_rng([settings.seed, _BRANCH, part])
    classes, video = label_tables(UAVID)[1], VideoFile(out / VIDEO, FPS, settings.size)
    for k in range(part * settings.part, min((part + 1) * settings.part, settings.frames)):
        wrap_x = world.flight.start[0] + world.flight.velocity[0] * k / FPS + PERIOD / 2 - _BEHIND
        view, image = shot(world, sensor, noise, k / FPS, FPS, settings.size, wrap_x)
        video.write(image)
        write_png(out / f"{k:06d}.png", classes[view.thing])
    video.close()
