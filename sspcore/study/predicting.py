"""A trained system streamed over clips with the motion of the study's stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sspcore.core.files import atomic_folder, read_json, write_json
from sspcore.core.images import write_image
from sspcore.core.memory import memory_kept
from sspcore.core.progress import tqdm
from sspcore.core.types import VideoSegmenter
from sspcore.data.clips import Clip
from sspcore.inference.stream import Segmented, segment_frames
from sspcore.models.image import ImageSystem
from sspcore.models.pointwise import fast_pointwise
from sspcore.models.systems import assemble, build, system

if TYPE_CHECKING:
    from sspcore.study.stages import Study

MARK = "clip.json"  # last in the folder of a clip's label maps


class SharedImage(ImageSystem):
    """An image model that several systems stream through side by side: it works on each frame once."""

    def __init__(self, image: ImageSystem) -> None:
        super().__init__()
        self.image, self.n_classes, self.feature_channels = image, image.n_classes, image.feature_channels
        self.upsampling = image.upsampling
        self._frames: Tensor | None = None  # the latest, and what the model says of them
        self._answer: tuple[Tensor, Tensor] | None = None

    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if self._frames is None or not torch.equal(frames, self._frames):
            self._frames, self._answer = frames, self.image.logits_and_features(frames)
        return self._answer


def stream(
    study: Study, model: VideoSegmenter, name: str, dataset: str, clip: Clip, start: int = 0
) -> Iterator[Segmented]:
    """A clip from frame `start` on through `model`, which is the system `name`."""
    spec = system(name)
    size = study.input_size(spec)
    images = (clip.frame(position, size) for position in range(start, len(clip)))
    motion = study.motion(model, dataset, clip, start)
    return segment_frames(model, images, motion, size, study.scored_size(spec), study.device)


def predict_clip(study: Study, model: VideoSegmenter, name: str, dataset: str, clip: Clip, out: Path) -> None:
    """Write the label maps of one clip (`out`/<clip>/<source frame>.png) unless they are there."""
    if not (out / clip.name / MARK).is_file():
        _write(study, {name: model}, {name: out}, dataset, clip)


def predict_together(study: Study, folders: Mapping[str, Path], dataset: str, clip: Clip) -> dict[str, int]:
    """What `predict_clip` writes, for an image system and controls on it at once: the image model sees each frame once.

    Args:
        folders: name of a system -> folder of its label maps.
    Returns: failed registrations of each system.
    Raises: ValueError if two of the systems have different image models, or one is a trained video system.
    """
    specs = {name: system(name).under(study.profile.conventions) for name in folders}
    images = {name if spec.kind == "image" else spec.starts_from for name, spec in specs.items()}
    if len(images) != 1 or any(spec.kind == "video" for spec in specs.values()):
        raise ValueError(f"{', '.join(folders)}: give one image system and controls on it")
    missing = {name: out for name, out in folders.items() if not (out / clip.name / MARK).is_file()}
    if missing:
        image = SharedImage(study.model(images.pop(), dataset)).eval()
        models = {
            name: image if spec.kind == "image" else assemble(spec.method, image, spec.options, 2).eval()
            for name, spec in specs.items() if name in missing
        }
        _write(study, models, missing, dataset, clip)
    return {name: read_json(out / clip.name / MARK)["failed_registrations"] for name, out in folders.items()}


def _write(
    study: Study, models: Mapping[str, VideoSegmenter], folders: Mapping[str, Path], dataset: str, clip: Clip
) -> None:
    """Stream one clip through models frame by frame; write the label maps of each, and what its stream reported."""
    failed = dict.fromkeys(models, 0)
    with ExitStack() as stack:
        for part in {id(model): model for model in models.values()}.values():
            stack.enter_context(fast_pointwise(part))
        stack.enter_context(memory_kept())
        parts = {name: stack.enter_context(atomic_folder(folders[name] / clip.name, MARK)) for name in models}
        bar = stack.enter_context(tqdm(total=len(clip), desc=f"{', '.join(models)}, {clip.name}", unit="frame"))
        streams = [stream(study, model, name, dataset, clip) for name, model in models.items()]
        for number, *results in zip(clip.numbers, *streams, strict=True):
            for name, result in zip(models, results, strict=True):
                write_image(parts[name] / f"{number:06d}.png", result.labels)
                failed[name] += not result.registered
            bar.update(1)
        for name, part in parts.items():
            write_json(part / MARK, {"frames": len(clip), "failed_registrations": failed[name]})


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
        "frames": frames, "registration_fallback_rate": failed / max(1, frames - len(clips)) if registers else None,
    })
