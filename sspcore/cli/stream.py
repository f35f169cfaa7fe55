"""Segment a video, a folder of images or a camera.

    python -m sspcore.cli.stream video.mp4 --bundle DIR --out overlay.mp4 --masks DIR
    python -m sspcore.cli.stream 0 --checkpoint weights.safetensors --system SSP --out overlay.mp4
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.files import require_output, write_json
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.inference.backends import Backend, TorchBackend, open_bundle
from sspcore.inference.outputs import mask_folder, overlay_video
from sspcore.inference.pipeline import Report, run
from sspcore.inference.sources import open_source
from sspcore.motion.registration import REGISTRATOR_NAMES, build_registrator
from sspcore.study.loading import load_system, parse_size
from sspcore.study.profiles import load_profile


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("sspcore.inference", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="video file, folder of images, or number of a camera")
    system = parser.add_mutually_exclusive_group(required=True)
    system.add_argument("--bundle", type=Path, help="folder written by python -m sspcore.cli.export")
    system.add_argument("--checkpoint", type=Path, help="weights.safetensors of a trained system, run by torch")
    parser.add_argument("--backend", choices=("auto", "onnxruntime", "tensorrt"), default="auto", help="of a bundle")
    parser.add_argument("--system", default="SSP", help="of the checkpoint (default: SSP)")
    parser.add_argument("--dataset", choices=SPECS, default="uavid", help="of the checkpoint (default: uavid)")
    parser.add_argument("--profile", default="demo", help="of the checkpoint (default: demo)")
    parser.add_argument("--size", help="HEIGHTxWIDTH for the checkpoint (default: the profile's)")
    parser.add_argument("--device", default="cpu", help="for the checkpoint: cpu, cuda (default: cpu)")
    parser.add_argument("--registration", choices=REGISTRATOR_NAMES, default="lk", help="default: lk")
    parser.add_argument("--out", type=Path, help="overlay video, mp4")
    parser.add_argument("--masks", type=Path, help="folder for PNG class maps")
    parser.add_argument("--report", type=Path, help="JSON file for counts and latencies")
    parser.add_argument("--overwrite", action="store_true", help="write over files that are there already")
    parser.add_argument("--drop", choices=("auto", "oldest", "never"), default="auto",
                        help="what to do with frames that come too fast (default: oldest for a camera, never for files)")
    parser.add_argument("--rate", type=float, help="play a file as if it were live, in frames a second")
    parser.add_argument("--max-frames", type=int, help="stop after so many")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 an error that a user can act on, 130 stopped by Ctrl-C (the files are whole)."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = stream(options)
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before the first frame", file=sys.stderr)
        return 130
    summary = report.summary()
    print(json.dumps(summary, indent=1))
    if options.report:
        write_json(options.report, summary)
    return 130 if report.interrupted else 0


def stream(options: argparse.Namespace) -> Report:
    """Do what the command line says."""
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise ProfileError(f"--rate {options.rate:g}: frames a second must be a number above 0")
    if options.max_frames is not None and options.max_frames < 1:
        raise ProfileError(f"--max-frames {options.max_frames}: take 1 or more")
    _require_outputs(options)
    backend, classes = _backend(options)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(options.source, options.rate))
        consumers = []
        if options.out:
            consumers.append(stack.enter_context(overlay_video(options.out, classes, source.fps)))
        if options.masks:
            consumers.append(mask_folder(options.masks))
        drop = None if options.drop == "auto" else options.drop == "oldest"
        report = run(source, backend, build_registrator(options.registration), consumers, drop, options.max_frames)
        if report.frames == 0 and not report.interrupted:
            broken = f"no readable frame ({report.broken} broken)"
            raise SspError(f"{options.source}: {broken}; is it a video or a folder of images?")
    return report


def _require_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that would destroy the source, the system, files of the user, or one another."""
    outputs = [path for path in (options.out, options.masks, options.report) if path is not None]
    for path in outputs:
        require_output(path, (Path(options.source), options.bundle, options.checkpoint), options.overwrite)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise SspError("--out, --masks and --report: two of them name the same file; name different ones")


def _backend(options: argparse.Namespace) -> tuple[Backend, DatasetSpec]:
    if options.bundle:
        return open_bundle(options.bundle, options.backend)
    profile, classes = load_profile(options.profile), SPECS[options.dataset]
    size = profile.input_size if options.size is None else parse_size(options.size)
    model = load_system(options.system, classes, profile, options.checkpoint)
    try:
        return TorchBackend(model, size, options.device), classes
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SspError(f"--device {options.device}: cannot be used here ({reason}); try --device cpu") from error


if __name__ == "__main__":
    sys.exit(main())
