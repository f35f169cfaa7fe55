"""Run this bundle on a camera, an address or a video: classes over the picture, frame by frame.

    python3 run_camera.py csi                                   CSI camera of a Jetson (csi:1: the second)
    python3 run_camera.py 0 --capture 1280x720@30               USB camera
    python3 run_camera.py rtsp://10.0.0.2/stream --headless --masks masks
    python3 run_camera.py flight.mp4 --headless --out overlay.mp4
    python3 run_camera.py "gst:v4l2src device=/dev/video0 ! image/jpeg,width=1280,height=720 ! jpegdec"    any pipeline

Each frame is brought to the network's size with its aspect kept, registered with the frame before (corners, Lucas-Kanade,
RANSAC) and segmented with the past carried along. A failed registration counts as no motion; at a scene cut, a change of size
or a new connection the video starts again. Frames that a camera sends too fast are dropped, the oldest first.
A window shows the result until q is pressed; Ctrl-C ends it too, and leaves whole files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

from sspcore.export.device.script import add_runtime, need, open_runner, parser_of, run_script

for library in ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL"):
    os.environ.setdefault(library, "0")  # what goes wrong is said here, in one line
np, cv2 = need("numpy"), need("cv2")

from sspcore.export.device.camera_source import Source
from sspcore.export.device.class_maps import blended, colour_table, restored
from sspcore.export.device.recording import CODECS, Video, part_of
from sspcore.export.device.step_runner import StepError, content_size, resized, sampling_homography
from sspcore.export.device.threads import in_thread
from sspcore.motion.cuts import looks_like_cut
from sspcore.motion.lucas_kanade import LucasKanade

TIMES = ("latency", "network", "registration")
SHOWN_OVER = 30  # frames that the rate on the picture is of


class Counts:
    """What happened, and how long it took in seconds (of the latest frames: a camera never ends)."""

    def __init__(self):
        self.frames = self.dropped = self.cuts = self.unregistered = self.restarted = 0
        self.times = {name: deque(maxlen=10_000) for name in TIMES}
        self.first = None
        self.done = deque(maxlen=SHOWN_OVER)

    def drop(self):
        self.dropped += 1

    def finished(self, shot, began, network):
        now = time.perf_counter()
        self.frames += 1
        self.first = self.first or now
        self.done.append(now)
        for name, seconds in zip(TIMES, (now - shot.came, network - began, shot.registration), strict=True):
            self.times[name].append(seconds)

    def line(self):
        """For the picture: rate of the latest frames, and milliseconds of this one."""
        rate = (len(self.done) - 1) / (self.done[-1] - self.done[0]) if len(self.done) > 1 else 0
        latency, network, registration = (1e3 * self.times[name][-1] for name in TIMES)
        return f"{rate:.1f} frames/s  {latency:.0f} ms (network {network:.0f}, registration {registration:.0f})"

    def summary(self):
        """All of it, as JSON values: times as percentiles in milliseconds."""
        names = ("frames", "dropped", "cuts", "unregistered", "restarted")
        found = {name: getattr(self, name) for name in names}
        found["fps"] = (self.frames - 1) / (self.done[-1] - self.first) if self.frames > 1 else None
        for name, seconds in self.times.items():
            p50, p95, p99 = (np.percentile(seconds, (50, 95, 99)) * 1e3).round(3).tolist() if seconds else (None,) * 3
            found[f"{name}_ms"] = {"p50": p50, "p95": p95, "p99": p99}
        return found


def arriving(source, max_frames):
    """Frames as they come, with the time of their arrival."""
    with closing(source.frames()) as frames:
        for n, (number, name, image, connection) in enumerate(frames):
            if n == max_frames:
                return
            yield SimpleNamespace(number=number, name=name, image=image, connection=connection, came=time.perf_counter())


def registered(shots, description, counts):
    """Frames at the network's size with their motion since the frame before; H None: the video starts there."""
    register, previous = LucasKanade() if description["state"] else None, None
    with closing(shots):
        for shot in shots:
            frame = np.ascontiguousarray(resized(shot.image, description)[..., ::-1])  # BGR -> RGB
            height, width = content_size(shot.image, description)
            shot.frame, shot.content, shot.H, shot.registration = frame, frame[:height, :width], None, 0.0
            if previous is not None and (
                previous.connection != shot.connection or previous.content.shape != shot.content.shape
            ):
                counts.restarted += 1
            elif previous is not None and register is not None:
                began = time.perf_counter()
                found = register(previous.content, shot.content)
                cut = not found.ok and looks_like_cut(previous.content, shot.content)
                counts.cuts += cut
                counts.unregistered += not found.ok and not cut
                shot.H = None if cut else sampling_homography(found.H_prev_to_cur)
                shot.registration = time.perf_counter() - began
            yield shot
            previous = shot


def segmented(source, runner, counts, max_frames):
    """Frames with their class maps at their own size; decoding and registration run beside the network."""
    incoming = in_thread(arriving(source, max_frames), 1, counts.drop if source.live else None)
    with closing(in_thread(registered(incoming, runner.sidecar, counts), 1)) as shots:
        for shot in shots:
            began = time.perf_counter()
            class_map = runner.step(shot.frame, shot.H)
            network = time.perf_counter()
            logits = runner.outputs["logits"][0] if getattr(runner, "keep_logits", True) else None
            if logits is not None and not np.isfinite(logits.sum(dtype=np.float32)):
                raise StepError("the network's logits are no finite numbers: export the bundle again, in fp32 if it is fp16")
            shot.labels = restored(class_map, logits, shot.content.shape[:2], shot.image.shape[:2])
            counts.finished(shot, began, network)
            yield shot


def drawn(shot, table, text):
    """The classes and a line of text over a frame, BGR."""
    picture = blended(shot.image, shot.labels, table)
    height = max(9, picture.shape[0] // 40)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, height // 12)
    scale = cv2.getFontScaleFromHeight(font, height, thickness)
    width = cv2.getTextSize(text, font, scale, thickness)[0][0]
    cv2.rectangle(picture, (0, 0), (width + 2 * height, 3 * height), (0, 0, 0), cv2.FILLED)
    return cv2.putText(picture, text, (height, 2 * height), font, scale, (255,) * 3, thickness, cv2.LINE_AA)


def show(picture):
    """Show it in a window. Returns whether to go on."""
    cv2.imshow("run_camera", picture)
    return cv2.waitKey(1) & 0xFF not in (27, ord("q"))


def check(options):
    """Raise StepError, before any work, for outputs that cannot be or that would replace something."""
    if options.out and options.out.suffix.lower() not in CODECS:
        raise StepError(f"--out {options.out}: name a video, {', '.join(CODECS)}")
    for path in filter(None, (options.out, options.out and part_of(options.out), options.report)):
        if not path.parent.is_dir():
            raise StepError(f"{path.parent}: no such folder; make it first")
        if path.exists() and not options.overwrite:
            raise StepError(f"{path}: is there already; name another, or add --overwrite")
        if path.resolve() == Path(options.source).resolve():
            raise StepError(f"{path}: is the source; name another")
    if options.masks and options.masks.is_dir() and any(options.masks.iterdir()):
        raise StepError(f"{options.masks}: is not empty; name another folder for the class maps")
    if not options.headless:
        window = "add --headless, and --out FILE or --masks DIR for the results"
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise StepError(f"no screen is there for a window: {window}")
        if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
            raise StepError(f"this OpenCV has no windows: {window}")


def run(options):
    check(options)
    source = Source(options.source, options.capture, options.reconnect)
    runner, counts, interrupted = open_runner(options), Counts(), False
    table = colour_table([colour[::-1] for colour in runner.sidecar["palette"]])  # BGR
    video = Video(options.out, source.fps) if options.out else None
    if options.masks:
        options.masks.mkdir(parents=True, exist_ok=True)
    try:
        with closing(segmented(source, runner, counts, options.max_frames)) as shots:
            for shot in shots:
                if options.masks and not cv2.imwrite(str(options.masks / f"{shot.name}.png"), shot.labels):
                    raise StepError(f"{options.masks}: class map {shot.name} could not be written; is the disk full?")
                picture = drawn(shot, table, counts.line()) if video or not options.headless else None
                if video:
                    video.add(picture)
                if not options.headless and not show(picture):
                    break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if video:
            video.close(whole=interrupted or sys.exc_info()[0] is None)
    if not counts.frames:
        raise StepError(f"{source.shown}: no frame came from there")
    summary = {"system": runner.sidecar["system"], "runtime": runner.name, **counts.summary()}
    if options.report:
        options.report.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))
    return 130 if interrupted else 0


def capture(text):
    """(height, width, frames a second) of WIDTHxHEIGHT@FPS."""
    found = re.fullmatch(r"(\d+)x(\d+)@(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: give WIDTHxHEIGHT@FPS, such as 1280x720@30")
    return int(found[2]), int(found[1]), int(found[3])


def main():
    parser = parser_of(__doc__)
    parser.add_argument("source", help="video, folder of images, camera (0, csi), address (rtsp://...), or gst:PIPELINE")
    add_runtime(parser)
    parser.add_argument("--capture", type=capture, metavar="WxH@FPS", help="what a camera is asked for (csi: 1280x720@30)")
    parser.add_argument("--headless", action="store_true", help="no window")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"overlay video: {', '.join(CODECS)}")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="new folder for class maps: PNG, values are the ids")
    parser.add_argument("--report", type=Path, metavar="FILE", help="JSON file for counts and times")
    parser.add_argument("--reconnect", type=float, default=30.0, metavar="SECONDS", help="try a lost camera again for so long")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after so many")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of --out and --report")
    return run(parser.parse_args())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped service leaves whole files too
    run_script(main)
