"""A trained system streamed over clips with the motion of the study's stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sspcore.core.files import atomic_folder, read_json, write_json
from sspcore.core.images import write_image
from sspcore.core.progress import tqdm
from sspcore.core.types import VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.inference.stream import Segmented, segment_frames
from sspcore.models.systems import build, system

if TYPE_CHECKING:
    from sspcore.study.stages import Study

MARK = "clip.json"  # last in the folder of a clip's label maps


def stream(
    study: Study, model: VideoSegmenter, name: str, dataset: str, clip: Clip, start: int = 0
) -> Iterator[Segmented]:
    """A clip from frame `start` on through `model`, which is the system `name`."""
    size = study.input_size(system(name))
    images = (clip.frame(position, size) for position in range(start, len(clip)))
    motion = study.motion(model, dataset, clip, start)
    return segment_frames(model, images, motion, size, study.profile.input_size, study.device)


def predict_clip(study: Study, model: VideoSegmenter, name: str, dataset: str, clip: Clip, out: Path) -> None:
    """Write the label maps of one clip (`out`/<clip>/<source frame>.png) unless they are there."""
    if (out / clip.name / MARK).is_file():
        return
    frames = failed = 0
    title = f"{name}, {clip.name}"
    with atomic_folder(out / clip.name, MARK) as folder, tqdm(total=len(clip), desc=title, unit="frame") as bar:
        for number, result in zip(clip.numbers, stream(study, model, name, dataset, clip), strict=True):
            write_image(folder / f"{number:06d}.png", result.labels)
            frames += 1
            failed += not result.registered
            bar.update(1)
        write_json(folder / MARK, {"frames": frames, "failed_registrations": failed})


def write_predictions(study: Study, name: str, dataset: str, out: Path) -> None:
    """Write the label maps of all validation clips that are not there yet, and what the streams reported."""
    clips = study.clips(dataset, "val")
    missing = [clip for clip in clips if not (out / clip.name / MARK).is_file()]
    model = study.model(name, dataset) if missing else None
    for clip in missing:
        predict_clip(study, model, name, dataset, clip, out)
    reports = [read_json(out / clip.name / MARK) for clip in clips]
    frames, failed = (sum(report[key] for report in reports) for key in ("frames", "failed_registrations"))
    registers = "homography" in build(name, study.spec(dataset).n_classes, study.profile, load_weights=False).needs
    write_json(out / "stream.json", {
        "frames": frames, "registration_fallback_rate": failed / (frames - len(clips)) if registers else None,
    })
