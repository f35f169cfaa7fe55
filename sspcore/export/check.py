"""Does a graph keep to what TensorRT can run? A static check, run on every export; no TensorRT is needed for it.

The limits are data (`operators.yaml`); here is how they are applied. What no operator's entry can say has a rule of its
own: opset, static shapes, names, uint8 at the border only, and float32 coordinates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import onnx
import yaml
from onnx import helper

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.settings import Section
from sspcore.export.graph import GEOMETRY, MASK, constant_names, grid_path, opset_of, type_name, value_types

LIMITS_FILE = Path(__file__).with_name("operators.yaml")
OLDEST_OPSET = 16  # the first with GridSample
LINEAR_OPSET = 20  # the first that writes GridSample's mode as "linear"
_DOMAINS = ("", "ai.onnx")
_Rules = Iterator[tuple[str, str]]  # name of a broken rule, and what is wrong, in words


class GraphError(SspError):
    """A graph contains what the target cannot run."""


class Target(Section):
    """A TensorRT release: JetPack that brings it, newest opset let through, where its limits were read."""

    jetpack: str
    opset: int
    sources: tuple[str, ...]


class OperatorLimits(Section):
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


class Limits(Section):
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


def check_model(model: onnx.ModelProto, target: str) -> dict[str, int]:
    """Operators of a graph that `target` can run, with how often each occurs.

    Raises: GraphError naming the first offending node, its problem, and how many more there are.
    """
    problems = find_problems(model, target)
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise GraphError(f"{target}: {problems[0]}{more}")
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def find_problems(model: onnx.ModelProto, target: str) -> list[Problem]:
    """Everything in a graph that `target` ("trt-10.3", ...) cannot run, in the order of the nodes."""
    problems = [Problem("", *found) for found in _model_problems(model, target_limits(target))]
    nodes = model.graph.node
    counts = Counter(node.name for node in nodes)
    for node in nodes:
        if not node.name:
            where = f"{node.op_type} -> {node.output[0]}"
            problems.append(Problem(where, "names", "node without a name: no precision can be set on it"))
        elif counts[node.name] > 1:
            problems.append(Problem(node.name, "names", f"{counts[node.name]} nodes have this name"))
    try:
        values = value_types(model)
    except onnx.shape_inference.InferenceError as error:
        return [*problems, Problem("", "shapes", f"shapes cannot be inferred: {str(error).splitlines()[0]}")]
    producers = {name: node.name for node in nodes for name in node.output}
    stored = {tensor.name for tensor in model.graph.initializer}
    for name, value in values.items():
        if name in stored:
            continue  # an empty constant has a dimension of 0, and that is no dynamic one
        named = [d.dim_param or "?" for d in value.shape.dim if d.dim_param or d.dim_value <= 0]
        if named or not value.HasField("shape"):
            dimension = ", ".join(named) or "?"
            problems.append(Problem(producers.get(name, ""), "static shapes", f"{name} has the dynamic dimension {dimension}"))
    types = {name: type_name(value) for name, value in values.items()}
    constants = constant_names(model.graph)
    outputs = {value.name for value in model.graph.output}
    for node in nodes:
        rules = (*_operator_problems(node, target, opset_of(model), constants, values), *_border_problems(node, types, outputs))
        problems += [Problem(node.name, *found) for found in rules]
    for node in (*grid_path(model.graph), *(node for node in nodes if node.op_type == "GridSample")):
        problems += [Problem(node.name, *found) for found in _geometry_problems(node, types)]
    return problems


def _model_problems(model: onnx.ModelProto, limit: Target) -> _Rules:
    opset = opset_of(model)
    if opset >= LINEAR_OPSET:
        yield "opset", f"opset {opset}: from {LINEAR_OPSET} on TensorRT misreads GridSample's mode"
    elif not OLDEST_OPSET <= opset <= limit.opset:
        yield "opset", f"opset {opset}: the target takes {OLDEST_OPSET} to {limit.opset}"
    for entry in model.opset_import:
        if entry.domain not in _DOMAINS:
            yield "domain", f"operators of the domain {entry.domain} are imported"
    for function in model.functions:
        yield "domain", f"model-local function {function.name}: inline it before the export"


def _operator_problems(
    node: onnx.NodeProto, target: str, opset: int, constants: set[str], values: dict[str, onnx.TypeProto.Tensor]
) -> _Rules:
    """What the operator's entry in operators.yaml forbids."""
    kind = node.op_type
    operator = next((a.s.decode() for a in node.attribute if a.name == "operator" and a.s), kind)
    if "adaptive" in operator.lower():
        yield "adaptive pooling", f"{operator} is no ONNX operator; replace it by FixedAveragePool"
        return
    limits = load_limits().operators.get(kind)
    if node.domain not in _DOMAINS or limits is None:
        yield "operator", f"{node.domain or 'ai.onnx'}.{kind} is not among the known operators"
        return
    because = f" ({limits.why})" if limits.why else ""
    because += f"; source: {load_limits().sources[limits.source]}"
    if limits.targets is not None and target not in limits.targets:
        yield "operator", f"{kind} is not supported{because}"
    for name, allowed in limits.attributes.items():
        value = _attribute(node, name, opset)
        if value is not None and value not in allowed:
            yield "attribute", f"{kind}.{name} is {value!r}, allowed: {', '.join(map(str, allowed))}{because}"
    for name in limits.ones:
        value = _attribute(node, name, opset)
        if value is not None and any(item != 1 for item in value):
            yield "attribute", f"{kind}.{name} is {list(value)}, must be ones{because}"
    for index in limits.constants:
        if index < len(node.input) and node.input[index] not in constants:
            yield "constant", f"{kind}: input {index} ({node.input[index]}) must be constant{because}"
    if limits.outputs is not None and sum(bool(name) for name in node.output) > limits.outputs:
        yield "outputs", f"{kind}: {len(node.output)} outputs, {limits.outputs} allowed{because}"
    if not limits.types:
        return
    data = values.get(node.input[limits.data])
    if type_name(data) not in limits.types:
        yield "type", f"{kind} of {type_name(data)}, allowed: {', '.join(limits.types)}{because}"
    rank = len(data.shape.dim) if data is not None else None
    if limits.rank not in (None, rank):
        yield "rank", f"{kind} of rank {rank}, must be {limits.rank}{because}"


def _border_problems(node: onnx.NodeProto, types: dict[str, str], outputs: set[str]) -> _Rules:
    """uint8 lives at the network's border only: an input goes into a Cast, an output comes out of one."""
    for name in node.input:
        if types.get(name) == "uint8" and node.op_type != "Cast":
            yield "uint8", f"{node.op_type} reads {name} as uint8: cast it to float first"
    for name in node.output:
        if types.get(name) == "uint8" and (node.op_type != "Cast" or name not in outputs):
            yield "uint8", f"{node.op_type} makes {name} of uint8, which is no output of the network"


def _geometry_problems(node: onnx.NodeProto, types: dict[str, str]) -> _Rules:
    """Sampling coordinates stay float32 all the way, and their nodes have names to hold them there."""
    if node.op_type == "GridSample":
        if types.get(node.input[1]) != "float32":
            yield "float32 grid", f"the grid {node.input[1]} is {types.get(node.input[1])}"
    else:
        for name in (*node.input, *node.output):
            if types.get(name) in ("float16", "bfloat16"):
                yield "float32 grid", f"{name} is {types[name]} on the way to a sampling grid"
    if node.name and not node.name.startswith((GEOMETRY, MASK)):
        yield "names", f"a node of the geometry must be called {GEOMETRY}...: it has to stay in float32"


def _attribute(node: onnx.NodeProto, name: str, opset: int) -> object:
    """Value of an attribute, its ONNX default where absent, None where this opset has none."""
    attribute = next((a for a in node.attribute if a.name == name), None)
    if attribute is None:
        schema = onnx.defs.get_schema(node.op_type, min(opset, onnx.defs.onnx_opset_version()))
        attribute = schema.attributes[name].default_value if name in schema.attributes else None
        if attribute is None or not attribute.name:
            return None
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value
