"""A step in small, as an ONNX graph that every check passes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def good_graph(opset: int = 17) -> onnx.ModelProto:
    """A step in small: a resized and padded frame, a grid from a homography, the warp of a state, a class map."""
    def constant(name, values, dtype=np.float32):
        return numpy_helper.from_array(np.array(values, dtype), name)

    nodes = [
        helper.make_node("Cast", ["frame"], ["image"], "net_cast", to=TensorProto.FLOAT),
        helper.make_node("Pad", ["image", "pads"], ["padded"], "net_pad"),
        helper.make_node("Conv", ["padded", "weight"], ["scores"], "net_conv"),
        helper.make_node("Resize", ["scores", "", "scales"], ["large"], "net_resize", mode="linear"),
        helper.make_node("Mul", ["H", "two"], ["scaled"], "geo_mul"),
        helper.make_node("Add", ["base", "scaled"], ["grid"], "geo_add"),
        helper.make_node("GridSample", ["previous", "grid"], ["past"], "geo_sample", mode="bilinear", padding_mode="border"),
        helper.make_node("Add", ["large", "past"], ["logits"], "net_mix"),
        helper.make_node("ArgMax", ["logits"], ["best"], "net_argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["class_map"], "net_uint8", to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes, "step",
        [
            helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, 3, 4, 4]),
            helper.make_tensor_value_info("H", TensorProto.FLOAT, [1, 1, 1, 2]),
            helper.make_tensor_value_info("previous", TensorProto.FLOAT, [1, 2, 8, 8]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 8, 8]),
            helper.make_tensor_value_info("class_map", TensorProto.UINT8, [1, 8, 8]),
        ],
        [
            constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64), constant("weight", np.ones((2, 3, 3, 3))),
            constant("scales", [1, 1, 2, 2]), constant("two", 2.0), constant("base", np.zeros((1, 8, 8, 2))),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def node(model, name):
    return next(n for n in model.graph.node if n.name == name)


def set_attribute(model, name, **values):
    kept = [a for a in node(model, name).attribute if a.name not in values]
    del node(model, name).attribute[:]
    node(model, name).attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in values.items())])
