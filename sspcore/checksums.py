"""Checksums of files that were fetched: those that are published with a file are compared, not only printed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from sspcore.errors import WeightsError


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


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
    if published is None:
        return
    found = sha256(path)
    if not found.startswith(published):
        raise WeightsError(
            f"{path}: SHA-256 is {found[:16]}..., published is {published[:16]}...; it is damaged or another file: delete it "
            "and fetch it again"
        )
