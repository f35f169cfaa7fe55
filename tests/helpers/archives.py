"""A release as it is downloaded: packed, and cut off."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

VIDEO = "DJI_0043"


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of every file."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every file but an artefact's key file, which holds the time that its stage took."""
    return {name: digest for name, (digest, _) in contents(folder).items() if name != "key.json"}


def pack(data: Path, name: str, write: Callable[[zipfile.ZipFile], None] = lambda file: None) -> Path:
    """Replace a release's folder by a zip with a folder of another name around it, as downloads have."""
    archive = data / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((data / name).rglob("*")):
            file.write(path, f"{name}_release v1/{path.relative_to(data / name).as_posix()}")
        write(file)
    shutil.rmtree(data / name)
    return archive


def cut_end(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        last = max(file.infolist(), key=lambda entry: entry.header_offset)
    archive.write_bytes(archive.read_bytes()[: last.header_offset + 60])
