"""What every system costs: parameters, multiply-adds and frames per second, beside the published figures.

    sspcore complexity [--json] [--profile paper] [--fps --device cuda --precision fp16 --compile]

Nothing is downloaded: parameters and multiply-adds are counted on shapes alone, frame rates with random weights.

Conventions:
    - A multiply-add is one multiplication with its addition; convolutions and linear layers are counted, norms,
      resizing and activations are not (0.2 % of the base model). The printed table's "GFLOPs" are these, with
      attention's products left out: `gmacs`; `gmacs_with_attention` has them.
    - `params_m` and `gmacs` follow the published accounting (`PUBLISHED_ACCOUNTING`), `own_params_m` and `own_gmacs`
      ours: what one streamed frame needs, each frame encoded once, without heads that only train.
    - Flow costs RAFT with 8 updates in both. The printed figures of DFF and NetWarp do not follow from it: both agree
      with a flow of 112 G, (310.6 + 7 * 112.4) / 8 and 2 * 310.6 + 6.4 + 112.2, where RAFT needs 615 G at this size.
    - Registration (CPU, a few milliseconds) is in none of the figures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.optical_flow import raft_large
from tqdm.auto import tqdm

from sspcore.core.errors import SspError
from sspcore.core.types import Motion, VideoSegmenter
from sspcore.models.dff import DFF
from sspcore.models.image import ImageSegmenter
from sspcore.models.systems import OURS, PAPER_SYSTEMS, ModelSettings, build, stand_in
from sspcore.models.tcb import CLIP, TCB
from sspcore.study.profiles import Profile, load_profile
from sspcore.study.published import published

RAFT_UPDATES = 8
N_CLASSES = 8  # of UAVid
_LINEAR_OPS = ("convolution", "addmm", "mm")  # what is left are the batched products of attention


@dataclass(frozen=True)
class Accounting:
    """How a published figure was counted, where that is not what a streamed frame needs.

    Attributes:
        n_classes: of the data set that the parameters were counted for.
        with_raft: RAFT's parameters are in the figure.
        clip_passes: times that a clip's encoders and decoder are in the multiply-adds (TCB); 0 = as streamed.
        note: the same in words.
    """

    n_classes: int = N_CLASSES
    with_raft: bool = False
    clip_passes: int = 0
    note: str = ""


_TCB = Accounting(
    with_raft=True,
    clip_passes=2,
    note="printed: RAFT's parameters though TCB runs no flow; 2 x (4 encoders + 1 decoder) + block",
)
PUBLISHED_ACCOUNTING: dict[str, Accounting] = {
    "SegFormer-b2": Accounting(n_classes=12, note="printed: parameters with 12 classes (27.35 with 8)"),
    "ConvNeXt-S + UPerNet": Accounting(note="printed: parameters with the auxiliary head (0.89 M), which only trains"),
    "DFF": Accounting(with_raft=True, note="multiply-adds: mean over a key interval; the printed do not follow"),
    "NetWarp": Accounting(with_raft=True, note="multiply-adds: the printed do not follow from RAFT with 8 updates"),
    "TCB_ppm": _TCB,
    "TCB_ocr": _TCB,
}


@dataclass(frozen=True)
class Cost:
    """One row: parameters in millions, multiply-adds in billions (G) of one frame, frames per second."""

    system: str
    params_m: float
    gmacs: float
    gmacs_with_attention: float
    own_params_m: float
    own_gmacs: float
    own_gmacs_with_attention: float
    published_params_m: float | None
    published_gflops: float | None
    fps: float | None
    note: str


@dataclass(frozen=True)
class Macs:
    """Multiply-adds in billions: convolutions and linear layers, and attention's products."""

    linear: float = 0.0
    attention: float = 0.0

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.linear + other.linear, self.attention + other.attention)

    def __mul__(self, factor: float) -> Macs:
        return Macs(self.linear * factor, self.attention * factor)

    __rmul__ = __mul__

    @property
    def total(self) -> float:
        return self.linear + self.attention


def count_macs(function: Callable[[], object]) -> Macs:
    """Multiply-adds that a call needs; its tensors may be on the meta device."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    counts = {str(op).split(".")[-1]: flops / 2e9 for op, flops in counter.get_flop_counts()["Global"].items()}
    linear = sum(value for op, value in counts.items() if op in _LINEAR_OPS)
    return Macs(linear, sum(counts.values()) - linear)


def parameters_m(module: nn.Module) -> float:
    """Parameters of a module, in millions."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@dataclass(frozen=True)
class FlowCost:
    """What a flow between two frames costs: parameters in millions, multiply-adds."""

    params_m: float = 0.0
    macs: Macs = Macs()


def flow_cost(profile: Profile) -> FlowCost:
    """Cost of the profile's flow: RAFT's, or nothing for estimators on the CPU, which have no counted products."""
    if not profile.flow.startswith("raft"):
        return FlowCost()
    raft, frame = _raft("meta"), torch.empty(1, 3, *profile.input_size, device="meta")
    # Correlation is no attention: the paper's convention counts it.
    macs = Macs(count_macs(lambda: raft(frame, frame, num_flow_updates=RAFT_UPDATES)).total)
    return FlowCost(parameters_m(raft), macs)


def system_cost(name: str, profile: Profile, flow: FlowCost, fps: float | None = None) -> Cost:
    """Parameters and multiply-adds of one system at the profile's input size.

    The published accounting and figures are given only where the profile's encoder is the paper's.
    """
    size = tuple(profile.input_size)
    model = _shape_only(name, N_CLASSES, profile)
    needed_flow = flow if "flow" in model.needs else FlowCost()
    head = _image_of(model).auxiliary_head
    all_params = parameters_m(model)
    own_params = all_params + needed_flow.params_m - (0.0 if head is None else parameters_m(head))
    own = stream_macs(model, size, needed_flow.macs)
    note, params, macs, printed = "", own_params, own, (None, None)
    if name in PAPER_SYSTEMS and stand_in(name, profile) is None:
        accounting = PUBLISHED_ACCOUNTING.get(name, Accounting())
        printed = (published(name, "params_m"), published(name, "gflops"))
        if accounting.n_classes != N_CLASSES:
            all_params = parameters_m(_shape_only(name, accounting.n_classes, profile))
        params = all_params + (flow.params_m if accounting.with_raft else 0.0)
        note = accounting.note
        if isinstance(model, TCB) and accounting.clip_passes:
            macs = _clip_macs(model, size, own, accounting.clip_passes)
    return Cost(name, params, macs.linear, macs.total, own_params, own.linear, own.total, *printed, fps, note)


def stream_macs(model: VideoSegmenter, size: tuple[int, int], flow: Macs) -> Macs:
    """Multiply-adds of one streamed frame once the video runs: mean over a key interval for DFF."""
    frame, motion = _inputs(size, "meta")
    with torch.no_grad():
        _, state = model.step(frame, None, None)
    if not isinstance(model, DFF):
        return count_macs(lambda: model.step(frame, state, motion)) + flow
    between = count_macs(lambda: model.step(frame, state, motion)) + flow
    key = count_macs(lambda: model.step(frame, None, None))
    return (key + (model.key_interval - 1) * between) * (1 / model.key_interval)


def _clip_macs(model: TCB, size: tuple[int, int], own: Macs, passes: int) -> Macs:
    """The published count of TCB: so many times four encoders and a decoder, and the block once.

    It follows from the printed figures: with the base's encoder and decoder it gives both within 0.2 %, and their
    difference exactly. A stream needs one encoder, one decoder and the block.
    """
    frame, _ = _inputs(size, "meta")
    with torch.no_grad():
        pyramid = model.image.encode(frame)
    encoder = count_macs(lambda: model.image.encode(frame))
    decoder = count_macs(lambda: model.image.decode(pyramid))
    block = own + -1 * (encoder + decoder)
    return passes * (CLIP * encoder + decoder) + block


def measure_fps(
    name: str,
    profile: Profile,
    device: torch.device,
    frames: int = 50,
    warm_up: int = 10,
    precision: str = "fp32",
    compiled: bool = False,
) -> float:
    """Frames per second of one stream, batch 1: one over the median time of a frame (DFF: mean over key intervals).

    RAFT is run for the systems that need flow if the profile names it; registration and decoding are left out.
    """
    size = tuple(profile.input_size)
    model = build(name, N_CLASSES, profile, load_weights=False).to(device).eval()
    uses_flow = "flow" in model.needs and profile.flow.startswith("raft")
    raft = _raft(device) if uses_flow else None
    frame, motion = _inputs(size, device)
    step = torch.compile(model.step) if compiled else model.step
    state, times = None, []
    half = precision == "fp16"
    context: AbstractContextManager = torch.autocast(device.type, torch.float16, enabled=half)
    with torch.inference_mode(), context:
        for k in range(warm_up + frames):
            clock = _Clock(device)
            if raft is not None and not _is_key(model, k):
                raft(frame, frame, num_flow_updates=RAFT_UPDATES)
            _, state = step(frame, state, motion)
            if k >= warm_up:
                times.append(clock.seconds())
    middle = statistics.fmean if isinstance(model, DFF) else statistics.median
    return 1.0 / middle(times)


def _is_key(model: VideoSegmenter, frame_number: int) -> bool:
    return frame_number == 0 or (isinstance(model, DFF) and frame_number % model.key_interval == 0)


class _Clock:
    """Seconds since it was made, measured on the device."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        if self.cuda:
            self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.start.record()
        else:
            self.began = time.perf_counter()

    def seconds(self) -> float:
        if not self.cuda:
            return time.perf_counter() - self.began
        self.end.record()
        torch.cuda.synchronize()
        return self.start.elapsed_time(self.end) / 1e3


def _shape_only(name: str, n_classes: int, profile: ModelSettings) -> VideoSegmenter:
    return build(name, n_classes, profile, load_weights=False).eval().to("meta")


def _raft(device: torch.device | str) -> nn.Module:
    """RAFT with random weights: its cost does not depend on them."""
    return raft_large(weights=None).eval().to(device)


def _image_of(model: VideoSegmenter) -> ImageSegmenter:
    return model if isinstance(model, ImageSegmenter) else model.image


def _inputs(size: tuple[int, int], device: torch.device | str) -> tuple[Tensor, Motion]:
    frame = torch.zeros(1, 3, *size, device=device)
    identity = torch.eye(3, device=device)[None]
    return frame, Motion(identity, torch.zeros(1, 2, *size, device=device))


def table(costs: list[Cost]) -> str:
    """The rows as aligned text: ours | published | difference, and our own accounting."""
    lines = [
        f"{'system':<21} {'params M':>9} {'paper':>7} {'diff':>7}  {'G madd':>8} {'paper':>8} {'diff %':>7}"
        f"  {'+attention':>10}  {'own M':>8} {'own G':>8}  {'fps':>6}  note"
    ]
    for cost in costs:
        params, gmacs = cost.published_params_m, cost.published_gflops
        lines.append(
            f"{cost.system:<21} {cost.params_m:9.3f} {_text(params, '7.2f')} "
            f"{_text(None if params is None else cost.params_m - params, '+7.3f')}  {cost.gmacs:8.1f} "
            f"{_text(gmacs, '8.1f')} {_text(None if gmacs is None else 100 * (cost.gmacs / gmacs - 1), '+7.2f')}  "
            f"{cost.gmacs_with_attention:10.1f}  {cost.own_params_m:8.3f} {cost.own_gmacs:8.1f}  "
            f"{_text(cost.fps, '6.1f')}  {cost.note}".rstrip()
        )
    return "\n".join(lines)


def _text(value: float | None, form: str) -> str:
    width = int(form.strip("+").split(".")[0])
    return " " * (width - 1) + "-" if value is None else format(value, form)


def costs(profile_name: str, speed: dict[str, Any] | None = None) -> list[Cost]:
    """The rows of all systems under a profile; `speed`: what `measure_fps` takes, with "device" by name; None: not measured.

    Raises: SspError if the device is not there.
    """
    profile = load_profile(profile_name)
    if speed is not None:
        if speed["device"].startswith("cuda") and not torch.cuda.is_available():
            raise SspError(f"--device {speed['device']}: torch sees no CUDA device; use --device cpu")
        speed = speed | {"device": torch.device(speed["device"])}
    flow, rows = flow_cost(profile), []
    for name in tqdm((*PAPER_SYSTEMS, *OURS), desc="complexity", unit="system", leave=False):
        rows.append(system_cost(name, profile, flow, None if speed is None else measure_fps(name, profile, **speed)))
    return rows


def as_json(rows: list[Cost]) -> str:
    """The rows as a JSON list."""
    return json.dumps([asdict(row) for row in rows], indent=1)
