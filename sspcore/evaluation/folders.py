"""Label maps of any origin in folders, scored by all metrics: what `sspcore evaluate` calls. Knows no model.

Layout: `<predictions>/<clip>/<frame>.png`, or a flat folder as one clip; frames and labels lie under the same names in
folders of their own. Neighbouring predictions are consecutive frames. Flow depends on the frames alone: it is estimated
once, kept on disk, and read as a memory map that is opened again for each frame, so that memory stays flat.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from sspcore.core.checksums import crc32
from sspcore.core.classes import IGNORE
from sspcore.core.errors import SspError
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.clips import FrameCache
from sspcore.data.releases import natural_order
from sspcore.evaluation.clips import as_json
from sspcore.metrics import METRICS, FrameRecord, MetricSuite, build_metric, metrics_for
from sspcore.metrics.records import MAX_SIDE
from sspcore.motion.cache import FlowStore

GREY, PALETTE = 0, 3  # kinds of PNG
COUNTED = ("lag",)  # in frames; all other metrics are fractions and shown in percent
_DECODED_MB = 64  # of frames: two of 4K, which serve both directions and the next pair


@dataclass(frozen=True)
class FolderClip:
    """One clip: label maps and their frames in order, labels by position where there are any."""

    name: str
    predictions: tuple[Path, ...]
    frames: tuple[Path, ...]
    labels: dict[int, Path]
    gaps: int  # frames between the first and the last prediction that have none
    unused: int  # labels without a prediction
    cache: FrameCache = field(default_factory=lambda: FrameCache(_DECODED_MB), repr=False)
    _keys: dict[int, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.predictions)

    def frame(self, position: int, size: Size | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB. Raises ReleaseError if it is not readable."""
        return self.cache.get(self.frames[position], size)

    def key(self, position: int) -> str:
        """Name and content of a frame's file, so that changed frames get new flow."""
        if position not in self._keys:
            self._keys[position] = f"{self.frames[position].stem}-{crc32(self.frames[position]):08x}"
        return self._keys[position]


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
    maps, images = _images(predictions / name, (".png",)), _images(frames / name, (".png", ".jpg", ".jpeg"))
    truth = {} if labels is None else _images(labels / name, (".png",))
    stems = sorted(maps, key=natural_order)
    for stem in stems:
        if stem not in images:
            raise SspError(f"{maps[stem]}: its frame is missing; expected {frames / name / stem}.png or .jpg")
    numbered = sorted(images, key=natural_order)
    within = numbered[numbered.index(stems[0]) : numbered.index(stems[-1]) + 1]
    matched = {k: truth[stem] for k, stem in enumerate(stems) if stem in truth}
    return FolderClip(
        name or predictions.resolve().name, tuple(maps[stem] for stem in stems), tuple(images[stem] for stem in stems),
        matched, gaps=len(within) - len(stems), unused=len(truth) - len(matched),
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


def clip_records(clip: FolderClip, n_classes: int, flows: FlowStore) -> Iterator[FrameRecord]:
    """A clip as the records that metrics take. Raises SspError for a file that is unreadable or of another size."""
    for k, (path, frame) in enumerate(zip(clip.predictions, clip.frames, strict=True)):
        prediction = read_label_map(path, n_classes)
        forward, backward = (_flow(clip, k, other, flows) for other in (k + 1, k - 1))
        motion = forward if forward is not None else backward
        size = clip.frame(k).shape[:2] if motion is None else motion.shape[1:]
        _require_size(path, prediction, frame, size)
        target = None
        if k in clip.labels:
            target = read_label_map(clip.labels[k], n_classes)
            _require_size(clip.labels[k], target, frame, size)
        yield FrameRecord(prediction, target, forward, backward)


def _flow(clip: FolderClip, k: int, other: int, flows: FlowStore) -> np.ndarray | None:
    """Flow from frame k to a neighbour, None outside the clip. Raises SspError if the two differ in size."""
    if not 0 <= other < len(clip):
        return None
    if not flows.has(clip, k, other):
        size, beside = (clip.frame(position).shape[:2] for position in (k, other))
        if size != beside:
            name = clip.frames[k].name
            raise SspError(f"{clip.frames[other]}: frame is {_shown(beside)}, the frame beside it, {name}, is {_shown(size)}")
    return flows.map(clip, k, other)


def score_folders(clips: Sequence[FolderClip], n_classes: int, flows: FlowStore, moving: Sequence[int] = ()) -> dict[str, Any]:
    """All metrics that can be had from what is given, streamed, as JSON values.

    Args:
        n_classes: label values are 0..n_classes-1 and 255.
        flows: flow between frames at their own size; what it computes stays on disk.
        moving: class ids of things that move; without them "miou_moving" and "lag" are left out.
    Returns: metrics (fractions in 0..1, lag in frames, None = nothing to score), details, skipped (metric -> why),
        notes, clips (frames and labels of each), flow (estimator, computed, reused).
    """
    inputs = {"flow_to_next", "flow_to_previous"}
    inputs |= {"target"} if any(clip.labels for clip in clips) else set()
    inputs |= {"dense_target"} if all(len(clip.labels) == len(clip) for clip in clips) else set()
    suite = MetricSuite(n_classes, metrics_for(inputs, n_classes, moving), moving)
    with tqdm(total=sum(map(len, clips)), desc="scoring", unit="frame") as bar:
        for clip in clips:
            suite.start_clip()
            for record in clip_records(clip, n_classes, flows):
                suite.update(record)
                bar.update(1)
    return {
        "metrics": as_json(suite.compute()),
        "details": as_json(suite.details()),
        "skipped": {name: _why_not(name, inputs) for name in METRICS if name not in suite.metrics},
        "notes": _notes(clips),
        "clips": {clip.name: {"frames": len(clip), "labels": len(clip.labels)} for clip in clips},
        "flow": {"estimator": flows.estimator.name, "computed": flows.computed, "reused": flows.reused},
    }


def table(scores: dict[str, Any]) -> str:
    """The scores as aligned text, one metric a line."""
    clips, flow = scores["clips"].values(), scores["flow"]
    head = (
        f"{len(clips)} clips, {sum(clip['frames'] for clip in clips)} frames, {sum(clip['labels'] for clip in clips)} labels; "
        f"flow {flow['estimator']}: {flow['computed']} estimated, {flow['reused']} from the cache"
    )
    rows = pd.DataFrame({"value": scores["metrics"]}, dtype=float)
    in_frames = rows.index.isin(COUNTED)
    rows["value"] = rows["value"].where(in_frames, 100 * rows["value"])
    rows["unit"] = np.where(in_frames, "frames", "%")
    rows["note"] = ["" if build_metric(name, 1, (0,)).higher_is_better else "(lower is better)" for name in rows.index]
    lines = [line.rstrip() for line in rows.to_string(header=False, float_format="{:.2f}".format, na_rep="-").splitlines()]
    skipped = pd.Series(scores["skipped"], dtype=str)
    reasons = [f"not scored: {', '.join(group.index)} ({why})" for why, group in skipped.groupby(skipped, sort=False)]
    return "\n".join([head, *lines, *reasons, *(f"note: {note}" for note in scores["notes"])]) + "\n"


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


def _require_size(path: Path, labels: np.ndarray, frame: Path, size: tuple[int, ...]) -> None:
    if labels.shape != tuple(size):
        shapes = f"label map is {_shown(labels.shape)}, its frame {frame.name} {_shown(size)}"
        raise SspError(f"{path}: {shapes}; resize one of them")


def _shown(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
