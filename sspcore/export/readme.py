"""The bundle's README, written from its side-car."""

from __future__ import annotations

from typing import Any

_BUILD_WEAK = """\
trtexec --onnx=step.onnx --saveEngine=step.plan --fp16 --precisionConstraints=obey \\
  --layerPrecisions='geo*:fp32' --layerOutputTypes='geo*:fp32' \\
  --timingCacheFile=step.timing --memPoolSize=workspace:2048 \\
  --profilingVerbosity=detailed --exportLayerInfo=layers.json --skipInference"""
_BUILD_TYPED = """\
trtexec --onnx=step.onnx --saveEngine=step.plan --stronglyTyped \\
  --timingCacheFile=step.timing --memPoolSize=workspace:2048 \\
  --profilingVerbosity=detailed --exportLayerInfo=layers.json --skipInference"""
_MEASURE = """\
trtexec --loadEngine=step.plan --useCudaGraph --noDataTransfers --useSpinWait \\
  --warmUp=2000 --duration=30 --percentile=50,95,99 --exportTimes=times.json
trtexec --loadEngine=step.plan --dumpProfile --separateProfileRun --profilingVerbosity=detailed"""


def build_lines(precision: str, target: str) -> str:
    """The trtexec command that builds the engine."""
    return _BUILD_TYPED if precision == "fp16" and not target.startswith("trt-8") else _BUILD_WEAK


def text(sidecar: dict[str, Any]) -> str:
    """README.md of a bundle."""
    height, width = sidecar["size"]
    parity = sidecar["parity_onnxruntime"]
    untrained = "\n**Untrained weights: a check of the export. Its class maps mean nothing.**\n"
    typed = sidecar["precision"] == "fp16"
    return f"""# {sidecar['system']}, {sidecar['dataset']}, {height}x{width}, {sidecar['precision']}: one step of a video
{untrained if sidecar['weights'] == 'untrained' else ''}
For TensorRT as in `{sidecar['target']}` (JetPack {sidecar['jetpack']}); opset {sidecar['opset']}, {sidecar['nodes']} nodes, all
of operators in TensorRT's support matrices. onnxruntime against torch, golden rollout of {parity['frames']} frames: logits
within {parity['logits_max_difference']:.1e}, class maps identical on {parity['identical_mean']:.4%} of the pixels.
It was not run on TensorRT: `compare_engine.py` is there to do so.

## On the device

1. `python3 compare_engine.py --onnx` (optional, with onnxruntime): the bundle arrived whole.
2. `python3 build_engine.py`: the engine belongs to this device and TensorRT version; never copy it to another.
3. `python3 compare_engine.py`: the golden rollout, state fed back. Do not fly without it.
4. `sudo nvpmodel -m 0 && sudo jetson_clocks`, `tegrastats --logfile tegrastats.log &`, then `python3 bench_engine.py
   --seconds 120 --out bench.json`. Report the module, the power mode and the JetPack with the figures.

By trtexec in place of `build_engine.py`:

```
{build_lines(sidecar['precision'], sidecar['target'])}
```

{_typed_note(typed)}

Latency by trtexec (it feeds no outputs back, so it says nothing of correctness; report latency, not throughput):

```
{_MEASURE}
```

## Inputs and outputs

{_table(sidecar['inputs'])}

{_table(sidecar['outputs'])}

{_state_note(sidecar)}
Classes, by number: {', '.join(f'{i} {name}' for i, name in enumerate(sidecar['classes']))}.
"""


def _typed_note(typed: bool) -> str:
    if typed:
        return (
            "The types are in the graph: float16 but for coordinates, layer norms and logits. TensorRT 11 builds every\n"
            "network strongly typed; `--fp16` and `--layerPrecisions` are gone there."
        )
    return (
        "The pattern `geo*` keeps the sampling coordinates in float32; their masks are called `mask...` (bool).\n"
        "TensorRT 11 has neither `--fp16` nor `--precisionConstraints`: export with `--precision fp16` for it, and build with\n"
        "`--stronglyTyped`."
    )


def _state_note(sidecar: dict[str, Any]) -> str:
    if not sidecar["state"]:
        return ""
    pairs = ", ".join(f"`{name}` -> `{previous}`" for name, previous in sidecar["state"].items())
    homography = sidecar["homography"]
    return f"""State: {pairs} of the next frame. Keep two sets of buffers that change places.
On a first frame and after a scene cut set `past_valid` to 0 and zero the buffers.
`H_cur_to_prev`: {homography['direction']};
{homography['from']}.
Pixels: {homography['pixels']}. Where a registration fails hand in the identity, or start anew if the view has changed.

"""


def _table(values: list[dict[str, Any]]) -> str:
    rows = [f"| {v['name']} | {'x'.join(map(str, v['shape']))} | {v['dtype']} | {v['meaning']} |" for v in values]
    return "\n".join(["| name | shape | type | meaning |", "|---|---|---|---|", *rows])
