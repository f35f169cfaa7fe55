"""Runs: where artefacts lie, when they are fresh, and what a result says of its origin.

Every stage writes its artefact into a temporary place and renames it when complete, with a key beside it: a hash of the
profile's sections and of the keys of its inputs. A stage whose artefact has the right key is skipped and says so; a
killed run goes on where it was. What is written or taken up is noted for the runner (`note_output`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from sspcore.core.checksums import first_damage, manifest
from sspcore.core.errors import ArtefactError

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS_FOLDER = REPOSITORY / "data" / "weights"
FLOW_CACHE = REPOSITORY / "data" / "flow-cache"
KEY_FILE = "key.json"
RUN_LOCK = "SSPCORE_RUN_LOCK"
RUN_BEGAN = "SSPCORE_RUN_BEGAN"
OUTPUTS_FILE = "SSPCORE_OUTPUTS_FILE"
_PROCESS_BEGAN = time.time()
_LEFTOVER = re.compile(r"\..+\.(\d+)\.partial(\..+)?")  # the names that atomic_file gives
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
REPORTED_PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Workspace:
    """Folders of one profile's artefacts under `root` (default: the repository's data folder)."""

    profile: str
    root: Path = REPOSITORY / "data"

    @property
    def base(self) -> Path:
        return self.root / self.profile

    @property
    def releases(self) -> Path:
        return self.base / "releases"

    def clips(self, dataset: str) -> Path:
        return self.base / "clips" / dataset

    def motion(self, dataset: str) -> Path:
        return self.base / "motion" / dataset

    def run(self, dataset: str, seed: int, system: str, key: str) -> Path:
        return self.base / "runs" / dataset / f"seed{seed}" / f"{slug(system)}-{key[:8]}"

    @property
    def notebooks(self) -> Path:
        return self.base / "notebooks"


def slug(name: str) -> str:
    """A system's name as a folder name: "ConvNeXt-S + UPerNet" -> "convnext-s-upernet"."""
    kept = "".join(c if c.isalnum() or c in "._-" else " " for c in name.lower())
    return "-".join(part for part in kept.split() if part != "-")


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


@contextmanager
def exclusive(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold `folder` for this run: two side by side would clear away each other's half-made artefacts.

    The system lets go of it when the process ends, however it ends. Kernels and workers outlive a killed runner for a
    while: they take part in the run (`join_run`, `stay_in_run`) and are waited for, at most `patience` seconds.
    Raises: ArtefactError if another run is at work there, or if what a killed one has left does not end.
    """
    lock, kernels = (folder.with_name(f".{folder.name}.{kind}") for kind in ("lock", "kernels.lock"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file, kernels.open("a") as others:
        if not _lock(file, fcntl.LOCK_EX):
            file.seek(0)
            raise ArtefactError(
                f"{folder}: another run (process {file.read().strip() or 'unknown'}) is at work there; wait for it, or stop it "
                "first"
            )
        deadline = time.monotonic() + patience
        while not _lock(others, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ArtefactError(
                    f"{folder}: processes that a killed run started are still at work there; run again when they have ended"
                )
            time.sleep(0.2)
        _lock(others, fcntl.LOCK_UN)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        os.environ[RUN_LOCK] = str(kernels)
        try:
            yield
        finally:
            del os.environ[RUN_LOCK]


def join_run() -> TextIO | None:
    """In a notebook's kernel: take part in the run that executes it for as long as the file returned is open."""
    path = os.environ.get(RUN_LOCK)
    if path is None:
        return None
    file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - it stays open on purpose
    _lock(file, fcntl.LOCK_SH)
    return file


def stay_in_run() -> None:
    """Take part in the run, as `join_run`, until this process ends: for workers, which may outlive a killed run."""
    file = join_run()
    if file is not None:
        os.dup(file.fileno())  # shares the lock, and nobody closes it


def _lock(file: TextIO, kind: int) -> bool:
    """Take a lock; False where others hold it. Where the file system knows no locks that is said, and all may go on."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s: cannot be locked (%s): start no second run beside this one", file.name, error.strerror)
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


def is_fresh(folder: Path, key: str) -> bool:
    """Whether `folder` holds a complete artefact made under `key`, its files as they were written."""
    path = folder / KEY_FILE
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("key") != key:
            return False
        damaged = first_damage(folder, record.get("files", {}))
    except (ValueError, TypeError, AttributeError):
        return False
    if damaged is not None:
        log.warning("%s: %s is missing or damaged; the stage is made anew", folder, damaged)
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


def seal(folder: Path, key: str, title: str) -> None:
    """Write the key file, the last of a complete artefact: key, title, and what `is_fresh` compares its files with."""
    write_json(folder / KEY_FILE, {"key": key, "title": title, "files": manifest(folder, frozenset({KEY_FILE}))})


def made_since(folder: Path, moment: float) -> bool:
    """Whether the complete artefact `folder` was made after `moment` (seconds since the epoch)."""
    path = folder / KEY_FILE
    return path.is_file() and path.stat().st_mtime >= moment


def stage(title: str, folder: Path, key: str, build: Callable[[Path], None], force: bool = False) -> Path:
    """Make the artefact `folder` unless it is there under the same key.

    Args:
        title: what is made, for the log.
        folder: where it goes.
        key: hash of all that it depends on.
        build: writes the artefact into the (temporary) folder that it is given.
        force: make it anew in any case.
    Returns: `folder`.
    """
    if not force and is_fresh(folder, key):
        log.info("%s: up to date, skipped", title)
        note_output(folder)
        return folder
    log.info("%s: started", title)
    with atomic_folder(folder) as temporary:
        build(temporary)
        seal(temporary, key, title)
    log.info("%s: done", title)
    return folder


def resumable_stage(title: str, folder: Path, key: str, build: Callable[[Path], None], force: bool = False) -> Path:
    """`stage` for long work that goes on where it was killed: the working folder carries the key and is kept.

    A working folder left by another key is removed; it can serve no more.
    """
    if not force and is_fresh(folder, key):
        log.info("%s: up to date, skipped", title)
        note_output(folder)
        return folder
    working = folder.with_name(f".{folder.name}.{key}.partial")
    for stale in folder.parent.glob(f".{folder.name}.*.partial"):
        if stale != working or force:
            shutil.rmtree(stale)
    working.mkdir(parents=True, exist_ok=True)
    log.info("%s: started", title)
    if not is_fresh(working, key):  # it is if the run was killed after the line that seals it
        build(working)
        seal(working, key, title)
    if folder.exists():
        shutil.rmtree(folder)
    working.replace(folder)
    note_output(folder)
    log.info("%s: done", title)
    return folder


def stable_hash(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def provenance(profile: str, seed: int, data_key: str) -> dict[str, Any]:
    """Origin of a result: commit, profile, seed, versions, machine and data key."""
    return {
        "commit": git_commit(),
        "profile": profile,
        "seed": seed,
        "data_key": data_key,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def run_began(default: float = _PROCESS_BEGAN) -> float:
    """When the run began, in seconds since the epoch: `sspcore.study.reproduce` says so, else this process's start."""
    return float(os.environ.get(RUN_BEGAN, default))


def git_commit() -> str:
    """Short commit of the repository, "+" appended where the work tree differs, "unknown" outside a repository."""
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        # figures/ is what a run writes: its own output must not mark the commit as changed
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!figures")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
