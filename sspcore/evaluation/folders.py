"""Anybody's label maps in folders, scored by all metrics: the part behind `python -m sspcore.cli.evaluate`. Knows no model.

Layout: `<predictions>/<clip>/<frame>.png`, or a flat folder as one clip; frames and labels lie under the same names in
folders of their own. Neighbouring predictions are consecutive frames. Flow depends on the frames alone: it is estimated
once, kept on disk, and read as a memory map that is opened afresh for each frame, so that memory stays flat.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from sspcore.core.checksums import read_array, write_array
from sspcore.core.classes import IGNORE
from sspcore.core.errors import SspError
from sspcore.core.files import atomic_file
from sspcore.core.images import read_rgb, to_tensor
from sspcore.core.progress import tqdm
from sspcore.core.store import stable_hash
from sspcore.metrics import METRICS, FrameRecord, MetricSuite, build_metric, metrics_for
from sspcore.metrics.records import MAX_SIDE
from sspcore.motion.flow import FlowEstimator

log = logging.getLogger(__name__)

GREY, PALETTE = 0, 3  # kinds of PNG
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
COUNTED = ("lag",)  # in frames; all other metrics are fractions and shown in percent


@dataclass(frozen=True)
class FolderClip:
    """One clip: label maps and their frames in order, labels by position where there are any."""

    name: str
    predictions: tuple[Path, ...]
    frames: tuple[Path, ...]
    labels: dict[int, Path]
    gaps: int  # frames between the first and the last prediction that have none
    unused: int  # labels without a prediction

    def __len__(self) -> int:
        return len(self.predictions)


def find_clips(predictions: Path, frames: Path, labels: Path | None = None) -> list[FolderClip]:
    """The clips of a folder of label maps, in natural order, matched with frames and labels by file name.

    Raises: SspError if a folder is missing or empty, a prediction has no frame, or no label has a prediction.
    """
    for option, folder in (("--predictions", predictions), ("--frames", frames), ("--labels", labels)):
        if folder is not None and not folder.is_dir():
            raise SspError(f"{option} {folder}: no such folder; check the path")
    flat = _images(predictions, (".png",))
    below = [path for path in predictions.iterdir() if path.is_dir() and _images(path, (".png",))]
    if flat and below:
        raise SspError(f"{predictions}: holds label maps and also folders of them ({below[0].name}, ...); keep one of the two")
    if not flat and not below:
        raise SspError(f"{predictions}: no PNG label maps here, neither directly nor one folder down")
    names = [""] if flat else [path.name for path in sorted(below, key=lambda path: natural_order(path.name))]
    clips = [_find_clip(name, predictions, frames, labels) for name in names]
    if labels is not None and not any(clip.labels for clip in clips):
        example = clips[0].predictions[0].relative_to(predictions)
        raise SspError(f"{labels}: no label has the name of a prediction, such as {example}; check the folder")
    return clips


def _find_clip(name: str, predictions: Path, frames: Path, labels: Path | None) -> FolderClip:
    maps = _images(predictions / name, (".png",))
    images = _images(frames / name, FRAME_SUFFIXES)
    truth = {} if labels is None else _images(labels / name, (".png",))
    stems = sorted(maps, key=natural_order)
    for stem in stems:
        if stem not in images:
            raise SspError(f"{maps[stem]}: its frame is missing; expected {frames / name / stem}.png or .jpg")
    numbered = sorted(images, key=natural_order)
    within = numbered[numbered.index(stems[0]) : numbered.index(stems[-1]) + 1]
    matched = {k: truth[stem] for k, stem in enumerate(stems) if stem in truth}
    return FolderClip(
        name=name or predictions.resolve().name,
        predictions=tuple(maps[stem] for stem in stems),
        frames=tuple(images[stem] for stem in stems),
        labels=matched,
        gaps=len(within) - len(stems),
        unused=len(truth) - len(matched),
    )


def _images(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Stem -> file of the images in a folder; hidden files are passed over. Raises SspError for two of one stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            if path.stem in found:
                raise SspError(f"{path}: {found[path.stem].name} lies beside it; keep one of the two")
            found[path.stem] = path
    return found


def natural_order(name: str) -> list[str | int]:
    """Sort key that puts "2" before "10", whatever stands around the numbers."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))]


def read_label_map(path: Path, n_classes: int) -> np.ndarray:
    """(H, W) uint8 class ids of a PNG, grey of 8 bits or with a palette (then its indices are the ids).

    Raises: SspError if the file cannot be read, holds colours, or a value from n_classes to 254.
    """
    data = path.read_bytes()
    try:
        # Pillow, not OpenCV: it gives a palette's indices, and refuses a truncated file
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            labels = np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SspError(f"{path}: not a readable PNG ({len(data)} bytes); write it again") from error
    depth, kind = data[24], data[25]  # of the PNG header; grey of fewer than 8 bits comes stretched to 0..255
    if kind != PALETTE and (kind, depth) != (GREY, 8):
        raise SspError(f"{path}: expected class ids in a PNG that is grey with 8 bits or has a palette; save it so")
    if max(labels.shape) > MAX_SIDE:
        raise SspError(f"{path}: is {labels.shape[0]}x{labels.shape[1]}, sides above {MAX_SIDE} cannot be scored; cut tiles")
    present = np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256])[:IGNORE, 0])
    if present.size and present[-1] >= n_classes:
        raise SspError(f"{path}: holds the value {present[-1]}, but classes are 0..{n_classes - 1} and 255 (ignored)")
    return labels


@dataclass
class FlowCache:
    """Flow between frames given as files, half precision, one file a pair and direction.

    Attributes:
        root: folder of the cache; may be deleted at any time.
        estimator: computes what is missing.
        computed, reused: how many flows were estimated, and found on disk.
    A file's name depends on path, size and time of both frames, so that changed frames get new flow.
    """

    root: Path
    estimator: FlowEstimator
    computed: int = field(default=0, init=False)
    reused: int = field(default=0, init=False)
    _decoded: dict[Path, Tensor] = field(default_factory=dict, init=False, repr=False)

    def between(self, source: Path, target: Path) -> np.ndarray:
        """Flow source -> target (2, H, W) float16 in pixels, a read-only memory map.

        Raises: SspError if a frame is not readable or the two differ in size.
        """
        path = self._path(source, target)
        if path.is_file():
            if read_array(path) is not None:
                self.reused += 1
                return np.load(path, mmap_mode="r", allow_pickle=False)
            log.warning("%s: damaged, estimated again", path)
        frames = [self._frame(source), self._frame(target)]
        if frames[0].shape != frames[1].shape:
            raise SspError(f"{target}: frame is {_size(frames[1])}, the frame beside it, {source.name}, is {_size(frames[0])}")
        flow = self.estimator(*(frame[None] for frame in frames))[0].cpu().numpy()
        with atomic_file(path) as temporary:
            write_array(temporary, flow.astype(np.float16))
        self.computed += 1
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _path(self, source: Path, target: Path) -> Path:
        stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in (source, target)]
        folder = f"{source.parent.name}-{stable_hash(str(source.parent.resolve()))[:8]}"
        return self.root / self.estimator.name / folder / f"{source.stem}--{target.stem}--{stable_hash(stamps)[:8]}.npy"

    def _frame(self, path: Path) -> Tensor:
        """A decoded frame; the two latest are kept, which serves both directions and the next pair."""
        if path not in self._decoded:
            while len(self._decoded) > 1:
                del self._decoded[next(iter(self._decoded))]
            self._decoded[path] = to_tensor(read_rgb(path))
        return self._decoded[path]


def clip_records(clip: FolderClip, n_classes: int, flows: FlowCache) -> Iterator[FrameRecord]:
    """A clip as the records that metrics take. Raises SspError for a file that is unreadable or of another size."""
    for k, (path, frame) in enumerate(zip(clip.predictions, clip.frames, strict=True)):
        prediction = read_label_map(path, n_classes)
        forward, backward = (
            flows.between(frame, clip.frames[other]) if 0 <= other < len(clip) else None for other in (k + 1, k - 1)
        )
        motion = forward if forward is not None else backward
        size = read_rgb(frame).shape[:2] if motion is None else motion.shape[1:]
        _require_size(path, prediction, frame, size)
        target = None
        if k in clip.labels:
            target = read_label_map(clip.labels[k], n_classes)
            _require_size(clip.labels[k], target, frame, size)
        yield FrameRecord(prediction, target, forward, backward)


def score_folders(clips: Sequence[FolderClip], n_classes: int, flows: FlowCache, moving: Sequence[int] = ()) -> dict[str, Any]:
    """All metrics that can be had from what is given, streamed, as JSON values.

    Args:
        clips: see `find_clips`.
        n_classes: label values are 0..n_classes-1 and 255.
        flows: flow between frames; what it computes stays on disk.
        moving: class ids of things that move; without them "miou_moving" and "lag" are left out.
    Returns: metrics (fractions in 0..1, lag in frames, None = nothing to score), details, skipped (metric -> why),
        notes, clips (frames and labels of each), flow (estimator, computed, reused).
    """
    inputs = {"flow_to_next", "flow_to_previous"}
    if any(clip.labels for clip in clips):
        inputs.add("target")
    if all(len(clip.labels) == len(clip) for clip in clips):
        inputs.add("dense_target")
    suite = MetricSuite(n_classes, metrics_for(inputs, n_classes, moving), moving)
    with tqdm(total=sum(map(len, clips)), desc="scoring", unit="frame") as bar:
        for clip in clips:
            suite.start_clip()
            for record in clip_records(clip, n_classes, flows):
                suite.update(record)
                bar.update(1)
    return {
        "metrics": _jsonable(suite.compute()),
        "details": _jsonable(suite.details()),
        "skipped": {name: _why_not(name, inputs) for name in METRICS if name not in suite.metrics},
        "notes": _notes(clips),
        "clips": {clip.name: {"frames": len(clip), "labels": len(clip.labels)} for clip in clips},
        "flow": {"estimator": flows.estimator.name, "computed": flows.computed, "reused": flows.reused},
    }


def table(scores: dict[str, Any]) -> str:
    """The scores as aligned text, one metric a line."""
    clips, flow = scores["clips"].values(), scores["flow"]
    lines = [
        f"{len(clips)} clips, {sum(clip['frames'] for clip in clips)} frames, {sum(clip['labels'] for clip in clips)} labels; "
        f"flow {flow['estimator']}: {flow['computed']} estimated, {flow['reused']} from the cache"
    ]
    for name, value in scores["metrics"].items():
        shown = "-" if value is None else f"{value:.2f}" if name in COUNTED else f"{100 * value:.2f}"
        unit = "frames" if name in COUNTED else "%"
        better = "" if build_metric(name, 1, (0,)).higher_is_better else "  (lower is better)"
        lines.append(f"  {name:<13} {shown:>7} {unit}{better}")
    for reason in dict.fromkeys(scores["skipped"].values()):
        names = ", ".join(name for name, why in scores["skipped"].items() if why == reason)
        lines.append(f"not scored: {names} ({reason})")
    return "\n".join([*lines, *(f"note: {note}" for note in scores["notes"])]) + "\n"


def _why_not(name: str, inputs: set[str]) -> str:
    needs = build_metric(name, 1, (0,)).needs
    if "target" in needs and "target" not in inputs:
        return "needs --labels"
    if "dense_target" in needs and "dense_target" not in inputs:
        return "needs a label on every frame" if "target" in inputs else "needs --labels on every frame"
    return "needs --moving"


def _notes(clips: Sequence[FolderClip]) -> list[str]:
    notes = []
    for clip in clips:
        if len(clip) == 1:
            notes.append(f"{clip.name}: a clip of one frame, TC and its relatives are not defined there")
        if clip.gaps:
            notes.append(f"{clip.name}: {clip.gaps} frames between predictions have none and are jumped over")
        if clip.unused:
            notes.append(f"{clip.name}: {clip.unused} labels have no prediction and are left out")
    if not any(clip.labels for clip in clips):
        notes.append("no labels, so no accuracy: constant label maps are perfectly consistent, never read TC alone")
    return notes


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _require_size(path: Path, labels: np.ndarray, frame: Path, size: tuple[int, ...]) -> None:
    if labels.shape != tuple(size):
        height, width = labels.shape
        raise SspError(f"{path}: label map is {height}x{width}, its frame {frame.name} {size[0]}x{size[1]}; resize one of them")


def _size(frame: Tensor) -> str:
    return f"{frame.shape[-2]}x{frame.shape[-1]}"
