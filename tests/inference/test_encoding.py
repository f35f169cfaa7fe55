"""Videos are what their suffix says, in a codec that browsers play, at any frame rate, with nothing on the terminal."""

from __future__ import annotations

import logging
import math
import os
import shutil
import stat
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.media import panning_frames, texture
from sspcore.core.errors import SspError
from sspcore.inference import encoding
from sspcore.inference.encoding import require_video_name, video_file, writable_rate

PLAYED = {".mp4": {"VP90", "avc1", "h264"}, ".webm": {"VP80", "VP90"}, ".mkv": {"VP90", "h264", "avc1"}, ".avi": {"MJPG"}}
MAGIC = {".mp4": (4, b"ftyp"), ".webm": (0, b"\x1aE\xdf\xa3"), ".mkv": (0, b"\x1aE\xdf\xa3"), ".avi": (8, b"AVI ")}


@pytest.fixture
def no_ffmpeg(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)


def frames_of(n: int) -> list[np.ndarray]:
    """Smooth colours, which any codec keeps."""
    return [cv2.GaussianBlur(frame, (0, 0), 8) for frame in panning_frames(n, 0)]


def write(path, frames, fps=12.0, error=None) -> None:
    with video_file(path, fps) as add:
        for frame in frames:
            add(frame)
        if error is not None:
            raise error


def code_of(capture: cv2.VideoCapture) -> str:
    return int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()


def written(path, frames, fps=12.0) -> tuple[int, float, str]:
    """Frames, rate and codec of a video after writing it; the frames are like those that were given."""
    write(path, frames, fps)
    capture = cv2.VideoCapture(str(path))
    read = []
    while (found := capture.read())[0]:
        read.append(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB))
    for frame, image in zip(frames, read, strict=True):
        height, width = frame.shape[:2]
        assert np.abs(image[:height, :width].astype(int) - frame).mean() < 12
    return len(read), capture.get(cv2.CAP_PROP_FPS), code_of(capture)


@pytest.mark.parametrize("suffix", encoding.SUFFIXES)
def test_a_video_is_what_its_suffix_says_without_any_program(suffix, no_ffmpeg, tmp_path, capfd):
    path = tmp_path / f"out{suffix}"
    count, rate, code = written(path, frames_of(3))
    offset, magic = MAGIC[suffix]
    assert path.read_bytes()[offset : offset + 4] == magic
    assert (count, rate) == (3, 12) and code in PLAYED[suffix] and code != "mp4v"
    assert capfd.readouterr().err == "" and [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="in addition, where the program is")
@pytest.mark.parametrize("suffix, code", [(".mp4", ("h264", "avc1")), (".mkv", ("h264", "avc1")), (".webm", ("VP90",))])
def test_the_program_ffmpeg_writes_what_browsers_play(suffix, code, tmp_path, capfd):
    found = written(tmp_path / f"out{suffix}", frames_of(3), 29.97)
    assert found[0] == 3 and found[1] == pytest.approx(29.97, abs=0.01) and found[2] in code
    assert capfd.readouterr().err == ""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program in place of ffmpeg: it knows one encoder, notes its arguments, and fails where it is asked to."""
    path = tmp_path / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text(f"""#!{sys.executable}
import sys, pathlib
data = sys.stdin.buffer.read()
if "libopenh264" not in sys.argv: sys.exit("Unknown encoder")
if "null" not in sys.argv:
    if pathlib.Path({str(tmp_path / "full")!r}).exists(): sys.exit("No space left on device")
    pathlib.Path(sys.argv[-1]).write_text(f"{{len(data)}} {{' '.join(sys.argv[1:-1])}}")
""")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(shutil, "which", lambda name: str(path))
    encoding._works.cache_clear()
    yield
    encoding._works.cache_clear()


def test_the_first_encoder_that_works_is_taken_and_gets_every_byte(program, tmp_path):
    write(tmp_path / "out.mp4", panning_frames(2, 0), 30000 / 1001)
    length, *arguments = (tmp_path / "out.mp4").read_text().split()
    assert int(length) == 2 * 64 * 96 * 3
    assert "96x64" in arguments and "30000/1001" in arguments and "libopenh264" in arguments and "+faststart" in arguments


def test_a_program_that_fails_is_one_line_and_leaves_a_former_file(program, tmp_path):
    (tmp_path / "full").touch()
    (tmp_path / "out.mp4").write_text("former")
    with pytest.raises(SspError, match="ffmpeg cannot write the video there .No space left on device"):
        write(tmp_path / "out.mp4", panning_frames(40, 0))
    assert (tmp_path / "out.mp4").read_text() == "former" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("fps, expected", [
    (None, 25), (0, 25), (-30, 25), (math.nan, 25), (math.inf, 25), (90000, 25), (1000, 25), (1e-9, 25), (0.5, 0.5), (240, 240),
    (30000 / 1001, 30000 / 1001), (24, 24),
])
def test_any_frame_rate_becomes_one_that_can_be_written(fps, expected, no_ffmpeg, tmp_path):
    assert writable_rate(fps) == pytest.approx(expected)
    assert written(tmp_path / "out.avi", frames_of(2), fps)[:2] == (2, pytest.approx(expected, abs=0.01))


def test_other_suffixes_are_refused_in_one_line(tmp_path):
    for name in ("out.gif", "out.mov", "out", "out.MP5"):
        with pytest.raises(SspError, match=r"\.mp4, \.mkv, \.webm, \.avi; name one of them"):
            require_video_name(tmp_path / name)
    require_video_name(tmp_path / "OUT.MP4")


def test_odd_sides_and_frames_of_other_sizes_are_written_whole(no_ffmpeg, tmp_path):
    write(tmp_path / "out.avi", [texture(size) for size in ((33, 47), (66, 94), (50, 20), (200, 10))])
    capture = cv2.VideoCapture(str(tmp_path / "out.avi"))
    first, double, upright, narrow = (capture.read()[1] for _ in range(4))
    assert first.shape == (34, 48, 3) and not capture.read()[0]
    assert upright[:, :10].max() < 40 and upright[:, 22:26].mean() > 40  # on black, in the middle


def test_without_a_frame_and_after_an_error_there_is_no_file(no_ffmpeg, tmp_path):
    write(tmp_path / "new" / "out.mp4", [])
    with pytest.raises(KeyError):
        write(tmp_path / "new" / "out.mp4", [texture((32, 32))], error=KeyError())
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize("suffix", encoding.SUFFIXES)
def test_a_file_that_opencv_could_not_write_as_a_whole_is_one_line(suffix, no_ffmpeg, tmp_path, monkeypatch, capfd):
    made = cv2.VideoWriter

    class FullDisk:
        def __init__(self, name, *settings):
            self.name, self.writer = name, made(name, *settings)
            self.isOpened, self.write = self.writer.isOpened, self.writer.write

        def release(self):
            self.writer.release()
            Path(self.name).write_bytes(Path(self.name).read_bytes()[:20])

    monkeypatch.setattr(cv2, "VideoWriter", FullDisk)
    with pytest.raises(SspError, match="could not be written there as a whole; is the disk full"):
        write(tmp_path / f"out{suffix}", frames_of(2))
    assert not list(tmp_path.iterdir()) and capfd.readouterr().err == ""


def test_the_slow_encoder_is_said(no_ffmpeg, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "out.mp4", [texture((32, 32))])
    if code_of(cv2.VideoCapture(str(tmp_path / "out.mp4"))) == "VP90":
        assert "install ffmpeg" in caplog.text


def test_two_threads_that_silence_c_libraries_leave_stderr_as_it_was():
    before, entered, go = os.fstat(2), threading.Event(), threading.Event()

    def second():
        with encoding._no_native_messages():
            entered.set()
            go.wait(5)

    thread = threading.Thread(target=second)
    with encoding._no_native_messages():
        thread.start()
        assert not entered.wait(0.1)
    go.set()
    thread.join()
    assert os.path.samestat(before, os.fstat(2))
