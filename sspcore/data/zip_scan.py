"""Reads a zip from its start, member by member, without the table of contents at its end: what salvage needs.

Source: the local file header, its zip64 field and the data descriptor of PKWARE's APPNOTE.TXT, 4.3.7, 4.3.9 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCAL, DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
END_OF_MEMBERS = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
BETWEEN = (LOCAL, DESCRIPTOR, *END_OF_MEMBERS)
STORED, DEFLATED = 0, 8
SIZES_FOLLOW, ENCRYPTED, UTF8 = 1 << 3, 1 << 0, 1 << 11
ZIP64_FIELD, ZIP64_MARK = 1, 0xFFFFFFFF
CHUNK = 2**20


@dataclass(frozen=True)
class Found:
    """A member found by its header: where its data begins, and what the header says of it."""

    archive: Path
    name: str
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    begins: int

    def read(self) -> Iterator[bytes]:
        """Yield its bytes. Raises: zlib.error, EOFError or NotImplementedError where they are damaged or unreadable."""
        if self.size < 0:
            raise EOFError("its end is lost")
        if self.flags & ENCRYPTED:
            raise NotImplementedError("is encrypted")
        if self.method not in (STORED, DEFLATED):
            raise NotImplementedError(f"is packed by method {self.method}")
        crc = 0
        with self.archive.open("rb") as file:
            for chunk in _unpacked(file, self.begins, self.method, self.packed):
                crc = zlib.crc32(chunk, crc)
                yield chunk
        if crc != self.crc:
            raise EOFError("bad checksum")


def scan_zip(archive: Path) -> Iterator[Found]:
    """Yield the members that a zip's local headers tell of, to its end; a damaged stretch is skipped to the next header.

    A member whose header has no sizes, since they follow its data, is read through for them; if it breaks off, it is
    yielded all the same and fails when it is read.
    """
    end = archive.stat().st_size
    with archive.open("rb") as file:
        position = 0
        while (position := _next_header(file, position)) is not None:
            found = _parse(file, archive, position)
            if found is None:
                position += len(LOCAL)
                continue
            if found.flags & SIZES_FOLLOW and not found.packed:
                found = _measure(file, found)
            if not found.name.endswith("/"):
                yield found
            after = found.begins + found.packed
            file.seek(after)
            # a length that does not lead to a header is not to be trusted, nor are the bytes on the way
            position = after if after == end or file.read(4) in BETWEEN else found.begins


def _next_header(file: IO[bytes], position: int) -> int | None:
    """Where the next local header begins; None when the table of contents or the end of the file comes first."""
    file.seek(position)
    if file.read(4) in END_OF_MEMBERS:
        return None
    file.seek(position)
    kept = b""
    while chunk := file.read(CHUNK):
        window = kept + chunk
        at = window.find(LOCAL)
        if at >= 0:
            return position - len(kept) + at
        position += len(chunk)
        kept = window[-(len(LOCAL) - 1):]
    return None


def _parse(file: IO[bytes], archive: Path, position: int) -> Found | None:
    """The local header at `position`; None if it is none, though its signature is there."""
    file.seek(position)
    header = file.read(30)
    if len(header) < 30:
        return None
    version, flags, method, _, _, crc, packed, size, name_length, extra_length = struct.unpack("<5H3I2H", header[4:])
    raw, extra = file.read(name_length), file.read(extra_length)
    if version > 100 or len(raw) < name_length or len(extra) < extra_length or not raw or b"\0" in raw:
        return None
    if packed == ZIP64_MARK or size == ZIP64_MARK:
        size, packed = _zip64_sizes(extra)
    name = raw.decode("utf-8" if flags & UTF8 else "cp437", "replace")
    return Found(archive, name, method, flags, crc, packed, size, position + 30 + name_length + extra_length)


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """(unpacked, packed) bytes from a header's extra field; zeros if it has none."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == ZIP64_FIELD and length >= 16 and len(extra) >= 20:
            return struct.unpack("<2Q", extra[4:20])
        extra = extra[4 + length:]
    return 0, 0


def _measure(file: IO[bytes], found: Found) -> Found:
    """A member with the sizes and the checksum that follow its data; size -1, which no data has, if they are lost."""
    broken = Found(found.archive, found.name, found.method, found.flags, 0, 0, -1, found.begins)
    if found.method != DEFLATED:
        return broken
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = size = taken = 0
    file.seek(found.begins)
    try:
        while not unpacker.eof:
            chunk = file.read(CHUNK)
            if not chunk:
                return broken
            for data in _inflate(unpacker, chunk):
                crc, size = zlib.crc32(data, crc), size + len(data)
            taken += len(chunk) - len(unpacker.unused_data)
    except zlib.error:
        return broken
    file.seek(found.begins + taken)
    descriptor = file.read(8)
    stored = descriptor[4:8] if descriptor[:4] == DESCRIPTOR else descriptor[:4]
    if len(stored) < 4 or struct.unpack("<I", stored)[0] != crc:
        return broken
    return Found(found.archive, found.name, found.method, found.flags, crc, taken, size, found.begins)


def _unpacked(file: IO[bytes], begins: int, method: int, packed: int) -> Iterator[bytes]:
    file.seek(begins)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if method == DEFLATED else None
    while packed > 0:
        chunk = file.read(min(CHUNK, packed))
        if not chunk:
            raise EOFError("breaks off at the end of the archive")
        packed -= len(chunk)
        if unpacker is None:
            yield chunk
        else:
            yield from _inflate(unpacker, chunk)


def _inflate(unpacker: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """Unpacked bytes of a chunk, no more than CHUNK at a time: a few bytes may stand for gigabytes."""
    more = True
    while more and not unpacker.eof:
        data = unpacker.decompress(chunk, CHUNK)
        yield data
        chunk = unpacker.unconsumed_tail
        more = bool(chunk) or len(data) == CHUNK
