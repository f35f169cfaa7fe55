"""Files that are whole or not there: atomic writing, JSON, and what killed writers have left.

What is written or taken up is noted for the runner (`note_output`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError

OUTPUTS_FILE = "SSPCORE_OUTPUTS_FILE"
_LEFTOVER = re.compile(r"\..+\.(\d+)\.partial(\..+)?")  # the names that atomic_file gives


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        note_output(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary file name that becomes `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the process in the name: two loader workers may want the same missing file
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
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
    """Delete the temporary files that writers below `folder` left when they were killed."""
    for path in folder.rglob(".*.partial*"):
        name = _LEFTOVER.fullmatch(path.name)
        if name and path.is_file() and not _is_alive(int(name[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no number of a process
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
