"""A video at the other end of a network, or a GStreamer pipeline: nothing hangs, and a lost connection is opened again."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import cv2
import numpy as np

from sspcore.core.errors import SspError
from sspcore.data.layouts import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

_PIPELINE = "gst:"
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
_FILES = (*VIDEO_SUFFIXES, ".gif", ".mjpg", ".mjpeg", ".h264", ".264", ".hevc", ".265")
_LOSABLE = re.compile(r"\b(rtsp|rtmp2?|udp|tcp\w*|srt\w*|souphttp|curlhttp|hls|webrtc)\w*src\b|\b(?!file:)\w+://")
_NEARLY = 0.98  # of a recording that comes at its own pace, whose length is a guess
_MOST_FRAMES = 10**9  # a header that announces more means nothing by it
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # seconds between two tries to connect, doubled each time
_WHY_TIMEOUT = 3.0


def is_address(name: str) -> bool:
    """Whether this is scheme://..."""
    return re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE) is not None


def is_pipeline(name: str) -> bool:
    """Whether this is a pipeline of GStreamer: gst:..., or elements joined by " ! "."""
    return name.startswith(_PIPELINE) or " ! " in name


def locations(name: str) -> list[str]:
    """What the elements of a pipeline have as location= or uri=."""
    found = re.findall(r"""\b(?:location|uri)\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""", name)
    return ["".join(each) for each in found]


def without_secrets(name: str) -> str:
    """An address or a pipeline as it may be shown: passwords and keys as ***."""
    hidden = re.sub(r"(://)[^\s/?#]*@", r"\1***@", name)
    return re.sub(r"(?i)\b((?:user-)?(?:pass(?:word|wd)?|pwd?|token|secret|auth|(?:api_?)?key)=)[^\s&;]+", r"\1***", hidden)


class Connection:
    """An open connection.

    Attributes:
        is_file: whether a whole video lies there, which waits for us; else frames come by themselves.
        announced: its number of frames, None if unknown. reconnects: how often it was lost and opened again.
    """

    def __init__(self, name: str, timeout: float) -> None:
        """Open it. Raises SspError, in `timeout` seconds and a few, saying why if that is known."""
        self.name, self.timeout, self.reconnects = name, timeout, 0
        if is_pipeline(name) and not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise SspError(
                f"{without_secrets(name)}: this OpenCV is built without GStreamer; give an address (rtsp://, udp://) or a "
                "device, or install an OpenCV that has it (on a Jetson: the system's)"
            )
        self.capture = self._open()
        if not self.capture.isOpened():
            raise SspError(f"{without_secrets(name)}: {_why_closed(name, timeout)}")
        frames = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(frames) if 0 < frames <= _MOST_FRAMES else None
        self.is_file = name.lower().startswith("http") and (
            self.announced is not None or PurePosixPath(urlsplit(name).path).suffix.lower() in _FILES
        )

    def _open(self) -> cv2.VideoCapture:
        if is_pipeline(self.name):
            return cv2.VideoCapture(self.name.removeprefix(_PIPELINE).strip(), cv2.CAP_GSTREAMER)
        limit = round(1000 * self.timeout)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        return cv2.VideoCapture(self.name, cv2.CAP_FFMPEG, limits)

    def _has_ended(self, number: int) -> bool:
        """Whether no frame is to come after so many: a recording is over, or a pipeline that has nothing to lose."""
        if is_pipeline(self.name) and not _LOSABLE.search(self.name):
            return True
        return self.announced is not None and number >= (self.announced if self.is_file else _NEARLY * self.announced)

    def frames(self, reconnect: float) -> Iterator[np.ndarray]:
        """RGB frames until the end, or until a lost connection could not be opened again for `reconnect` seconds.

        A file goes on where it was.
        """
        number, ended_at, lost, wait = 0, -1, None, _FIRST_WAIT
        try:
            while True:
                good, image = self.capture.read()
                if good:
                    if lost is not None:
                        self.reconnects += 1
                        log.warning("%s: connected again", without_secrets(self.name))
                        lost, wait = None, _FIRST_WAIT
                    number += 1
                    yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    continue
                if self._has_ended(number) or (self.is_file and number == ended_at):  # ended there before: that is its end
                    return
                if lost is None:
                    lost = time.monotonic()
                    log.warning("%s: connection lost after %d frames", without_secrets(self.name), number)
                left = reconnect - (time.monotonic() - lost)
                if left <= 0:
                    if reconnect > 0:
                        log.warning("%s: no connection for %g s, given up", without_secrets(self.name), reconnect)
                    return
                self.capture.release()
                time.sleep(min(wait, left))
                wait = min(2 * wait, _LONGEST_WAIT)
                self.capture = self._open()
                if self.is_file and all(self.capture.grab() for _ in range(number)):
                    ended_at = number
        finally:
            self.capture.release()


def _why_closed(name: str, timeout: float) -> str:
    """What is wrong with an address that gives no video."""
    if is_pipeline(name):
        return "this pipeline does not start; try it with gst-launch-1.0, and let it end in 'videoconvert ! appsink'"
    try:
        parts = urlsplit(name)
        port = parts.port or _PORTS.get(parts.scheme.lower())
        if parts.scheme.lower() in _PORTS and parts.hostname:
            with socket.create_connection((parts.hostname, port), _WHY_TIMEOUT):
                return "answers, but sends no video; check the path, user and password, best with ffplay or VLC"
    except ValueError:
        return "is no address; write it as rtsp://user:password@host:port/path"
    except OSError as error:
        return f"no answer from {parts.hostname}:{port} ({error.strerror or error}); is it on, and the address right?"
    return f"no video within {timeout:g} s; is it sent, to this port, by a protocol that this OpenCV has?"
