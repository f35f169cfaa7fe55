"""A whole video: `segment_video` yields label maps without any other setting, `run` hands them to a writer in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from sspcore.core.classes import ClassSpec, class_spec
from sspcore.core.errors import ProfileError
from sspcore.core.files import require_output
from sspcore.core.images import Interpolation
from sspcore.core.progress import tqdm
from sspcore.core.types import Size, VideoSegmenter
from sspcore.inference.backends import Backend, TorchBackend
from sspcore.inference.encoding import require_video_name
from sspcore.inference.fit import padded_size
from sspcore.inference.masks import require_masks
from sspcore.inference.motion import MotionSource, motion_for
from sspcore.inference.outputs import Consumer, writers
from sspcore.inference.shots import Report
from sspcore.inference.sources import Source, local_files, open_source
from sspcore.inference.stream import Segmented, stream
from sspcore.models.checkpoint import load_checkpoint
from sspcore.models.image import ImageSegmenter
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator

_OUTBOX = 4  # results that wait for the writer; each holds a frame of the source


def segment_video(
    model: VideoSegmenter | Path | str, source: Path | str | int | Iterable[np.ndarray], *,
    out: Path | str | None = None, masks: Path | str | None = None, overwrite: bool = False, palette: bool = False,
    size: Size | None = None, classes: ClassSpec | Sequence[str] | None = None, registration: str | None = None,
    flow: str | None = None, device: torch.device | str = "cpu", max_frames: int | None = None,
    interpolation: Interpolation | None = None,
) -> Iterator[Segmented]:
    """Segment a video frame by frame, as it is iterated over; outputs are complete when the iteration ends.

        for frame in segment_video("checkpoint/", "flight.mp4", out="overlay.mp4"):
            print(frame.number, np.bincount(frame.labels.ravel()))

    Args:
        model: a checkpoint's folder or hub id, or a model.
        source: a video file, a folder of images, a camera, an address, or RGB frames (H, W, 3) uint8; see `open_source`.
        out: a video to write (.mp4, .webm, .mkv, .avi), the classes drawn over the frames.
        masks: a folder for class maps as PNG, named after the frames (see `mask_folder`).
        overwrite: whether files that are there already may be written over.
        palette: whether the class maps carry the classes' colours; their values are the ids in any case.
        size: (H, W) that frames take in the model, scaled by one factor, never squashed; what is no multiple of 32 is filled
            up. Default: the checkpoint's, turned upright for upright videos.
        classes: for the colours of `out`: a description or names; default: the checkpoint's, else colours far apart.
        registration, flow: how motion is estimated, where the model needs it; default: the checkpoint's, else "lk" and
            "dis-medium".
        device: where the model runs.
        max_frames: None runs to the end.
        interpolation: how frames are scaled to `size`, see `resize_frame`; default: as the checkpoint's were, else by area.
    Yields: a `Segmented` per frame that can be decoded; its `image` and its `labels` (H, W) uint8 have the source's size.
    Raises: SspError in one line for a wrong checkpoint, source or output.
    """
    outputs = [None if path is None else Path(path) for path in (out, masks)]
    inputs = [Path(model)] if isinstance(model, (str, Path)) else []
    inputs += local_files(source) if isinstance(source, (str, Path)) else []
    for path in filter(None, outputs):
        require_output(path, inputs, overwrite)
    require_outputs(*outputs)
    if isinstance(model, (str, Path)):
        model, _ = load_checkpoint(model)
    config = getattr(model, "config", None)
    usual = None if size is None else padded_size(size)
    if config is not None:
        usual, classes = config.input_size, classes or config.classes
        registration, flow = registration or config.registration, flow or config.flow
    if usual is None:
        raise ProfileError("size: the model carries no config that says which; pass size=(height, width)")
    classes = class_spec(model.n_classes if classes is None else classes)
    if classes.n_classes != model.n_classes:
        raise ProfileError(f"classes: {classes.n_classes} are named, the model has {model.n_classes}; name each of them")
    backend = torch_backend(model, usual, size, device, interpolation)
    registration, flow = registration or "lk", flow or "dis-medium"
    motion = motion_for(model, lambda: build_registrator(registration, device=device), lambda: build_flow(flow, device))

    def results() -> Iterator[Segmented]:
        with open_source(source) as frames, writers(*outputs, classes, frames.fps, palette=palette) as consumers:
            own = isinstance(source, (str, Path, int))  # frames of the caller are taken in the caller's thread
            try:
                for result in stream(frames, backend, motion, max_frames=max_frames, threads=own, drop=frames.live):
                    for consume in consumers:
                        consume(result)
                    yield result
            except GeneratorExit:  # the caller has enough: what was segmented is kept
                return

    return results()


def torch_backend(
    model: VideoSegmenter, usual: Size, asked: Size | None = None, device: torch.device | str = "cpu",
    interpolation: Interpolation | None = None,
) -> TorchBackend:
    """A model for videos of any size and aspect.

    Args:
        usual: (H, W) that it was trained on; upright videos are seen at that size turned upright, where the network can.
        asked: (H, W) that frames are to take instead; what is no multiple of 32 is filled up with a margin.
    """
    if asked is not None and tuple(asked) != tuple(usual):
        return TorchBackend(model, padded_size(asked), device, interpolation=interpolation, room=tuple(asked))
    turns = isinstance(getattr(model, "image", model), ImageSegmenter)
    return TorchBackend(model, usual, device, interpolation=interpolation, turns=turns and asked is None)


def require_outputs(out: Path | None, masks: Path | None) -> None:
    """Raise SspError, before any work, for a video that no encoder is for, and for masks that would mix with other files."""
    if out is not None:
        require_video_name(out)
    if masks is not None:
        require_masks(masks)


def run(
    source: Source, backend: Backend, motion: MotionSource, consumers: Iterable[Consumer] = (),
    drop: bool | None = None, max_frames: int | None = None, title: str = "segmenting", report: Report | None = None,
) -> Report:
    """Segment a source until it ends, `max_frames` are done, or Ctrl-C.

    Args:
        consumers: called in a thread of their own with each result, in order.
        drop: whether the oldest waiting frame makes room for a new one; default: for live sources.
        report: filled on the way; default: a new one.
    Returns: the report; what was done until an interrupt is complete.
    Raises: whatever the source, the backend or a consumer raised.
    """
    report = Report() if report is None else report
    consumers, written = tuple(consumers), deque[Future[None]]()

    def write(result: Segmented) -> None:
        for consume in consumers:
            consume(result)

    total = source.n_frames if max_frames is None else max_frames
    drop = source.live if drop is None else drop
    # the writer ends, and has written what was segmented, when the block is left
    with ThreadPoolExecutor(1) as writer, tqdm(total=total, desc=title, unit="frame") as bar:
        try:
            with closing(stream(source, backend, motion, report, max_frames, threads=True, drop=drop)) as results:
                for result in results:
                    while written and (len(written) == _OUTBOX or written[0].done()):
                        written.popleft().result()
                    written.append(writer.submit(write, result))
                    bar.update(1)
                    if max_frames is None:
                        bar.total = source.n_frames  # the header's until the end has been seen
        except KeyboardInterrupt:
            report.interrupted = True
    for future in written:
        future.result()
    return report
