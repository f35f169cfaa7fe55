"""The benchmark as a whole: what is asked for, the machine, the figures' file."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from sspcore.core.code import library_key
from sspcore.core.errors import SspError
from sspcore.core.files import require_output, write_json
from sspcore.core.machine import describe
from sspcore.core.paths import HOME, REPOSITORY, slug
from sspcore.core.provenance import provenance
from sspcore.models.systems import OURS, PAPER_SYSTEMS
from sspcore.study.benchmark.part import Part, Setting
from sspcore.study.benchmark.parts import all_parts
from sspcore.study.benchmark.session import SECTIONS, Session
from sspcore.study.benchmark.worker import WorkerProcess
from sspcore.study.profiles import Profile, choose_systems, load_profile

FIGURES = REPOSITORY / "figures" / "hardware"
NOTE = (
    "untrained weights; training: optimiser steps of one process on random frames, reading data left out; streams: one stream, "
    "batch 1, RAFT with 8 updates included where a system uses flow, registration and reading left out; live: the "
    "streaming loop on frames in memory, registration on the CPU included"
)
_CLOCKS = (
    "name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit", "temperature.gpu",
    "clocks_throttle_reasons.active",
)


def benchmark(
    profile_name: str, device_name: str = "cuda", minutes: float = 8.0, out: Path | None = None, overwrite: bool = False,
    systems: Sequence[str] | None = None, only: Iterable[str] | None = None,
) -> Path:
    """Measure this machine; returns the file that was written.

    Each parameter is an option of the command `sspcore benchmark`.

    Args:
        device_name: "cuda", "cuda:1", or "cpu" for a trial.
        minutes: for all; the file is written again after every row.
        out: default: figures/hardware/<gpu>.json, on a CPU hardware/cpu.json among the artefacts.
        systems: default: all.
        only: words of which a part has one in the name of its section or in its title ("training", "compiled"); default: all.
    Raises: SspError where the device is not there or an option is wrong.
    """
    began = time.monotonic()
    device = _device(device_name)
    profile = load_profile(profile_name)
    names = (*PAPER_SYSTEMS, *OURS) if systems is None else choose_systems(profile, systems, ["uavid"], "--systems")
    parts, words = all_parts(device, names), None if only is None else list(only)
    if words is not None:
        parts = [part for part in parts if any(word in f"{part.section}: {part.title}" for word in words)]
        if not parts:
            raise SspError(f"--only {','.join(words)}: no part is named so; take one of {', '.join(SECTIONS)}, compiled")
    if out is None:
        on_cpu = device.type == "cpu"
        out = HOME / "hardware" / "cpu.json" if on_cpu else FIGURES / f"{slug(torch.cuda.get_device_name(device))}.json"
        overwrite = overwrite or on_cpu  # a trial
    require_output(out, overwrite=overwrite)
    measure(profile, device, parts, 60 * minutes - (time.monotonic() - began), out)
    return out


def _device(name: str) -> torch.device:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SspError(f"--device {name}: unknown; take cuda, cuda:1 or, for a trial, cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SspError("no accelerator: torch sees no CUDA device here; take a machine with one, or --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SspError(f"--device {name}: torch sees {torch.cuda.device_count()} here, counted from 0")
    return device


def measure(profile: Profile, device: torch.device, parts: list[Part], seconds: float, out: Path) -> dict[str, Any]:
    """Measure parts within so many seconds; writes and returns the content of the figures' file."""
    origin = provenance(profile.name, 0, "untrained weights") | describe(device) | {
        "code": library_key()[:12], "measured": time.strftime("%Y-%m-%d %H:%M:%S %Z"), "minutes": round(seconds / 60, 2),
        "note": NOTE,
    }

    def save(figures: dict[str, Any]) -> None:
        write_json(out, {"provenance": origin | {"clocks": clocks}} | figures)

    clocks = {"before": nvidia_smi()}
    session = Session(seconds, lambda left: WorkerProcess(Setting(profile, device), left), save)
    figures = session.run(parts)
    clocks["after"] = nvidia_smi()
    save(figures)
    return {"provenance": origin | {"clocks": clocks}} | figures


def nvidia_smi() -> list[dict[str, str]]:
    """Driver, clocks and temperature of each GPU, as nvidia-smi says; empty where it is missing or does not answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, f"--query-gpu={','.join(_CLOCKS)}", "--format=csv,noheader"]
    try:
        lines = subprocess.check_output(query, text=True, stderr=subprocess.DEVNULL, timeout=20).splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(_CLOCKS, map(str.strip, line.split(",")), strict=False)) for line in lines]
