"""The page with the running overlay: it shows the latest picture, never slows the stream, and ends with it."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.inference.page import live_page, parse_address
from sspcore.inference.shots import Report


def fetched(url: str) -> Any:
    return urlopen(url, timeout=5)  # noqa: S310 - an address of this test


def pictures(answer, count: int) -> list[np.ndarray]:
    """The next pictures of a running answer."""
    found = []
    while len(found) < count:
        assert answer.readline() == b"--frame\r\n"
        assert answer.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(answer.readline().split()[1])
        answer.readline()
        found.append(cv2.imdecode(np.frombuffer(answer.read(length), np.uint8), cv2.IMREAD_COLOR))
        answer.readline()
    return found


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_the_page_shows_the_latest_picture_and_the_counts():
    report = Report(frames=7, dropped=2)
    report.interval.extend([0.5, 0.5])
    with live_page(("127.0.0.1", 0), "SSP, video.mp4", UAVID, report) as page:
        assert not page.watched() and 'src="video"' in fetched(page.url).read().decode()
        status = json.load(fetched(f"{page.url}/status"))
        assert status["title"] == "SSP, video.mp4" and ["dropped", 2] in status["counts"]
        assert ["a second", "2.0"] in status["counts"]
        assert [name for name, _ in status["classes"]] == list(UAVID.classes)
        answer = fetched(f"{page.url}/video")
        wait_for(page.watched)
        page.show(np.full((32, 48, 3), (200, 0, 0), np.uint8))
        (image,) = pictures(answer, 1)
        assert image.shape == (32, 48, 3) and image[..., 2].mean() > 150 and image[..., 0].mean() < 60  # red
        page.show(np.zeros((20, 2560, 3), np.uint8))
        assert pictures(answer, 1)[0].shape == (10, 1280, 3)
        answer.close()
        page.show(np.zeros((20, 20, 3), np.uint8))
        wait_for(lambda: not page.watched())


def test_a_viewer_that_takes_nothing_holds_nobody_up_and_the_end_is_an_end():
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    threads = threading.active_count()
    with live_page(("127.0.0.1", 0), "SSP", UAVID, Report()) as page:
        host, port = page.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as stuck:
            stuck.sendall(b"GET /video HTTP/1.1\r\nHost: here\r\n\r\n")
            wait_for(page.watched)
            began = time.perf_counter()
            for _ in range(60):
                page.show(noise)
                time.sleep(0.005)
            assert time.perf_counter() - began < 2
            answer = fetched(f"{page.url}/video")  # another one sees it
            assert pictures(answer, 1)[0].shape == noise.shape
            url, began = page.url, time.perf_counter()
            page.end()
            assert answer.read() == b""
    assert time.perf_counter() - began < 4
    with pytest.raises(OSError, match="refused"):
        fetched(url)
    wait_for(lambda: threading.active_count() <= threads + 1)  # the executor's may wait for its next use


def test_addresses():
    assert parse_address("8080") == ("127.0.0.1", 8080) and parse_address("::1:80") == ("::1", 80)
    for text in ("", "host", "host:", "70000", "-1"):
        with pytest.raises(SspError, match="give a port, such as 8080"):
            parse_address(text)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = live_page(("127.0.0.1", taken.getsockname()[1]), "SSP", UAVID, Report())
        with pytest.raises(SspError, match="cannot be served there .*another address or port"):
            page.__enter__()
    with pytest.raises(SspError, match=r"--view \.\.:80: cannot be served there"):
        live_page(("..", 80), "SSP", UAVID, Report()).__enter__()
