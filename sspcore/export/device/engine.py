"""The engine of this bundle, on the device that it is for: build it, compare it with the trained model, time it.

    python3 engine.py build   [--fp32] [--workspace-mib 2048]
    python3 engine.py compare [--onnx] [--least-identical 0.99]
    python3 engine.py bench   [--onnx] [--seconds 30] [--out bench.json]

build: a bundle of precision fp16 carries its types in the graph and is built strongly typed (TensorRT 10 and later; the
only way from TensorRT 11 on). A bundle of precision fp32 is built in float16 up to TensorRT 10, its geometry nodes
(`geo...`) held in float32: a float16 sampling grid would misplace the past.

compare: runs the golden rollout. State is fed back as on the drone, so errors of the warps add up over the frames: a wrong
sampling mode or a float16 grid shows here and not in a comparison of single frames. Exit status 1 if a frame agrees on
fewer pixels than asked.

bench: before it `sudo nvpmodel -m 0` (MAXN) and `sudo jetson_clocks`; log `tegrastats` beside it, let the board get warm.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from step_runner import ENGINE, GOLDEN, ONNX, EngineRunner, OnnxRunner, read_sidecar

GEOMETRY = "geo"


def build(folder, use_fp32=False, workspace_mib=2048):
    """Write step.plan, and layers.json: what became of each layer, precision included (look up `geo` there)."""
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
        held = hold_geometry(network, trt.float32)
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
    inspector = trt.Runtime(logger).deserialize_cuda_engine(plan).create_engine_inspector()
    layers = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (folder / "layers.json").write_text(layers, encoding="utf-8")
    return {"tensorrt": trt.__version__, "strongly_typed": strongly_typed, "layers_held_in_float32": held}


def hold_geometry(network, float32):
    """Keep the geometry's float layers in float32. Returns how many there are."""
    held = 0
    for layer in map(network.get_layer, range(network.num_layers)):
        outputs = range(layer.num_outputs)
        if layer.name.startswith(GEOMETRY) and all(layer.get_output(i).dtype == float32 for i in outputs):
            layer.precision = float32
            for i in outputs:
                layer.set_output_type(i, float32)
            held += 1
    return held


def compare(runner, golden):
    """One row a frame: share of identical pixels of the class map, largest difference of the (thinned) logits."""
    rows = []
    stride = int(golden["logits_stride"])
    for k in range(len(golden["frames"])):
        H = golden["H_cur_to_prev"][k] if golden["past_valid"][k] else None
        class_map = runner.step(golden["frames"][k], H)
        logits = np.asarray(runner.outputs["logits"][0, :, ::stride, ::stride], np.float32)
        rows.append({
            "frame": k, "identical": float((class_map == golden["class_map"][k]).mean()),
            "logits_max_difference": float(np.abs(logits - golden["logits"][k]).max()),
        })
    return rows


def bench(runner, golden, seconds, warm_up=20):
    """Latency with copies (frame in, class map out), and, of an engine, of the network alone."""
    frames, homographies = golden["frames"], golden["H_cur_to_prev"]
    runner.step(frames[0])
    rows = {"with_copies": timed(lambda k: runner.step(frames[k], homographies[k]), len(frames), seconds, warm_up)}
    if isinstance(runner, EngineRunner):
        def launch(_):
            runner.launch()
            runner.wait()

        rows["engine_alone"] = timed(launch, len(frames), seconds, warm_up)
    return rows


def timed(work, n_frames, seconds, warm_up):
    """Call `work(k)` for so many seconds. Returns p50, p95, p99 of one call in milliseconds, and how many there were."""
    for k in range(warm_up):
        work(k % n_frames)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work((warm_up + len(times)) % n_frames)
        times.append(time.perf_counter() - began)
    p50, p95, p99 = np.percentile(np.array(times) * 1e3, (50, 95, 99)).round(3).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "n": len(times)}


def machine():
    """What the figures belong to."""
    facts = {"machine": platform.machine()}
    for path in map(Path, ("/proc/device-tree/model", "/etc/nv_tegra_release")):
        if path.is_file():
            facts[path.name] = path.read_text(errors="replace").strip("\0\n")
    try:
        facts["power_mode"] = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        facts["power_mode"] = "unknown (no nvpmodel)"
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("build", "compare", "bench"))
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--fp32", action="store_true", help="build: float32 everywhere, to compare with")
    parser.add_argument("--workspace-mib", type=int, default=2048, help="build: memory that TensorRT may use")
    parser.add_argument("--onnx", action="store_true", help="step.onnx by onnxruntime instead of the engine")
    parser.add_argument("--least-identical", type=float, default=0.99, help="compare: share of pixels (default: 0.99)")
    parser.add_argument("--seconds", type=float, default=30.0, help="bench: of each measurement (default: 30)")
    parser.add_argument("--out", type=Path, help="bench: JSON file")
    options = parser.parse_args()
    if options.work == "build":
        print(json.dumps(build(options.bundle, options.fp32, options.workspace_mib)))
        return
    runner = OnnxRunner(options.bundle) if options.onnx else EngineRunner(options.bundle, options.work == "compare")
    with np.load(options.bundle / GOLDEN, allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    if options.work == "bench":
        rows = bench(runner, golden, options.seconds)
        text = json.dumps({"bundle": runner.sidecar["system"], "size": runner.size, **machine(), **rows}, indent=1)
        if options.out:
            options.out.write_text(text + "\n", encoding="utf-8")
        print(text)
        return
    rows = compare(runner, golden)
    for row in rows:
        print("frame {frame:3d}  identical {identical:.5f}  logits differ by {logits_max_difference:.2e}".format(**row))
    identical = [row["identical"] for row in rows]
    print(json.dumps({
        "frames": len(rows), "identical_min": min(identical), "identical_mean": float(np.mean(identical)),
        "logits_max_difference": max(row["logits_max_difference"] for row in rows),
    }))
    if min(identical) < options.least_identical:
        sys.exit(f"error: a frame agrees on {min(identical):.5f} of its pixels, {options.least_identical:.5f} are asked for")


if __name__ == "__main__":
    main()
