"""Frame rates: the step of a system in every mode, timed, and compared with float32 on the same frames.

Systems of the same network have the same frame rate: it is measured once, and each gets a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from sspcore.core.types import Motion, VideoSegmenter, VideoState
from sspcore.models.ssp import Route
from sspcore.models.systems import build, system
from sspcore.motion import geometry
from sspcore.study.benchmark.frames import sample_frames
from sspcore.study.benchmark.modes import COMPILED, COMPILED_GRAPH, EAGER, GRAPH, MODES, Mode, modes
from sspcore.study.benchmark.part import Setting, free_memory
from sspcore.study.timing import N_CLASSES, Step, frame_rate, raft_of, time_stream

FRAMES, WARM_UP = 60, 10
COMPARED = 4  # frames of the stream at whose end modes are compared


@dataclass(frozen=True)
class Rate:
    """The frame rate of a system in one mode.

    Attributes:
        measured_as: system of the same network that was measured.
        fps: one over the median time of a frame of one stream, batch 1; RAFT included where the system is given a flow.
        slowest_ms: of the timed frames. memory_gib, reserved_gib: None on a CPU.
        max_difference: of the logits to those of float32 after COMPARED frames, in standard deviations of the latter.
        same_class_percent: pixels whose class is that of float32.
        setup_seconds: to capture or compile.
    """

    system: str
    measured_as: str
    mode: str
    size: tuple[int, int]
    fps: float
    slowest_ms: float
    memory_gib: float | None
    reserved_gib: float | None
    max_difference: float
    same_class_percent: float
    setup_seconds: float


def network_of(name: str) -> tuple[object, ...]:
    """What tells the networks of systems apart at inference."""
    spec = system(name)
    return spec.image_model, spec.method, spec.options


@torch.inference_mode()
def frame_rates(names: Sequence[str], mode_names: tuple[str, ...], setting: Setting) -> Iterator[dict[str, Any]]:
    """Rows of systems that are one network."""
    profile, device = setting.profile, setting.device
    size = tuple(profile.teacher_size if system(names[0]).image_model == "teacher" else profile.input_size)
    chosen = modes(mode_names, device)
    torch.manual_seed(0)
    model = build(names[0], N_CLASSES, profile, load_weights=False).to(device).eval()
    frames, motion = sample_frames(size, COMPARED, device), steady_motion(size, device)
    raft, reference = raft_of(model, profile, device), MODES["float32"]
    with reference.applied(device):
        expected = last_logits(reference.with_layout(model).step, frames, motion)
    for mode in chosen:
        free_memory(device)
        with mode.applied(device):
            began = time.perf_counter()
            step = step_of(mode.with_layout(model), mode, size, device)
            logits = last_logits(step, frames, motion)  # compiles too
            setup = time.perf_counter() - began if mode.how != EAGER else 0.0
            timing = time_stream(
                model, step, size, device, raft, setting.times(FRAMES, 8), setting.times(WARM_UP, 2), setting.within
            )
        close, same = agreement(logits, expected)
        del step, logits  # a graph's memory is not to be taken for the next mode's
        for name in names:
            yield asdict(Rate(
                name, names[0], mode.name, size, round(frame_rate(model, timing), 2), round(1e3 * max(timing.seconds), 2),
                timing.memory_gib, timing.reserved_gib, close, same, round(setup, 2),
            ))


def steady_motion(size: tuple[int, int], device: torch.device) -> Motion:
    """Two pixels to the right; the homography on the CPU, as registrations come."""
    shift, flow = torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 2, *size, device=device)
    shift[:, 0, 2] = 2.0
    flow[:, 0] = -2.0
    return Motion(shift, flow)


def last_logits(step: Step, frames: Sequence[Tensor], motion: Motion) -> Tensor:
    """Logits (1, C, H, W) float32 of the last of the frames, streamed from the first."""
    state = None
    for frame in frames:
        logits, state = step(frame, state, None if state is None else motion)
    return logits.float().clone()


def agreement(logits: Tensor, expected: Tensor) -> tuple[float, float]:
    """Largest difference in standard deviations of `expected`, and percent of pixels of the same class."""
    difference = float((logits - expected).abs().max() / expected.std())
    same = float((logits.argmax(1) == expected.argmax(1)).double().mean())
    return float(f"{difference:.3g}"), round(100 * same, 3)


def step_of(model: VideoSegmenter, mode: Mode, size: tuple[int, int], device: torch.device) -> Step:
    """The model's step in a mode; graphs and compilation are for image models and SSP, whose steps need no flow."""
    if mode.how == EAGER:
        return model.step
    if mode.how == GRAPH:
        return GraphStep(model, size, device)
    return CompiledStep(model, device, mode.how)


def advance(model: VideoSegmenter, frame: Tensor, state: VideoState, H_cur_to_prev: Tensor) -> tuple[Tensor, VideoState]:
    """A step from the second frame on, with the homography inverted already: all of it runs on one device."""
    if not hasattr(model, "propagate"):
        return model.step(frame, state, None)
    state = model.propagate(model.observe(frame), state, Route(H_cur_to_prev)).state
    return state.logits, state


def sampling(motion: Motion | None, device: torch.device) -> Tensor:
    """H_cur_to_prev (B, 3, 3) float32 on a device, inverted where the registration is."""
    H = torch.eye(3, dtype=torch.float64)[None] if motion is None or motion.H_prev_to_cur is None else motion.H_prev_to_cur
    return geometry.sampling_homography(H).to(device, torch.float32)


def cuda_graph(body: Callable[[], None]) -> Callable[[], None]:
    """Capture what `body` does on the GPU; returns what does it again, from and to the same memory."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries make their workspaces at first use, which cannot be captured
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


class GraphStep:
    """A step replayed as one CUDA graph, from the second frame of a video on.

    Frame, homography and state lie in memory of its own. The state after a frame is copied over the one before at the end
    of the graph, so that one graph serves all frames. One video at a time: the state that a call returns is overwritten
    by the next.

    Args:
        capture: see `cuda_graph`.
    """

    def __init__(
        self, model: VideoSegmenter, size: tuple[int, int], device: torch.device,
        capture: Callable[[Callable[[], None]], Callable[[], None]] = cuda_graph,
    ) -> None:
        self._model, self._device = model, device
        self._frame, self._H = torch.zeros(1, 3, *size, device=device), sampling(None, device)
        self._logits, state = model.step(self._frame, None, None)
        self._state = state.map(torch.clone)
        self._replay = capture(self._body)

    def _body(self) -> None:
        self._logits, after = advance(self._model, self._frame, self._state, self._H)
        for ours, new in zip(tensors(self._state), tensors(after), strict=True):
            ours.copy_(new)

    def __call__(self, frame: Tensor, state: VideoState | None, motion: Motion | None) -> tuple[Tensor, VideoState]:
        if state is None:
            logits, first = self._model.step(frame, None, None)
            for ours, new in zip(tensors(self._state), tensors(first), strict=True):
                ours.copy_(new)
            return logits, self._state
        self._frame.copy_(frame)
        self._H.copy_(sampling(motion, self._device))
        self._replay()
        return self._logits, self._state


class CompiledStep:
    """A step compiled by torch, from the second frame of a video on.

    Args:
        how: COMPILED, or COMPILED_GRAPH, where torch replays CUDA graphs and writes over what a call returned at the next.
        backend: of torch.compile.
    """

    def __init__(self, model: VideoSegmenter, device: torch.device, how: str = COMPILED, backend: str = "inductor") -> None:
        self._model, self._device, self._copies = model, device, how == COMPILED_GRAPH
        options = {"mode": "reduce-overhead"} if self._copies else {}
        self._advance = torch.compile(lambda *arguments: advance(model, *arguments), backend=backend, **options)

    def __call__(self, frame: Tensor, state: VideoState | None, motion: Motion | None) -> tuple[Tensor, VideoState]:
        if state is None:
            return self._model.step(frame, None, None)
        if self._copies:
            torch.compiler.cudagraph_mark_step_begin()
        logits, state = self._advance(frame, state, sampling(motion, self._device))
        return (logits.clone(), state.map(torch.clone)) if self._copies else (logits, state)


def tensors(state: VideoState) -> list[Tensor]:
    """The tensors of a state, in the order of its fields."""
    found: list[Tensor] = []
    state.map(lambda tensor: found.append(tensor) or tensor)
    return found
