"""The bundle: everything that a device needs to run a step, in one folder, checked before it is written.

    step.onnx          the step                        bundle.json        what it is, for programs
    golden.npz         a rollout with its results      README.md          what it is, for people
    step_runner.py, build_engine.py, compare_engine.py, bench_engine.py   to run on the device

An export is refused if its graph holds what the target cannot run, or if onnxruntime and torch disagree over the golden
rollout.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sspcore.core.errors import SspError
from sspcore.core.files import atomic_folder, write_json
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.provenance import git_commit
from sspcore.core.types import VideoSegmenter
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.export import readme
from sspcore.export.check import check_model, load_limits, target_limits
from sspcore.export.device import step_runner
from sspcore.export.graph import StepModule, StepOptions, export_graph, lower_opset, opset_of
from sspcore.export.rollout import Rollout, TorchRunner, drift, summary
from sspcore.models.ssp import SSP

log = logging.getLogger(__name__)

GOLDEN = "golden.npz"
DEVICE_FILES = ("step_runner.py", "build_engine.py", "compare_engine.py", "bench_engine.py")
LOGITS_STRIDE = 16  # of the logits kept in the golden rollout
PARITY = {"logits_max_difference": 1e-3, "identical_mean": 0.9999}  # of a float32 export

_MEANING = {
    "frame": "the current frame",
    "H_cur_to_prev": "pixel of the current frame -> pixel of the frame before, at full size; identity on a first frame",
    "previous_logits": "`logits` of the frame before; zeros on a first frame",
    "previous_features": "`features` of the frame before; zeros on a first frame",
    "previous_frame": "`frame_small` of the frame before; zeros on a first frame",
    "previous_variance": "`variance` of the frame before; anything on a first frame",
    "past_valid": "1: use the past; 0: this frame starts a video",
    "logits": "unnormalised class scores",
    "features": "state for the next frame",
    "frame_small": "state for the next frame",
    "variance": "state for the next frame",
    "class_map": "class of every pixel",
}


@dataclass(frozen=True)
class Origin:
    """Where the weights of an export come from.

    Attributes:
        system: name in the table of systems.
        dataset: whose classes it predicts.
        profile: name of the profile that describes the model.
        weights: file they were read from, None for fresh ones ("untrained": for checks of the export only).
    """

    system: str
    dataset: DatasetSpec
    profile: str
    weights: Path | None


def export_bundle(
    model: VideoSegmenter, origin: Origin, options: StepOptions, target: str, golden: Rollout, out: Path
) -> dict[str, Any]:
    """Export, check, compare and write a bundle.

    Args:
        model: an image system or SSP, in eval mode.
        origin: what the side-car says of it.
        options: frame size, kind of frame and precision.
        target: TensorRT release, e.g. "trt-10.3"; see operators.yaml.
        golden: rollout that onnxruntime is compared over, and that the device is to reproduce.
        out: folder of the bundle; replaced as a whole when all went well.
    Returns: the content of bundle.json.
    Raises: ProfileError for a system, size or target that cannot be exported, GraphError from the check, SspError if
        onnxruntime does not agree with torch.
    """
    limit = target_limits(target)
    step = StepModule(model, options)
    graph = export_graph(step)
    if opset_of(graph) > limit.opset:
        graph = lower_opset(graph, limit.opset)
    operators = check_model(graph, target)
    log.info("%s: %d nodes of %d operators, opset %d: all known to %s", origin.system, len(graph.graph.node),
             len(operators), opset_of(graph), target)
    with atomic_folder(out, step_runner.SIDECAR) as folder:
        onnx.save(graph, folder / step_runner.ONNX)
        sidecar = _sidecar(step, graph, origin, target, operators)
        write_json(folder / step_runner.SIDECAR, sidecar)
        reference = _GoldenRecorder(TorchRunner(model, options.size))
        rows = drift(step_runner.OnnxRunner(folder), reference, golden, f"{origin.system}: onnxruntime against torch")
        sidecar["parity_onnxruntime"] = summary(rows)
        _require_parity(sidecar["parity_onnxruntime"], options)
        _write_golden(folder / GOLDEN, golden, reference)
        for name in DEVICE_FILES:
            shutil.copyfile(Path(step_runner.__file__).with_name(name), folder / name)
        described = [path for path in sorted(folder.iterdir()) if path.name != step_runner.SIDECAR]
        sidecar["sha256"] = {path.name: file_hash(path) for path in described}
        write_json(folder / step_runner.SIDECAR, sidecar)
        (folder / "README.md").write_text(readme.text(sidecar), encoding="utf-8")
    return sidecar


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify_bundle(folder: Path) -> dict[str, Any]:
    """The side-car of a bundle whose files are those that it names.

    Raises: SspError if a file is missing or was changed.
    """
    path = folder / step_runner.SIDECAR
    if not path.is_file():
        raise SspError(f"{folder}: no bundle ({step_runner.SIDECAR} is missing); make one with python -m sspcore.cli.export")
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        expected = sidecar["sha256"][step_runner.ONNX]
        height, width = sidecar["size"]
        read = [sidecar[key] for key in ("inputs", "outputs", "state", "normalisation")]
        known = sidecar["dataset"] in SPECS and min(height, width) > 0 and all(read[:2])
    except (ValueError, KeyError, TypeError) as error:
        raise SspError(f"{path}: not a bundle's description ({error!r}); export it again") from error
    if not known:
        raise SspError(f"{path}: not a bundle's description (data set, size or tensors make no sense); export it again")
    onnx_file = folder / step_runner.ONNX
    if not onnx_file.is_file() or file_hash(onnx_file) != expected:
        raise SspError(f"{onnx_file}: missing, or not the file that {step_runner.SIDECAR} describes; export it again")
    return sidecar


class _GoldenRecorder:
    """A runner that keeps what the golden rollout stores of each frame."""

    def __init__(self, runner: TorchRunner) -> None:
        self.runner, self.class_maps, self.logits = runner, [], []

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return self.runner.outputs

    def step(self, frame: np.ndarray, H_cur_to_prev: np.ndarray | None = None) -> np.ndarray:
        class_map = self.runner.step(frame, H_cur_to_prev)
        self.class_maps.append(class_map)
        self.logits.append(self.outputs["logits"][0, :, ::LOGITS_STRIDE, ::LOGITS_STRIDE])
        return class_map


def _write_golden(path: Path, golden: Rollout, recorded: _GoldenRecorder) -> None:
    np.savez_compressed(
        path, frames=golden.frames, H_cur_to_prev=golden.H_cur_to_prev, past_valid=golden.past_valid,
        class_map=np.stack(recorded.class_maps), logits=np.stack(recorded.logits), logits_stride=LOGITS_STRIDE,
    )


def _require_parity(figures: dict[str, float], options: StepOptions) -> None:
    if options.precision != "fp32":
        return  # float16 differs by what float16 costs: the side-car says how much
    close = figures["logits_max_difference"] <= PARITY["logits_max_difference"]
    if not close or figures["identical_mean"] < PARITY["identical_mean"]:
        raise SspError(
            f"export: onnxruntime and torch differ over {figures['frames']} frames: logits by "
            f"{figures['logits_max_difference']:.1e}, class maps identical on {figures['identical_mean']:.5%} of the pixels; "
            "report the model and the versions of torch and onnxruntime"
        )


def _sidecar(
    step: StepModule, graph: onnx.ModelProto, origin: Origin, target: str, operators: dict[str, int]
) -> dict[str, Any]:
    options, limit, weights = step.options, target_limits(target), origin.weights
    state = {}
    if isinstance(step.model, SSP):
        previous = [name for name in step.input_names if name.startswith("previous_")]
        state = dict(zip([name for name in step.output_names if name != "class_map"], previous, strict=True))
    return {
        "format": 1,
        "system": origin.system, "dataset": origin.dataset.name, "profile": origin.profile,
        "weights": "untrained" if weights is None else {"file": weights.name, "sha256": file_hash(weights)},
        "size": list(options.size), "precision": options.precision,
        "classes": list(origin.dataset.classes), "palette": [list(colour) for colour in origin.dataset.palette],
        "normalisation": {
            "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "of": "RGB in 0..1",
            "where": "in the network" if options.frame == "uint8" else "on the host",
        },
        "homography": {
            "input": "H_cur_to_prev" if state else None,
            "direction": "maps a pixel of the current frame to where it lay in the frame before",
            "from": "inverse, in float64, of the registration's H_prev_to_cur; divided by |[2, 2]|",
            "pixels": "(x, y) at full size; the centre of the upper left pixel is (0, 0)",
        },
        "inputs": [_value(value) for value in graph.graph.input],
        "outputs": [_value(value) for value in graph.graph.output],
        "state": state,
        "opset": opset_of(graph), "target": target, "jetpack": limit.jetpack,
        "limits_from": [load_limits().sources[name] for name in limit.sources],
        "nodes": len(graph.graph.node), "operators": operators,
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime", "timm")},
        "commit": git_commit(),
    }


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    return {
        "name": value.name, "shape": [dim.dim_value for dim in tensor.shape.dim],
        "dtype": np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name, "meaning": _MEANING[value.name],
    }
