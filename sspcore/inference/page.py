"""A page with the running overlay, for a browser on this machine or, through an ssh tunnel, on another."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any
from urllib.parse import urlunsplit

import cv2
import numpy as np
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from sspcore.core.classes import ClassSpec
from sspcore.core.errors import SspError
from sspcore.inference.shots import Report

HERE = "127.0.0.1"
_WIDEST = 1280  # pixels of the pictures on the page
_QUALITY = 80
_RATE_OVER = 30  # frames that the shown rate is of
_ENDING = 0.3  # seconds for what is on its way to viewers when the stream ends


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "8080" (this machine alone) or "0.0.0.0:8080" (any). Raises SspError."""
    found = re.fullmatch(r"(?:(.+):)?(\d{1,5})", text)
    if not found or int(found[2]) > 65535:
        raise SspError(f"--view {text}: give a port, such as 8080, or an address and a port, such as 0.0.0.0:8080")
    return found[1] or HERE, int(found[2])


class Page:
    """What the page shows; `show` is called by the stream, which never waits for a viewer.

    Attributes:
        url: of the page, on this machine.
        watched: whether a viewer is there: only then do pictures have to be drawn.
    """

    def __init__(self, title: str, classes: ClassSpec, report: Report, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.title, self.classes, self.report, self.url, self.loop = title, classes, report, url, loop
        self.viewers = 0
        self.image: np.ndarray | None = None
        self.number = 0  # of the picture: viewers take the latest, and miss those in between
        self.ended = False
        self._changed = asyncio.Condition()
        self._jpeg: tuple[int, bytes] = (0, b"")

    def watched(self) -> bool:
        return self.viewers > 0

    def show(self, image: np.ndarray) -> None:
        """The next picture (H, W, 3) uint8 RGB."""
        self.image, self.number = image, self.number + 1
        self._wake_viewers()

    def end(self) -> None:
        self.ended = True
        self._wake_viewers()

    def _wake_viewers(self) -> None:
        asyncio.run_coroutine_threadsafe(self._notify(), self.loop)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def next_jpeg(self, seen: int) -> tuple[int, bytes] | None:
        """The latest picture after number `seen`, as JPEG; None: the stream has ended. Encoded once for all viewers."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended or self.number > seen)
        if self.ended:
            return None
        if self._jpeg[0] < self.number:
            number, image = self.number, self.image
            self._jpeg = number, await self.loop.run_in_executor(None, _encoded, image)
        return self._jpeg

    def status(self) -> dict[str, Any]:
        """Counts, rate and classes, as JSON values."""
        report = self.report
        intervals = list(report.interval)[-_RATE_OVER:]
        rate = len(intervals) / sum(intervals) if sum(intervals) else 0.0
        names = ("frames", "dropped", "broken", "cuts", "unregistered", "reconnected")
        counts = [(name, getattr(report, name)) for name in names if name == "frames" or getattr(report, name)]
        latency = [("latency", f"{1e3 * report.latency[-1]:.0f} ms")] if report.latency else []
        colours = [(name, "rgb({}, {}, {})".format(*colour)) for name, colour in
                   zip(self.classes.classes, self.classes.palette, strict=True)]
        return {"title": self.title, "counts": [*counts, ("a second", f"{rate:.1f}"), *latency], "classes": colours}


def _encoded(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > _WIDEST:
        image = cv2.resize(image, (_WIDEST, max(1, round(height * _WIDEST / width))), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes() if done else b""


class _Html(RequestHandler):
    def get(self) -> None:
        self.finish(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))


class _Status(RequestHandler):
    def get(self) -> None:
        self.finish(self.application.settings["page"].status())


class _Video(RequestHandler):
    """Pictures one after the other in one answer, each when the viewer has taken the one before."""

    async def get(self) -> None:
        page: Page = self.application.settings["page"]
        self.set_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.set_header("Cache-Control", "no-store")
        page.viewers += 1
        seen = 0
        try:
            await self.flush()
            while (found := await page.next_jpeg(seen)) is not None:
                seen, jpeg = found
                self.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.write(jpeg + b"\r\n")
                await self.flush()
        except StreamClosedError:
            return
        finally:
            page.viewers -= 1


@contextmanager
def live_page(address: tuple[str, int], title: str, classes: ClassSpec, report: Report) -> Iterator[Page]:
    """A page that is served as long as the block lasts, in a thread of its own.

    Args:
        address: host and port; port 0 takes any that is free.
        title: of what is shown. classes: whose colours are explained below. report: filled by the stream, shown above.
    Raises: SspError if the address cannot be had.
    """
    host, port = address
    try:
        sockets = bind_sockets(port, host)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        reason = getattr(error, "strerror", None) or error
        raise SspError(f"--view {host}:{port}: cannot be served there ({reason}); name another address or port") from error
    loop = asyncio.new_event_loop()
    shown = HERE if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
    address = urlunsplit(("http", f"{shown}:{sockets[0].getsockname()[1]}", "", "", ""))
    page = Page(title, classes, report, address, loop)
    server: HTTPServer | None = None

    def serve() -> None:
        nonlocal server
        asyncio.set_event_loop(loop)
        server = HTTPServer(Application([("/", _Html), ("/status", _Status), ("/video", _Video)], page=page))
        server.add_sockets(sockets)
        loop.run_forever()

    async def stop() -> None:
        server.stop()
        await asyncio.sleep(_ENDING if page.viewers else 0)
        with suppress(asyncio.TimeoutError):  # a viewer that takes nothing is left
            await asyncio.wait_for(server.close_all_connections(), _ENDING)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield page
    finally:
        page.end()
        asyncio.run_coroutine_threadsafe(stop(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()
