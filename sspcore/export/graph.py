"""The ONNX graph of a step: written at opset 18, its nodes named, and what is read off it.

Nodes get names by which a builder can keep them in float32: `geo_...` for coordinates, `mix_...`, `norm_...`. The coordinates'
validity, bool or 0 and 1 made of it, is `mask_...`: a pattern of precisions must not hit it.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import onnx
import torch
from onnx import TensorProto, helper

from sspcore.core.errors import SspError
from sspcore.export.step import StepModule

OPSET = 18  # 16 brought GridSample, 17 LayerNormalization; 20 renames GridSample's modes, which TensorRT misreads
GEOMETRY, MASK = "geo", "mask"
DOMAINS = ("", "ai.onnx")  # names of the default operator set

NORMALISATIONS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
# Layers of weights, warps, and the sums of a cosine
_NOT_MIXING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "GridSample", "ReduceSum", "ReduceL2")
_RESIZE_18 = (("antialias", 0), ("keep_aspect_ratio_policy", b"stretch"))


def export_graph(step: StepModule) -> onnx.ModelProto:
    """The step as an ONNX model of opset 18, geometry nodes named.

    Raises: SspError if the exporter fails or writes another opset.
    """
    buffer = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                step, tuple(step.example.values()), input_names=list(step.example), output_names=step.output_names,
                opset_version=OPSET, dynamo=True, optimize=True, verbose=False, external_data=False,
            )
            program.save(buffer)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        cause = error
        while cause.__cause__ is not None:  # the exporter's own words are about itself; the first cause names the operator
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise SspError(f"{type(step.model).__name__}: ONNX export failed: {reason}; replace that part") from error
    model = onnx.load_from_string(buffer.getvalue())
    written = opset_of(model)
    if written != OPSET:
        # an exporter that cannot convert down logs it and goes on
        raise SspError(f"ONNX export: asked for opset {OPSET}, the file says {written}; use the pinned onnxscript")
    # the exporter writes the newest version of the file format, which runtimes that know the opset may not read
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    name_nodes(model)
    graph = model.graph
    for entry in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del entry.metadata_props[:]  # stack traces with paths of this machine
        entry.doc_string = ""
    return model


def lower_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph declared under an older operator set, where its operators mean the same there.

    Raises: SspError if a node uses what only the newer set has.
    """
    lowered = copy.deepcopy(model)
    for entry in lowered.opset_import:
        if entry.domain in DOMAINS:
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
    return next((entry.version for entry in model.opset_import if entry.domain in DOMAINS), 0)


def constant_names(graph: onnx.GraphProto) -> set[str]:
    """Names of all values that do not depend on an input: initialisers and what is computed from them alone."""
    constants = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if constants.issuperset(node.input):
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


def mixing_path(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that mix the past with the present, in order: they depend on the past and lead to an output, with no layer of
    weights, no warp and no sum over channels in between."""
    depends = {"past_valid", *(value.name for value in graph.input if value.name.startswith("previous"))}
    for node in graph.node:
        if depends.intersection(node.input):
            depends.update(node.output)
    wanted = {value.name for value in graph.output}
    path = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output) and depends.intersection(node.output) and node.op_type not in _NOT_MIXING:
            path.append(node)
            wanted.update(node.input)
    return path[::-1]


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: `geo_...` or `mask_...` in the geometry, `mix_...` where past and present are mixed
    (`mixing_path`), `norm_...` for normalisations, `net_...` elsewhere.

    The geometry is what depends on the homography alone, the nodes that lead to a grid, and GridSample.
    """
    graph = model.graph
    constants = constant_names(graph)
    on_path = {node.output[0] for node in grid_path(graph)}
    mixed = {node.output[0] for node in mixing_path(graph)}
    types = value_types(model)
    moved = {"H_cur_to_prev"}
    for number, node in enumerate(graph.node):
        of_motion = moved.intersection(node.input) and (moved | constants).issuperset(node.input)
        if of_motion:
            moved.update(node.output)
        prefix = "norm" if node.op_type in NORMALISATIONS else "mix" if node.output[0] in mixed else "net"
        if of_motion or node.output[0] in on_path or node.op_type == "GridSample":
            kinds = {types[name].elem_type for name in (node.input[0], node.output[0]) if name in types}
            prefix = MASK if TensorProto.BOOL in kinds else GEOMETRY
        node.name = f"{prefix}_{number:04d}_{node.op_type}"


def value_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Element type and shape of every value of a graph, by name.

    Raises: onnx.shape_inference.InferenceError if the graph contradicts itself.
    """
    # strict mode would stop at opset 20's name of GridSample's mode, which the check refuses by name
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True).graph
    types = {t.name: helper.make_tensor_type_proto(t.data_type, t.dims).tensor_type for t in graph.initializer}
    return types | {v.name: v.type.tensor_type for v in (*graph.input, *graph.output, *graph.value_info)}


def type_name(value: onnx.TypeProto.Tensor | None) -> str:
    """NumPy's name of a value's element type, "unknown" where the graph does not say it."""
    return helper.tensor_dtype_to_np_dtype(value.elem_type).name if value and value.elem_type else "unknown"


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its progress and prints whole graphs where it fails; errors still come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
