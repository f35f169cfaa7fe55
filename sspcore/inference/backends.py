"""What segments a frame: a system run by torch, or an exported bundle run by onnxruntime or TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import ProfileError, SspError
from sspcore.core.images import to_tensor
from sspcore.core.types import Size, VideoSegmenter
from sspcore.export.bundle import class_spec, verify_bundle
from sspcore.export.device.step_runner import ENGINE, EngineRunner, OnnxRunner, StepRunner, sampling_homography
from sspcore.inference.stream import require_finite
from sspcore.models.image import ImageSegmenter
from sspcore.models.ssp import SSP

Motion = Callable[[], np.ndarray | None]



class Backend(Protocol):
    """One video through one implementation of a system. `size` is what it wants its frames to be."""

    size: Size

    def step(self, frame: np.ndarray, motion: Motion) -> np.ndarray:
        """Class map (H, W) uint8 of the next frame. `motion()` waits for H_prev_to_cur; None starts the video anew."""
        ...


class TorchBackend:
    """An image system or SSP run by torch. SSP's encoder runs before the homography is asked for."""

    def __init__(self, model: VideoSegmenter, size: Size, device: torch.device | str = "cpu") -> None:
        if not isinstance(model, (ImageSegmenter, SSP)):
            raise ProfileError(f"{type(model).__name__} is not for the runtime: it streams image systems and SSP")
        self.model, self.size, self.device = model.to(device).eval(), size, device
        self._state = None

    @torch.inference_mode()
    def step(self, frame: np.ndarray, motion: Motion) -> np.ndarray:
        image = to_tensor(frame)[None].to(self.device)
        if isinstance(self.model, ImageSegmenter):
            logits, _ = self.model.step(image)
            motion()
        else:
            observation = self.model.observe(image)
            H = motion()
            if H is None or self._state is None:
                self._state = self.model.start(observation)
            else:
                H_cur_to_prev = torch.from_numpy(sampling_homography(H))[None].to(self.device)
                self._state = self.model.propagate(observation, self._state, H_cur_to_prev).state
            logits = self._state.logits
        require_finite(logits, "the network")
        return logits[0].max(0).indices.to(torch.uint8).cpu().numpy()  # eight times as fast as argmax on a CPU


class BundleBackend:
    """An exported bundle run by onnxruntime or TensorRT."""

    def __init__(self, runner: StepRunner) -> None:
        self.runner, self.size = runner, tuple(runner.sidecar["size"])

    def step(self, frame: np.ndarray, motion: Motion) -> np.ndarray:
        H = motion()
        class_map = self.runner.step(frame, None if H is None else sampling_homography(H))
        if not np.isfinite(self.runner.outputs["logits"].sum(dtype=np.float32)):
            raise SspError("the bundle: its logits are no finite numbers; export it again, in fp32 if it is fp16")
        return class_map


def open_bundle(folder: Path, backend: str = "auto", threads: int = 0) -> tuple[BundleBackend, ClassSpec]:
    """A bundle's back end ("onnxruntime", "tensorrt", or "auto": TensorRT where an engine was built) and its classes.

    Raises: SspError if the bundle is damaged or the back end cannot be had.
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
