"""Build the TensorRT engine of this bundle. Run it on the device that the engine is for, with its TensorRT.

    python3 build_engine.py [--bundle .] [--fp32] [--workspace-mib 2048]

A bundle of precision fp16 carries its types in the graph and is built strongly typed (TensorRT 10 and later; the only
way from TensorRT 11 on). A bundle of precision fp32 is built with --fp16 semantics up to TensorRT 10, its geometry
nodes (`geo...`) held in float32: a float16 sampling grid would misplace the past.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from step_runner import ENGINE, ONNX, read_sidecar

GEOMETRY = "geo"


def build(folder, use_fp32=False, workspace_mib=2048):
    import tensorrt as trt

    major = int(trt.__version__.split(".")[0])
    strongly_typed = major >= 11 or (major == 10 and read_sidecar(folder)["precision"] == "fp16")
    logger = trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(logger)
    flags = 0
    if major < 10:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if strongly_typed and hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse((folder / ONNX).read_bytes()):
        problems = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        sys.exit(f"error: {ONNX} does not parse: {'; '.join(problems)}")

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    held = 0
    if not strongly_typed and not use_fp32:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        held = hold_geometry(network, trt)
        if held == 0 and read_sidecar(folder)["state"]:
            sys.exit(f"error: no layer is called {GEOMETRY}...: the graph's names were lost; export it again")
    cache_file = folder / "step.timing"
    cache = config.create_timing_cache(cache_file.read_bytes() if cache_file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        sys.exit("error: TensorRT could not build the engine; its log above says why")
    (folder / ENGINE).write_bytes(plan)
    cache_file.write_bytes(config.get_timing_cache().serialize())
    write_layers(folder, plan, logger, trt)
    return {"tensorrt": trt.__version__, "strongly_typed": strongly_typed, "layers_held_in_float32": held}


def hold_geometry(network, trt):
    """Keep the geometry's float layers in float32. Returns how many there are."""
    held = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        if not layer.name.startswith(GEOMETRY) or any(tensor.dtype != trt.float32 for tensor in outputs):
            continue
        layer.precision = trt.float32
        for i in range(layer.num_outputs):
            layer.set_output_type(i, trt.float32)
        held += 1
    return held


def write_layers(folder, plan, logger, trt):
    """layers.json: what became of each layer, precision included. Look up `geo` there."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (folder / "layers.json").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--fp32", action="store_true", help="float32 everywhere, to compare with")
    parser.add_argument("--workspace-mib", type=int, default=2048)
    options = parser.parse_args()
    print(json.dumps(build(options.bundle, options.fp32, options.workspace_mib)))


if __name__ == "__main__":
    main()
