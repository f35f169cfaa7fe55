"""The step of a system as an ONNX graph: static shapes, state as inputs and outputs, nothing that a device cannot run.

    SSP    frame, H_cur_to_prev, previous_logits, previous_features, past_valid -> logits, features, class_map
    Base   frame                                                                -> logits, class_map

SSP-R has `previous_frame` and `frame_small` besides; with `SSPOptions.variance` there are `previous_variance` and
`variance` too. What the network cannot do itself stays with the host: the homography comes inverted
(`geometry.sampling_homography`, float64), and `past_valid` 0 starts a video anew.

Two things are changed before the export, neither changes a result: adaptive pooling becomes two constant matrix
products (ONNX has no such operator), and the geometry's nodes get names by which a builder can keep them in float32.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.images import normalise
from sspcore.core.settings import STRIDE
from sspcore.core.types import Size, VideoSegmenter
from sspcore.models.image import ImageSegmenter
from sspcore.models.ssp import SSP, SSPState

OPSET = 18  # 16 brought GridSample, 17 LayerNormalization; 20 renames GridSample's modes, which TensorRT misreads
GEOMETRY = "geo"  # prefix of the nodes that work on float32 coordinates
MASK = "mask"  # prefix of the geometry's nodes that yield bool: a precision pattern must not hit them

FrameInput = Literal["uint8", "float32"]
Precision = Literal["fp32", "fp16"]

_RESIZE_18 = (("antialias", 0), ("keep_aspect_ratio_policy", b"stretch"))


@dataclass(frozen=True)
class StepOptions:
    """How a step is exported.

    Attributes:
        size: (H, W) of the frames, multiples of 32.
        frame: "uint8": (1, H, W, 3) RGB as a camera gives it; "float32": (1, 3, H, W), ImageNet-normalised.
        precision: of weights and activations: "fp32", or "fp16" with coordinates, norms and logits kept in float32.
    """

    size: Size
    frame: FrameInput = "uint8"
    precision: Precision = "fp32"


class FixedAveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` for one input size as two constant matrix products: out = rows @ x @ columns.

    Exact up to the order of the sums.
    """

    def __init__(self, in_size: Size, out_size: Size) -> None:
        super().__init__()
        rows, columns = (averaging_matrix(n, m) for n, m in zip(in_size, out_size, strict=True))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(self.rows, x), self.columns)


def averaging_matrix(n_in: int, n_out: int) -> Tensor:
    """(n_out, n_in): row i averages the cells floor(i n_in / n_out) to ceil((i + 1) n_in / n_out), as torch pools."""
    matrix = torch.zeros(n_out, n_in)
    for i in range(n_out):
        first, end = i * n_in // n_out, -(-(i + 1) * n_in // n_out)
        matrix[i, first:end] = 1.0 / (end - first)
    return matrix


class StepModule(nn.Module):
    """A system's `step` with tensors in and out, for one frame size.

    Args:
        model: an image system or SSP; it is copied, not changed.
        options: see StepOptions.
    Raises: ProfileError for a system or a size that cannot be exported.
    """

    def __init__(self, model: VideoSegmenter, options: StepOptions) -> None:
        super().__init__()
        if not isinstance(model, (ImageSegmenter, SSP)):
            raise ProfileError(f"{type(model).__name__} cannot be exported: only image systems and SSP can")
        if options.size[0] % STRIDE or options.size[1] % STRIDE:
            raise ProfileError(f"size {options.size[0]}x{options.size[1]}: height and width must be multiples of {STRIDE}")
        self.options = options
        self.model = copy.deepcopy(model).cpu().float().eval()
        fix_adaptive_pools(self.model, options.size)
        if options.precision == "fp16":
            to_half(self.model)
        self.input_names, self.output_names = self._names()

    def _names(self) -> tuple[list[str], list[str]]:
        if isinstance(self.model, ImageSegmenter):
            return ["frame"], ["logits", "class_map"]
        has = self.model.options
        previous = ["previous_logits", "previous_features"] + ["previous_frame"] * has.evidence
        previous += ["previous_variance"] * has.variance
        state = ["logits", "features"] + ["frame_small"] * has.evidence + ["variance"] * has.variance
        return ["frame", "H_cur_to_prev", *previous, "past_valid"], [*state, "class_map"]

    @property
    def n_classes(self) -> int:
        return self.model.n_classes

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and types: a grey frame, no motion, no past."""
        height, width = self.options.size
        frame = torch.full((1, height, width, 3), 127, dtype=torch.uint8)
        if self.options.frame == "float32":
            frame = torch.zeros(1, 3, height, width)
        if isinstance(self.model, ImageSegmenter):
            return (frame,)
        h, w, dtype = height // 4, width // 4, self._dtype
        previous = [torch.zeros(1, self.n_classes, height, width)]
        previous.append(torch.zeros(1, self.model.image.pyramid_channels[0], h, w, dtype=dtype))
        if self.model.options.evidence:
            previous.append(torch.zeros(1, 3, h, w, dtype=dtype))
        if self.model.options.variance:
            previous.append(torch.ones(1, 1, h, w))
        return (frame, torch.eye(3)[None], *previous, torch.zeros(1))

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float16 if self.options.precision == "fp16" else torch.float32

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        # TensorRT takes uint8 at the network's input only to cast it: the float comes first, then the transposition
        image = normalise(frame.float().permute(0, 3, 1, 2)) if self.options.frame == "uint8" else frame
        image = image.to(self._dtype)
        if isinstance(self.model, ImageSegmenter):
            logits, _ = self.model.step(image)
            return logits, class_map(logits)
        H_cur_to_prev, *previous, past_valid = state
        observation = self.model.observe(image)
        start = self.model.start(observation)
        past = SSPState(previous[0], previous[1], start.alpha, *previous[2:])
        moved = self.model.propagate(observation, past, H_cur_to_prev).state
        # a choice, not a product with 0: whatever a fresh buffer holds (NaN) cannot get through
        logits = torch.where(past_valid.view(1, 1, 1, 1) > 0.5, moved.logits, start.logits)
        carried = [moved.frame] if self.model.options.evidence else []
        if self.model.options.variance:
            carried.append(torch.where(past_valid.view(1, 1, 1, 1) > 0.5, moved.variance, start.variance))
        return logits, moved.features, *carried, class_map(logits)


def class_map(logits: Tensor) -> Tensor:
    """(1, C, H, W) -> (1, H, W) uint8."""
    return logits.argmax(1).to(torch.uint8)


def fix_adaptive_pools(model: VideoSegmenter, size: Size) -> int:
    """Replace each `nn.AdaptiveAvgPool2d` by its `FixedAveragePool` for frames of `size`. Returns how many there were."""
    pools = {name: module for name, module in model.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d)}
    sizes: dict[str, Size] = {}

    def remember(name: str):
        return lambda module, inputs: sizes.__setitem__(name, tuple(inputs[0].shape[-2:]))

    handles = [module.register_forward_pre_hook(remember(name)) for name, module in pools.items()]
    with torch.inference_mode():
        model.step(torch.zeros(1, 3, *size), None, None)
    for handle in handles:
        handle.remove()
    for name, in_size in sizes.items():
        out = pools[name].output_size
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, FixedAveragePool(in_size, (out, out) if isinstance(out, int) else out))
    return len(sizes)


def to_half(model: nn.Module) -> None:
    """Weights and activations in float16, layer norms in float32: their sums of squares overflow float16.

    Coordinates need no care here: `geometry.sample` works in float32 whatever it reads.
    """
    model.half()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.float()
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
            module.register_forward_hook(lambda _, inputs, output: output.half())


def export_graph(step: StepModule) -> onnx.ModelProto:
    """The step as an ONNX model of opset 18, geometry nodes named.

    Raises: SspError if the exporter fails or writes another opset.
    """
    buffer = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                step, step.example_inputs(), input_names=step.input_names, output_names=step.output_names,
                opset_version=OPSET, dynamo=True, optimize=True, verbose=False, external_data=False,
            )
            program.save(buffer)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise SspError(f"ONNX export failed: {str(error).splitlines()[0]}; try the pinned torch and onnxscript") from error
    model = onnx.load_from_string(buffer.getvalue())
    written = opset_of(model)
    if written != OPSET:
        # an exporter that cannot convert down logs it and goes on
        raise SspError(f"ONNX export: asked for opset {OPSET}, the file says {written}; use the pinned onnxscript")
    name_geometry(model)
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces with paths of this machine
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    return model


def lower_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph declared under an older operator set, where its operators mean the same there.

    Raises: SspError if a node uses what only the newer set has.
    """
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    for entry in lowered.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    for node in lowered.graph.node:
        # attributes that 18 added to Resize; at these values they say what older sets do anyway
        kept = [a for a in node.attribute if (a.name, a.s or a.i) not in _RESIZE_18]
        del node.attribute[:]
        node.attribute.extend(kept)
    try:
        onnx.checker.check_model(lowered, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise SspError(f"opset {opset}: {str(error).splitlines()[0]}; choose a newer --target") from error
    return lowered


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set, as the file says it."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def constant_names(graph: onnx.GraphProto) -> set[str]:
    """Names of all values that do not depend on an input: initialisers and what is computed from them alone."""
    constants = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if all(name in constants for name in node.input):
            constants.update(node.output)
    return constants


def grid_path(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that the coordinates of a GridSample come from, in order; the GridSamples themselves are not among them."""
    wanted = {node.input[1] for node in graph.node if node.op_type == "GridSample"}
    path = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            path.append(node)
            wanted.update(name for name in node.input if name)
    return path[::-1]


def name_geometry(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: `geo_...` for the warps' coordinates, `mask_...` for their validity.

    The geometry is what depends on the homography alone, the nodes that lead to a grid, and GridSample.
    """
    graph = model.graph
    constants = constant_names(graph)
    on_path = {node.output[0] for node in grid_path(graph)}
    types = value_types(model)
    moved = {value.name for value in graph.input if value.name == "H_cur_to_prev"}
    for number, node in enumerate(graph.node):
        of_motion = any(name in moved for name in node.input) and all(name in moved | constants for name in node.input)
        if of_motion:
            moved.update(node.output)
        geometry = of_motion or node.output[0] in on_path or node.op_type == "GridSample"
        prefix = "net"
        if geometry:
            prefix = MASK if types.get(node.output[0]) == TensorProto.BOOL else GEOMETRY
        node.name = f"{prefix}_{number:04d}_{node.op_type}"


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type (TensorProto) of every value of the graph."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its progress and of operators that nobody asked for; errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
