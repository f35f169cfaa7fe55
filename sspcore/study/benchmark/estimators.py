"""What surrounds the networks: the way of a frame to the device, registration and optical flow of a pair of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sspcore.core.images import normalise
from sspcore.motion.flow import DISFlow, RAFTFlow
from sspcore.motion.raft import peak_bytes
from sspcore.motion.registration import Registrator, build_registrator
from sspcore.study.benchmark.frames import sample_frames, sample_images
from sspcore.study.benchmark.modes import MODES
from sspcore.study.benchmark.part import Setting
from sspcore.study.timing import timed

PAIRS, COPIES = 10, 50


@dataclass(frozen=True)
class Cost:
    """What one call costs.

    Attributes:
        what: the call, in words.
        where: kind of device, "cpu" or "cuda".
        ms: median milliseconds.
        detail: what came out, such as the inliers among the matches.
    """

    what: str
    where: str
    ms: float
    detail: str = ""


def registrations(names: tuple[str, ...], setting: Setting) -> Iterator[dict[str, Any]]:
    """Registration of a pair of frames at the profile's size on the CPU."""
    for name in names:
        yield _registered(build_registrator(name), "cpu", setting)


def lightglue(setting: Setting) -> Iterator[dict[str, Any]]:
    """DISK + LightGlue on the device, with as many keypoints as the paper takes. Raises: SspError if they cannot be had."""
    yield _registered(build_registrator("lightglue", device=setting.device), setting.device.type, setting)


def _registered(registrator: Registrator, where: str, setting: Setting) -> dict[str, Any]:
    first, second = sample_images(tuple(setting.profile.input_size), 2)
    found = registrator(first, second)
    timing = timed(lambda _: registrator(first, second), "cpu", setting.times(PAIRS, 3), 1, setting.within)
    detail = f"{found.inliers} of {found.matches} inliers"
    return asdict(Cost(f"registration, {registrator.name}", where, _ms(timing.median), detail))


def flows(setting: Setting) -> Iterator[dict[str, Any]]:
    """Flow of a pair of frames: RAFT on the device, in float32 and TF32, and DIS on the CPU."""
    size, device = tuple(setting.profile.input_size), setting.device
    on_cpu, times = sample_frames(size, 2, torch.device("cpu")), setting.times(PAIRS, 3)
    timing = timed(lambda _: DISFlow()(*on_cpu), "cpu", times, 1, setting.within)
    yield asdict(Cost("flow, dis-medium", "cpu", _ms(timing.median)))
    frames = [frame.to(device) for frame in on_cpu]
    for updates in (8, 20):
        raft = RAFTFlow.untrained(updates, device)
        for mode in ("float32", "tf32"):
            if MODES[mode].why_not(device) is None:
                with MODES[mode].applied(device):
                    timing = timed(lambda _, raft=raft: raft(*frames), device, times, 2, setting.within)
                yield asdict(Cost(f"flow, raft-{updates}, {mode}", device.type, _ms(timing.median)))


def flow_at_teacher_size(setting: Setting) -> Iterator[dict[str, Any]]:
    """Flow of one pair of frames of the teacher's size, by RAFT of 20 updates in float32: what most memory is needed for."""
    size, device = tuple(setting.profile.teacher_size), setting.device
    frames, raft = sample_frames(size, 2, device), RAFTFlow.untrained(20, device)
    with MODES["float32"].applied(device):
        timing = timed(lambda _: raft(*frames), device, 1, 1, setting.within)
    correlations = f"{peak_bytes(size) / 2**30:.2f} GiB of correlations"
    detail = correlations if timing.memory_gib is None else f"{timing.memory_gib} GiB, with {correlations}"
    yield asdict(Cost(f"flow, raft-20, float32, {size[0]} x {size[1]}", device.type, _ms(timing.median), detail))


def copies(setting: Setting) -> Iterator[dict[str, Any]]:
    """A frame to the device: as bytes and as normalised float32, from ordinary and from pinned memory; a class map back."""
    size, device = tuple(setting.profile.input_size), setting.device
    image = torch.from_numpy(sample_images(size, 1)[0])
    plane = normalise(image.movedim(-1, -3)).contiguous()
    labels = torch.zeros(size, dtype=torch.uint8, device=device)
    ways = {
        "frame as bytes, normalised on the device": lambda _: normalise(image.to(device).movedim(-1, -3)),
        "frame normalised on the CPU": lambda _: normalise(image.movedim(-1, -3)).to(device),
        "normalised frame": lambda _: plane.to(device),
        "class map back": lambda _: labels.cpu(),
    }
    if device.type == "cuda":
        pinned = image.pin_memory()
        ways["frame as bytes from pinned memory, normalised on the device"] = lambda _: normalise(
            pinned.to(device, non_blocking=True).movedim(-1, -3)
        )
    for what, way in ways.items():
        timing = timed(way, device, setting.times(COPIES, 10), 5, setting.within)
        yield asdict(Cost(what, device.type, _ms(timing.median)))


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)
