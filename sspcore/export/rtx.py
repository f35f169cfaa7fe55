"""NVIDIA's own compiler over an exported step: TensorRT for RTX parses the graph and builds engines, without a GPU.

It comes with the extra `tensorrt-rtx`, under NVIDIA's proprietary licence; sspcore neither holds nor needs it. What its parser
made of the graph is read back, and held against what the ONNX standard says of every node: a warp that would sample the
nearest pixel, or a layer of another type, is an error here and not a wrong class map on a drone.

An engine is built ahead of time for a family of GPUs, by its compute capability. Jetson Orin (8.7) is not among them: its
engine is built on the device.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from sspcore.core.errors import ProfileError, SspError, reason
from sspcore.export.check import GraphError, attribute_of
from sspcore.export.graph import GEOMETRY, MASK, NORMALISATIONS, mixing_path, opset_of, type_name, value_types

log = logging.getLogger(__name__)

ENGINES = "engines"  # folder of a bundle
_INSTALL = "run ./reproduce.sh setup --extra tensorrt-rtx, or pip install 'sspcore[tensorrt-rtx]' (Linux, x86_64)"
_NODE = re.compile(r"'((?:net|geo|mask|mix|norm)_\d+_\w+)")

# The words of the ONNX standard -> those of TensorRT
_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic", "bicubic": "cubic"}
_PADDINGS = {"zeros": "fill", "border": "clamp", "reflection": "reflect"}
_ROUNDINGS = {"round_prefer_floor": "half_down", "round_prefer_ceil": "half_up", "floor": "floor", "ceil": "ceil"}
_TYPES = {"float": "float32", "half": "float16", "bf16": "bfloat16"}
_PRODUCTS = {"MatMul": "matrix products", "Gemm": "matrix products", "Conv": "convolutions", "ConvTranspose": "convolutions"}


def compile_step(path: Path, capabilities: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
    """Parse a step with NVIDIA's parser, hold what it read against the graph, and build an engine for each capability.

    Args:
        path: an ONNX file that `check_model` has passed.
        capabilities: compute capabilities: "sm75" (Turing), "sm80", "sm86" (Ampere), "sm89" (Ada), "sm120" (Blackwell).
        folder: where `step-sm86.engine` and so on are written; None: they are built and dropped.
    Returns: compiler, number of layers, what was read back of the warps and resizes, types by role, and `engines`.
    Raises: ProfileError for an unknown capability, SspError without the extra, GraphError, naming the node, if the parser or
        the compiler refuses it or if the parser read something else than the graph says.
    """
    trt = require_compiler(capabilities)
    messages = _logger(trt)
    builder = trt.Builder(messages)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(path.read_bytes()):
        refusal = parser.get_error(0)
        raise GraphError(f"{path.name}: NVIDIA's parser refuses {refusal.node_name() or 'the graph'}: {_line(refusal.desc())}")
    model = onnx.load(path)
    report = {
        "compiler": f"TensorRT for RTX {trt.__version__}", "layers": network.num_layers,
        **_read_back(trt, model, network, parser), "engines": {},
    }
    for capability in capabilities:
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, capability.upper()), 0)
        messages.errors.clear()
        began = time.perf_counter()
        engine = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - began
        if engine is None:
            raise GraphError(f"{path.name}, {capability}: {_refusal(messages.errors)}")
        report["engines"][capability] = {"bytes": engine.nbytes, "seconds": round(seconds, 2)}
        if folder is not None:
            file = folder / f"step-{capability}.engine"
            folder.mkdir(exist_ok=True)
            file.write_bytes(engine)
            report["engines"][capability]["file"] = f"{folder.name}/{file.name}"
        log.info("%s: engine for %s, %.1f MB in %.1f s", path.name, capability, engine.nbytes / 1e6, seconds)
    return report


def require_compiler(capabilities: Sequence[str]) -> ModuleType:
    """The Python module of TensorRT for RTX.

    Raises: SspError where it is not installed or does not load, ProfileError for a capability that it does not know.
    """
    try:
        import_module("tensorrt_rtx_libs")  # loads the libraries that the bindings look for
        trt = import_module("tensorrt_rtx_bindings")
    except (ImportError, OSError) as error:
        raise SspError(f"--compile needs TensorRT for RTX ({reason(error)}): {_INSTALL}") from error
    known = sorted(int(name[2:]) for name in dir(trt.ComputeCapability) if name.startswith("SM"))
    for capability in capabilities:
        if capability not in {f"sm{number}" for number in known}:
            raise ProfileError(
                f"--compile {capability}: unknown; choose from {', '.join(f'sm{number}' for number in known)}. The engine of a "
                "Jetson Orin (sm87) is built on the device"
            )
    return trt


def _read_back(trt: ModuleType, model: onnx.ModelProto, network: Any, parser: Any) -> dict[str, Any]:
    """What the parser made of the graph: warps and resizes with how many there are, and types by role.

    Raises: GraphError, naming the node, at the first difference from the graph.
    """
    values, layers = value_types(model), {layer.name: layer for layer in map(network.get_layer, range(network.num_layers))}
    mixing = {node.name for node in mixing_path(model.graph)}
    read: dict[str, Counter[tuple[tuple[str, Any], ...]]] = {"GridSample": Counter(), "Resize": Counter()}
    types: dict[str, Counter[str]] = {}
    for kind, (given, number) in {
        "input": (network.get_input, network.num_inputs), "output": (network.get_output, network.num_outputs)
    }.items():
        found = {tensor.name: _tensor(tensor) for tensor in map(given, range(number))}
        meant = {v.name: _value(values[v.name]) for v in getattr(model.graph, kind)}
        _require_same(f"the network's {kind}s", found, meant)
    for node in model.graph.node:
        if node.op_type in read:
            found, meant = _parsed(trt, layers.get(node.name), node.op_type), _meant(node, opset_of(model))
            _require_same(node.name, {name: found.get(name) for name in meant}, meant)
            read[node.op_type][tuple(meant.items())] += 1
        for number, name in enumerate(node.output):
            tensor = parser.get_layer_output_tensor(node.name, number) if name in values else None
            if tensor is not None:
                _require_same(node.name, {f"output {number}": _tensor(tensor)}, {f"output {number}": _value(values[name])})
                types.setdefault(_role(node, mixing), Counter())[_tensor(tensor)[0]] += 1
    counted = {kind: [{**dict(how), "count": n} for how, n in counts.items()] for kind, counts in read.items()}
    return {"read_back": counted, "types": {role: dict(counts) for role, counts in sorted(types.items())}}


def _meant(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    """How a warp or a resize samples by the ONNX standard, in TensorRT's words."""
    def said(name: str) -> Any:
        return attribute_of(node, name, opset)

    mode = _MODES[said("mode")]
    if node.op_type == "GridSample":
        return {"mode": mode, "align_corners": bool(said("align_corners")), "padding": _PADDINGS[said("padding_mode")]}
    how = {"mode": mode, "coordinates": said("coordinate_transformation_mode").removeprefix("pytorch_")}
    if mode == "nearest":
        how["rounding"] = _ROUNDINGS[said("nearest_mode")]
    if mode == "cubic":
        how |= {"cubic_coefficient": round(said("cubic_coeff_a"), 4), "exclude_outside": bool(said("exclude_outside"))}
    return how


def _parsed(trt: ModuleType, layer: Any, kind: str) -> dict[str, Any]:
    """The same of a layer of TensorRT; empty where the parser made another kind of layer of the node."""
    if layer is None or layer.type != {"GridSample": trt.LayerType.GRID_SAMPLE, "Resize": trt.LayerType.RESIZE}[kind]:
        return {}
    if kind == "GridSample":
        layer.__class__ = trt.IGridSampleLayer  # how the bindings look at a layer by its own kind
        mode, padding = _word(layer.interpolation_mode), _word(layer.sample_mode)
        return {"mode": mode, "align_corners": layer.align_corners, "padding": padding}
    layer.__class__ = trt.IResizeLayer
    return {
        "mode": _word(layer.resize_mode), "coordinates": _word(layer.coordinate_transformation),
        "rounding": _word(layer.nearest_rounding), "cubic_coefficient": round(layer.cubic_coeff, 4),
        "exclude_outside": bool(layer.exclude_outside),
    }


def _require_same(name: str, found: dict[str, Any], meant: dict[str, Any]) -> None:
    for key in sorted(meant.keys() | found.keys()):
        if found.get(key) != meant.get(key):
            raise GraphError(
                f"{name}: NVIDIA's parser reads {key} as {found.get(key)}, the graph says {meant.get(key)}; report it with the "
                "versions of onnx and TensorRT for RTX"
            )


def _role(node: onnx.NodeProto, mixing: set[str]) -> str:
    if node.op_type == "GridSample":
        return "warps"
    if node.name.startswith(GEOMETRY):
        return "geometry"
    if node.name.startswith(MASK):
        return "validity"
    if node.op_type in NORMALISATIONS:
        return "normalisation"
    return "mixing" if node.name in mixing else _PRODUCTS.get(node.op_type, "other")


def _tensor(tensor: Any) -> tuple[str, tuple[int, ...]]:
    return _TYPES.get(_word(tensor.dtype), _word(tensor.dtype)), tuple(tensor.shape)


def _value(value: onnx.TypeProto.Tensor) -> tuple[str, tuple[int, ...]]:
    return type_name(value), tuple(dim.dim_value for dim in value.shape.dim)


def _word(member: Any) -> str:
    """Name of a member of one of TensorRT's enumerations, in lower case."""
    return member.name.lower()


def _refusal(errors: list[str]) -> str:
    """NVIDIA's words for a refusal, the node that it names first."""
    text = _line(errors[0]) if errors else "no engine, and no reason given"
    node = _NODE.search(text)
    hint = "; a graph of --precision fp16 has none" if "FP32 GEMM" in text else ""
    return f"NVIDIA's compiler refuses {node[1] if node else 'the graph'}: {text}{hint}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _logger(trt: ModuleType) -> Any:
    """A logger of TensorRT that keeps errors in `errors`; its class is known only once the module is loaded."""
    class Messages(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

    return Messages()
