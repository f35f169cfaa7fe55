"""Checksums: published ones of files that were fetched, and our own of what the stages keep, which disks may damage."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path

import numpy as np

from sspcore.core.errors import WeightsError
from sspcore.core.files import atomic_file

log = logging.getLogger(__name__)

SUMMED_BYTES = 2**30  # of a folder: beyond that only sizes are compared, since reading all of it would take minutes
_CRC_BYTES = 4


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def crc32(path: Path) -> int:
    """CRC-32 of a file."""
    return reduce(lambda value, block: zlib.crc32(block, value), _blocks(path), 0)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(2**20):
            yield block


def published_checksum(path: Path) -> str | None:
    """SHA-256, or its beginning, that a file was published with; None where none came with it.

    torchvision's files carry its beginning in their name; the hub's client names the file that a cached name links to by
    the hub's checksum.
    """
    named = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if named:
        return named[1]
    blob = path.resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else None


def require_checksum(path: Path) -> None:
    """Raise WeightsError unless a file is the one that was published; a file without a known checksum passes."""
    published = published_checksum(path)
    if published is not None and not (found := sha256(path)).startswith(published):
        sums = f"SHA-256 is {found[:16]}..., published is {published[:16]}..."
        raise WeightsError(f"{path}: {sums}; it is damaged or another file: delete it and fetch it again")


def manifest(folder: Path, without: frozenset[str] = frozenset()) -> dict[str, list[int]]:
    """Size and, in folders of at most SUMMED_BYTES, CRC-32 of each file below `folder`, by its path there."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    sizes = {name: path.stat().st_size for name, path in files.items() if name not in without}
    if sum(sizes.values()) > SUMMED_BYTES:
        return {name: [size] for name, size in sizes.items()}
    return {name: [size, crc32(files[name])] for name, size in sizes.items()}


def first_damage(folder: Path, recorded: Mapping[str, list[int]], trusted_until: int | None = None) -> str | None:
    """The first file that is missing or differs from a `manifest`, None if all are as they were; other files do not count.

    Args:
        trusted_until: for a quick look: files of the right size that were not written to since then (nanoseconds since the
            epoch) pass unread.
    """
    for name, (size, *crc) in recorded.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return name
        unread = trusted_until is not None and path.stat().st_mtime_ns <= trusted_until
        if crc and not unread and crc32(path) != crc[0]:
            return name
    return None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array, atomically, as .npy with its CRC-32 behind it, which np.load passes over."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    data = buffer.getvalue()
    with atomic_file(path) as temporary:
        temporary.write_bytes(data + zlib.crc32(data).to_bytes(_CRC_BYTES, "little"))


def read_array(path: Path) -> np.ndarray | None:
    """What `write_array` wrote; None if there is no file, and, with a line in the log, if it is damaged."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    body, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if body and zlib.crc32(body).to_bytes(_CRC_BYTES, "little") == crc:
        return np.load(io.BytesIO(body), allow_pickle=False)
    log.warning("%s: is damaged; it is made again", path)
    return None
