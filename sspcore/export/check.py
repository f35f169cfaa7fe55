"""Does a graph keep to what TensorRT can run? A static check, run on every export; no TensorRT is needed for it.

The limits are data (`operators.yaml`); here is only how they are applied. What no operator's entry can say has a rule
of its own: opset, static shapes, names, uint8 at the border only, and float32 coordinates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import onnx
import yaml
from onnx import TensorProto
from pydantic import BaseModel, ConfigDict

from sspcore.core.errors import ProfileError, SspError
from sspcore.export.graph import GEOMETRY, MASK, constant_names, grid_path, opset_of

LIMITS_FILE = Path(__file__).with_name("operators.yaml")
OLDEST_OPSET = 16  # the first with GridSample
LINEAR_OPSET = 20  # the first that writes GridSample's mode as "linear"
_HALF = {"float16", "bfloat16"}
_DOMAINS = ("", "ai.onnx")


class GraphError(SspError):
    """A graph contains what the target cannot run."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Section):
    """A TensorRT release: JetPack that brings it, newest opset let through, where its limits were read."""

    jetpack: str
    opset: int
    sources: tuple[str, ...]


class OperatorLimits(_Section):
    """Limits of one operator; see the head of operators.yaml."""

    types: tuple[str, ...]
    data: int = 0
    targets: tuple[str, ...] | None = None
    attributes: dict[str, tuple[str | int, ...]] = {}
    ones: tuple[str, ...] = ()
    constants: tuple[int, ...] = ()
    rank: int | None = None
    outputs: int | None = None
    why: str = ""
    source: str = "matrix-10.15"


class Limits(_Section):
    """All of operators.yaml."""

    sources: dict[str, str]
    targets: dict[str, Target]
    operators: dict[str, OperatorLimits]


@dataclass(frozen=True)
class Problem:
    """One refusal: the node's name ("" for the graph as a whole), the rule, and what is wrong, in words."""

    node: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.node or 'graph'}: {self.message} [{self.rule}]"


@lru_cache
def load_limits() -> Limits:
    """The operator limits, validated."""
    return Limits.model_validate(yaml.safe_load(LIMITS_FILE.read_text(encoding="utf-8")))


def target_limits(target: str) -> Target:
    """A target by its name. Raises ProfileError for an unknown one."""
    targets = load_limits().targets
    if target not in targets:
        raise ProfileError(f"--target {target}: unknown; choose from {', '.join(targets)}")
    return targets[target]


def find_problems(model: onnx.ModelProto, target: str) -> list[Problem]:
    """Everything in a graph that `target` ("trt-10.3", ...) cannot run, in the order of the nodes."""
    limit = target_limits(target)
    problems = list(_graph_problems(model, limit))
    try:
        # opset 20's name of the mode would stop the type inference of older operator sets too: it is found below
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        return [*problems, Problem("", "shapes", f"shapes cannot be inferred: {str(error).splitlines()[0]}")]
    values = _Values(inferred)
    problems += values.static_problems()
    constants = constant_names(model.graph)
    opset = opset_of(model)
    for node in model.graph.node:
        problems += _node_problems(node, target, values, constants, opset)
    problems += _border_problems(model.graph, values)
    return problems + list(_grid_problems(model.graph, values))


def check_model(model: onnx.ModelProto, target: str) -> dict[str, int]:
    """Operators of a graph that `target` can run, with how often each occurs.

    Raises: GraphError naming the first offending node, its problem, and how many more there are.
    """
    problems = find_problems(model, target)
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise GraphError(f"{target}: {problems[0]}{more}")
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


class _Values:
    """Types and shapes of a graph's values, by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.types = {tensor.name: _type_name(tensor.data_type) for tensor in graph.initializer}
        self.ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        for value in (*graph.input, *graph.output, *graph.value_info):
            tensor = value.type.tensor_type
            self.types[value.name] = _type_name(tensor.elem_type)
            if tensor.HasField("shape"):
                self.ranks[value.name] = len(tensor.shape.dim)

    def static_problems(self) -> Iterator[Problem]:
        producers = {name: node.name for node in self.graph.node for name in node.output}
        for value in (*self.graph.input, *self.graph.output, *self.graph.value_info):
            shape = value.type.tensor_type.shape
            named = [dim.dim_param or "?" for dim in shape.dim if not dim.HasField("dim_value") or dim.dim_value <= 0]
            if named or not value.type.tensor_type.HasField("shape"):
                where = producers.get(value.name, "")
                yield Problem(where, "static shapes", f"{value.name} has the dynamic dimension {', '.join(named) or '?'}")


def _graph_problems(model: onnx.ModelProto, limit: Target) -> Iterator[Problem]:
    opset = opset_of(model)
    if opset >= LINEAR_OPSET:
        yield Problem("", "opset", f"opset {opset}: from {LINEAR_OPSET} on TensorRT misreads GridSample's mode")
    elif not OLDEST_OPSET <= opset <= limit.opset:
        yield Problem("", "opset", f"opset {opset}: the target takes {OLDEST_OPSET} to {limit.opset}")
    for entry in model.opset_import:
        if entry.domain not in _DOMAINS:
            yield Problem("", "domain", f"operators of the domain {entry.domain} are imported")
    for function in model.functions:
        yield Problem("", "domain", f"model-local function {function.name}: inline it before the export")
    counts = Counter(node.name for node in model.graph.node)
    for node in model.graph.node:
        if not node.name:
            yield Problem(f"{node.op_type} -> {node.output[0]}", "names", "node without a name: no precision can be set on it")
        elif counts[node.name] > 1:
            yield Problem(node.name, "names", f"{counts[node.name]} nodes have this name")


def _node_problems(
    node: onnx.NodeProto, target: str, values: _Values, constants: set[str], opset: int
) -> Iterator[Problem]:
    operator = next((a.s.decode() for a in node.attribute if a.name == "operator" and a.s), node.op_type)
    if "adaptive" in operator.lower():
        yield Problem(node.name, "adaptive pooling", f"{operator} is no ONNX operator; replace it by FixedAveragePool")
        return
    limits = load_limits().operators.get(node.op_type)
    if node.domain not in _DOMAINS or limits is None:
        yield Problem(node.name, "operator", f"{node.domain or 'ai.onnx'}.{node.op_type} is not among the known operators")
        return
    because = f" ({limits.why})" if limits.why else ""
    because += f"; source: {load_limits().sources[limits.source]}"
    if limits.targets is not None and target not in limits.targets:
        yield Problem(node.name, "operator", f"{node.op_type} is not supported{because}")
    for name, allowed in limits.attributes.items():
        value = _attribute(node, name, opset)
        if value is not None and value not in allowed:
            yield Problem(node.name, "attribute", f"{node.op_type}.{name} is {value!r}, allowed: {_listed(allowed)}{because}")
    for name in limits.ones:
        value = _attribute(node, name, opset)
        if value is not None and any(item != 1 for item in value):
            yield Problem(node.name, "attribute", f"{node.op_type}.{name} is {list(value)}, must be ones{because}")
    for index in limits.constants:
        if index < len(node.input) and node.input[index] not in constants:
            name = node.input[index]
            yield Problem(node.name, "constant", f"{node.op_type}: input {index} ({name}) must be constant{because}")
    if limits.outputs is not None and sum(bool(name) for name in node.output) > limits.outputs:
        yield Problem(node.name, "outputs", f"{node.op_type}: {len(node.output)} outputs, {limits.outputs} allowed{because}")
    if not limits.types:
        return
    data = node.input[limits.data]
    data_type = values.types.get(data, "unknown")
    if data_type not in limits.types:
        yield Problem(node.name, "type", f"{node.op_type} of {data_type}, allowed: {_listed(limits.types)}{because}")
    if limits.rank is not None and values.ranks.get(data) != limits.rank:
        yield Problem(node.name, "rank", f"{node.op_type} of rank {values.ranks.get(data)}, must be {limits.rank}{because}")


def _border_problems(graph: onnx.GraphProto, values: _Values) -> Iterator[Problem]:
    """uint8 lives at the network's border only: an input goes into a Cast, an output comes out of one."""
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.input:
            if values.types.get(name) == "uint8" and node.op_type != "Cast":
                yield Problem(node.name, "uint8", f"{node.op_type} reads {name} as uint8: cast it to float first")
        for name in node.output:
            if values.types.get(name) == "uint8" and (node.op_type != "Cast" or name not in outputs):
                yield Problem(node.name, "uint8", f"{node.op_type} makes {name} of uint8, which is no output of the network")


def _grid_problems(graph: onnx.GraphProto, values: _Values) -> Iterator[Problem]:
    path = grid_path(graph)
    samples = [node for node in graph.node if node.op_type == "GridSample"]
    for node in path:
        for name in (*node.input, *node.output):
            if values.types.get(name) in _HALF:
                yield Problem(node.name, "float32 grid", f"{name} is {values.types[name]} on the way to a sampling grid")
    for node in samples:
        if values.types.get(node.input[1]) != "float32":
            yield Problem(node.name, "float32 grid", f"the grid {node.input[1]} is {values.types.get(node.input[1])}")
    for node in (*path, *samples):
        if node.name and not node.name.startswith((GEOMETRY, MASK)):
            yield Problem(node.name, "names", f"a node of the geometry must be called {GEOMETRY}...: it has to stay in float32")


def _attribute(node: onnx.NodeProto, name: str, opset: int) -> object:
    """Value of an attribute, its ONNX default where absent, None where this opset has none."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    schema = onnx.defs.get_schema(node.op_type, min(opset, onnx.defs.onnx_opset_version()))
    if name not in schema.attributes or not schema.attributes[name].default_value.name:
        return None
    value = onnx.helper.get_attribute_value(schema.attributes[name].default_value)
    return value.decode() if isinstance(value, bytes) else value


def _type_name(element: int) -> str:
    names = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
    return names.get(element, TensorProto.DataType.Name(element).lower())


def _listed(values: tuple[str | int, ...]) -> str:
    return ", ".join(map(str, values))
