"""Frames of videos: their true number, whatever the header says, and where a file is cut off."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import pytest

from helpers.media import panning_frames
from sspcore.core.errors import ReleaseError
from sspcore.data.containers import has_sample_table, is_cut_off, is_edited
from sspcore.data.video import count_frames, missing_frames, read_through, read_video

N = 24


def video(folder: Path, suffix: str, code: str) -> Path:
    """24 frames, 12 a second."""
    path = folder / f"whole{suffix}"
    frames = panning_frames(N, 0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 12, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def box(data: bytes, *names: bytes) -> tuple[int, int]:
    """Begin and end of a box's content, found by the names on the way to it."""
    at, end = 0, len(data)
    for name in names:
        while data[at + 4 : at + 8] != name:
            at += struct.unpack_from(">I", data, at)[0]
        at, end = at + 8, at + struct.unpack_from(">I", data, at)[0]
    return at, end


def with_edit(path: Path, shown: float, begins: float) -> Path:
    """The MP4 with an edit list in its track, as a cut without coding leaves it: `shown` seconds from `begins` on."""
    data = path.read_bytes()
    film, media = (
        struct.unpack_from(">I", data, box(data, b"moov", *names)[0] + 12)[0]
        for names in ((b"mvhd",), (b"trak", b"mdia", b"mdhd"))
    )  # ticks a second
    edit = struct.pack(">IIIii", 0, 1, round(shown * film), round(begins * media), 1 << 16)
    edit = struct.pack(">I4sI4s", 16 + len(edit), b"edts", 8 + len(edit), b"elst") + edit
    track, _ = box(data, b"moov", b"trak")
    end = box(data, b"moov", b"trak", b"mdia")[0] - 8
    head = track + struct.unpack_from(">I", data, track)[0]  # another edit list may follow the track's head
    changed = bytearray(data[:head] + edit + data[end:])
    for begin in (box(data, b"moov")[0], track):
        size = struct.unpack_from(">I", data, begin - 8)[0]
        struct.pack_into(">I", changed, begin - 8, size + len(edit) - (end - head))
    path = path.with_name("edited.mp4")
    path.write_bytes(changed)
    return path


def table_first(data: bytes) -> bytes:
    """The MP4 with its table of frames in front, as in files that are sent."""
    moov, mdat = data.index(b"moov") - 4, data.index(b"mdat") - 4
    table = bytearray(data[moov:])
    at = table.index(b"stco") + 12
    for k in range(struct.unpack_from(">I", table, at - 4)[0]):
        offset = struct.unpack_from(">I", table, at + 4 * k)[0]
        struct.pack_into(">I", table, at + 4 * k, offset + len(table))
    return data[:mdat] + table + data[mdat:moov]


def unknown_size(path: Path) -> Path:
    """The MKV or WebM as a live writer leaves it: no size of its segment, no duration."""
    data = bytearray(path.read_bytes())
    segment = data.index(b"\x18\x53\x80\x67") + 4
    data[segment : segment + 8] = b"\x01" + b"\xff" * 7
    duration = data.index(b"\x44\x89", segment)
    data[duration : duration + 2] = b"\x44\x8a"  # no known element
    changed = path.with_name(f"live{path.suffix}")
    changed.write_bytes(data)
    return changed


def test_headers_that_do_not_tell(tmp_path):
    live = unknown_size(video(tmp_path, ".webm", "VP80"))
    announced = cv2.VideoCapture(str(live)).get(cv2.CAP_PROP_FRAME_COUNT)
    assert announced <= 0
    assert count_frames(live) == N and read_through(live) == (N, (64, 96)) and missing_frames(live, N) == 0
    assert [number for number, _ in read_video(live, {0, 23})] == [0, 23]


def test_an_edit_list_shows_fewer_frames_than_are_stored(tmp_path):
    whole = video(tmp_path, ".mp4", "mp4v")
    assert has_sample_table(whole) and not is_edited(whole, N) and count_frames(whole) == N
    edited = with_edit(whole, shown=1.5, begins=0.5)
    assert cv2.VideoCapture(str(edited)).get(cv2.CAP_PROP_FRAME_COUNT) == N  # announced
    assert is_edited(edited, N) and count_frames(edited) == 18
    assert read_through(edited) == (18, (64, 96)) and missing_frames(edited, 18) == 0
    shown, = (image for _, image in read_video(edited, {0}))
    stored, = (image for _, image in read_video(whole, {6}))
    assert (shown == stored).all()


@pytest.mark.parametrize("suffix, code", [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "MJPG"), (".webm", "VP80")])
def test_files_that_are_cut_off_are_told_from_their_end(tmp_path, suffix, code):
    whole = video(tmp_path, suffix, code)
    assert not is_cut_off(whole) and count_frames(whole) == N and read_through(whole)[0] == N
    cut = tmp_path / f"cut{suffix}"
    data = whole.read_bytes()
    if suffix == ".mp4":
        data = table_first(data)
        (tmp_path / "first.mp4").write_bytes(data)
        assert read_through(tmp_path / "first.mp4")[0] == N
    cut.write_bytes(data[: len(data) * 3 // 4])
    assert is_cut_off(cut)
    with pytest.raises(ReleaseError, match=rf"cut\{suffix}: ends at frame \d+ though {N} are announced"):
        read_through(cut)


def test_frames_that_cannot_be_decoded_are_missing_though_the_file_is_whole(tmp_path):
    whole = video(tmp_path, ".mp4", "mp4v")
    data = bytearray(whole.read_bytes())
    begin, end = box(bytes(data), b"mdat")
    data[begin + (end - begin) * 3 // 4 : end] = bytes(end - begin - (end - begin) * 3 // 4)
    whole.write_bytes(data)
    assert not is_cut_off(whole) and count_frames(whole) == N
    with pytest.raises(ReleaseError, match=f"though {N} are announced"):
        read_through(whole)


@pytest.mark.parametrize("data", [b"\0\0\0\3ftypisom", b"\0\0\0\1mdat", b"RIFF", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\0"])
def test_a_head_that_is_cut_is_no_error(tmp_path, data):
    (tmp_path / "video").write_bytes(data)
    assert is_cut_off(tmp_path / "video") and not has_sample_table(tmp_path / "video")
