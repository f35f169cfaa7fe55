"""Export a system as a bundle for embedded inference.

    python -m sspcore.cli.export --system SSP --checkpoint weights.safetensors --size 736x1280 --out DIR
    python -m sspcore.cli.export --check step.onnx --target trt-10.16
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.files import require_output
from sspcore.data.datasets import SPECS
from sspcore.export import Origin, Rollout, StepOptions, check_model, export_bundle, synthetic_rollout, video_rollout
from sspcore.export.check import load_limits
from sspcore.export.device.step_runner import SIDECAR
from sspcore.inference.sources import open_source
from sspcore.motion.registration import build_registrator
from sspcore.study.loading import load_system, parse_size
from sspcore.study.profiles import Profile, load_profile

_GOLDEN_FRAMES = 20


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("sspcore.export", description=__doc__.splitlines()[0])
    parser.add_argument("--system", default="SSP", help="SSP, KD-SSP, Base, ... (default: SSP)")
    parser.add_argument("--dataset", default="uavid", choices=SPECS, help="whose classes (default: uavid)")
    parser.add_argument("--profile", default="demo", help="that describes the model (default: demo)")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, help="weights.safetensors of the trained system")
    weights.add_argument("--untrained", action="store_true", help="fresh weights: a check of the export only")
    weights.add_argument("--check", type=Path, metavar="ONNX", help="only check this file against --target")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the frames (default: the profile's)")
    parser.add_argument("--frame", choices=("uint8", "float32"), default="uint8", help="frame input (default: uint8)")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of the graph (default: fp32)")
    targets = ", ".join(load_limits().targets)
    parser.add_argument("--target", default="trt-10.3", help=f"{targets} (default: trt-10.3)")
    parser.add_argument("--video", help="video, folder of images or camera for the golden rollout (default: synthetic)")
    parser.add_argument("--golden-frames", type=int, default=_GOLDEN_FRAMES, help=f"default: {_GOLDEN_FRAMES}")
    parser.add_argument("--out", type=Path, help="folder of the bundle")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there already")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 an error that a user can act on."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.check:
            operators = check_model(_read_graph(options.check), options.target)
            counts = f"{sum(operators.values())} nodes, {len(operators)} operators"
            print(f"{options.check}: {counts}, all known to {options.target}")
            return 0
        if options.out is None or not (options.untrained or options.checkpoint):
            raise SspError("--out and one of --checkpoint, --untrained are needed; --help says more")
        video = None if options.video is None else Path(options.video)
        require_output(options.out, (options.checkpoint, video), options.overwrite, SIDECAR)
        profile = load_profile(options.profile)
        size = profile.input_size if options.size is None else parse_size(options.size)
        model = load_system(options.system, SPECS[options.dataset], profile, options.checkpoint)
        origin = Origin(options.system, SPECS[options.dataset], profile.name, options.checkpoint)
        step = StepOptions(size, options.frame, options.precision)
        sidecar = export_bundle(model, origin, step, options.target, golden_rollout(options, profile, size), options.out)
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parity = sidecar["parity_onnxruntime"]
    print(f"{options.out}: {sidecar['nodes']} nodes checked for {options.target}; onnxruntime against torch over "
          f"{parity['frames']} frames: logits within {parity['logits_max_difference']:.1e}, class maps identical on "
          f"{parity['identical_mean']:.4%} of the pixels")
    return 0


def golden_rollout(options: argparse.Namespace, profile: Profile, size: tuple[int, int]) -> Rollout:
    """The rollout that the device is to reproduce: of a video, or a synthetic one that turns and starts anew once."""
    n_frames = options.golden_frames
    if n_frames < _GOLDEN_FRAMES:
        raise ProfileError(f"--golden-frames {n_frames}: at least {_GOLDEN_FRAMES}, shorter ones hide drift")
    if options.video is None:
        return synthetic_rollout(size, n_frames, rotate=True, reset_at=n_frames * 3 // 4)
    with open_source(options.video) as source:
        images = (image for image in source if image is not None)
        registrator = build_registrator(profile.registration)
        try:
            return video_rollout(images, registrator, size, n_frames)
        except SspError as error:
            raise SspError(f"--video {options.video}: {error}") from error


def _read_graph(path: Path) -> onnx.ModelProto:
    try:
        graph = onnx.load(path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise SspError(f"{path}: not readable as ONNX ({type(error).__name__}); give a file written by an export") from error
    if not graph.graph.node:  # an empty file is a valid one to protobuf
        raise SspError(f"{path}: holds no graph ({path.stat().st_size} bytes); give a file written by an export")
    return graph


if __name__ == "__main__":
    sys.exit(main())
