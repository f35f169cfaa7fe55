"""The bundle: everything that a device needs to run a step, in one folder, checked before it is written.

    step.onnx          the step                        bundle.json        what it is, for programs
    golden.npz         a rollout with its results      README.md          what it is, for people
    run_camera.py      runs it on a camera             *_engine.py        build, compare and time it on the device
    engines/           built ahead of time for the GPUs that were asked for

An export is refused if its graph holds what the target cannot run, or if onnxruntime and torch disagree over the golden
rollout.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import onnx
from jinja2 import Template
from safetensors.torch import save

from sspcore.core.checksums import sha256
from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.files import atomic_folder, write_json
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD, Interpolation
from sspcore.core.provenance import git_commit
from sspcore.core.types import VideoSegmenter
from sspcore.export.check import check_model, load_limits, target_limits
from sspcore.export.device.step_runner import GOLDEN, ONNX, SIDECAR, OnnxRunner, import_runtime
from sspcore.export.graph import export_graph, lower_opset, opset_of, type_name
from sspcore.export.rollout import Rollout, drift, summary
from sspcore.export.rtx import ENGINES, compile_step
from sspcore.export.scripts import write_scripts
from sspcore.export.step import StepModule, StepOptions, TorchRunner
from sspcore.models.checkpoint import CheckpointConfig

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
LOGITS_STRIDE = 16  # of the logits kept in the golden rollout
LOGITS_APART, PIXELS_IDENTICAL = 1e-3, 0.9999  # at most and at least, of a float32 export

_MEANING = {
    "frame": "the current frame",
    "H_cur_to_prev": "pixel of the current frame -> pixel of the frame before, at full size; identity on a first frame",
    "past_valid": "1: use the past; 0: this frame starts a video",
    "logits": "unnormalised class scores",
    "class_map": "class of every pixel",
}


def export_bundle(
    model: VideoSegmenter, config: CheckpointConfig, options: StepOptions, target: str, golden: Rollout, out: Path,
    untrained: bool = False, compile_for: Sequence[str] = (),
) -> dict[str, Any]:
    """Export, check, compare and write a bundle.

    Args:
        model, config: an image system or SSP in eval mode, and what it is, as `load_checkpoint` gives them.
        target: TensorRT release, e.g. "trt-10.3"; see operators.yaml.
        golden: rollout that onnxruntime is compared over, and that the device is to reproduce.
        out: folder of the bundle; replaced as a whole when all went well.
        untrained: say in the bundle that its weights are fresh: a check of the export only.
        compile_for: compute capabilities that NVIDIA's compiler builds engines for; see `compile_step`.
    Returns: the content of bundle.json.
    Raises: ProfileError for a system, size or target that cannot be exported, GraphError from the check or NVIDIA's
        compiler, SspError if the exporter fails or onnxruntime does not agree with torch.
    """
    limit = target_limits(target)
    step = StepModule(model, options)
    graph = export_graph(step)
    if opset_of(graph) > limit["opset"]:
        graph = lower_opset(graph, limit["opset"])
    operators = check_model(graph, target)
    log.info("%s: %d nodes of %d operators, opset %d: all known to %s", config.system, len(graph.graph.node),
             len(operators), opset_of(graph), target)
    sidecar = _sidecar(step, graph, config, target)
    # SHA-256 of the weights, written as `save_checkpoint` writes them
    state = {name: value.to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}
    weights = hashlib.sha256(save(state, {"format": "pt"})).hexdigest()
    sidecar["operators"] = operators
    sidecar["weights"] = "untrained" if untrained else {"sha256": weights}
    kept = []

    def keep(outputs: dict[str, np.ndarray]) -> None:
        kept.append((outputs["class_map"][0], outputs["logits"][0, :, ::LOGITS_STRIDE, ::LOGITS_STRIDE]))

    with atomic_folder(out, SIDECAR) as folder:
        onnx.save(graph, folder / ONNX)
        if compile_for:
            sidecar["compiled"] = compile_step(folder / ONNX, compile_for, folder / ENGINES)
        write_json(folder / SIDECAR, sidecar)
        title = f"{config.system}: onnxruntime against torch"
        figures = summary(drift(OnnxRunner(folder), TorchRunner(model, options.size), golden, title, keep))
        apart, same = figures["logits_max_difference"], figures["identical_mean"]
        # float16 differs by what float16 costs: the side-car says how much
        if options.precision == "fp32" and not (apart <= LOGITS_APART and same >= PIXELS_IDENTICAL):
            raise SspError(
                f"export: onnxruntime and torch differ over {figures['frames']} frames: logits by {apart:.1e}, class maps "
                f"identical on {same:.5%} of the pixels; report the model and the versions of torch and onnxruntime"
            )
        class_maps, logits = map(np.stack, zip(*kept, strict=True))
        np.savez_compressed(
            folder / GOLDEN, **vars(golden), class_map=class_maps, logits=logits, logits_stride=LOGITS_STRIDE
        )
        write_scripts(folder)
        described = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / SIDECAR]
        hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in described}
        sidecar |= {"parity_onnxruntime": figures, "sha256": hashes}
        write_json(folder / SIDECAR, sidecar)
        template = Template((HERE / "bundle_readme.md.jinja").read_text(encoding="utf-8"), trim_blocks=True)
        (folder / "README.md").write_text(template.render(sidecar, opencv=cv2.__version__).strip() + "\n", encoding="utf-8")
    return sidecar


def verify_bundle(folder: Path) -> dict[str, Any]:
    """The side-car of a bundle. Raises: SspError if a file is missing or the graph is not the one that it names."""
    path = folder / SIDECAR
    if not path.is_file():
        raise SspError(f"{folder}: no bundle ({SIDECAR} is missing); make one with sspcore export")
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        expected = sidecar["sha256"][ONNX]
        height, width = sidecar["size"]
        inputs, outputs, *_ = (sidecar[key] for key in ("inputs", "outputs", "state", "normalisation"))
        if (how := sidecar.get("interpolation", "area")) not in get_args(Interpolation):
            raise ValueError(f"interpolation {how!r} is unknown")
        if min(height, width, class_spec(sidecar).n_classes) < 1 or not (inputs and outputs):
            raise ValueError("classes, size or tensors make no sense")
    except (ValueError, KeyError, TypeError) as error:
        raise SspError(f"{path}: not a bundle's description ({error!r}); export it again") from error
    if not (folder / ONNX).is_file() or sha256(folder / ONNX) != expected:
        raise SspError(f"{folder / ONNX}: missing, or not the file that {SIDECAR} describes; export it again")
    return sidecar


def class_spec(sidecar: dict[str, Any]) -> ClassSpec:
    """The classes that a bundle predicts. Raises: KeyError, TypeError or ValueError if the side-car does not say them."""
    classes, palette = tuple(sidecar["classes"]), tuple(tuple(map(int, colour)) for colour in sidecar["palette"])
    if len(classes) != len(palette) or any(len(colour) != 3 for colour in palette):
        raise ValueError(f"{len(classes)} classes, {len(palette)} colours")
    name = sidecar["dataset"]
    # bundles of format 1 have neither a title nor moving classes
    return ClassSpec(name, sidecar.get("title", name), classes, palette, tuple(sidecar.get("moving", ())))


def with_nearest_sampling(bundle: Path, out: Path) -> Path:
    """A copy of a bundle whose warps read the nearest pixel, as a parser does that does not know GridSample's mode.

    It shows that a rollout sees this error. `verify_bundle` refuses the copy; it is for `OnnxRunner` alone.
    """
    model = onnx.load(bundle / ONNX)
    warps = [node for node in model.graph.node if node.op_type == "GridSample"]
    for mode in (attribute for node in warps for attribute in node.attribute if attribute.name == "mode"):
        mode.s = b"nearest"
    with atomic_folder(out, SIDECAR) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        onnx.save(model, folder / ONNX)
    return out


def _sidecar(step: StepModule, graph: onnx.ModelProto, config: CheckpointConfig, target: str) -> dict[str, Any]:
    options, limit, classes = step.options, target_limits(target), config.classes
    return {
        "format": 2, "system": config.system, "trained": config.provenance,
        "size": list(options.size), "interpolation": config.interpolation, "channels": config.channels,
        "precision": options.precision,
        "dataset": classes.name, "title": classes.title, "classes": list(classes.classes),
        "palette": [list(colour) for colour in classes.palette], "moving": list(classes.moving),
        "normalisation": {
            "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "of": "RGB in 0..1",
            "where": "in the network" if options.frame == "uint8" else "on the host",
        },
        "homography": {
            "input": "H_cur_to_prev" if step.state else None,
            "direction": "maps a pixel of the current frame to where it lay in the frame before",
            "from": "inverse, in float64, of the registration's H_prev_to_cur; divided by |[2, 2]|",
            "pixels": "(x, y) at full size; the centre of the upper left pixel is (0, 0)",
        },
        "inputs": [_described(value) for value in graph.graph.input],
        "outputs": [_described(value) for value in graph.graph.output],
        "state": step.state,
        "opset": opset_of(graph), "target": target, "jetpack": limit["jetpack"],
        "limits_from": [load_limits()["sources"][name] for name in limit["sources"]],
        "nodes": len(graph.graph.node),
        # onnxruntime's builds have different distribution names
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript", "timm")}
        | {"onnxruntime": import_runtime("onnxruntime").__version__},
        "commit": git_commit(),
    }


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor, meaning = value.type.tensor_type, _MEANING.get(value.name, "state for the next frame")
    if value.name.startswith("previous_"):
        output = value.name.removeprefix("previous_")
        meaning = f"`{'frame_small' if output == 'frame' else output}` of the frame before; zeros on a first frame"
    shape = [dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "shape": shape, "dtype": type_name(tensor), "meaning": meaning}
