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
from sspcore.export.device.step_runner import StepRunner, sampling_homography
from sspcore.inference.backends import Prediction
from sspcore.inference.providers import open_runner


class BundleBackend:
    """An exported bundle run by one of the execution providers."""

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


def open_bundle(
    folder: Path, provider: str = "auto", threads: int = 0, lower_precision: bool = False
) -> tuple[BundleBackend, ClassSpec]:
    """A bundle's backend and its classes; see `providers.open_runner` for what runs it.

    Raises: SspError if the bundle is damaged or the provider cannot be had.
    """
    sidecar = verify_bundle(folder)
    return BundleBackend(open_runner(folder, provider, threads, lower_precision)), class_spec(sidecar)
