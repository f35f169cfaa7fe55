"""Where the frames of `run_camera.py` come from: a video, a folder of images, a camera, an address, a GStreamer pipeline."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from sspcore.export.device.step_runner import StepError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CSI = ("nvarguscamerasrc sensor-id={0} ! video/x-raw(memory:NVMM),width={2},height={1},framerate={3}/1 ! nvvidconv ! "
       "video/x-raw,format=BGRx")
TAIL = " ! videoconvert ! video/x-raw,format=BGR ! appsink"  # frames as OpenCV wants them
NEWEST = " drop=true max-buffers=1"
COMES_BY_ITSELF = re.compile(r"(argus\w*|v4l2|rtsp|udp|tcp\w*|srt|http)src\b|://")
USUAL_RATE = 25.0  # frames a second, where nothing says it
WAIT = 0.5  # seconds between two tries to connect again


class Source:
    """Frames of a source, one after the other.

    Args:
        name: file, folder, number or device of a camera, "csi" or "csi:1" (Jetson), address, or "gst:PIPELINE".
        capture: (height, width, frames a second) that a camera is asked for; None: as it comes.
        reconnect: seconds for which a camera or an address that sends nothing any more is tried again.
    Attributes:
        live: whether frames come by themselves. fps: as the source says. connection: how often it was opened again.
    Raises: StepError if it cannot be opened.
    """

    def __init__(self, name, capture=None, reconnect=30.0):
        self.name, self.size, self.reconnect, self.connection = name, capture, reconnect, 0
        self.shown = re.sub(r"(://)[^\s/?#]*@", r"\1***@", name)  # without a password
        self.pipeline, is_address = _pipeline(name, capture), "://" in name
        self.folder = None if self.pipeline or is_address or not Path(name).is_dir() else Path(name)
        if self.folder is not None:
            self.live, self.fps = False, 12.0
            return
        self.capture = self._open()
        if not self.capture.isOpened():
            raise StepError(f"{self.shown}: {self._problem()}")
        if self.pipeline:
            self.live = COMES_BY_ITSELF.search(self.pipeline) is not None
        else:
            self.live = not Path(name).is_file() and not (is_address and self.capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)
        fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= 240 else USUAL_RATE

    def _open(self):
        if self.pipeline:
            return cv2.VideoCapture(self.pipeline, cv2.CAP_GSTREAMER)
        device = re.fullmatch(r"(?:/dev/video)?(\d+)", self.name)
        capture = cv2.VideoCapture(int(device[1]) if device else self.name)
        if device and self.size:
            keys = cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS
            for key, value in zip(keys, self.size, strict=True):
                capture.set(key, value)
        return capture

    def _problem(self):
        if self.pipeline:
            if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
                return "this OpenCV has no GStreamer (pip's has none): use the system's, sudo apt install python3-opencv"
            return "this pipeline does not start; try it with gst-launch-1.0"
        if "://" in self.name or self.name.isdigit() or self.name.startswith("/dev/"):
            return "no video comes from there; is it connected, on, free, and may you read it?"
        if not Path(self.name).exists():
            return "no such video, folder, camera or address"
        return "cannot be opened as a video"

    def frames(self):
        """(number, name, image (H, W, 3) uint8 BGR, connection), until the end; what cannot be decoded is left out."""
        if self.folder is not None:
            yield from self._images()
            return
        number, lost = 0, None
        try:
            while True:
                good, image = self.capture.read()
                if good:
                    self.connection += lost is not None
                    lost = None
                    image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
                    yield number, f"{number:06d}", image, self.connection
                    number += 1
                    continue
                if not self.live:
                    return
                lost = lost or time.monotonic()
                if time.monotonic() - lost >= self.reconnect:
                    return
                time.sleep(WAIT)
                self.capture.release()
                self.capture = self._open()
        finally:
            self.capture.release()

    def _images(self):
        files = [path for path in self.folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
        if not files:
            raise StepError(f"{self.folder}: holds no image ({', '.join(IMAGES)})")
        stems = Counter(path.stem for path in files)
        files.sort(key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)])
        for number, path in enumerate(files):
            image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
            if image is not None:
                yield number, path.stem if stems[path.stem] == 1 else path.name, image, 0


def _pipeline(name, capture):
    """What GStreamer is to run for a source; None where it is not asked."""
    sensor = re.fullmatch(r"csi(?::(\d+))?", name)
    if sensor:
        pipeline = CSI.format(sensor[1] or 0, *(capture or (720, 1280, 30)))
    elif name.startswith("gst:") or " ! " in name:
        pipeline = name.removeprefix("gst:").strip()
    else:
        return None
    if re.search(r"\bappsink\b", pipeline):
        return pipeline
    return pipeline + TAIL + (NEWEST if COMES_BY_ITSELF.search(pipeline) else "")
