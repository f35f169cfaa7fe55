"""What segments a frame: any system run by torch, or an exported bundle run by onnxruntime or TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.images import to_tensor
from sspcore.core.types import Motion, Size, VideoSegmenter, VideoState
from sspcore.export.bundle import class_spec, verify_bundle
from sspcore.export.device.step_runner import ENGINE, EngineRunner, OnnxRunner, StepRunner, sampling_homography
from sspcore.models.ssp import SSP


@dataclass(frozen=True)
class Prediction:
    """A backend's answer: labels (H, W) uint8, and, from torch, logits (C, H, W) float32 and the state after the frame."""

    labels: np.ndarray
    logits: Tensor | None = None
    state: VideoState | None = None


class Backend(Protocol):
    """One video through one implementation of a system, whose state it keeps.

    Attributes:
        size: (H, W) that it wants its frames to be.
        needs: motion that it uses, a subset of {"homography", "flow"}.
    """

    size: Size
    needs: frozenset[str]

    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        """Segment the next frame (H, W, 3) uint8 RGB.

        `motion()` waits for the motion since the frame before; None starts the video again.
        Raises: SspError if logits are no finite numbers: their classes would be arbitrary, here and in later frames.
        """
        ...


class TorchBackend:
    """A system run by torch, in eval mode. SSP's encoder runs before it asks for the motion.

    Args:
        out_size: (H, W) of labels and logits; default `size`.
    Raises: SspError if the device cannot be used here.
    """

    def __init__(
        self, model: VideoSegmenter, size: Size, device: torch.device | str = "cpu", out_size: Size | None = None
    ) -> None:
        try:
            self.model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise SspError(f"device {device}: cannot be used here ({reason}); take cpu") from error
        self.size, self.out_size, self.device = tuple(size), tuple(out_size or size), device
        self.needs = model.needs
        self._state: VideoState | None = None

    @torch.inference_mode()
    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        image = to_tensor(frame)[None].to(self.device)
        if isinstance(self.model, SSP):
            logits, self._state = self._propagated(image, motion)
        else:
            moved = _to(motion(), self.device)
            logits, self._state = self.model.step(image, None if moved is None else self._state, moved)
        # the sum alone: it is not finite if one of them is not, and fifty times as fast on a CPU as asking each
        if not torch.isfinite(logits.sum(dtype=torch.float32)):
            raise SspError("the network: its logits are no finite numbers; check the weights and the input, or train again")
        if self.out_size != self.size:
            logits = F.interpolate(logits, self.out_size, mode="bilinear", align_corners=False)
        labels = logits[0].max(0).indices.to(torch.uint8).cpu().numpy()  # eight times as fast as argmax on a CPU
        return Prediction(labels, logits[0], self._state)

    def _propagated(self, image: Tensor, motion: Callable[[], Motion | None]) -> tuple[Tensor, VideoState]:
        """`SSP.step` in its two halves: the first needs no motion, which is estimated meanwhile."""
        observation = self.model.observe(image)
        moved = _to(motion(), self.device)
        if moved is None or self._state is None:
            state = self.model.start(observation)
        else:
            H_cur_to_prev = self.model.sampling_homography(image, moved)
            state = self.model.propagate(observation, self._state, H_cur_to_prev).state
        return state.logits, state


class BundleBackend:
    """An exported bundle run by onnxruntime or TensorRT."""

    def __init__(self, runner: StepRunner) -> None:
        self.runner, self.size = runner, tuple(runner.sidecar["size"])
        self.needs = frozenset({"homography"} if runner.sidecar["state"] else ())

    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        moved = motion()
        H_prev_to_cur = None if moved is None else moved.H_prev_to_cur
        labels = self.runner.step(frame, None if H_prev_to_cur is None else sampling_homography(H_prev_to_cur[0].numpy()))
        if not np.isfinite(self.runner.outputs["logits"].sum(dtype=np.float32)):
            raise SspError("the bundle: its logits are no finite numbers; export it again, in fp32 if it is fp16")
        return Prediction(labels)


def open_bundle(folder: Path, backend: str = "auto", threads: int = 0) -> tuple[BundleBackend, ClassSpec]:
    """A bundle's backend ("onnxruntime", "tensorrt", or "auto": TensorRT where an engine was built) and its classes.

    Raises: SspError if the bundle is damaged or the backend cannot be had.
    """
    sidecar = verify_bundle(folder)
    if backend == "auto":
        backend = "tensorrt" if (folder / ENGINE).is_file() else "onnxruntime"
    try:
        runner = EngineRunner(folder) if backend == "tensorrt" else OnnxRunner(folder, threads)
    except Exception as error:  # onnxruntime's and TensorRT's errors share no base but this
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise SspError(f"{folder}: back end {backend} cannot start ({problem}); try --backend onnxruntime") from error
    return BundleBackend(runner), class_spec(sidecar)


def _to(motion: Motion | None, device: torch.device | str) -> Motion | None:
    if motion is None:
        return None
    return Motion(*(None if value is None else value.to(device) for value in (motion.H_prev_to_cur, motion.flow_to_prev)))
