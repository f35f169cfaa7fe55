"""The static check: a good graph passes, and each way of spoiling it is refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.steps import good_graph, node, set_attribute
from sspcore.core.errors import ProfileError
from sspcore.export.check import GraphError, check_model, find_problems, load_limits
from sspcore.export.graph import constant_names, grid_path, lower_opset, name_nodes

TARGETS = tuple(load_limits()["targets"])


def refused(model, node_name, rule, target="trt-10.3"):
    problems = find_problems(model, target)
    assert any(p.node == node_name and p.rule == rule for p in problems), [str(p) for p in problems]
    with pytest.raises(GraphError, match=r"^trt-"):
        check_model(model, target)
    return next(p for p in problems if p.node == node_name and p.rule == rule)


@pytest.mark.parametrize("target", TARGETS)
def test_good_graph_passes_everywhere(target):
    assert check_model(good_graph(), target)["GridSample"] == 1


def test_every_limit_names_a_known_source_and_known_targets():
    limits = load_limits()
    assert all(set(target["sources"]) <= set(limits["sources"]) for target in limits["targets"].values())
    known = {"targets", "attributes", "constants", "outputs", "why", "source"}
    assert not set(limits["plain"]) & set(limits["operators"])
    for name, operator in limits["operators"].items():
        assert operator and set(operator) <= known, name
        assert operator.get("source", "matrix-10.15") in limits["sources"], name
        assert set(operator.get("targets", ())) <= set(limits["targets"]), name
        assert set(operator.get("attributes", ())) <= set(onnx.defs.get_schema(name, 20).attributes), name


def test_unknown_target_is_a_one_line_error():
    with pytest.raises(ProfileError, match="choose from"):
        check_model(good_graph(), "trt-7")


def test_opset_20_is_refused():
    model = good_graph()
    model.opset_import[0].version = 20
    assert "misreads" in refused(model, "", "opset").message


def test_opset_newer_than_the_target_is_refused():
    refused(good_graph(18), "", "opset", "trt-8.6")
    check_model(good_graph(16), "trt-8.6")


def test_linear_grid_sample_is_refused_and_says_why():
    model = good_graph()
    set_attribute(model, "geo_sample", mode="linear")
    problem = refused(model, "geo_sample", "attribute")
    assert "nearest" in problem.message and "4646" in problem.message


def test_pads_that_depend_on_an_input_are_refused():
    model = good_graph()
    model.graph.input.append(helper.make_tensor_value_info("live_pads", TensorProto.INT64, [8]))
    node(model, "net_pad").input[1] = "live_pads"
    assert "live_pads" in refused(model, "net_pad", "constant").message


@pytest.mark.parametrize("domain, op_type, attributes", [
    ("org.pytorch.aten", "ATen", {"operator": "adaptive_avg_pool2d"}),
    ("pkg.torch", "aten_adaptive_avg_pool2d", {}),
])
def test_adaptive_leftovers_are_refused(domain, op_type, attributes):
    model = good_graph()
    model.opset_import.append(helper.make_opsetid(domain, 1))
    node(model, "net_conv").CopyFrom(
        helper.make_node(op_type, ["padded", "weight"], ["scores"], "net_conv", domain=domain, **attributes)
    )
    refused(model, "net_conv", "adaptive pooling")


@pytest.mark.parametrize("dimension", ["height", None])
def test_dynamic_and_unnamed_dimensions_are_refused(dimension):
    model = good_graph()
    model.graph.input[2].CopyFrom(helper.make_tensor_value_info("previous", TensorProto.FLOAT, [1, 2, dimension, 8]))
    refused(model, "", "static shapes")


def through_float16(value: str, reader: str, prefix: str, position: int) -> onnx.ModelProto:
    """The good graph in which a node reads a value that was float16 for a moment."""
    model = good_graph()
    nodes = list(model.graph.node)
    down = helper.make_node("Cast", [value], ["half"], f"{prefix}_down", to=TensorProto.FLOAT16)
    up = helper.make_node("Cast", ["half"], ["whole"], f"{prefix}_up", to=TensorProto.FLOAT)
    inputs = node(model, reader).input
    inputs[list(inputs).index(value)] = "whole"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:position], down, up, *nodes[position:]])
    return model


def test_float16_on_the_grid_path_is_refused_even_when_cast_back():
    model = through_float16("scaled", "geo_add", "geo", 5)
    refused(model, "geo_down", "float32 grid")
    refused(model, "geo_up", "float32 grid")


def test_float16_off_the_grid_path_passes():
    check_model(through_float16("scores", "net_resize", "net", 3), "trt-10.3")


def test_float16_in_the_mixing_or_a_normalisation_is_refused():
    model = through_float16("logits", "net_argmax", "net", 8)
    refused(model, "net_down", "float32 mixing")
    node(model, "net_resize").CopyFrom(helper.make_node("LayerNormalization", ["down", "scale"], ["large"], "net_resize"))
    model.graph.node.insert(3, helper.make_node("Cast", ["scores"], ["down"], "net_narrow", to=TensorProto.FLOAT16))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float16), "scale"))
    refused(model, "net_resize", "float32 normalisation")


@pytest.mark.parametrize("op_type", ["Det", "Inverse", "NonZero"])
def test_unknown_operators_are_refused(op_type):
    model = good_graph()
    node(model, "net_mix").op_type = op_type
    assert op_type in refused(model, "net_mix", "operator").message


def test_scatter_is_refused_for_one_target_and_taken_for_another():
    model = good_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), np.int64), "where"))
    node(model, "net_mix").CopyFrom(helper.make_node("ScatterND", ["large", "where", "past"], ["logits"], "net_mix"))
    refused(model, "net_mix", "operator", "trt-10.3")
    assert not [p for p in find_problems(model, "trt-10.16") if p.rule == "operator"]


def test_antialias_is_refused():
    model = good_graph(18)
    set_attribute(model, "net_resize", antialias=1)
    refused(model, "net_resize", "attribute")


@pytest.mark.parametrize("dilations, taken", [(None, True), ([1, 1], True), ([1, 2], False)])
def test_dilated_pooling_is_refused(dilations, taken):
    model = good_graph()
    given = {} if dilations is None else {"dilations": dilations}
    node(model, "net_conv").CopyFrom(
        helper.make_node("MaxPool", ["padded"], ["scores"], "net_conv", kernel_shape=[3, 3], **given)
    )
    assert ("attribute" not in {problem.rule for problem in find_problems(model, "trt-10.3")}) is taken


def test_nameless_and_misnamed_nodes_are_refused():
    model = good_graph()
    node(model, "net_mix").name = ""
    refused(model, "Add -> logits", "names")
    model = good_graph()
    node(model, "geo_mul").name = "net_mul"
    refused(model, "net_mul", "names")
    model = good_graph()
    node(model, "net_mix").name = "net_conv"
    refused(model, "net_conv", "names")


def test_uint8_inside_the_network_is_refused():
    model = good_graph()
    node(model, "net_pad").input[0] = "frame"
    refused(model, "net_pad", "uint8")


def test_double_precision_is_refused():
    model = good_graph()
    set_attribute(model, "net_cast", to=TensorProto.DOUBLE)
    refused(model, "net_cast", "type")


def test_grid_path_and_constants_by_hand():
    model = good_graph()
    assert [n.name for n in grid_path(model.graph)] == ["geo_mul", "geo_add"]
    assert {"pads", "two", "base"} <= constant_names(model.graph) and "scaled" not in constant_names(model.graph)


def test_naming_finds_the_geometry():
    model = good_graph()
    model.graph.input[1].name = "H_cur_to_prev"
    node(model, "geo_mul").input[0] = "H_cur_to_prev"
    for entry in model.graph.node:
        entry.name = ""
    name_nodes(model)
    assert [n.op_type for n in model.graph.node if n.name.startswith("geo")] == ["Mul", "Add", "GridSample"]
    check_model(model, "trt-10.3")


def test_lowering_the_opset_drops_only_what_means_nothing():
    model = good_graph(18)
    set_attribute(model, "net_resize", antialias=0, keep_aspect_ratio_policy="stretch")
    assert check_model(lower_opset(model, 17), "trt-8.6")
    assert model.opset_import[0].version == 18
