"""A trained system streamed over clips with the motion of the study's stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sspcore.core.files import write_json
from sspcore.core.images import write_image
from sspcore.core.progress import tqdm
from sspcore.core.types import VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.inference.stream import Segmented, segment_frames
from sspcore.models.systems import system

if TYPE_CHECKING:
    from sspcore.study.stages import Study


def stream(
    study: Study, model: VideoSegmenter, name: str, dataset: str, clip: Clip, start: int = 0
) -> Iterator[Segmented]:
    """A clip from frame `start` on through `model`, which is the system `name`."""
    size = study.input_size(system(name))
    images = (clip.frame(position, size) for position in range(start, len(clip)))
    motion = study.motion(model, dataset, clip, start)
    return segment_frames(model, images, motion, size, study.profile.input_size, study.device)


def write_predictions(study: Study, name: str, dataset: str, out: Path) -> None:
    """Write the label maps of all validation clips (`out`/<clip>/<source frame>.png), and what the streams reported."""
    model, clips = study.model(name, dataset), study.clips(dataset, "val")
    frames = failed = 0
    with tqdm(total=sum(map(len, clips)), desc=f"{name} on {study.spec(dataset).title}", unit="frame") as bar:
        for clip in clips:
            (out / clip.name).mkdir(parents=True)
            for number, result in zip(clip.numbers, stream(study, model, name, dataset, clip), strict=True):
                write_image(out / clip.name / f"{number:06d}.png", result.labels)
                frames += 1
                failed += not result.registered
                bar.update(1)
    rate = failed / (frames - len(clips)) if "homography" in model.needs else None
    write_json(out / "stream.json", {"frames": frames, "registration_fallback_rate": rate})
