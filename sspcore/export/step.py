"""The step of a system as a module with tensors in and out, for one frame size: what an export turns into a graph.

    SSP    frame, H_cur_to_prev, previous_logits, previous_features, past_valid -> logits, features, class_map
    Base   frame                                                                -> logits, class_map

SSP-R has `previous_frame` and `frame_small` too, and with `SSPOptions.variance` there are `previous_variance` and
`variance`. What the network cannot do itself stays with the host: the homography comes inverted
(`geometry.sampling_homography`, float64), and `past_valid` 0 starts a video.

Adaptive pooling becomes two constant matrix products, since ONNX has no such operator. No result changes by it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sspcore.core.errors import ProfileError
from sspcore.core.images import normalise
from sspcore.core.settings import STRIDE
from sspcore.core.types import Size, VideoSegmenter, VideoState
from sspcore.export.device.step_runner import StepRunner
from sspcore.export.half import to_half
from sspcore.models.ssp import SSP, Route


@dataclass(frozen=True)
class StepOptions:
    """How a step is exported.

    Attributes:
        size: (H, W) of the frames, multiples of 32.
        frame: "uint8": (1, H, W, 3) RGB as a camera gives it; "float32": (1, 3, H, W), ImageNet-normalised.
        precision: of weights and activations: "fp32", or "fp16" as `to_half` has it.
    """

    size: Size
    frame: Literal["uint8", "float32"] = "uint8"
    precision: Literal["fp32", "fp16"] = "fp32"


class StepModule(nn.Module):
    """A system's `step` with tensors in and out.

    Args:
        model: an image system or SSP; it is copied, not changed.
    Attributes:
        example: an input for each name: an empty frame, no motion, no past.
        output_names: in the order of the outputs.
        state: name of each output that the next frame needs -> name of the input that it becomes.
    Raises: ProfileError for a system or a size that cannot be exported.
    """

    def __init__(self, model: VideoSegmenter, options: StepOptions) -> None:
        super().__init__()
        height, width = options.size
        if height % STRIDE or width % STRIDE:
            raise ProfileError(f"size {height}x{width}: height and width must be multiples of {STRIDE}")
        self.options = options
        self.model = copy.deepcopy(model).cpu().float().eval()
        state = fix_adaptive_pools(self.model, options.size)
        if not isinstance(model, SSP) and type(state) is not VideoState:
            raise ProfileError(f"{type(model).__name__} cannot be exported: only image systems and SSP can")
        if "flow" in model.needs:
            raise ProfileError(
                "SSP whose past comes by flow cannot be exported: a step has no input for flow; export it without gate"
            )
        if options.precision == "fp16":
            to_half(self.model, options.size)
        # of the features and the frame that the state keeps
        self.dtype = torch.float16 if options.precision == "fp16" else torch.float32
        frames = {"uint8": torch.zeros(1, height, width, 3, dtype=torch.uint8), "float32": torch.zeros(1, 3, height, width)}
        self.example = {"frame": frames[options.frame]}
        self.state: dict[str, str] = {}
        # alpha is kept for pictures only; the next step does not read it
        names = [field.name for field in fields(state) if getattr(state, field.name) is not None]
        self.fields = [name for name in names if name != "alpha"]
        if self.fields:
            self.example["H_cur_to_prev"] = torch.eye(3)[None]
            for name in self.fields:
                self.state["frame_small" if name == "frame" else name] = f"previous_{name}"
                kept = self.dtype if name in ("features", "frame") else torch.float32
                self.example[f"previous_{name}"] = torch.zeros_like(getattr(state, name), dtype=kept)
            self.example["past_valid"] = torch.zeros(1)
        self.output_names = [*(self.state or ["logits"]), "class_map"]

    def forward(self, frame: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        # TensorRT takes uint8 at the network's input only to cast it: the float comes first, then the transposition
        image = normalise(frame.float().permute(0, 3, 1, 2)) if self.options.frame == "uint8" else frame
        if not self.fields:
            logits, _ = self.model.step(image, None)
            return logits, logits.argmax(1).to(torch.uint8)
        H_cur_to_prev, *previous, past_valid = inputs
        if not self.model.needs:  # an ablation: the host may register frames, this system does not look
            H_cur_to_prev = torch.eye(3, device=frame.device)[None]
        observation = self.model.observe(image)
        small = None if observation.frame is None else observation.frame.to(self.dtype)
        observation = replace(observation, features=observation.features.to(self.dtype), frame=small)
        start = self.model.start(observation)
        past = replace(start, **dict(zip(self.fields, previous, strict=True)))
        moved = self.model.propagate(observation, past, Route(H_cur_to_prev)).state
        carried = []
        for name in self.fields:
            fresh, kept = getattr(start, name), getattr(moved, name)
            # a choice, not a product with 0: whatever a fresh buffer holds (NaN) cannot get through
            carried.append(kept if kept is fresh else torch.where(past_valid.view(1, 1, 1, 1) > 0.5, kept, fresh))
        return *carried, carried[0].argmax(1).to(torch.uint8)


class TorchRunner(StepRunner):
    """The exported module run by torch, in float32: what an export is compared with."""

    def __init__(self, model: VideoSegmenter, size: Size, device: torch.device | str = "cpu") -> None:
        self.module, self.device = StepModule(model, StepOptions(size)).to(device), device
        inputs = [
            {"name": name, "shape": tuple(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in self.module.example.items()
        ]
        super().__init__({"size": size, "inputs": inputs, "state": self.module.state})

    @torch.inference_mode()
    def network(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = self.module(*(torch.from_numpy(inputs[name]).to(self.device) for name in self.module.example))
        return {name: value.cpu().numpy() for name, value in zip(self.module.output_names, values, strict=True)}


class FixedAveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` for one input size as two constant matrix products: out = rows @ x @ columns.

    Exact up to the order of the sums.
    """

    def __init__(self, in_size: Size, out_size: Size) -> None:
        super().__init__()
        # (n_in, n_out): column i averages the cells that torch pools into cell i
        rows, columns = (F.adaptive_avg_pool1d(torch.eye(n)[None], m)[0] for n, m in zip(in_size, out_size, strict=True))
        self.register_buffer("rows", rows.T.contiguous(), persistent=False)
        self.register_buffer("columns", columns.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(self.rows, x), self.columns)


class FixedAveragePools(nn.Module):
    """One `nn.AdaptiveAvgPool2d` that a network uses at several sizes: a `FixedAveragePool` for each."""

    def __init__(self, in_sizes: Iterable[Size], out_size: Size) -> None:
        super().__init__()
        # None: as many cells as the input has
        self.by_size = nn.ModuleDict({
            f"{size[0]}x{size[1]}": FixedAveragePool(size, tuple(m or n for n, m in zip(size, out_size, strict=True)))
            for size in in_sizes
        })

    def forward(self, x: Tensor) -> Tensor:
        return self.by_size[f"{x.shape[-2]}x{x.shape[-1]}"](x)


@torch.inference_mode()
def fix_adaptive_pools(model: VideoSegmenter, size: Size) -> VideoState:
    """Replace each `nn.AdaptiveAvgPool2d` by its fixed form for frames of `size`. Returns the state of one step."""
    # a network may hold one pool under several names
    pools = {name: pool for name, pool in model.named_modules(remove_duplicate=False) if isinstance(pool, nn.AdaptiveAvgPool2d)}
    sizes: dict[nn.Module, set[Size]] = {pool: set() for pool in pools.values()}

    def remember(pool: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes[pool].add(tuple(inputs[0].shape[-2:]))

    handles = [pool.register_forward_pre_hook(remember) for pool in sizes]
    _, state = model.step(torch.zeros(1, 3, *size), None, None)
    for handle in handles:
        handle.remove()
    for name, pool in pools.items():
        out = pool.output_size
        model.set_submodule(name, FixedAveragePools(sizes[pool], (out, out) if isinstance(out, int) else out))
    return state
