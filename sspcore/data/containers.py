"""What the files of videos say about themselves, without decoding: whether one is cut off, and which frames it shows.

Three families hold nearly all videos: boxes (MP4, MOV; ISO/IEC 14496-12), chunks (AVI; RIFF and OpenDML) and EBML (MKV, WebM;
RFC 9559). Each is a row of elements that carry their length, so that a walk over their heads shows where a file ends too early.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import error as StructError
from struct import unpack_from
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof"}  # that a file may begin with
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_LISTS = {b"RIFF", b"LIST"}  # chunks of chunks

Head = tuple[bytes, int, int | None, bool]  # name, where the content begins and ends (None: unknown), whether it is walked too


def is_cut_off(video: Path) -> bool:
    """Whether the file ends within an element, or holds something else where one must begin. False for other containers."""
    with video.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = _read(file, 0, 8)
        if start[4:] in _BOXES:
            return _boxes_end_early(file, size)
        if start[:4] in _LISTS:
            return not _is_whole(file, 0, size, _chunk, size)
        return start[:4] == _EBML and not _is_whole(file, 0, size, _element, size)


def has_sample_table(video: Path) -> bool:
    """Whether the file is an MP4 or MOV with one table of all its frames: their number is then exact."""
    with video.open("rb") as file:
        kinds = [kind for kind, _, _ in _boxes(file)]
    return b"moov" in kinds and b"moof" not in kinds


def is_edited(video: Path, frames: int) -> bool:
    """Whether an MP4 or MOV shows another part of its `frames` than all, by an edit list (cut without coding again, phones)."""
    with video.open("rb") as file:
        _, start, end = next(box for box in _boxes(file) if box[0] == b"moov")
        moov = _read(file, start, min(end, video.stat().st_size) - start)
    try:
        return _shows_a_part(moov, frames)
    except (StructError, IndexError):  # a damaged table
        return False


def _shows_a_part(moov: bytes, frames: int) -> bool:
    inner = list(_inner(moov, 0, len(moov)))
    ticks = next((_times(moov, start)[0] for kind, start, _ in inner if kind == b"mvhd"), 0)
    for start, end in ((start, end) for kind, start, end in inner if kind == b"trak"):
        track = {kind: (at, to) for kind, at, to in _inner(moov, start, end)}
        media = {kind: at for kind, at, _ in _inner(moov, *track.get(b"mdia", (0, 0)))}
        edits = {kind: at for kind, at, _ in _inner(moov, *track.get(b"edts", (0, 0)))}
        if b"elst" in edits and {b"hdlr", b"mdhd"} <= media.keys() and moov[media[b"hdlr"] + 8 :][:4] == b"vide" and ticks:
            per_second, duration = _times(moov, media[b"mdhd"])
            stored, shown = duration / max(1, per_second), _shown(moov, edits[b"elst"]) / ticks
            return abs(shown - stored) > stored / (2 * max(1, frames))
    return False


def _times(moov: bytes, at: int) -> tuple[int, int]:
    """Ticks a second and duration, of an mvhd or mdhd box."""
    return unpack_from(">IQ", moov, at + 20) if moov[at] == 1 else unpack_from(">II", moov, at + 12)


def _shown(moov: bytes, at: int) -> int:
    """Duration of all edits that show something, in ticks of the film."""
    entry, size = (">Qq", 20) if moov[at] == 1 else (">Ii", 12)
    edits = (unpack_from(entry, moov, at + 8 + k * size) for k in range(unpack_from(">I", moov, at + 4)[0]))
    return sum(duration for duration, begins in edits if begins >= 0)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of the boxes that a file is made of, up to what is none; the end may lie beyond the file's."""
    at, size = 0, file.seek(0, os.SEEK_END)
    while at + 8 <= size:
        length, kind = unpack_from(">I4s", head := _read(file, at, 16).ljust(16, b"\0"))
        begin = at + (16 if length == 1 else 8)
        length = unpack_from(">Q", head, 8)[0] if length == 1 else length or size - at
        if not kind.isascii() or not kind.strip(b"\0") or at + length < begin:
            return
        yield kind, begin, at + length
        at += length


def _inner(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        length, kind = unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield kind, at + 8, min(at + length, end)
        at += length


def _boxes_end_early(file: BinaryIO, size: int) -> bool:
    boxes = list(_boxes(file))
    if not boxes:  # the first is shorter than its own head
        return True
    end, kinds = boxes[-1][2], {kind for kind, _, _ in boxes}
    # some telephones append something else to a whole file; nothing else follows fragments
    return end > size or (end < size and (b"moof" in kinds or b"moov" not in kinds))


def _is_whole(file: BinaryIO, at: int, end: int, head: Callable[[BinaryIO, int], Head | None], size: int) -> bool:
    """Whether the elements from `at` to `end` follow each other without a hole and end within the file."""
    outermost = at == 0
    while at < end:
        found = head(file, at)
        if found is None:
            return outermost and at > 0  # what stands behind the last element
        _, begin, stop, walked = found
        if stop is None:  # written live: it ends where the file does
            return True
        if stop > size or (walked and not _is_whole(file, begin, stop, head, size)):
            return False
        at = stop
    return True


def _chunk(file: BinaryIO, at: int) -> Head | None:
    kind, length = unpack_from("<4sI", head := _read(file, at, 12).ljust(12, b"\0"))
    if not kind.isascii() or not kind.strip(b"\0"):
        return None
    walked = kind in _LISTS and head[8:] in (b"AVI ", b"AVIX", b"movi", b"rec ")
    return kind, at + 12 if walked else at + 8, at + 8 + length + length % 2, walked


def _element(file: BinaryIO, at: int) -> Head | None:
    head = _read(file, at, 16)
    name = 9 - head[0].bit_length() if head and head[0] else 9
    if name > 4 or len(head) <= name or not head[name]:
        return None
    width = 9 - head[name].bit_length()
    value = int.from_bytes(head[name : name + width], "big") & (1 << 7 * width) - 1
    begin = at + name + width
    kind = head[:name]
    return kind, begin, None if value == (1 << 7 * width) - 1 else begin + value, kind in (_SEGMENT, _CLUSTER)
