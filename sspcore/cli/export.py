"""`sspcore export`: write a bundle for embedded inference, or check a graph against a TensorRT version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sspcore.cli.common import Checkpoint, Image, Overwrite, Size, open_checkpoint
from sspcore.core.errors import ProfileError, SspError

if TYPE_CHECKING:
    import onnx

    from sspcore.core.types import VideoSegmenter
    from sspcore.export import Rollout
    from sspcore.models.checkpoint import CheckpointConfig

GOLDEN_FRAMES = 20


def export(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the bundle.")] = None,
    checkpoint: Checkpoint = None,
    image: Image = None,
    size: Size = None,
    untrained: Annotated[
        str | None, typer.Option(metavar="SYSTEM", help="Fresh weights of SSP, Base, ...: a check of the export only.")
    ] = None,
    profile: Annotated[str, typer.Option(metavar="NAME", help="Of --untrained.")] = "demo",
    check: Annotated[Path | None, typer.Option(metavar="ONNX", help="Only check this file against --target.")] = None,
    frame: Annotated[Literal["uint8", "float32"], typer.Option(help="Type of the frame input.")] = "uint8",
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="Of the graph.")] = "fp32",
    target: Annotated[str, typer.Option(metavar="NAME", help="TensorRT version: trt-10.3, trt-10.16, ...")] = "trt-10.3",
    video: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Video or folder for the golden rollout (default: synthetic).")
    ] = None,
    golden_frames: Annotated[int, typer.Option(metavar="N", help="Length of the golden rollout.")] = GOLDEN_FRAMES,
    compile_for: Annotated[
        str | None,
        typer.Option("--compile", metavar="SM,...", help="Build engines with NVIDIA's own compiler, for example sm86,sm89 (the "
                     "extra tensorrt-rtx, under NVIDIA's licence)."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a system for NVIDIA Jetson (ONNX and TensorRT).

    The bundle holds the ONNX step, checked against the operators of TensorRT, a golden rollout to compare with, and scripts
    that run a camera, build and time the engine without sspcore.
    """
    from sspcore.core.files import require_output
    from sspcore.export import StepOptions, check_model, compile_step, export_bundle
    from sspcore.export.device.step_runner import SIDECAR
    from sspcore.export.rtx import require_compiler
    from sspcore.inference.sources import local_files

    capabilities = compile_for.split(",") if compile_for is not None else ()
    if capabilities:
        require_compiler(capabilities)
    if check:
        operators = check_model(_read_graph(check), target)
        print(f"{check}: {sum(operators.values())} nodes, {len(operators)} operators, all known to {target}")
        if capabilities:
            print(_engines(compile_step(check, capabilities)))
        return
    if out is None:
        raise SspError("--out DIR is needed: the folder of the bundle")
    if untrained is not None and (checkpoint, image) != (None, None):
        raise SspError(f"--{'image' if checkpoint is None else 'checkpoint'} and --untrained: give one of them")
    if golden_frames < GOLDEN_FRAMES:
        raise ProfileError(f"--golden-frames {golden_frames}: at least {GOLDEN_FRAMES}, shorter ones hide drift")
    inputs = [checkpoint and Path(checkpoint), *(local_files(video) if video else ())]
    require_output(out, inputs, overwrite, SIDECAR)
    model, config = open_checkpoint(checkpoint, image) if untrained is None else _fresh(untrained, profile)
    used = size or config.input_size
    golden, options = _rollout(video, golden_frames, config, used), StepOptions(used, frame, precision)
    sidecar = export_bundle(model, config, options, target, golden, out, untrained is not None, capabilities)
    parity = sidecar["parity_onnxruntime"]
    print(f"{out}: {sidecar['nodes']} nodes checked for {target}; onnxruntime against torch over {parity['frames']} frames: "
          f"logits within {parity['logits_max_difference']:.1e}, class maps identical on {parity['identical_mean']:.4%} of the "
          "pixels")
    if capabilities:
        print(_engines(sidecar["compiled"]))


def _engines(compiled: dict[str, Any]) -> str:
    engines = compiled["engines"].items()
    built = ", ".join(f"{name} {made['bytes'] / 1e6:.0f} MB in {made['seconds']:.1f} s" for name, made in engines)
    return f"{compiled['compiler']}: {compiled['layers']} layers, read as the graph says; engines: {built}"


def _fresh(system: str, profile: str) -> tuple[VideoSegmenter, CheckpointConfig]:
    """A system of a profile, for UAVid's classes, as it is before any training."""
    import torch

    from sspcore.data.datasets import UAVID
    from sspcore.models.checkpoint import system_config
    from sspcore.models.systems import build, image_spec
    from sspcore.study.profiles import load_profile

    torch.manual_seed(0)
    loaded = load_profile(profile)
    model = build(system, UAVID.n_classes, loaded, load_weights=False).eval()
    spec = image_spec(system, loaded)
    how = loaded.clips[UAVID.name].interpolation(loaded.input_size)
    return model, system_config(
        system, spec, UAVID, loaded.input_size, registration=loaded.registration, interpolation=how
    )


def _rollout(video: str | None, n_frames: int, config: CheckpointConfig, size: tuple[int, int]) -> Rollout:
    """What the device is to reproduce: the start of a video, or a synthetic rollout that turns and starts again once."""
    from sspcore.export import synthetic_rollout, video_rollout
    from sspcore.inference.sources import open_source
    from sspcore.motion.registration import build_registrator

    if video is None:
        return synthetic_rollout(size, n_frames, rotate=True, reset_at=n_frames * 3 // 4)
    with open_source(video) as source:
        images = (image for image in source if image is not None)
        try:
            return video_rollout(images, build_registrator(config.registration), size, n_frames, config.interpolation)
        except SspError as error:
            raise SspError(f"--video {video}: {error}") from error


def _read_graph(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise SspError(f"{path}: not readable as ONNX ({type(error).__name__}); give a file written by an export") from error
    if not graph.graph.node:  # an empty file is a valid one to protobuf
        raise SspError(f"{path}: holds no graph ({path.stat().st_size} bytes); give a file written by an export")
    return graph
