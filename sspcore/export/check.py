"""Does a graph keep to what TensorRT can run? A static check, run on every export; no TensorRT is needed for it.

The limits are data (`operators.yaml`); here is how they are applied. What no operator's entry can say has a rule of its
own: opset, static shapes, names, types that TensorRT has, uint8 at the border only, and float32 in the geometry, the mixing
and the normalisations. Types and ranks operator by operator are left to NVIDIA's own parser (`sspcore.export.rtx`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import yaml
from onnx import helper

from sspcore.core.errors import ProfileError, SspError
from sspcore.export.graph import (
    DOMAINS,
    GEOMETRY,
    MASK,
    NORMALISATIONS,
    constant_names,
    grid_path,
    mixing_path,
    opset_of,
    type_name,
    value_types,
)

OLDEST_OPSET = 16  # the first with GridSample
LINEAR_OPSET = 20  # the first that writes GridSample's mode as "linear"
_TYPES = ("float32", "float16", "int32", "int64", "bool", "uint8")  # of values inside the network
_Rules = Iterator[tuple[str, str]]  # name of a broken rule, and what is wrong, in words


class GraphError(SspError):
    """A graph contains what the target cannot run."""


class Problem(NamedTuple):
    """One refusal: the node's name ("" for the graph as a whole), the rule, and what is wrong, in words."""

    node: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.node or 'graph'}: {self.message} [{self.rule}]"


@lru_cache
def load_limits() -> dict[str, dict[str, Any]]:
    """`sources`, `targets`, `plain` and `operators` of operators.yaml; the head of that file says what an entry holds."""
    return yaml.safe_load(Path(__file__).with_name("operators.yaml").read_text(encoding="utf-8"))


def target_limits(target: str) -> dict[str, Any]:
    """JetPack, newest opset and sources of a target. Raises ProfileError for an unknown one."""
    targets = load_limits()["targets"]
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
    nodes, opset = model.graph.node, opset_of(model)
    problems = [Problem("", *found) for found in _model_problems(model, opset, target_limits(target)["opset"])]
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
        dynamic = [d.dim_param or "?" for d in value.shape.dim if d.dim_param or d.dim_value <= 0]
        if dynamic or not value.HasField("shape"):
            message = f"{name} has the dynamic dimension {', '.join(dynamic) or '?'}"
            problems.append(Problem(producers.get(name, ""), "static shapes", message))
    types = {name: type_name(value) for name, value in values.items()}
    constants = constant_names(model.graph)
    outputs = {value.name for value in model.graph.output}
    for node in nodes:
        rules = (*_operator_problems(node, target, opset, constants), *_type_problems(node, types, outputs))
        problems += [Problem(node.name, *found) for found in rules]
    for node in mixing_path(model.graph):
        problems += [Problem(node.name, *found) for found in _half_problems(node, types, "mixing")]
    for node in (node for node in nodes if node.op_type in NORMALISATIONS):
        problems += [Problem(node.name, *found) for found in _half_problems(node, types, "normalisation")]
    for node in (*grid_path(model.graph), *(node for node in nodes if node.op_type == "GridSample")):
        problems += [Problem(node.name, *found) for found in _geometry_problems(node, types)]
    return problems


def _model_problems(model: onnx.ModelProto, opset: int, newest: int) -> _Rules:
    if opset >= LINEAR_OPSET:
        yield "opset", f"opset {opset}: from {LINEAR_OPSET} on TensorRT misreads GridSample's mode"
    elif not OLDEST_OPSET <= opset <= newest:
        yield "opset", f"opset {opset}: the target takes {OLDEST_OPSET} to {newest}"
    for entry in model.opset_import:
        if entry.domain not in DOMAINS:
            yield "domain", f"operators of the domain {entry.domain} are imported"
    for function in model.functions:
        yield "domain", f"model-local function {function.name}: inline it before the export"


def _operator_problems(node: onnx.NodeProto, target: str, opset: int, constants: set[str]) -> _Rules:
    """What the operator's entry in operators.yaml forbids."""
    kind = node.op_type
    operator = next((a.s.decode() for a in node.attribute if a.name == "operator" and a.s), kind)
    if "adaptive" in operator.lower():
        yield "adaptive pooling", f"{operator} is no ONNX operator; replace it by FixedAveragePool"
        return
    limits = {} if kind in load_limits()["plain"] else load_limits()["operators"].get(kind)
    if node.domain not in DOMAINS or limits is None:
        yield "operator", f"{node.domain or 'ai.onnx'}.{kind} is not among the known operators"
        return
    because = f" ({limits['why']})" if "why" in limits else ""
    because += f"; source: {load_limits()['sources'][limits.get('source', 'matrix-10.15')]}"
    if target not in limits.get("targets", [target]):
        yield "operator", f"{kind} is not supported{because}"
    for name, allowed in limits.get("attributes", {}).items():
        value = attribute_of(node, name, opset)
        if value is not None and value not in allowed:
            yield "attribute", f"{kind}.{name} is {value!r}, allowed: {', '.join(map(str, allowed))}{because}"
    for index in limits.get("constants", ()):
        if index < len(node.input) and node.input[index] not in constants:
            yield "constant", f"{kind}: input {index} ({node.input[index]}) must be constant{because}"
    if sum(map(bool, node.output)) > limits.get("outputs", len(node.output)):
        yield "outputs", f"{kind}: {len(node.output)} outputs, {limits['outputs']} allowed{because}"


def _type_problems(node: onnx.NodeProto, types: dict[str, str], outputs: set[str]) -> _Rules:
    """No double precision. uint8 lives at the network's border only: an input goes into a Cast, an output comes out of one."""
    for name in node.output:
        if types.get(name, _TYPES[0]) not in _TYPES:
            yield "type", f"{node.op_type} makes {name} of {types[name]}, allowed: {', '.join(_TYPES)}"
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


def _half_problems(node: onnx.NodeProto, types: dict[str, str], part: str) -> _Rules:
    """Past and present are mixed in float32: near 1, alpha has steps of 5e-4 in float16. Sums of squares overflow it."""
    for name in node.output:
        if types.get(name) in ("float16", "bfloat16"):
            yield f"float32 {part}", f"{name} is {types[name]}: keep the {part} in float32"


def attribute_of(node: onnx.NodeProto, name: str, opset: int) -> object:
    """Value of an attribute, its ONNX default where absent, None where this opset has none."""
    attribute = next((a for a in node.attribute if a.name == name), None)
    if attribute is None:
        known = onnx.defs.get_schema(node.op_type, min(opset, onnx.defs.onnx_opset_version())).attributes
        if name not in known or not known[name].default_value.name:
            return None
        attribute = known[name].default_value
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value
