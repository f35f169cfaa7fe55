"""Execution providers: what computes the step of a bundle here, whether it is installed, and how to get it.

    cpu            onnxruntime, which comes with sspcore
    cuda           onnxruntime-gpu
    tensorrt       the engine that was built on this device; where there is none, TensorRT through onnxruntime-gpu
    tensorrt-rtx   an engine that came with the bundle; where there is none, onnxruntime with NVIDIA's plug-in
    openvino       OpenVINO's own runtime, on the CPU

A provider that is named runs, or an error says why not. onnxruntime by itself would take the CPU instead, with a warning.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from sspcore.core.errors import ProfileError, SspError, reason
from sspcore.core.paths import HOME, IN_CHECKOUT
from sspcore.export.device.engine_runner import EngineRunner, rtx_engines
from sspcore.export.device.step_runner import (
    ENGINE,
    MODULES,
    ONNX,
    OnnxRunner,
    OpenVinoRunner,
    StepError,
    StepRunner,
    import_runtime,
    read_sidecar,
)

# onnxruntime's own names
CPU, CUDA, TENSORRT, RTX = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt", "NvTensorRTRTX"))
THEIRS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": RTX}
ENGINES = ("tensorrt", "tensorrt-rtx")  # those that run engine files too
RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_GPU_BUILD = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson: NVIDIA's wheel of it)"
GET = {  # how to install each
    "cpu": "pip install onnxruntime",
    "cuda": _GPU_BUILD,
    "tensorrt": f"install TensorRT and build the bundle's engine (python3 build_engine.py), or {_GPU_BUILD}",
    "tensorrt-rtx": "pip install onnxruntime-ep-nv-tensorrt-rtx-cu12 (onnxruntime 1.24 or later), or tensorrt-rtx",
    "openvino": "run ./reproduce.sh setup --extra openvino" if IN_CHECKOUT else "pip install openvino",
}
LOWER = ("cuda", "openvino")  # those that can compute in less than float32 where the graph says float32


def installed_providers() -> dict[str, str]:
    """Name of each provider that is installed -> what runs it. Whether its device is there shows when it starts."""
    found = {name: f"onnxruntime {import_runtime('onnxruntime').__version__}" for name in GET if _by_onnxruntime(name)}
    found |= {name: "TensorRT for RTX" if "rtx" in name else "TensorRT" for name in ENGINES if _importable(name)}
    if _importable("openvino"):
        found["openvino"] = f"OpenVINO {version('openvino')}"
    return found


def _importable(runtime: str) -> bool:
    return any(find_spec(module) is not None for module in MODULES[runtime][0])


def _by_onnxruntime(provider: str) -> bool:
    try:
        onnxruntime = import_runtime("onnxruntime")
    except StepError:
        return False
    plugin = provider == "tensorrt-rtx" and find_spec(RTX_PLUGIN) is not None
    return plugin or THEIRS.get(provider) in onnxruntime.get_available_providers()


def open_runner(folder: Path, provider: str = "auto", threads: int = 0, lower_precision: bool = False) -> StepRunner:
    """What runs a bundle's step.

    Args:
        folder: the bundle.
        provider: one of `GET`; "auto": tensorrt where an engine was built, else cpu.
        threads: of the CPU; 0: as many as the runtime chooses.
        lower_precision: let CUDA round float32 products to TF32, OpenVINO compute in bfloat16 where the CPU has it. Faster;
            class maps differ, see figures/export.json.
    Raises: ProfileError for an unknown provider, or one that has no lower precision; SspError, in one line, if it is not
        installed (with how to install it) or cannot start (with the reason).
    """
    if provider == "auto":
        provider = "tensorrt" if (folder / ENGINE).is_file() else "cpu"
    if provider not in GET:
        raise ProfileError(f"provider {provider}: unknown; choose auto or one of {', '.join(GET)}")
    if lower_precision and provider not in LOWER:
        raise ProfileError(f"provider {provider}: has no lower precision to choose; leave it out, or take {' or '.join(LOWER)}")
    if provider not in installed_providers():
        raise SspError(f"provider {provider}: is not installed: {GET[provider]}; or take cpu")
    try:
        return _runner(folder, provider, threads, lower_precision)
    except Exception as error:  # the runtimes' errors share no base but this
        problem = reason(error) or type(error).__name__
        raise SspError(f"{folder}: provider {provider} cannot start here ({problem}); take cpu") from error


def _runner(folder: Path, provider: str, threads: int, lower_precision: bool) -> StepRunner:
    if provider == "openvino":
        return OpenVinoRunner(folder, threads, lower_precision)
    if provider in ENGINES and _importable(provider):
        built = (folder / ENGINE).is_file() if provider == "tensorrt" else rtx_engines(folder)
        if built or not _by_onnxruntime(provider):
            return EngineRunner(folder, runtime=provider)
    if provider == "tensorrt-rtx" and find_spec(RTX_PLUGIN) is not None:
        register_rtx()
    cuda = (CUDA, {} if lower_precision else {"use_tf32": "0"})
    if provider == "tensorrt":  # which leaves to CUDA what it cannot run
        return OnnxRunner(folder, threads, ((TENSORRT, _engine_cache(folder)), cuda))
    return OnnxRunner(folder, threads, (cuda if provider == "cuda" else THEIRS[provider],))


def register_rtx() -> None:
    """Make NVIDIA's plug-in known to onnxruntime, once a process. Raises: onnxruntime's error without NVIDIA's driver."""
    import onnxruntime
    import onnxruntime_ep_nv_tensorrt_rtx as plugin

    if RTX not in {device.ep_name for device in onnxruntime.get_ep_devices()}:
        onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())


def _engine_cache(folder: Path) -> dict[str, str]:
    """Settings that keep the engines that TensorRT builds through onnxruntime, which takes minutes.

    A folder for each graph: onnxruntime names an engine by the graph's nodes, and would take one of older weights.
    """
    cache = HOME / "tensorrt-cache" / read_sidecar(folder)["sha256"][ONNX][:16]
    cache.mkdir(parents=True, exist_ok=True)
    return {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1", "trt_engine_cache_path": str(cache),
            "trt_timing_cache_path": str(cache)}
