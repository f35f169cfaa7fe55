"""An exported bundle as a backend of the streaming loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.types import Motion
from sspcore.export.bundle import class_spec, verify_bundle
from sspcore.export.device.engine_runner import EngineRunner
from sspcore.export.device.step_runner import ENGINE, OnnxRunner, StepRunner, sampling_homography
from sspcore.inference.backends import Prediction


class BundleBackend:
    """An exported bundle run by onnxruntime or TensorRT."""

    def __init__(self, runner: StepRunner) -> None:
        self.runner, self.size = runner, tuple(runner.sidecar["size"])
        self.interpolation = runner.sidecar.get("interpolation", "area")  # what bundles meant that do not say
        self.needs = frozenset({"homography"} if runner.sidecar["state"] else ())

    def step(self, frame: np.ndarray, motion: Callable[[], Motion | None]) -> Prediction:
        moved = motion()
        H_prev_to_cur = None if moved is None else moved.H_prev_to_cur
        labels = self.runner.step(frame, None if H_prev_to_cur is None else sampling_homography(H_prev_to_cur[0].numpy()))
        if not getattr(self.runner, "keep_logits", True):
            return Prediction(labels)
        logits = self.runner.outputs["logits"]
        if not np.isfinite(logits.sum(dtype=np.float32)):
            raise SspError("the bundle: its logits are no finite numbers; export it again, in fp32 if it is fp16")
        return Prediction(labels, torch.from_numpy(logits[0]).float())


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
