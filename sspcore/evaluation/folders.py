"""Label maps of any origin in folders, scored by all metrics: what `sspcore evaluate` calls. Knows no model.

Layout: `<predictions>/<clip>/<frame>.png`, or a flat folder as one clip; frames (images or a video) and labels lie under the
same names in folders of their own. Neighbouring predictions are consecutive frames. Flow depends on the frames alone: it is
estimated once, at the size of the label maps, kept on disk, and read as a memory map that is opened again for each frame, so
that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.images import resize_frame, resize_labels
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.annotations import coco
from sspcore.data.releases import natural_order
from sspcore.evaluation.clips import as_json
from sspcore.evaluation.frames import FrameFiles, VideoFile, counts_from_one, images, open_frames
from sspcore.evaluation.label_maps import LabelFile, colours_of, read_label_map, read_truth, shown, size_of, size_of_label
from sspcore.metrics import METRICS, FrameRecord, MetricSuite, build_metric, metrics_for
from sspcore.motion.cache import FlowStore

COUNTED = ("lag",)  # in frames; all other metrics are fractions and shown in percent
_SQUASHED = 1.5  # aspects that differ by more are of other frames, or of turned ones
_KEPT = 3


@dataclass(frozen=True)
class FolderClip:
    """One clip: label maps in order, the positions of their frames, labels by position of the map where there are any."""

    name: str
    predictions: tuple[Path, ...]
    frames: FrameFiles
    positions: tuple[int, ...]
    labels: dict[int, LabelFile]
    unused: int  # labels without a prediction
    _resized: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _keys: dict[int, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def place(self) -> str:
        """Path of its motion in a cache."""
        return self.name

    @property
    def gaps(self) -> int:
        """Frames between the first and the last prediction that have none."""
        return self.positions[-1] - self.positions[0] + 1 - len(self)

    @cached_property
    def size(self) -> Size:
        """(H, W) of the first label map, which all must have."""
        return size_of(self.predictions[0])

    @cached_property
    def frame_size(self) -> Size:
        """(H, W) of the first frame. Raises SspError if the label maps cannot be of such a frame."""
        size = self.frames.read(self.positions[0]).shape[:2]
        first, frame = self.predictions[0], self.frames.shown(self.positions[0])
        _require_likeness(f"{first}: label map is {shown(self.size)}, its frame {frame} {shown(size)}", self.size, size)
        return size

    def frame(self, position: int, size: Size | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB at the size of the label maps. Raises SspError if it is not readable or unlike the others."""
        if position not in self._resized:
            image = self.frames.read(self.positions[position])
            if image.shape[:2] != self.frame_size:
                where = f"{self.frames.path}: {self.frames.shown(self.positions[position])}"
                raise SspError(f"{where} is {shown(image.shape)}, the frames before it {shown(self.frame_size)}; sort them")
            self._resized[position] = resize_frame(image, size or self.size)
            if len(self._resized) > _KEPT:
                self._resized.pop(next(iter(self._resized)))
        return self._resized[position]

    def key(self, position: int) -> str:
        """Name, content and size of a frame, so that changed frames get new flow."""
        if position not in self._keys:
            key, as_is = self.frames.key(self.positions[position]), self.size == self.frame_size
            self._keys[position] = key if as_is else f"{key}-{shown(self.size)}"
        return self._keys[position]


def find_clips(
    predictions: Path, frames: Path, labels: Path | None = None, first_frame: int | None = None,
    first_label: int | None = None,
) -> list[FolderClip]:
    """The clips of a folder of label maps, in natural order, matched with frames and labels by file name.

    Args:
        frames: folders of images, or videos, named like the clips; or one of them for a flat folder of maps.
        labels: likewise, label images or LabelMe's JSON; or one COCO file.
        first_frame: the number that names give to a video's first frame; None: 0, or what the names show.
        first_label: the number that names of labels give to it; None: labels are called like the maps.
    Raises: SspError if a folder is missing or empty, a prediction has no frame, or no label has a prediction.
    """
    if not predictions.is_dir():
        raise SspError(f"--predictions {predictions}: no such folder; check the path")
    for option, path in (("--frames", frames), ("--labels", labels)):
        if path is not None and not path.exists():
            raise SspError(f"{option} {path}: no such folder or file; check the path")
    flat = images(predictions, (".png",))
    below = [path for path in predictions.iterdir() if path.is_dir() and images(path, (".png",))]
    if flat and below:
        raise SspError(f"{predictions}: holds label maps and also folders of them ({below[0].name}, ...); keep one of the two")
    if not flat and not below:
        raise SspError(f"{predictions}: no PNG label maps here, neither directly nor one folder down")
    if below and frames.is_file():
        raise SspError(f"--frames {frames}: one video for several clips ({below[0].name}, ...); give one folder of maps")
    names = [""] if flat else [path.name for path in sorted(below, key=lambda path: natural_order(path.name))]
    clips = [_find_clip(name, predictions, frames, labels, first_frame, first_label) for name in names]
    if labels is not None and not any(clip.labels for clip in clips):
        example = clips[0].predictions[0].relative_to(predictions)
        raise SspError(f"{labels}: no label has the name of a prediction, such as {example}; check the folder")
    return clips


def _find_clip(
    name: str, predictions: Path, frames: Path, labels: Path | None, first_frame: int | None, first_label: int | None
) -> FolderClip:
    maps, files = images(predictions / name, (".png",)), open_frames(frames, name)
    if first_frame is None and counts_from_one(predictions / name):
        first_frame = 1
    found = files.positions(list(maps), first_frame)
    if missing := [stem for stem in maps if stem not in found]:
        raise SspError(_without_frame(maps, missing, files))
    stems = sorted(maps, key=lambda stem: found[stem])
    truth = {} if labels is None else _labels(labels, name)
    own = {position: k for k, position in enumerate(found[stem] for stem in stems)}
    by_count = first_label is not None and isinstance(files, VideoFile)
    placed = {} if by_count else {stem: found[stem] for stem in truth if stem in found}
    placed = placed or files.positions(list(truth), first_label if by_count else first_frame)
    matched = {own[position]: truth[stem] for stem, position in placed.items() if position in own}
    return FolderClip(
        name or predictions.resolve().name, tuple(maps[stem] for stem in stems), files,
        tuple(found[stem] for stem in stems), dict(sorted(matched.items())), unused=len(truth) - len(matched),
    )


def _without_frame(maps: dict[str, Path], missing: list[str], files: FrameFiles) -> str:
    """What both sides are called, and what to do."""
    if not len(files):
        return f"{maps[missing[0]]}: its frame is missing; {files.path} holds no image and is no video"
    stems, last = sorted(maps, key=natural_order), len(files) - 1
    which = f"{len(missing)} of {len(maps)} maps have none: " if len(missing) > 1 else ""
    sides = f"maps {stems[0]} to {stems[-1]}, frames {files.shown(0)} to {files.shown(last)}"
    return (
        f"{maps[missing[0]]}: its frame is missing ({which}{sides}); call maps and frames alike, as sspcore stream does, "
        "and remove those of another run; of a video, --first-frame is the number of its first frame"
    )


def _labels(labels: Path, clip: str) -> dict[str, LabelFile]:
    """Stem -> label of a clip: files in a folder, or pictures of a COCO file, in a folder of the clip's name if in any."""
    if labels.is_file():
        pictures = [Path(name) for name in coco.frames(labels)] if labels.suffix.lower() == ".json" else []
        if not pictures:
            raise SspError(f"--labels {labels}: neither a folder nor COCO's JSON with labelled images; check the path")
        own = [each for each in pictures if not clip or clip in each.parts[:-1] or len(each.parts) == 1]
        return {each.stem: LabelFile(labels, str(each)) for each in own}
    shapes, drawn = images(labels / clip, (".json",)), images(labels / clip, (".png",))
    # LabelMe's files lie beside the pictures that they are of
    return {stem: LabelFile(path) for stem, path in (shapes if shapes.keys() & drawn else drawn | shapes).items()}


def clip_records(
    clip: FolderClip, n_classes: int, flows: FlowStore, classes: ClassSpec | None = None
) -> Iterator[FrameRecord]:
    """A clip as the records that metrics take. Raises SspError for a file that is unreadable or of another size.

    Args:
        classes: what colours mean, and the forms that labels may have; None: all files hold class ids.
    """
    colours = colours_of(classes)
    for k, path in enumerate(clip.predictions):
        prediction = read_label_map(path, n_classes, colours)
        if prediction.shape != clip.size:
            before = f"the maps before it {shown(clip.size)}"
            raise SspError(f"{path}: label map is {shown(prediction.shape)}, {before}; remove those of another run")
        forward, backward = (_flow(clip, k, other, flows) for other in (k + 1, k - 1))
        target = None
        if k in clip.labels:
            target = read_truth(clip.labels[k], n_classes, classes, clip.frame_size)
            fault = f"{clip.labels[k].path}: label map is {shown(target.shape)}, the prediction {shown(clip.size)}"
            _require_likeness(fault, target.shape, clip.frame_size)
            target = resize_labels(target, clip.size)
        yield FrameRecord(prediction, target, forward, backward)


def _flow(clip: FolderClip, k: int, other: int, flows: FlowStore) -> np.ndarray | None:
    """Flow from frame k to a neighbour, None outside the clip."""
    return flows.map(clip, k, other) if 0 <= other < len(clip) else None


def score_folders(
    clips: Sequence[FolderClip], n_classes: int, flows: FlowStore, moving: Sequence[int] = (), classes: ClassSpec | None = None
) -> dict[str, Any]:
    """All metrics that can be had from what is given, streamed, as JSON values.

    Args:
        n_classes: label values are 0..n_classes-1 and 255.
        flows: flow between frames at the size of the label maps; what it computes stays on disk.
        moving: class ids of things that move; without them "miou_moving" and "lag" are left out.
        classes: what colours mean, and the forms that labels may have; None: all files hold class ids.
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
            for record in clip_records(clip, n_classes, flows, classes):
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
        first, frame = clip.predictions[0].stem, clip.positions[0]
        if not clip.frames.is_called(frame, first):
            notes.append(f"{clip.name}: by their numbers, {first} is taken as {clip.frames.shown(frame)}")
        drawn = next(filter(None, map(size_of_label, clip.labels.values())), None)
        for what, size in (("frames", clip.frame_size), ("labels", drawn)):
            if size is not None and size != clip.size:
                notes.append(f"{clip.name}: {what} are {shown(size)}, resized to the label maps' {shown(clip.size)}")
        if clip.unused:
            notes.append(f"{clip.name}: {clip.unused} labels have no prediction and are left out")
    if not any(clip.labels for clip in clips):
        notes.append("no labels, so no accuracy: constant label maps are perfectly consistent, never read TC alone")
    return notes


def _require_likeness(fault: str, size: Size, other: Size) -> None:
    """Raises SspError if one of two sizes (H, W) cannot be the other, squashed a little or not."""
    aspects = size[0] * other[1] / (size[1] * other[0])
    if not 1 / _SQUASHED < aspects < _SQUASHED:
        raise SspError(f"{fault}; they are of other frames, or turned")
