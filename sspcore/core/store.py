"""The store of artefacts: when one is fresh, and how it is made.

Every stage writes its artefact into a temporary place and renames it when complete, with a key beside it: a hash of the
profile's sections and of the keys of its inputs. A stage whose artefact has the right key is skipped and says so; a
killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sspcore.core.checksums import first_damage, manifest
from sspcore.core.files import note_output, replace_folder, write_json
from sspcore.core.lock import at_work_on
from sspcore.core.provenance import code_in_memory

log = logging.getLogger(__name__)

KEY_FILE = "key.json"


def is_fresh(folder: Path, key: str) -> bool:
    """Whether `folder` holds a complete artefact made under `key`, its files as they were written."""
    try:
        record = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))
        if record.get("key") != key:
            return False
        damaged = first_damage(folder, record.get("files", {}))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, AttributeError):
        return False
    if damaged is not None:
        log.warning("%s: %s is missing or damaged; the stage is run again", folder, damaged)
    return damaged is None


def changed_file(folder: Path) -> Path | None:
    """A file of a complete artefact that is missing, of another size, or was written to since; None if there is none.

    A quick look: files that were not touched are not read. A folder without checksums passes.
    """
    stamp = folder / KEY_FILE
    try:
        files = json.loads(stamp.read_text(encoding="utf-8")).get("files", {})
        name = first_damage(folder, files, stamp.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        return stamp
    return None if name is None else folder / name


def seal(folder: Path, key: str, title: str, seconds: float) -> None:
    """Write the key file, the last of a complete artefact: key, title, time, commit, checksums for `is_fresh`."""
    record = {"key": key, "title": title, "seconds": round(seconds, 1), "commit": code_in_memory()}
    write_json(folder / KEY_FILE, record | {"files": manifest(folder, frozenset({KEY_FILE}))})


def made_since(folder: Path, moment: float) -> bool:
    """Whether the complete artefact `folder` was made after `moment` (seconds since the epoch)."""
    path = folder / KEY_FILE
    return path.is_file() and path.stat().st_mtime >= moment


def working_folder(folder: Path, key: str, forced_at: float | None = None) -> Path:
    """Where the artefact `folder` is made before it is complete; its parts may be put there first, by other processes.

    `forced_at`: when the run began that makes it again, so that it finds only its own parts there.
    """
    again = "" if forced_at is None else f"-{forced_at:.3f}"
    return folder.with_name(f".{folder.name}.{key}{again}.partial")


def stage(
    title: str, folder: Path, key: str, build: Callable[[Path], None], forced_at: float | None = None, resumes: bool = False
) -> Path:
    """Make the artefact `folder` unless it is there under the same key; of several processes one makes it.

    Args:
        title: what is made, for the log.
        key: hash of all that it depends on.
        build: writes the artefact into the working folder that it is given.
        forced_at: make it again, in a run that began then (seconds since the epoch).
        resumes: whether `build` goes on with what it left in a working folder of the same key. Such a folder is kept when
            `build` fails; otherwise a failure leaves nothing.
    Returns: `folder`.
    """
    if forced_at is None and is_fresh(folder, key):
        log.info("%s: up to date, skipped", title)
        note_output(folder)
        return folder
    with at_work_on(folder):
        if not (folder.exists() and (forced_at is None or made_since(folder, forced_at)) and is_fresh(folder, key)):
            _make(title, folder, key, build, forced_at, resumes)
        note_output(folder)
    return folder


def _make(
    title: str, folder: Path, key: str, build: Callable[[Path], None], forced_at: float | None, resumes: bool
) -> None:
    working = working_folder(folder, key, forced_at)
    for left in folder.parent.glob(f".{folder.name}.*.partial"):
        if left != working or not resumes:
            shutil.rmtree(left)
    log.info("%s: started", title)
    code_in_memory()  # the code that builds is that of now, not that of the moment of the seal
    working.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        if not is_fresh(working, key):  # it is if the run was killed after the line that seals it
            build(working)
            seal(working, key, title, time.perf_counter() - began)
    except BaseException:
        if not resumes:
            shutil.rmtree(working, ignore_errors=True)
        raise
    replace_folder(working, folder, KEY_FILE)
    log.info("%s: done", title)


def stable_hash(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
