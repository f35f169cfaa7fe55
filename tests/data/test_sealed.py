"""Archives that are whole but packed in another way are named with what to do; extra folders do not hide a release."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from helpers.archives import hashes, pack
from sspcore.core.paths import Workspace
from sspcore.data.archives import find_archives, unpack
from sspcore.data.check import check_release, source_files
from sspcore.data.datasets import RURALSCAPES, UAVID

REMEDY = "unpack it yourself (7-Zip can), and leave the folder that comes out beside it"


def mark(archive: Path, local: int, central: int, value: bytes) -> None:
    """Overwrite a field of the headers of all deflated members, at its place after their signatures."""
    raw = bytearray(archive.read_bytes())
    for signature, at, method in ((b"PK\x03\x04", local, 8), (b"PK\x01\x02", central, 10)):
        place = -1
        while (place := raw.find(signature, place + 1)) >= 0:
            if raw[place + method : place + method + 2] == b"\x08\x00":
                raw[place + at : place + at + len(value)] = value
    archive.write_bytes(raw)


@pytest.mark.parametrize("fields, said", [
    ((8, 10, b"\x09\x00"), "is packed with Deflate64, as Windows Explorer does with large files"),
    ((8, 10, b"\x62\x00"), "is packed with PPMd"),
    ((8, 10, b"\x63\x00"), "is packed with method 99"),
    ((6, 8, b"\x01\x00"), "has a password"),
])
@pytest.mark.parametrize("cut", [False, True])
def test_a_zip_that_python_cannot_unpack_is_not_called_damaged(ruralscapes_release, tmp_path, fields, said, cut):
    archive = pack(ruralscapes_release.parent, "ruralscapes")
    mark(archive, *fields)
    if cut:  # without the table of contents its members say the same
        raw = archive.read_bytes()
        archive.write_bytes(raw[: raw.find(b"PK\x01\x02")])
    checked = check_release(archive.parent, RURALSCAPES, Workspace("p", tmp_path / "ws"))
    assert checked.problems[0] == checked.stops == f"{archive}: {said} (8 files); {REMEDY}"
    row = checked.rows[0]
    assert (row.what, row.found, row.missing) == ("ruralscapes.zip (files)", 0, 8) and row.damaged == int(cut)
    assert check_release(archive.parent, RURALSCAPES, Workspace("p", tmp_path / "ws")) == checked, "from its record"


@pytest.mark.parametrize("name, content, said", [
    ("uavid.7z", b"7z\xbc\xaf\x27\x1c rest", f"is a 7z archive, which is not read here; {REMEDY}"),
    ("uavid.rar", b"Rar!\x1a\x07\x01\x00", f"is a RAR archive, which is not read here; {REMEDY}"),
    ("uavid.zip", b"Rar!\x1a\x07\x00", f"is a RAR archive, which is not read here; {REMEDY}"),
    ("uavid.zip", b"\n<!DOCTYPE html>", "is a web page and no archive; fetch it again in a browser"),
    ("uavid.zip", b"", "is empty; fetch it again"),
    ("uavid.zip.001", b"PK\x03\x04", f"is a part of a split archive; {REMEDY}, from all its parts"),
    ("uavid.7z.001", b"7z\xbc\xaf\x27\x1c", f"is a part of a split archive; {REMEDY}, from all its parts"),
    ("uavid.part1.rar", b"Rar!\x1a\x07\x01\x00", f"is a part of a split archive; {REMEDY}, from all its parts"),
])
@pytest.mark.parametrize("folder", ["", "uavid"])
def test_archives_of_other_kinds_are_found_and_named(tmp_path, name, content, said, folder):
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    (place / name).write_bytes(content)
    (place / name.replace("1", "2")).write_bytes(content)  # the second part of a split one
    checked = check_release(tmp_path / "data", UAVID, Workspace("p", tmp_path / "ws"))
    assert checked.stops.startswith(f"{place / name}: {said}") and checked.problems == (checked.stops,)
    assert checked.rows[0].what == f"{name} (files)" and checked.rows[0].missing == 1 and checked.rows[0].damaged == 0


def test_parts_of_a_split_zip_are_one_archive(tmp_path):
    for name in ("uavid.z01", "uavid.z02", "uavid.zip", "notes.001", "film.r00.txt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert find_archives(tmp_path, UAVID) == [tmp_path / "uavid.zip"]
    found = unpack(tmp_path / "uavid.zip", UAVID, tmp_path / "unpacked")
    assert found.problems == (f"{tmp_path / 'uavid.zip'}: is a part of a split archive; {REMEDY}, from all its parts",)


def test_an_archive_of_archives_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "uavid.zip", "w") as file:
        file.writestr("release/uavid_train.zip", b"PK")
    found = unpack(tmp_path / "uavid.zip", UAVID, tmp_path / "unpacked")
    (line,) = found.problems
    assert "holds other archives (release/uavid_train.zip); unpack it yourself" in line and "files that come out" in line


@pytest.mark.parametrize("suffix, mode", [
    (".tar", "w"), (".tar.gz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz"), (".txz", "w:xz"),
])
def test_all_tars_that_python_reads_are_read(ruralscapes_release, tmp_path, suffix, mode):
    expected = hashes(ruralscapes_release)
    archive = tmp_path / f"ruralscapes{suffix}"
    with tarfile.open(archive, mode) as file:
        file.add(ruralscapes_release, "Größe/__x/ruralscapes")
    (found,) = find_archives(tmp_path, RURALSCAPES)[:1]
    made = hashes(unpack(found, RURALSCAPES, tmp_path / "unpacked").folder)
    assert made.pop("archive.json") and made == expected


@pytest.mark.parametrize("place", [
    "ruralscapes/RuralScapes_v1", "ruralscapes/a/b", "RuralScapes dataset", "RuralScapes dataset/ruralscapes", ".",
])
def test_a_release_below_extra_folders_is_the_same_release(ruralscapes_release, tmp_path, place):
    data = tmp_path / "elsewhere"
    workspace = Workspace("p", tmp_path / "ws")
    usual = check_release(ruralscapes_release.parent, RURALSCAPES, workspace)
    shutil.copytree(ruralscapes_release, data / place, dirs_exist_ok=True)
    (data / "ruralscapes" / "__MACOSX").mkdir(parents=True, exist_ok=True)
    found = check_release(data, RURALSCAPES, workspace)
    assert found.stops == "" and found.key() == usual.key()
    assert len(found.sequences) == len(usual.sequences) and found.problems == ()
    assert len(source_files(data, RURALSCAPES)) == len(source_files(ruralscapes_release.parent, RURALSCAPES))


def test_splits_that_were_unpacked_one_into_the_other_are_found(uavid_release, tmp_path):
    """uavid_train.zip unpacked into a folder of its own name."""
    data = tmp_path / "elsewhere"
    for split in ("train", "val"):
        shutil.copytree(uavid_release / f"uavid_{split}", data / "uavid" / f"uavid_{split}" / f"uavid_{split}")
    found = check_release(data, UAVID, Workspace("p", tmp_path / "ws"))
    assert found.stops == "" and {sequence.split for sequence in found.sequences} == {"train", "val"}
