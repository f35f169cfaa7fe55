"""Rollouts: a few frames with exact motion, run through two implementations of a step with their state fed back, and timed.

Single frames hide what matters: an error of a warp is fed back and grows, above all where alpha is near 1.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch

from sspcore.core.errors import SspError
from sspcore.core.images import Interpolation, to_tensor
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.export.device.step_runner import StepRunner, content_size, resized, sampling_homography
from sspcore.models.ssp import SSP, Route
from sspcore.motion.registration import Registrator

WARM_UP = 2  # frames whose times do not count


@dataclass(frozen=True)
class Rollout:
    """A short video with its motion.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        H_cur_to_prev: (T, 3, 3) float32, the sampling homography; the identity where there is no past.
        past_valid: (T,) float32, 0 where a video starts, else 1.
    """

    frames: np.ndarray
    H_cur_to_prev: np.ndarray
    past_valid: np.ndarray

    def motion(self, k: int) -> np.ndarray | None:
        """The sampling homography of frame k, None where a video starts."""
        return self.H_cur_to_prev[k] if self.past_valid[k] else None


def synthetic_rollout(size: Size, n_frames: int, rotate: bool = True, reset_at: int | None = None, seed: int = 0,
    picture: np.ndarray | None = None,
) -> Rollout:
    """A camera over a plane, its motion known exactly.

    Args:
        size: (H, W).
        n_frames: T.
        rotate: turn by 1.5 degrees a frame, climb and tilt too; else the camera only shifts.
        reset_at: number of a frame that jumps elsewhere and starts a new video.
        seed: of a random plane.
        picture: (h, w, 3) uint8 RGB, what the plane shows instead, twice as large as the frames.
    """
    height, width = size
    if picture is None:
        plane = _random_plane(size, seed)
    else:
        plane = cv2.resize(picture, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    to_frame = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    step = np.array([[1, 0, 0.004 * width], [0, 1, -0.003 * height], [0, 0, 1]])  # H_prev_to_cur of one frame
    if rotate:
        turn, tilt = np.eye(3), np.eye(3)
        turn[:2] = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 1.5, 1.003)
        tilt[2, :2] = 0.01 / width, -0.008 / height
        step = step @ turn @ tilt
    valid = np.array([k not in (0, reset_at) for k in range(n_frames)], np.float32)
    homographies = np.where(valid[:, None, None] > 0, sampling_homography(step), np.eye(3, dtype=np.float32))
    frames = []
    for k in range(n_frames):
        if k == reset_at:
            to_frame = np.array([[1, 0, -width / 4], [0, 1, -height / 4], [0, 0, 1]]) @ to_frame
        elif k > 0:
            to_frame = step @ to_frame
        frames.append(cv2.warpPerspective(plane, to_frame, (width, height), borderMode=cv2.BORDER_REFLECT_101))
    return Rollout(np.stack(frames), homographies, valid)


def _random_plane(size: Size, seed: int) -> np.ndarray:
    """Coloured spots and noise, (2H, 2W, 3) uint8."""
    (height, width), rng = size, np.random.default_rng(seed)
    scale = max(1, min(size) // 24)
    coarse = rng.random((2 * height // scale + 2, 2 * width // scale + 2, 3), dtype=np.float32)
    plane = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    return (plane.clip(0, 1) * 200 + rng.random(plane.shape, dtype=np.float32) * 55).astype(np.uint8)


def video_rollout(
    images: Iterable[np.ndarray], registrator: Registrator, size: Size, n_frames: int, interpolation: Interpolation = "area"
) -> Rollout:
    """The first frames of a video with their registrations; where one fails the frame is taken as unmoved.

    Frames of another size are brought to `size` as on the device (`resized`), scaled as `interpolation` says: the checkpoint's
    config has it. Registration sees no margin.

    Raises: SspError if there are fewer than `n_frames`.
    """
    frames, homographies, previous = [], [], None
    description = {"size": size, "interpolation": interpolation}
    for image in islice(images, n_frames):
        height, width = content_size(image, description)
        frames.append(resized(image, description))
        content = frames[-1][:height, :width]
        same = previous is not None and previous.shape == content.shape
        homographies.append(sampling_homography(registrator(previous, content).H_prev_to_cur if same else np.eye(3)))
        previous = content
    if len(frames) < n_frames:
        raise SspError(f"only {len(frames)} readable frames, {n_frames} are needed; give a longer video")
    return Rollout(np.stack(frames), np.stack(homographies), (np.arange(n_frames) > 0).astype(np.float32))


def drift(
    ours: StepRunner, reference: StepRunner, rollout: Rollout, title: str = "parity",
    keep: Callable[[dict[str, np.ndarray]], None] = lambda outputs: None,
) -> list[dict[str, Any]]:
    """How two implementations of a step come apart over a rollout, each fed its own state.

    Args:
        keep: called with the outputs of the reference for each frame.
    Returns: one row a frame: share of pixels with the same class, largest absolute difference of the logits.
    """
    rows = []
    for k in tqdm(range(len(rollout.frames)), desc=title, unit="frame", leave=False):
        a, b = (runner.step(rollout.frames[k], rollout.motion(k)) for runner in (ours, reference))
        difference = np.abs(ours.outputs["logits"].astype(np.float32) - reference.outputs["logits"]).max()
        rows.append({"frame": k, "identical": float((a == b).mean()), "logits_max_difference": float(difference)})
        keep(reference.outputs)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Figures of a drift: over all pixels, of the worst frame, and the largest difference of the logits."""
    identical = [row["identical"] for row in rows]
    return {
        "frames": len(rows), "identical_mean": float(np.mean(identical)), "identical_min": min(identical),
        "logits_max_difference": max(row["logits_max_difference"] for row in rows),
    }


def summary_row(rows: list[dict[str, Any]]) -> dict[str, float]:
    """`summary` as a line of a table."""
    found = summary(rows)
    return {
        "frames": found["frames"], "pixels of the same class (%)": 100 * found["identical_mean"],
        "in the worst frame (%)": 100 * found["identical_min"], "largest difference of logits": found["logits_max_difference"],
    }


@torch.inference_mode()
def breakdown(model: SSP, rollout: Rollout, registrator: Registrator) -> dict[str, float]:
    """Where the time of a frame goes, by torch: median milliseconds of registration, encoder, decoder, warps, similarity and
    mixing (the rest of the propagation), timed inside the step itself.

    On a CPU: the parts are timed without waiting for a device. Of SSP-R the evidence counts as mixing.
    """
    frames = []
    state = model.start(model.observe(to_tensor(rollout.frames[0])[None]))
    for k in tqdm(range(1, len(rollout.frames)), desc="latency of the parts", unit="frame", leave=False):
        image, route = to_tensor(rollout.frames[k])[None], Route(torch.from_numpy(rollout.H_cur_to_prev[k])[None])
        spent: dict[str, float] = defaultdict(float)
        with (
            _timed(spent, "decoder", model, "observe"), _timed(spent, "warps", model, "register"),
            _timed(spent, "encoder", model.image, "encode") if hasattr(model.image, "encode") else nullcontext(),
            _timed(spent, "similarity", model.similarity, "forward"), _timed(spent, "mixing", model, "propagate"),
        ):
            state = model.propagate(model.observe(image), state, route).state
        spent["decoder"] -= spent["encoder"]
        spent["mixing"] -= spent["warps"] + spent["similarity"]
        began = time.perf_counter()
        registrator(rollout.frames[k - 1], rollout.frames[k])
        frames.append({"registration": 1e3 * (time.perf_counter() - began), **spent})
    return {part: statistics.median(frame[part] for frame in frames[WARM_UP:]) for part in frames[0]}


@contextmanager
def _timed(spent: dict[str, float], part: str, owner: Any, method: str) -> Iterator[None]:
    """Within this block calls of `owner.method` add their milliseconds to `spent[part]`."""
    call = getattr(owner, method)

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        value = call(*arguments, **named)
        spent[part] += 1e3 * (time.perf_counter() - began)
        return value

    setattr(owner, method, timed)
    try:
        yield
    finally:
        delattr(owner, method)  # what was set shadows the method of the class
