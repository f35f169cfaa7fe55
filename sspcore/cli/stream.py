"""`sspcore stream`: segment a video, a folder of images or a camera."""

from __future__ import annotations

import json
import math
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sspcore.cli.common import Checkpoint, FrameSize, Image, Names, Overwrite, Size, listed, open_checkpoint
from sspcore.core.errors import ProfileError, SspError

if TYPE_CHECKING:
    from sspcore.core.classes import ClassSpec
    from sspcore.inference.backends import Backend


def stream(
    source: Annotated[str, typer.Argument(help="Video, folder of images, camera (0), address (rtsp://...), or gst:PIPELINE.")],
    checkpoint: Checkpoint = None,
    image: Image = None,
    bundle: Annotated[Path | None, typer.Option(metavar="DIR", help="Or a folder written by sspcore export.")] = None,
    provider: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx", "openvino"],
        typer.Option(help="What runs a bundle; auto: tensorrt where its engine was built, else cpu. sspcore doctor lists those "
                     "that are installed."),
    ] = "auto",
    lower_precision: Annotated[
        bool, typer.Option("--lower-precision", help="Of a bundle, faster and less exact: TF32 (cuda), bfloat16 (openvino)."),
    ] = False,
    system: Annotated[
        Literal["Base"] | None, typer.Option(help="Base: the checkpoint's image model alone, for before and after."),
    ] = None,
    size: Size = None,
    device: Annotated[str, typer.Option(help="For the checkpoint: cpu, cuda.")] = "cpu",
    registration: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="lk, sift, akaze, orb, lightglue, identity (default: the checkpoint's, else lk).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Overlay video: .mp4, .webm, .mkv or .avi.")] = None,
    panels: Annotated[
        Names | None, listed(Names, "What the overlay shows side by side: frame, overlay, alone (the image model without its "
                             "past), alpha (the weight of the past), flicker (labels that changed along the flow)."),
    ] = None,
    scale: Annotated[float, typer.Option(metavar="X", help="Size of the overlay, times the source's: 0.5 halves it.")] = 1.0,
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for class maps: PNG, of the source's size, named as its frames."),
    ] = None,
    palette: Annotated[bool, typer.Option("--palette", help="Class maps show colours; their values stay the ids.")] = False,
    view: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Serve a page with the running overlay: 8080 for this machine, "
                                 "0.0.0.0:8080 for all."),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON file for counts and latencies.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print that JSON on a terminal too.")] = False,
    overwrite: Overwrite = False,
    drop: Annotated[
        Literal["auto", "oldest", "never"],
        typer.Option(help="Frames that come too fast; auto: oldest for a camera, never for files."),
    ] = "auto",
    rate: Annotated[float | None, typer.Option(metavar="FPS", help="Play a file as if it were live.")] = None,
    reconnect: Annotated[
        float, typer.Option(metavar="SECONDS", help="For how long a lost connection is tried again; 0: it is the end."),
    ] = 30.0,
    max_frames: Annotated[int | None, typer.Option(metavar="N", help="Stop after so many.")] = None,
) -> int:
    """Segment a video, a folder of images, a camera or an address.

    Overlay and class maps have the source's size and aspect. Ctrl-C ends it and leaves whole files.

    Decoding, registration and network run at the same time.

    A summary goes to stderr; JSON goes to stdout where that is no terminal.
    """
    from sspcore.core.files import require_output, write_json
    from sspcore.core.parallel import quiet_decoder
    from sspcore.inference.motion import motion_for
    from sspcore.inference.network import without_secrets
    from sspcore.inference.outputs import overlay, writers
    from sspcore.inference.page import live_page, parse_address
    from sspcore.inference.panels import Panels, require_panels
    from sspcore.inference.shots import MEANING, Report, as_text
    from sspcore.inference.sources import local_files, open_source
    from sspcore.inference.video import require_outputs, run
    from sspcore.motion.flow import build_flow
    from sspcore.motion.registration import build_registrator

    if rate is not None and not 0 < rate < math.inf:
        raise ProfileError(f"--rate {rate:g}: frames a second must be a number above 0")
    if max_frames is not None and max_frames < 1:
        raise ProfileError(f"--max-frames {max_frames}: take 1 or more")
    if not 0 <= reconnect < math.inf:
        raise ProfileError(f"--reconnect {reconnect:g}: seconds must be a number from 0 on")
    if not 0 < scale <= 4:
        raise ProfileError(f"--scale {scale:g}: take a number above 0, at most 4")
    shown = out is not None or view is not None
    for idle, line in (
        (palette and masks is None, "--palette: is for class maps; give --masks too"),
        (panels is not None and not shown, "--panels: are for the overlay; give --out or --view too"),
        (scale != 1 and not shown, f"--scale {scale:g}: is for the overlay; give --out or --view too"),
    ):
        if idle:
            raise ProfileError(line)
    outputs = [path for path in (out, masks, report) if path is not None]
    for path in outputs:
        require_output(path, (*local_files(source), bundle, checkpoint and Path(checkpoint)), overwrite)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise SspError("--out, --masks and --report: two of them name the same file; name different ones")
    require_outputs(out, masks)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    address = None if view is None else parse_address(view)
    engine, classes, usual, flow, name = _engine(
        checkpoint, image, bundle, provider, lower_precision, system, size, device
    )
    picture = overlay(classes, scale)
    if panels is not None:
        require_panels(panels, engine)
        picture = Panels(panels, classes, name, build_flow(flow, device) if "flicker" in panels else None, scale)
    registrator = partial(build_registrator, registration or usual, device=device)
    motion = motion_for(engine, registrator, lambda: build_flow(flow, device))
    quiet_decoder()
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, rate, reconnect))
        done, page = Report(), None
        if address is not None:
            page = stack.enter_context(live_page(address, f"{name}, {without_secrets(source)}", classes, done))
            print(f"view: {page.url}", file=sys.stderr)
        consumers = stack.enter_context(writers(out, masks, classes, opened.fps, picture, palette, page))
        oldest = None if drop == "auto" else drop == "oldest"
        run(opened, engine, motion, consumers, oldest, max_frames, report=done)
        if done.frames == 0 and not done.interrupted:
            broken = f"no readable frame ({done.broken} broken)"
            raise SspError(f"{without_secrets(source)}: {broken}; is it a video or a folder of images?")
    written = {"overlay": out, "masks": masks, "report": report} if done.frames else {"report": report}
    written = {what: str(path) for what, path in written.items() if path is not None}
    runtime = f"torch, {device}" if bundle is None else engine.runner.name
    summary = done.summary() | {"runtime": runtime, "outputs": written, "meaning": MEANING}
    print(as_text(done, written), file=sys.stderr)
    if as_json or not sys.stdout.isatty():
        print(json.dumps(summary, indent=1))
    if report:
        write_json(report, summary)
    return 130 if done.interrupted else 0


def _engine(
    checkpoint: str | None, image: str | None, bundle: Path | None, provider: str, lower_precision: bool,
    system: str | None, size: FrameSize | None, device: str,
) -> tuple[Backend, ClassSpec, str, str, str]:
    """What segments the frames, its classes, the names of the registration and the flow that it goes with, and its own."""
    from sspcore.inference.bundles import open_bundle
    from sspcore.inference.video import torch_backend

    if checkpoint is not None and bundle is not None:
        raise SspError("--checkpoint and --bundle: give one of them")
    if bundle and image is not None:
        raise SspError("--image: a bundle has its image model within; leave it out")
    if bundle:
        if size is not None:
            raise SspError(f"--size {size[0]}x{size[1]}: a bundle has its own; export it at that size, or leave it out")
        if system is not None:
            raise SspError(f"--system {system}: a bundle holds one system; export another, or give --checkpoint")
        return *open_bundle(bundle, provider, lower_precision=lower_precision), "lk", "dis-medium", bundle.name
    if provider != "auto" or lower_precision:
        given = "--lower-precision" if lower_precision else f"--provider {provider}"
        raise SspError(f"{given}: is for a bundle; give --bundle, or --device for a checkpoint")
    model, config = open_checkpoint(checkpoint, image)
    name = config.system
    if system is not None:
        name, model = system, getattr(model, "image", model)
    engine = torch_backend(model, config.input_size, size, device, config.interpolation)
    return engine, config.classes, config.registration, config.flow, name
