"""Archives of a release, as published: the files that preparation reads are unpacked into a folder of the workspace.

A member is taken if its name fits the published layout, whatever folders come before it; it is written to the path that
the layout gives it, never to the one in its name. Names that lead out of the archive, links and members of absurd size
are refused. What cannot be read is listed and the rest is kept; a zip that has lost its table of contents, which is at
its end, is read member by member from the start. The user's files are opened for reading only.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from sspcore.core.errors import ReleaseError
from sspcore.core.files import atomic_file, read_json, write_json
from sspcore.core.progress import tqdm
from sspcore.data.datasets import SPECS, DatasetSpec
from sspcore.data.layouts import VIDEO_SUFFIXES, target_of
from sspcore.data.prepare import require_room
from sspcore.data.sealed import PARTS, REMEDY, is_later_part, why_member_sealed, why_sealed
from sspcore.data.zip_scan import CHUNK, open_member, scan_zip

SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar",
)
SIZE_LIMITS = {".png": 2**28, ".mp4": 2**37}  # bytes of a member: images and labels, videos
RECORD = "archive.json"
RATIO_LIMIT = 20  # of all that is unpacked to the archive: videos and PNGs are packed already, label PNGs a little loosely
# lzma: a .tar.gz may be an xz by another name; ValueError: a damaged table of contents that leads before the file's start
READ_ERRORS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, ValueError,
)


@dataclass(frozen=True)
class Member:
    """One file of an archive; what `open` returns, or it, raises one of READ_ERRORS where the member is damaged.

    `sealed`: why it cannot be read though it is whole, "" if it can.
    """

    name: str
    size: int
    is_link: bool
    open: Callable[[], IO[bytes]]
    sealed: str = ""


@dataclass(frozen=True)
class Unpacked:
    """What came of an archive.

    Attributes:
        archive: the user's file.
        folder: the release's layout, with the members that are whole.
        kept: number of members in it, those that the user has unpacked not counted.
        lost: "name: why" of each member that is damaged or refused.
        problem: what is wrong with the archive as a whole, "" if nothing.
        sealed: what it is and what to do, if some of it cannot be read here though it is whole; "" otherwise.
        closed: number of members that cannot be read for that reason.
    """

    archive: Path
    folder: Path
    kept: int
    lost: tuple[str, ...]
    problem: str
    sealed: str = ""
    closed: int = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with it, a line each."""
        whole = f"{self.archive}: {self.problem}; fetch it again ({self.kept} files of it are kept)"
        sealed = [f"{self.archive}: {self.sealed}"] if self.sealed else []
        return (*sealed, *([whole] if self.problem else []), *(f"{self.archive}: {line}" for line in self.lost))


def find_archives(data: Path | None, spec: DatasetSpec) -> list[Path]:
    """Archives of a release: all in its folder, and those in `data` whose names (else whose members) are of it.

    Members are listed only where the name says nothing, since listing a packed tar takes its time. Of one's own data none is
    read: only its own file says what belongs to it.
    """
    if spec.root:
        return []
    own, shared = (
        sorted(path for path in folder.glob("*") if path.is_file() and is_archive(path))
        for folder in (data / spec.name, data)
    )
    for path in shared:
        named = [each.name for each in SPECS.values() if re.search(each.archives, path.name, re.IGNORECASE)]
        if not named and why_sealed(path):
            named = [spec.name]  # its contents are not known
        elif not named:
            with open_archive(path) as (members, _):
                named = [spec.name] if choose_members(members, spec)[0] else []
        if spec.name in named:
            own.append(path)
    return own


def is_archive(path: Path) -> bool:
    """Whether a file is called like an archive, or like the first part of one."""
    of_parts = PARTS.search(path.name) and PARTS.sub("", path.name).lower().endswith((*SUFFIXES, ".part1"))
    split = path.suffix.lower() in (".z01", ".r00") or path.name.lower().endswith(".rar") or of_parts
    return (path.name.lower().endswith(SUFFIXES) or bool(split)) and not is_later_part(path)


def unpack(archive: Path, spec: DatasetSpec, into: Path, there: frozenset[str] = frozenset()) -> Unpacked:
    """Unpack the members of an archive that are whole, once; an interrupted unpacking continues.

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
    if sealed := why_sealed(archive):
        return Unpacked(archive, folder, 0, (), "", sealed)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else None
    if record is not None and "sealed" in record and there.issuperset(record["there"]):
        state = (record[name] for name in ("problem", "sealed", "closed"))
        return Unpacked(archive, folder, record["kept"], tuple(record["lost"]), *state)
    with open_archive(archive) as (members, problem):
        chosen, lost = choose_members(members, spec)
        wanted = {target: member for target, member in chosen.items() if target not in there}
        closed = [wanted.pop(target) for target, member in [*wanted.items()] if member.sealed]
        sealed = f"{closed[0].sealed} ({len(closed)} files); {REMEDY}" if closed else ""
        if not chosen and (inner := [_shown(each.name) for each in members if each.name.lower().endswith(SUFFIXES)]):
            sealed = f"holds other archives ({inner[0]}); {REMEDY.replace('folder', 'files').replace('comes', 'come')}"
        missing = {target: member for target, member in wanted.items() if not (folder / target).is_file()}
        size = sum(max(0, member.size) for member in missing.values())
        if size > RATIO_LIMIT * status.st_size + CHUNK:
            raise ReleaseError(
                f"{archive}: {status.st_size} bytes that would unpack to {size}: that is no release; fetch it again"
            )
        require_room(into, size, f"{archive.name}: {len(missing)} files to unpack")
        failed = _write_all(tqdm(missing.items(), desc=f"unpacking {archive.name}", unit="file"), folder)
    if failed and zipfile.is_zipfile(archive):
        # where bytes are missing, the table of contents is right about names and wrong about places: the headers are asked
        found = choose_members(_scanned(archive), spec)[0]
        again = {target: found[target] for target in failed if target in found}
        failed = {target: line for target, line in failed.items() if target not in again} | _write_all(again.items(), folder)
    lost += failed.values()
    write_json(folder / RECORD, {
        "kept": len(wanted) - len(failed), "lost": lost, "problem": problem, "there": sorted(there.intersection(chosen)),
        "sealed": sealed, "closed": len(closed),
    })
    return Unpacked(archive, folder, len(wanted) - len(failed), tuple(lost), problem, sealed, len(closed))


def choose_members(members: list[Member], spec: DatasetSpec) -> tuple[dict[str, Member], list[str]]:
    """Members by the path that they go to, and "name: why" of those that are refused."""
    wanted: dict[str, Member] = {}
    refused = []
    for member in members:
        name = member.name.replace("\\", "/")
        target = target_of(name, spec)
        if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match(r"[A-Za-z]:", name):
            refused.append(f"{_shown(name)}: leads out of the archive; refused")
        elif target is None:
            continue
        elif member.is_link:
            refused.append(f"{_shown(member.name)}: is a link; refused")
        elif member.size > SIZE_LIMITS[".mp4" if PurePosixPath(target).suffix.lower() in VIDEO_SUFFIXES else ".png"]:
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
        yield (_zip_members if archive.name.lower().endswith(".zip") else _tar_members)(archive, stack)


def _zip_members(archive: Path, stack: ExitStack) -> tuple[list[Member], str]:
    try:
        file = stack.enter_context(zipfile.ZipFile(archive))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return _scanned(archive), "its table of contents, which is at its end, is lost: it arrived shortened or damaged"
    return [
        Member(
            entry.filename, entry.file_size, stat.S_ISLNK(entry.external_attr >> 16), partial(file.open, entry),
            why_member_sealed(entry),
        )
        for entry in file.infolist() if not entry.is_dir()
    ], ""


def _scanned(archive: Path) -> list[Member]:
    """The members of a zip by their own headers."""
    return [
        Member(each.filename, each.file_size, False, partial(open_member, archive, each), why_member_sealed(each))
        for each in scan_zip(archive)
    ]


def _tar_members(archive: Path, stack: ExitStack) -> tuple[list[Member], str]:
    members: list[Member] = []
    try:
        file = stack.enter_context(tarfile.TarFile.open(archive))
        for entry in file:
            if not entry.isdir():
                members.append(Member(entry.name, entry.size, not entry.isfile(), partial(file.extractfile, entry)))
    except READ_ERRORS as error:
        return members, f"it cannot be listed to its end ({_reason(error, archive)}): it arrived shortened or damaged"
    return members, ""


def _shown(name: str) -> str:
    """A name of an archive for the terminal: on one line, nothing in it that a terminal obeys or cannot encode."""
    return name.encode("unicode_escape").decode("ascii")


def _write_all(members: Iterable[tuple[str, Member]], folder: Path) -> dict[str, str]:
    """Write members to their paths below `folder`; "name: why" of those that cannot be read, by path.

    What is written is bounded by the size that a member announces; one of another size cannot be read.
    """
    failed = {}
    for target, member in members:
        try:
            with atomic_file(folder / target) as temporary, temporary.open("wb") as file, member.open() as source:
                while file.tell() <= member.size and (chunk := source.read(CHUNK)):
                    file.write(chunk[: member.size + 1 - file.tell()])
                if file.tell() != member.size:
                    more = "more than " if file.tell() > member.size else ""
                    raise EOFError(f"{more}{min(file.tell(), member.size)} of {member.size} bytes")
        except READ_ERRORS as error:
            failed[target] = f"{_shown(member.name)}: {_reason(error, folder)}"
    return failed


def _reason(error: Exception, folder: Path) -> str:
    """Why an archive could not be read, in a line. Raises ReleaseError instead if the disk cannot be written."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        raise ReleaseError(f"{folder}: cannot be written ({error.strerror}); make room or choose another place") from error
    return (str(error).splitlines() or ["breaks off" if isinstance(error, EOFError) else type(error).__name__])[0]
