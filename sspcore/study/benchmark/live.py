"""What SSP costs over Base in the streaming loop, its homographies estimated on the CPU, beside the network or before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sspcore.inference.backends import TorchBackend
from sspcore.inference.motion import motion_for
from sspcore.inference.shots import Report
from sspcore.inference.stream import stream
from sspcore.models.systems import build
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator
from sspcore.study.benchmark.frames import ping_pong, sample_images
from sspcore.study.benchmark.modes import modes
from sspcore.study.benchmark.part import Setting
from sspcore.study.timing import N_CLASSES

FRAMES, WARM_UP = 150, 20


@dataclass(frozen=True)
class LiveRate:
    """A stream of frames that are in memory: upload, network, class map back on the CPU.

    Attributes:
        registration: estimator on the CPU; None where the system needs none.
        overlapped: whether frames are registered in a thread of their own while the network works on them.
        unregistered: frames whose registration failed.
        fps: from the first counted result to the last.
        network_ms, registration_ms, waited_ms: medians; the network's holds the wait for the registration.
    """

    system: str
    mode: str
    size: tuple[int, int]
    registration: str | None
    overlapped: bool
    frames: int
    unregistered: int
    fps: float
    network_ms: float
    registration_ms: float
    waited_ms: float


def live_rates(
    names: tuple[str, ...], mode_names: tuple[str, ...], registration: str, setting: Setting
) -> Iterator[dict[str, Any]]:
    """Rows of systems, in turn so that all meet the same clock of the GPU."""
    size, device = tuple(setting.profile.input_size), setting.device
    images = sample_images(size)
    frames, warm_up = setting.times(FRAMES, 10), setting.times(WARM_UP, 3)
    torch.manual_seed(0)
    models = {name: build(name, N_CLASSES, setting.profile, load_weights=False).to(device).eval() for name in names}
    for mode in modes(mode_names, device):
        for overlapped in (True, False):
            for name, model in models.items():
                backend = TorchBackend(model, size, device)
                motion = motion_for(
                    model, lambda: build_registrator(registration), lambda: build_flow(setting.profile.flow, device)
                )
                with mode.applied(device):
                    for count in (warm_up, frames):
                        report = Report()
                        shots = stream(ping_pong(images, count), backend, motion, report, threads=overlapped)
                        for _ in shots:
                            pass
                estimator = registration if "homography" in model.needs else None
                yield asdict(_rate(name, mode.name, size, estimator, overlapped, report))


def _rate(
    name: str, mode: str, size: tuple[int, int], registration: str | None, overlapped: bool, report: Report
) -> LiveRate:
    found = report.summary()
    medians = (0.0 if found[key] is None else found[key]["p50"] for key in ("network_ms", "registration_ms", "waited_ms"))
    counts = report.frames, report.unregistered
    return LiveRate(name, mode, size, registration, overlapped, *counts, round(found["fps"], 2), *medians)
