"""Reads a zip from its start, member by member, without the table of contents at its end: what salvage needs.

Source: the local file header, its zip64 field and the data descriptor of PKWARE's APPNOTE.TXT, 4.3.7, 4.3.9 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipExtFile, ZipInfo

LOCAL, DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
END_OF_MEMBERS = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
BETWEEN = (LOCAL, DESCRIPTOR, *END_OF_MEMBERS)
SIZES_FOLLOW, ENCRYPTED, UTF8 = 1 << 3, 1 << 0, 1 << 11
ZIP64_FIELD, ZIP64_MARK = 1, 0xFFFFFFFF
CHUNK = 2**20
PACKED_CHUNK = 2**14  # deflate makes at most a thousand times as much of it
LOST = -1  # size of a member whose end is lost


def open_member(archive: Path, member: ZipInfo) -> ZipExtFile:
    """A member that `scan_zip` found, to read as a file that checks its CRC at its end.

    Raises: EOFError or NotImplementedError if it cannot be read; reading raises zlib.error, BadZipFile or EOFError where it
        is damaged.
    """
    if member.file_size == LOST:
        raise EOFError("its end is lost")
    if member.flag_bits & ENCRYPTED:
        raise NotImplementedError("is encrypted")
    file = archive.open("rb")
    file.seek(member.header_offset)
    return ZipExtFile(file, "r", member, close_fileobj=True)


def scan_zip(archive: Path) -> Iterator[ZipInfo]:
    """Yield the members that a zip's local headers list, to its end; a damaged stretch is skipped to the next header.

    `header_offset` is where a member's data begins, behind its header. A member whose header has no sizes, since they
    follow its data, is read through for them; if it breaks off, it is yielded with the size LOST.
    """
    end = archive.stat().st_size
    with archive.open("rb") as file:
        position = 0
        while (position := _next_header(file, position)) is not None:
            found = _parse(file, position)
            if found is None:
                position += len(LOCAL)
                continue
            if found.flag_bits & SIZES_FOLLOW and not found.compress_size:
                _measure(file, found)
            if not found.is_dir():
                yield found
            after = found.header_offset + found.compress_size
            file.seek(after)
            # a length that does not lead to a header is not to be trusted, nor are the bytes on the way
            position = after if after == end or file.read(4) in BETWEEN else found.header_offset


def _next_header(file: IO[bytes], position: int) -> int | None:
    """Where the next local header begins; None when the table of contents or the end of the file comes first."""
    file.seek(position)
    window = file.read(4)
    if window in END_OF_MEMBERS:
        return None
    while chunk := file.read(CHUNK):
        window += chunk
        if (at := window.find(LOCAL)) >= 0:
            return file.tell() - len(window) + at
        window = window[-(len(LOCAL) - 1):]
    return None


def _parse(file: IO[bytes], position: int) -> ZipInfo | None:
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
    found = ZipInfo(raw.decode("utf-8" if flags & UTF8 else "cp437", "replace"))
    found.compress_type, found.flag_bits, found.CRC = method, flags, crc
    found.compress_size, found.file_size, found.header_offset = packed, size, file.tell()
    return found


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """(unpacked, packed) bytes from a header's extra field; zeros if it has none."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == ZIP64_FIELD and length >= 16 and len(extra) >= 20:
            return struct.unpack("<2Q", extra[4:20])
        extra = extra[4 + length:]
    return 0, 0


def _measure(file: IO[bytes], found: ZipInfo) -> None:
    """Set the sizes and the checksum that follow a member's data; the size is LOST if they are."""
    found.file_size = LOST
    if found.compress_type != ZIP_DEFLATED:
        return
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = size = 0
    file.seek(found.header_offset)
    while not unpacker.eof:
        try:
            data = unpacker.decompress(chunk := file.read(PACKED_CHUNK))
        except zlib.error:
            return
        if not chunk:
            return
        crc, size = zlib.crc32(data, crc), size + len(data)
    after = file.tell() - len(unpacker.unused_data)
    file.seek(after)
    descriptor = file.read(8)
    stored = descriptor[4:] if descriptor[:4] == DESCRIPTOR else descriptor[:4]
    if stored == struct.pack("<I", crc):
        found.CRC, found.file_size, found.compress_size = crc, size, after - found.header_offset
