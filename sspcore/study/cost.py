"""What every system costs: parameters, multiply-adds and frames per second, beside the published figures.

    sspcore complexity [--json] [--profile paper] [--fps --device cuda --precision float16 --compile]

Nothing is downloaded: parameters and multiply-adds are counted on shapes alone, frame rates with random weights.

Conventions:
    - A multiply-add is one multiplication with its addition; convolutions and linear layers are counted, norms,
      resizing and activations are not (0.2 % of the base model). The printed table's "GFLOPs" are these, with
      attention's products left out: `gmacs`; `gmacs_with_attention` has them.
    - `params_m` and `gmacs` follow the published accounting (`PRINTED_...`, `NOTES`), `own_params_m` and `own_gmacs`
      ours: what one streamed frame needs, each frame encoded once, without heads that only train.
    - Flow costs RAFT with 8 updates in both. The printed figures of DFF and NetWarp do not follow from it: both agree
      with a flow of 112 G, (310.6 + 7 * 112.4) / 8 and 2 * 310.6 + 6.4 + 112.2, where RAFT needs 615 G at this size.
    - Registration (CPU, a few milliseconds) is in none of the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from sspcore.core.errors import SspError
from sspcore.core.types import VideoSegmenter
from sspcore.models.dff import DFF
from sspcore.models.image import ImageSystem
from sspcore.models.netwarp import NetWarp
from sspcore.models.systems import OURS, PAPER_SYSTEMS, ModelSettings, build, stand_in
from sspcore.models.tcb import CLIP, TCB
from sspcore.motion.names import uses_raft
from sspcore.motion.raft import RAFT
from sspcore.study.profiles import Profile, load_profile
from sspcore.study.published import published
from sspcore.study.text_table import text_table
from sspcore.study.timing import N_CLASSES, measure_fps, still_frame, untrained_raft

_LINEAR_OPS = ("convolution", "addmm", "mm")  # what is left are the batched products of attention


# How a published figure was counted, where that is not what a streamed frame needs.
PRINTED_CLASSES = {"SegFormer-b2": 12}  # of the data set that the parameters were counted for
PRINTED_WITH_RAFT = (DFF, NetWarp, TCB)  # whose parameters include RAFT's
PRINTED_CLIP_PASSES = 2  # times that a clip's encoders and decoder are in the multiply-adds of TCB
_TCB_NOTE = "printed: RAFT's parameters though TCB runs no flow; 2 x (4 encoders + 1 decoder) + block"
NOTES = {
    "SegFormer-b2": "printed: parameters with 12 classes (27.35 with 8)",
    "ConvNeXt-S + UPerNet": "printed: parameters with the auxiliary head (0.89 M), which only trains",
    "DFF": "multiply-adds: mean over a key interval; the printed do not follow",
    "NetWarp": "multiply-adds: the printed do not follow from RAFT with 8 updates",
    "TCB_ppm": _TCB_NOTE, "TCB_ocr": _TCB_NOTE,
}
COLUMNS = {  # of the printed table: title and format
    "system": ("system", ""), "params_m": ("params M", ".3f"), "published_params_m": ("paper M", ".2f"),
    "difference_m": ("diff M", "+.3f"), "gmacs": ("madd G", ".1f"), "published_gflops": ("paper G", ".1f"),
    "difference_percent": ("diff %", "+.2f"), "gmacs_with_attention": ("+attention", ".1f"),
    "own_params_m": ("own M", ".3f"), "own_gmacs": ("own G", ".1f"), "fps": ("fps", ".1f"), "note": ("note", ""),
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


def parameters_m(module: nn.Module | None) -> float:
    """Parameters of a module in millions; 0 where there is none."""
    return 0.0 if module is None else sum(parameter.numel() for parameter in module.parameters()) / 1e6


@dataclass(frozen=True)
class FlowCost:
    """What a flow between two frames costs: parameters in millions, multiply-adds."""

    params_m: float = 0.0
    macs: Macs = Macs()


def flow_cost(profile: Profile) -> FlowCost:
    """Cost of the profile's flow: RAFT's; nothing for estimators on the CPU, which have no counted products."""
    if not uses_raft(profile.flow):
        return FlowCost()
    raft, frame = untrained_raft("meta"), torch.empty(1, 3, *profile.input_size, device="meta")
    # Correlation is no attention: the paper's convention counts it.
    macs = Macs(count_macs(lambda: raft(frame, frame)).total)
    return FlowCost(parameters_m(raft), macs)


def system_cost(name: str, profile: Profile, flow: FlowCost, fps: float | None = None) -> Cost:
    """Parameters and multiply-adds of one system at the profile's input size.

    The published accounting and figures are given only where the profile's encoder is the paper's.
    """
    size = tuple(profile.input_size)
    model = _shape_only(name, N_CLASSES, profile)
    needed_flow = flow if "flow" in model.needs else FlowCost()
    image = model if isinstance(model, ImageSystem) else model.image
    all_params = parameters_m(model)
    own_params = all_params + needed_flow.params_m - parameters_m(getattr(image, "auxiliary_head", None))
    own = stream_macs(model, size, needed_flow.macs)
    note, params, macs, printed = "", own_params, own, (None, None)
    if name in PAPER_SYSTEMS and stand_in(name, profile) is None:
        note, printed = NOTES.get(name, ""), (published(name, "params_m"), published(name, "gflops"))
        if name in PRINTED_CLASSES:
            all_params = parameters_m(_shape_only(name, PRINTED_CLASSES[name], profile))
        params = all_params + (flow.params_m if isinstance(model, PRINTED_WITH_RAFT) and own_raft(model) is None else 0.0)
        if isinstance(model, TCB):
            macs = _clip_macs(model, size, own)
    return Cost(name, params, macs.linear, macs.total, own_params, own.linear, own.total, *printed, fps, note)


def stream_macs(model: VideoSegmenter, size: tuple[int, int], flow: Macs) -> Macs:
    """Multiply-adds of one streamed frame once the video runs: mean over a key interval for DFF.

    `flow`: of a flow that is given; that of a RAFT of the system's own is counted with it, its correlation as no attention.
    """
    frame, motion = still_frame(size, "meta")
    with torch.no_grad():
        _, state = model.step(frame, None, None)
    if (raft := own_raft(model)) is not None:
        correlation = count_macs(lambda: raft(frame, frame)).attention
        flow = Macs(correlation, -correlation)
    if not isinstance(model, DFF):
        return count_macs(lambda: model.step(frame, state, motion)) + flow
    between = count_macs(lambda: model.step(frame, state, motion)) + flow
    key = count_macs(lambda: model.step(frame, None, None))
    return (key + between * (model.key_interval - 1)) * (1 / model.key_interval)


def own_raft(model: VideoSegmenter) -> RAFT | None:
    """The RAFT that a system holds as a part and trains along."""
    return model.raft if isinstance(model, DFF | NetWarp) else None


def _clip_macs(model: TCB, size: tuple[int, int], own: Macs) -> Macs:
    """The published count of TCB: PRINTED_CLIP_PASSES times four encoders and a decoder, and the block once.

    It follows from the printed figures: with the base's encoder and decoder it gives both within 0.2 %, and their
    difference exactly. A stream needs one encoder, one decoder and the block.
    """
    frame, _ = still_frame(size, "meta")
    with torch.no_grad():
        pyramid = model.image.encode(frame)
    encoder = count_macs(lambda: model.image.encode(frame))
    decoder = count_macs(lambda: model.image.classify(model.image.decode_features(pyramid)))
    block = own + (encoder + decoder) * -1
    return (encoder * CLIP + decoder) * PRINTED_CLIP_PASSES + block


def _shape_only(name: str, n_classes: int, profile: ModelSettings) -> VideoSegmenter:
    return build(name, n_classes, profile, load_weights=False).eval().to("meta")


def table(costs: list[Cost]) -> str:
    """The rows as aligned text: ours, published, difference, and our own accounting."""
    return text_table([
        asdict(cost) | {
            "difference_m": cost.published_params_m and cost.params_m - cost.published_params_m,
            "difference_percent": cost.published_gflops and 100 * (cost.gmacs / cost.published_gflops - 1),
        } for cost in costs
    ], COLUMNS)


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
