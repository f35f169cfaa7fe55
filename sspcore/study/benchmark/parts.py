"""What is measured, in the order of its importance: where minutes end, the last parts are left out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch

from sspcore.models.systems import OURS, PAPER_SYSTEMS
from sspcore.study.benchmark.estimators import copies, flow_at_teacher_size, flows, lightglue, registrations
from sspcore.study.benchmark.live import live_rates
from sspcore.study.benchmark.part import Part
from sspcore.study.benchmark.ranks import PROCESSES, two_ranks
from sspcore.study.benchmark.streams import frame_rates, network_of
from sspcore.study.benchmark.training import training_steps

PAIR = ("SSP", "Base")  # the method and what it is added to: measured first and in every mode
STREAM_MODES = ("torch-default", "float32", "tf32", "bfloat16", "float16")
MORE_STREAM_MODES = (*STREAM_MODES, "float32-contiguous", "tf32-contiguous", "float16-contiguous")
GRAPHS = ("tf32-graph", "float16-graph")
COMPILED_STREAMS = ("float16-compiled", "float16-reduce-overhead", "tf32-compiled")
TRAINING_MODES = ("torch-default", "float32", "tf32", "bfloat16")
MORE_TRAINING_MODES = (*TRAINING_MODES, "tf32-contiguous", "bfloat16-contiguous")
LIVE_MODES = ("torch-default", "float16", "float32")
CPU_MATCHERS = ("lk", "sift", "akaze", "orb")
HEAVY = {"Teacher": 4.0, "ConvNeXt-S + UPerNet": 2.0, "SSP-R": 1.5, "KD-SSP-R": 1.5}  # times as long as the others


def all_parts(device: torch.device, systems: Iterable[str] = (*PAPER_SYSTEMS, *OURS)) -> list[Part]:
    """The parts for a machine, most important first.

    Args:
        systems: to be measured; what concerns SSP and Base alone is measured if both are among them.
    """
    names = list(systems)
    pair = [name for name in PAIR if name in names]
    others = [name for name in names if name not in PAIR]
    twins: dict[tuple[object, ...], list[str]] = {}
    for name in (*pair, *others):
        twins.setdefault(network_of(name), []).append(name)
    networks = {same[0]: same for same in twins.values()}
    return [
        *(_frame_rate(networks[name]) for name in pair if name in networks),
        *(_graphs(twins[network_of(name)], device) for name in pair),
        *([_live()] if len(pair) == len(PAIR) else []),
        *(_training(name) for name in (*pair, *others)),
        *(_frame_rate(same) for name, same in networks.items() if name not in PAIR),
        *_around_the_networks(device),
        *([_two_ranks(device)] if "SSP" in names else []),
        *(_compiled_stream(name, mode, device) for mode in COMPILED_STREAMS for name in reversed(pair)),
        *(_compiled_training(name, device) for name in pair),
    ]


def _frame_rate(twins: list[str]) -> Part:
    """`twins`: systems of one network; the first is measured."""
    first = twins[0]
    seconds, modes = (14, MORE_STREAM_MODES) if first in PAIR else (7, STREAM_MODES)
    measure = partial(frame_rates, twins, modes)
    return Part(f"frame rate of {', '.join(twins)}", "streams", seconds * HEAVY.get(first, 1.0), measure)


def _graphs(twins: list[str], device: torch.device) -> Part:
    title = f"frame rate of {', '.join(twins)}, CUDA graphs"
    return Part(title, "streams", 8, partial(frame_rates, twins, GRAPHS), _on_gpu(device))


def _live() -> Part:
    return Part("SSP over Base, live", "live", 30, partial(live_rates, PAIR, LIVE_MODES, "lk"))


def _training(name: str) -> Part:
    seconds, modes = (15, MORE_TRAINING_MODES) if name in PAIR else (10, TRAINING_MODES)
    return Part(f"training of {name}", "training", seconds * HEAVY.get(name, 1.0), partial(training_steps, name, modes))


def _around_the_networks(device: torch.device) -> list[Part]:
    return [
        Part("registration on the CPU", "estimators", 8, partial(registrations, CPU_MATCHERS)),
        Part("optical flow", "estimators", 10, flows),
        Part("optical flow at the teacher's size", "estimators", 4, flow_at_teacher_size, _raft_on_gpu(device)),
        Part("frames to the device", "estimators", 3, copies),
        Part("DISK + LightGlue", "estimators", 10, lightglue),
    ]


def _compiled_stream(name: str, mode: str, device: torch.device) -> Part:
    measure = partial(frame_rates, [name], (mode,))
    return Part(f"frame rate of {name}, {mode}", "streams", 45, measure, _on_gpu(device), spare=True)


def _compiled_training(name: str, device: torch.device) -> Part:
    measure = partial(training_steps, name, ("bfloat16-compiled",))
    return Part(f"training of {name}, compiled", "training", 90, measure, _on_gpu(device), spare=True)


def _two_ranks(device: torch.device) -> Part:
    there = torch.cuda.device_count() if device.type == "cuda" else PROCESSES
    why_not = None if there >= PROCESSES else f"{PROCESSES} GPUs are needed, found {there}"
    mode = "bfloat16" if device.type == "cuda" else "float32"
    return Part(f"training of SSP in {PROCESSES} processes", "ranks", 45, partial(two_ranks, "SSP", mode), why_not)


def _raft_on_gpu(device: torch.device) -> str | None:
    return None if device.type == "cuda" else "RAFT at the teacher's size takes minutes and 27 GB: measured on a GPU alone"


def _on_gpu(device: torch.device) -> str | None:
    return None if device.type == "cuda" else "CUDA graphs and compiled networks are measured on a GPU alone"
