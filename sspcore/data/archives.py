"""Archives of a release, as published: what of them preparation reads is unpacked into a folder of ours.

A member is taken if its name fits the published layout, whatever folders come before it; it is written to the path that
the layout gives it, never to the one in its name. Names that lead out of the archive, links and members of absurd size
are refused. What cannot be read is listed and the rest is kept; a zip that has lost its table of contents, which is at
its end, is read member by member from the start. The user's files are opened for reading only.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from sspcore.core.errors import ReleaseError
from sspcore.core.files import atomic_file, read_json, write_json
from sspcore.core.progress import tqdm
from sspcore.data.prepare import require_room
from sspcore.data.zip_scan import Found, scan_zip

log = logging.getLogger(__name__)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
SIZE_LIMITS = {".png": 2**28, ".mp4": 2**37}  # bytes of a member
RECORD = "archive.json"
RATIO_LIMIT = 20  # of all that is unpacked to the archive: videos and PNGs are packed already, label PNGs a little loosely
# lzma: a .tar.gz may be an xz by another name; ValueError: a damaged table of contents that leads before the file's start
READ_ERRORS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, ValueError,
)
CHUNK = 2**20

# name of a member in the published layout -> where it goes
_LAYOUTS: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "uavid": (
        (re.compile(r"(?:.*/)?uavid_(train|val)/(seq\d+)/images\.mp4", re.I), "uavid_{}/{}/images.mp4"),
        (re.compile(r"(?:.*/)?uavid_(train|val)/(seq\d+)/labels/(\d+)\.png", re.I), "uavid_{}/{}/Labels/{}.png"),
        (
            re.compile(r"(?:.*/)?uavid_(train|val)/(seq\d+)/vdd_labels/(\d+)\.png", re.I),
            "UAVid7/uavid_{}/{}/VDD_Labels/{}.png",
        ),
    ),
    "ruralscapes": (
        (re.compile(r"(?:.*/)?videos/(DJI_\d+)\.mp4", re.I), "videos/{}.mp4"),
        (
            re.compile(r"(?:.*/)?manual_labels/(DJI_\d+)/(segfull_\1_\d+)\.png", re.I),
            "labels/manual_labels/{}/{}.png",
        ),
    ),
}
_NAMES = {"uavid": re.compile("uavid|vdd", re.I), "ruralscapes": re.compile("rural", re.I)}


@dataclass(frozen=True)
class Member:
    """One file of an archive; `read` yields its bytes and raises one of READ_ERRORS where they are damaged."""

    name: str
    size: int
    is_link: bool
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Unpacked:
    """What came of an archive.

    Attributes:
        archive: the user's file.
        folder: the release's layout, as far as the archive had it sound.
        kept: number of members in it, those that the user has unpacked not counted.
        lost: "name: why" of each member that is damaged or refused.
        problem: what is wrong with the archive as a whole, "" if nothing.
    """

    archive: Path
    folder: Path
    kept: int
    lost: tuple[str, ...]
    problem: str


def find_archives(data: Path, dataset: str) -> list[Path]:
    """Archives of a data set: all in `data`/<dataset>, and those in `data` whose members (else whose name) say so."""
    own = [path for path in _files(data / dataset) if path.name.lower().endswith(SUFFIXES)]
    shared = [path for path in _files(data) if path.name.lower().endswith(SUFFIXES)]
    return own + [path for path in shared if _belongs(path, dataset)]


def target_of(name: str, dataset: str) -> str | None:
    """Path in the release's layout of a member, None if preparation does not read it."""
    for pattern, target in _LAYOUTS[dataset]:
        match = pattern.fullmatch(name)
        if match and ("UAVid7" in target or "uavid7/" not in name.lower()):  # UAVid7 has copies of the rest
            groups = [part.lower() if part.lower() in ("train", "val") else part for part in match.groups()]
            return target.format(*groups)
    return None


def unpack(archive: Path, dataset: str, into: Path, there: frozenset[str] = frozenset()) -> Unpacked:
    """Unpack what is sound of an archive, once; an interrupted unpacking goes on.

    Args:
        into: receives a folder for this archive as it now is; that of a former file of the same name is removed.
        there: paths in the release's layout of what the user has unpacked already; left alone in the archive.
    Raises: ReleaseError if the disk has no room.
    """
    status = archive.stat()
    mark = hashlib.sha256(f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = into / f"{archive.name}-{mark}"
    for stale in into.glob(f"{glob.escape(archive.name)}-{'?' * 12}"):
        if stale != folder:
            shutil.rmtree(stale)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else None
    if record is not None and there.issuperset(record["there"]):
        return Unpacked(archive, folder, record["kept"], tuple(record["lost"]), record["problem"])
    with open_archive(archive) as (members, problem):
        chosen, lost = choose_members(members, dataset)
        wanted = {target: member for target, member in chosen.items() if target not in there}
        missing = {target: member for target, member in wanted.items() if not (folder / target).is_file()}
        size = sum(max(0, member.size) for member in missing.values())
        if size > RATIO_LIMIT * status.st_size + CHUNK:
            raise ReleaseError(
                f"{archive}: {status.st_size} bytes that would unpack to {size}: that is no release; fetch it again"
            )
        require_room(into, size, f"{archive.name}: {len(missing)} files to unpack")
        failed = {}
        with tqdm(desc=f"unpacking {archive.name}", unit="file", total=len(missing)) as bar:
            for target, member in missing.items():
                try:
                    _write(member, folder / target)
                except READ_ERRORS as error:
                    failed[target] = f"{_shown(member.name)}: {_reason(error, folder)}"
                bar.update(1)
    if failed and zipfile.is_zipfile(archive):
        # the table of contents may point beside members that are sound, when bytes before it are missing
        found = choose_members([_found(entry) for entry in scan_zip(archive)], dataset)[0]
        for target in failed.keys() & found.keys():
            try:
                _write(found[target], folder / target)
                del failed[target]
            except READ_ERRORS as error:
                log.debug("%s: %s", found[target].name, _reason(error, folder))
    lost += failed.values()
    write_json(folder / RECORD, {
        "kept": len(wanted) - len(failed), "lost": lost, "problem": problem, "there": sorted(there.intersection(chosen)),
    })
    return Unpacked(archive, folder, len(wanted) - len(failed), tuple(lost), problem)


def choose_members(members: list[Member], dataset: str) -> tuple[dict[str, Member], list[str]]:
    """Members by the path that they go to, and "name: why" of those that are refused."""
    wanted: dict[str, Member] = {}
    refused = []
    for member in members:
        name = member.name.replace("\\", "/")
        if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match(r"[A-Za-z]:", name):
            refused.append(f"{_shown(name)}: leads out of the archive; refused")
            continue
        target = target_of(name, dataset)
        if target is None:
            continue
        if member.is_link:
            refused.append(f"{_shown(member.name)}: is a link; refused")
        elif member.size > SIZE_LIMITS[PurePosixPath(target).suffix]:
            refused.append(f"{_shown(member.name)}: unpacks to {member.size} bytes; refused")
        elif target in wanted:
            refused.append(f"{_shown(member.name)}: is there twice ({_shown(wanted[target].name)}); the first is taken")
        else:
            wanted[target] = member
    return wanted, refused


@contextmanager
def open_archive(archive: Path) -> Iterator[tuple[list[Member], str]]:
    """The files of an archive as far as they can be listed, and what is wrong with it as a whole ("" if nothing)."""
    with ExitStack() as stack:
        if archive.name.lower().endswith(".zip"):
            yield _zip_members(archive, stack)
        else:
            yield _tar_members(archive, stack)


def _zip_members(archive: Path, stack: ExitStack) -> tuple[list[Member], str]:
    try:
        file = stack.enter_context(zipfile.ZipFile(archive))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return [_found(entry) for entry in scan_zip(archive)], (
            "its table of contents, which is at its end, is lost: it arrived shortened or damaged"
        )
    return [
        Member(entry.filename, entry.file_size, stat.S_ISLNK(entry.external_attr >> 16), partial(_read_zip, file, entry))
        for entry in file.infolist() if not entry.is_dir()
    ], ""


def _found(entry: Found) -> Member:
    return Member(entry.name, entry.size, False, entry.read)


def _read_zip(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with file.open(entry) as member:  # checks the CRC at its end
        yield from _chunks(member)


def _tar_members(archive: Path, stack: ExitStack) -> tuple[list[Member], str]:
    members: list[Member] = []
    try:
        file = stack.enter_context(tarfile.TarFile.open(archive))
        for entry in file:
            if not entry.isdir():
                members.append(Member(entry.name, entry.size, not entry.isfile(), partial(_read_tar, file, entry)))
    except READ_ERRORS as error:
        return members, f"it cannot be listed to its end ({_reason(error, archive)}): it arrived shortened or damaged"
    return members, ""


def _read_tar(file: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    with file.extractfile(entry) as member:
        yield from _chunks(member)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _shown(name: str) -> str:
    """A name of an archive for the terminal: on one line, nothing in it that a terminal obeys or cannot encode."""
    return name.encode("unicode_escape").decode("ascii")


def _write(member: Member, path: Path) -> None:
    """Write a member. Raises EOFError if it has another size than announced, which also bounds what is written."""
    with atomic_file(path) as temporary:
        size = 0
        with temporary.open("wb") as file:
            for chunk in member.read():
                size += len(chunk)
                if size > member.size:
                    break
                file.write(chunk)
        if size != member.size:
            raise EOFError(f"{'more than ' if size > member.size else ''}{min(size, member.size)} of {member.size} bytes")


def _belongs(archive: Path, dataset: str) -> bool:
    """By its name; by what is in it only where the name says nothing, since listing a packed tar takes its time."""
    named = [key for key, pattern in _NAMES.items() if pattern.search(archive.name)]
    if named:
        return dataset in named
    with open_archive(archive) as (members, _):
        return bool(choose_members(members, dataset)[0])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _reason(error: Exception, folder: Path) -> str:
    """Why an archive could not be read, in a line. Raises the error again if it is the disk's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        raise ReleaseError(f"{folder}: cannot be written ({error.strerror}); make room or choose another place") from error
    return str(error).splitlines()[0] if str(error) else type(error).__name__
