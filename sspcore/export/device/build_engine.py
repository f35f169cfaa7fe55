"""Build the engine of this bundle, on the device that it is for.

    python3 build_engine.py [--fp32] [--workspace-mib 2048]

A bundle of precision fp16 carries its types in the graph and is built strongly typed (TensorRT 10 and later; the only way
from TensorRT 11 on). A bundle of precision fp32 is built in float16 up to TensorRT 10, its geometry, mixing and normalisation
(`geo...`, `mix...`, `norm...`) held in float32: a float16 sampling grid would misplace the past.
"""

from __future__ import annotations

import json

from sspcore.export.device.script import need, parser_of, run_script

need("numpy")

from sspcore.export.device.step_runner import ENGINE, ONNX, StepError, import_runtime, read_sidecar, required

GEOMETRY = "geo"
HELD = (GEOMETRY, "mix", "norm")


def build(folder, use_fp32=False, workspace_mib=2048):
    """Write step.plan, and layers.json: what became of each layer, precision included (look up `geo` there)."""
    trt = import_runtime("tensorrt")
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
    if not parser.parse(required(folder / ONNX).read_bytes()):
        problems = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise StepError(f"{ONNX} does not parse: {'; '.join(problems)}")

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    held = dict.fromkeys(HELD, 0)
    if not strongly_typed and not use_fp32:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        held = hold_precision(network, trt.float32)
        if held[GEOMETRY] == 0 and read_sidecar(folder)["state"]:
            raise StepError(f"no layer is called {GEOMETRY}...: the graph's names were lost; export it again")
    cache_file = folder / "step.timing"
    cache = config.create_timing_cache(cache_file.read_bytes() if cache_file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StepError("TensorRT could not build the engine; its log above says why")
    (folder / ENGINE).write_bytes(plan)
    cache_file.write_bytes(config.get_timing_cache().serialize())
    inspector = trt.Runtime(logger).deserialize_cuda_engine(plan).create_engine_inspector()
    layers = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (folder / "layers.json").write_text(layers, encoding="utf-8")
    return {"tensorrt": trt.__version__, "strongly_typed": strongly_typed, "layers_held_in_float32": held}


def hold_precision(network, float32):
    """Keep the float layers of geometry, mixing and normalisation in float32. Returns how many there are of each."""
    held = dict.fromkeys(HELD, 0)
    for layer in map(network.get_layer, range(network.num_layers)):
        outputs = range(layer.num_outputs)
        kind = next((prefix for prefix in HELD if layer.name.startswith(prefix)), None)
        if kind and all(layer.get_output(i).dtype == float32 for i in outputs):
            layer.precision = float32
            for i in outputs:
                layer.set_output_type(i, float32)
            held[kind] += 1
    return held


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--fp32", action="store_true", help="float32 everywhere, to compare with")
    parser.add_argument("--workspace-mib", type=int, default=2048, help="memory that TensorRT may use")
    options = parser.parse_args()
    print(json.dumps(build(options.bundle, options.fp32, options.workspace_mib)))


if __name__ == "__main__":
    run_script(main)
