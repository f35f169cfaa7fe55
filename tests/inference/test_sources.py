"""Where frames come from: number, rate, side up and names from every kind of source; networks that come back."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.media import panning_frames, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.core.images import read_rgb
from sspcore.inference import network
from sspcore.inference.network import without_secrets
from sspcore.inference.sources import local_files, open_source

FRAMES = panning_frames(6, 0)


def corner(size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """An image of which one corner is marked, so that every turn of it is another image."""
    image = np.full((*size, 3), 90, np.uint8)
    image[: size[0] // 2, : size[1] // 2] = 200, 60, 20
    return image


def read(source: object, **options: float) -> list[np.ndarray | None]:
    with open_source(source, **options) as opened:
        return list(opened)


def test_frames_are_named_after_their_images(tmp_path):
    for k in (1, 2, 10):
        write_rgb(tmp_path / f"frame_{k}.png", FRAMES[0])
    write_rgb(tmp_path / "._frame_1.png", FRAMES[0])  # as macOS leaves them on other disks
    with open_source(tmp_path) as images:
        assert [images.name(k) for k in range(images.n_frames)] == ["frame_1", "frame_2", "frame_10"]
    Image.fromarray(FRAMES[0]).save(tmp_path / "frame_1.webp")
    with open_source(tmp_path) as images:  # of one stem: no name may stand for two frames
        assert sorted(images.names) == ["frame_1.png", "frame_1.webp", "frame_10", "frame_2"]
    write_video(tmp_path / "video.mp4", FRAMES)
    with open_source(tmp_path / "video.mp4") as video:
        assert video.name(25) == "000025"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_turned_images_stand_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top lies at the right
    options = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    Image.fromarray(corner()).save(tmp_path / f"turned{suffix}", exif=exif, **options)
    image = read_rgb(tmp_path / f"turned{suffix}")
    upright = np.rot90(corner(), -1)
    assert image.shape == upright.shape and np.abs(image.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_kind_of_image_is_a_frame(tmp_path, mode, suffix):
    image = Image.fromarray(corner())
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    image = {"I;16": deep, "P": image.quantize(4)}.get(mode) or image.convert(mode)
    image.save(tmp_path / f"image{suffix}")
    frame, = read(tmp_path / f"image{suffix}")
    expected = corner() if mode in ("RGBA", "P") else np.asarray(Image.fromarray(corner()).convert("L"))[..., None]
    assert frame.dtype == np.uint8 and np.abs(frame.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_animations_are_videos(tmp_path, suffix):
    pictures = [Image.fromarray(np.roll(corner(), 8 * k, 1)) for k in range(4)]
    path = tmp_path / f"moving{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, **options)
    with open_source(path) as source:
        assert (source.n_frames, source.fps, source.live) == (4, 12.5, False)
        for k, frame in enumerate(source):
            assert np.abs(frame.astype(int) - np.roll(corner(), 8 * k, 1)).max() <= 2
    path.write_bytes(path.read_bytes()[:200])
    frames = read(path)
    assert frames and frames[-1] is None


def turned(path: Path) -> Path:
    """The MP4 with a display matrix that turns it by 90 degrees, as telephones write it."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    path = path.with_name("turned.mp4")
    path.write_bytes(data)
    return path


def test_turned_videos_stand_upright(tmp_path):
    write_video(tmp_path / "video.mp4", [corner((64, 96))] * 2)
    upright = np.rot90(read(tmp_path / "video.mp4")[0], -1)
    frames = read(turned(tmp_path / "video.mp4"))
    assert len(frames) == 2 and all((frame == upright).all() for frame in frames)


@pytest.mark.parametrize("header", [0.0, float("nan"), 1000.0, 90000.0, 29.97])
def test_frame_rates_are_those_that_a_container_can_write(tmp_path, monkeypatch, header):
    """Where the header holds the ticks of a clock, or nothing, the frames' own times count."""
    write_video(tmp_path / "video.mp4", FRAMES)
    truth = cv2.VideoCapture

    class Capture:
        def __init__(self, *arguments):
            self.real = truth(*arguments)

        def __getattr__(self, name):
            return getattr(self.real, name)

        def get(self, key):
            return header if key == cv2.CAP_PROP_FPS else self.real.get(key)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with open_source(tmp_path / "video.mp4") as source:
        assert source.fps == (header if header == 29.97 else 12.0) and len(list(source)) == len(FRAMES)


def test_what_a_damaged_file_lacks_is_broken_and_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    writer = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, FRAMES[0].shape[1::-1])
    for frame in FRAMES:
        writer.write(frame)
    writer.release()
    data = (tmp_path / "video.avi").read_bytes()
    with open_source(tmp_path / "video.avi") as whole:
        assert len(list(whole)) == whole.n_frames == 6 and not caplog.messages
    (tmp_path / "video.avi").write_bytes(data[: len(data) // 2])
    with open_source(tmp_path / "video.avi") as cut:
        assert cut.n_frames == 6
        frames = list(cut)
    assert len(frames) == 6 and frames[0] is not None and frames[-1] is None
    assert "video.avi: ends at frame" in caplog.text and "of 6; the file is cut off or damaged" in caplog.text


@contextmanager
def served(respond):
    """A server; respond(handler, number of the request) answers each."""
    count = iter(range(1000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            respond(self, next(count))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_lost_stream_is_opened_again_and_counted(monkeypatch, caplog):
    """A camera's motion JPEG breaks off after three frames, once; its second end is the end."""
    monkeypatch.setattr(network, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)

    def camera(handler, request):
        if request > 1:
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for frame in FRAMES[3 * request : 3 * request + 3]:
            data = cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()
            handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data))

    with served(camera) as address, open_source(f"{address}/live", reconnect=0.5, timeout=3) as source:
        assert source.live and source.n_frames is None and 0 < source.fps < 480
        frames, connections = zip(*((frame, source.reconnects) for frame in source), strict=True)
    assert connections == (0, 0, 0, 1, 1, 1) and source.reconnects == 1
    nearest = [np.argmin([np.abs(frame.astype(int) - sent).mean() for sent in FRAMES]) for frame in frames]  # of JPEGs
    assert nearest == [0, 1, 2, 3, 4, 5]
    assert "connection lost after 3 frames" in caplog.text and "no connection for 0.5 s, given up" in caplog.text
    assert "secret" not in caplog.text and "***@127.0.0.1" in caplog.text


def test_a_file_of_a_server_is_read_to_its_end_and_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "_FIRST_WAIT", 0.05)
    writer = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, FRAMES[0].shape[1::-1])
    for frame in FRAMES:
        writer.write(frame)
    writer.release()
    data = (tmp_path / "video.avi").read_bytes()
    for cut in (None, len(data) // 2):
        def disk(handler, request, cut=cut):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: cut if request == 0 else None])

        with served(disk) as address, open_source(f"{address}/video.avi", reconnect=5, timeout=3) as source:
            assert not source.live and source.n_frames == 6
            began = time.monotonic()
            frames = list(source)
        assert time.monotonic() - began < 2 and source.reconnects == (cut is not None)
        for frame, expected in zip(frames, read(tmp_path / "video.avi"), strict=True):
            assert (frame == expected).all()


def test_nobody_there_is_one_line_at_once_and_without_the_password():
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"rtsp://admin:s3cret@127.0.0.1:{free.getsockname()[1]}/live"
    began = time.monotonic()
    with pytest.raises(SspError, match=r"^rtsp://\*\*\*@127\.0\.0\.1:\d+/live: no answer from 127.* \(Connection refused\)"):
        read(address, timeout=3)
    assert time.monotonic() - began < 3


def test_silence_ends_at_the_time_limit():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        for address in (f"http://127.0.0.1:{silent.getsockname()[1]}/x", "udp://127.0.0.1:9"):
            began = time.monotonic()
            with pytest.raises(SspError, match="video"):
                read(address, timeout=0.5)
            assert time.monotonic() - began < 3


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    write_video(tmp_path / "flight.mp4", FRAMES)
    with pytest.raises(SspError, match=r"no image in this folder; give one with \.png.* \(flight\.mp4 is none of them"):
        read(tmp_path)


@pytest.mark.parametrize("source, message", [
    ("gst:videotestsrc ! appsink", "built without GStreamer"),
    ("rtspsrc location=rtsp://u:hidden@h/x user-pw=hidden ! appsink", r"rtspsrc location=rtsp://\*\*\*@h/x user-pw=\*\*\* "),
    ("nothing.mp4", "no such video, folder of images, camera or address"),
])  # fmt: skip
def test_what_cannot_be_opened_is_one_line(monkeypatch, source, message):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: False)
    with pytest.raises(SspError, match=message):
        read(source)


@pytest.mark.parametrize("name, announced, number, ended", [
    ("gst:filesrc location=a.mp4 ! decodebin ! appsink", None, 5, True),  # opened again it would begin again, for ever
    ("v4l2src ! appsink", None, 5, True),
    ("rtspsrc location=rtsp://cam/1 ! decodebin ! appsink", None, 5, False),
    ("uridecodebin uri=http://cam/1 ! appsink", None, 5, False),
    ("uridecodebin uri=file:///a.mp4 ! appsink", None, 5, True),
    ("rtsp://server/recording", 100, 99, True),
    ("rtsp://server/recording", 100, 50, False),
    ("udp://:5000", None, 50, False),
])  # fmt: skip
def test_a_recording_s_end_is_no_lost_connection(name, announced, number, ended):
    connection = network.Connection.__new__(network.Connection)
    connection.name, connection.announced, connection.is_file = name, announced, False
    assert connection._has_ended(number) == ended


class FlakyCamera:
    """Gives its number, then nothing for a while, then its number again, and is gone."""

    def __init__(self, device: int) -> None:
        self.coming = iter([device, None, None, device, *[None] * 100])

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        number = next(self.coming)
        return number is not None, None if number is None else np.full((4, 6, 3), number, np.uint8)

    def release(self) -> None:
        pass


@pytest.mark.parametrize("name", ["/dev/video7", "7", 7])
def test_a_camera_that_stumbles_goes_on_and_one_that_is_gone_ends(monkeypatch, name):
    monkeypatch.setattr(cv2, "VideoCapture", FlakyCamera)
    with open_source(name) as camera:
        assert camera.live and camera.fps == 25 and camera.n_frames is None
        frames = list(camera)
    assert [None if frame is None else int(frame[0, 0, 0]) for frame in frames] == [7, None, None, 7, *[None] * 100]


def test_a_folder_may_be_called_like_a_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rgb(tmp_path / "0" / "a.png", FRAMES[0])
    assert len(read("0")) == 1


def test_seconds_of_reconnection_are_checked(capsys):
    assert main(["stream", "rtsp://cam/1", "--reconnect", "-1"]) == 2
    assert "--reconnect -1: seconds must be a number from 0 on" in capsys.readouterr().err


def test_the_files_of_a_source_are_known_however_they_are_named(tmp_path):
    path = tmp_path / "my flight.mp4"
    for source in (path, str(path), path.as_uri(), path.as_uri().replace("file:", "FILE:"),
                   f'gst:filesrc location="{path}" ! decodebin ! appsink', f"playbin uri={path.as_uri()} ! appsink"):
        assert local_files(source) == [path]
    for source in ("rtsp://host/a.mp4", "gst:rtspsrc location=rtsp://host/a.mp4 ! appsink"):
        assert not local_files(source)


def test_secrets_are_not_shown():
    for shown, name in (
        ("rtsp://***@cam:554/1?token=***&x=1", "rtsp://me:p@ss@cam:554/1?token=abc&x=1"),
        ("http://host/a@b", "http://host/a@b"),
        ("gst:rtspsrc location=x user-id=me user-pw=*** ! appsink", "gst:rtspsrc location=x user-id=me user-pw=1 ! appsink"),
        ("flight.mp4", "flight.mp4"),
    ):
        assert without_secrets(name) == shown
