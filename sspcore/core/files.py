"""Files that are whole or not there: atomic writing, JSON, and what killed writers have left.

What is written or taken up is noted for the runner (`note_output`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError, SspError

OUTPUTS_FILE = "SSPCORE_OUTPUTS_FILE"
_LEFTOVER = re.compile(r"\..+~(.+)~(\d+)\.partial(\..+)?")  # the names that atomic_file gives: host, process
_FOREIGN_SECONDS = 86400.0  # after which a file of another host, whose processes are not seen here, counts as left


def require_output(path: Path, inputs: Iterable[Path | None] = (), overwrite: bool = False, mark: str | None = None) -> None:
    """Refuse, before any work is done, an output that would destroy what a user has or that cannot be written.

    Files are compared as the file system does: links, relative names and the case of letters do not hide an input.

    Args:
        path: file or folder to write.
        inputs: files and folders that the command reads; None and those that are not there are passed over.
        overwrite: whether a file, or a folder with files in it, that is at `path` already may be written to.
        mark: of a folder that is replaced as a whole, see `atomic_folder`.
    Raises: SspError if `path` is, lies in or contains an input, exists, or lies where nothing can be written.
    """
    for given in filter(None, inputs):
        for source in (given, *_linked_from(given)):
            if _same(path, source):
                raise SspError(f"{path}: is an input ({given}) and would be overwritten; name another output")
            if any(_same(parent, source) for parent in path.resolve().parents):
                raise SspError(f"{path}: lies in an input ({given}); name an output outside it")
            if source.exists() and any(_same(path, parent) for parent in source.resolve().parents):
                raise SspError(f"{path}: contains an input ({given}); name another output")
    if mark is not None:
        _require_replaceable(path, mark)
    if not overwrite and (path.is_file() or path.is_symlink() or (path.is_dir() and any(path.iterdir()))):
        what = "the folder holds files" if path.is_dir() else "the file exists"
        raise SspError(f"{path}: {what} already; name another output, or pass --overwrite (Python: overwrite=True)")
    place = path.resolve()
    while not place.is_dir():
        if place.exists() and place != path.resolve():
            raise SspError(f"{path}: {place} is a file, not a folder; name another output")
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SspError(f"{path}: nothing can be written into {place} ({error.strerror}); name another output") from error


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _linked_from(folder: Path) -> Iterator[Path]:
    """Where the links of a folder lead, such as images that are kept elsewhere."""
    if folder.is_dir():
        yield from (entry.resolve() for entry in folder.iterdir() if entry.is_symlink())


@contextmanager
def atomic_folder(path: Path, mark: str) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes when it does not.

    Args:
        mark: a file that every folder of this kind holds; see `replace_folder`.
    Raises: SspError if something else is at `path`, before the block begins.
    """
    _require_replaceable(path, mark)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        replace_folder(temporary, path, mark)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_folder(complete: Path, path: Path, mark: str) -> None:
    """Rename the folder `complete` to `path`. A former folder is deleted only if it is empty or holds the file `mark`.

    Raises: SspError if something else is at `path`, which is left as it is.
    """
    _require_replaceable(path, mark)
    former = path.with_name(f".{path.name}.former.partial")
    shutil.rmtree(former, ignore_errors=True)
    if path.exists():
        path.replace(former)  # whole until it has gone: killed while it is deleted, it would have lost its mark
    complete.replace(path)
    if former.is_symlink():
        former.unlink()
    shutil.rmtree(former, ignore_errors=True)
    note_output(path)


def _require_replaceable(path: Path, mark: str) -> None:
    if path.exists() and not (path / mark).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise SspError(f"{path}: exists and was not written by this command (no {mark} in it); move it, or name a new folder")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary file name that becomes `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # host and process in the name: two workers may want the same missing file, and containers all count from 1
    temporary = path.with_name(f".{path.stem}~{socket.gethostname()}~{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
        note_output(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, atomically."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that writers below `folder` left when they were killed, those of other hosts after a day."""
    for path in folder.rglob(".*.partial*"):
        name = _LEFTOVER.fullmatch(path.name)
        if not name or not path.is_file():
            continue
        here = name[1] == socket.gethostname()
        if not _is_alive(int(name[2])) if here else time.time() - path.stat().st_mtime > _FOREIGN_SECONDS:
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        return True
    return True


def note_output(path: Path) -> None:
    """Tell the runner that the notebook it executes wrote `path` or builds on it; nothing where no runner asks.

    A line in a file, since a notebook runs in another process and its loaders in yet others.
    """
    file = os.environ.get(OUTPUTS_FILE)
    if file is not None:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(f"{path.absolute()}\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON. Raises ArtefactError if the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: file is missing; run the stage that writes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not readable as JSON; delete it and run again") from error
