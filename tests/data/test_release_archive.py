"""Archives of a release: whole members are unpacked, the others are named, nothing is written outside the folder."""

from __future__ import annotations

import io
import lzma
import shutil
import struct
import tarfile
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from helpers.archives import VIDEO, contents, cut_end, hashes, pack
from sspcore.core.errors import ReleaseError
from sspcore.data import archives as release_archive
from sspcore.data.archives import Member, choose_members, open_archive, unpack
from sspcore.data.datasets import RURALSCAPES, SPECS
from sspcore.data.layouts import target_of


def test_a_zip_without_sizes_in_its_headers_is_salvaged_too(ruralscapes_release, tmp_path):
    """As streamed downloads are: sizes follow the data."""
    class Stream(io.BytesIO):
        def tell(self) -> int:
            raise OSError("a stream")

    buffer, release = Stream(), ruralscapes_release
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in release.rglob("*") if path.is_file()):
            file.write(path, path.relative_to(release).as_posix())
    expected = hashes(release)
    shutil.rmtree(release)
    archive = tmp_path / "ruralscapes.zip"
    archive.write_bytes(buffer.getvalue())
    with zipfile.ZipFile(archive) as file:
        assert all(entry.flag_bits & 8 for entry in file.infolist())
    cut_end(archive)
    found = unpack(archive, RURALSCAPES, tmp_path / "unpacked")
    made = hashes(found.folder)
    assert made.pop("archive.json") and len(made) == found.kept == 7
    assert all(expected[name] == digest for name, digest in made.items())
    assert len(found.lost) == 1 and found.lost[0].startswith("videos/DJI_0051.mp4: ")


def test_a_member_larger_than_it_says_is_not_written(ruralscapes_release, tmp_path):
    archive = pack(tmp_path, "ruralscapes")
    with open_archive(archive) as (members, _):
        wanted, _ = choose_members(members, RURALSCAPES)
    size = wanted[f"videos/{VIDEO}.mp4"].size
    raw = bytearray(archive.read_bytes())
    name = f"videos/{VIDEO}.mp4".encode()
    header = raw.find(name) - len(b"ruralscapes_release v1/") - 30
    raw[header + 22: header + 26] = struct.pack("<I", 100)  # the local header, all there is without the table of contents
    archive.write_bytes(raw[: raw.find(b"PK\x01\x02")])
    found = unpack(archive, RURALSCAPES, tmp_path / "unpacked")
    assert any(f"{VIDEO}.mp4: Bad CRC-32" in line for line in found.lost) and size > 100
    assert not (found.folder / "videos" / f"{VIDEO}.mp4").exists()


def test_no_more_of_a_member_is_written_than_it_says(monkeypatch, tmp_path):
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            assert self.taken <= 10, "read on after the announced size"
            self.taken += 8
            return bytes(8)

    @contextmanager
    def opened(archive):
        yield [Member("videos/DJI_0043.mp4", 10, False, Endless)], ""

    monkeypatch.setattr(release_archive, "open_archive", opened)
    (tmp_path / "a.zip").write_bytes(b"PK")
    found = unpack(tmp_path / "a.zip", RURALSCAPES, tmp_path / "unpacked")
    assert found.kept == 0 and found.lost == ("videos/DJI_0043.mp4: more than 10 of 10 bytes",)
    assert [path.name for path in (tmp_path / "unpacked").rglob("*") if path.is_file()] == ["archive.json"]


def test_unpacking_wants_room_and_says_so_beforehand(ruralscapes_release, tmp_path, monkeypatch):
    archive = pack(tmp_path, "ruralscapes")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10, 10))
    with pytest.raises(ReleaseError, match=r"ruralscapes\.zip: 8 files to unpack need about .* are free; make room"):
        unpack(archive, RURALSCAPES, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_unpacking_goes_on_where_it_was_and_a_newer_archive_replaces_the_old(ruralscapes_release, tmp_path):
    archive, into = pack(tmp_path, "ruralscapes"), tmp_path / "unpacked"
    whole = unpack(archive, RURALSCAPES, into)
    video = whole.folder / "videos" / f"{VIDEO}.mp4"
    kept = contents(whole.folder)
    (whole.folder / "archive.json").unlink()
    video.unlink()
    assert unpack(archive, RURALSCAPES, into) == whole
    again = contents(whole.folder)
    assert {name for name in kept if kept[name] != again[name]} == {"archive.json", f"videos/{VIDEO}.mp4"}
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("readme.txt", "a newer file")
    newer = unpack(archive, RURALSCAPES, into)
    assert newer.folder != whole.folder and not whole.folder.exists() and newer.kept == whole.kept


def test_an_archive_that_unpacks_to_many_times_its_size_is_refused_whole(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("videos/DJI_0043.mp4", bytes(30_000_000))
    with pytest.raises(ReleaseError, match=r"a\.zip: \d+ bytes that would unpack to 30000000: that is no release"):
        unpack(tmp_path / "a.zip", RURALSCAPES, tmp_path / "unpacked")
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_damaged_xz_by_another_name_is_named(tmp_path):
    with tarfile.open(tmp_path / "whole.tar", "w") as file:
        entry = tarfile.TarInfo("videos/DJI_0043.mp4")
        entry.size = 200_000
        file.addfile(entry, io.BytesIO(np.random.default_rng(0).bytes(200_000)))
    packed = bytearray(lzma.compress((tmp_path / "whole.tar").read_bytes()))
    packed[len(packed) // 2 : len(packed) // 2 + 8] = bytes(8)
    (tmp_path / "a.tar.gz").write_bytes(packed)
    found = unpack(tmp_path / "a.tar.gz", RURALSCAPES, tmp_path / "unpacked")
    assert "cannot be listed to its end" in found.problem


def test_names_cannot_write_to_the_terminal():
    members = [Member("../\x1b[2J\n\udcff.mp4", 1, False, io.BytesIO)]
    _, refused = choose_members(members, RURALSCAPES)
    assert refused[0].isprintable() and refused[0].isascii() and "leads out" in refused[0]


@pytest.mark.parametrize("name, dataset, target", [
    ("uavid_v1.5/uavid_train/seq1/images.mp4", "uavid", "uavid_train/seq1/images.mp4"),
    ("UAVID_VAL/seq16/Labels/000100.PNG", "uavid", "uavid_val/seq16/Labels/000100.png"),
    ("UAVid7/uavid_val/seq16/VDD_Labels/000100.png", "uavid", "UAVid7/uavid_val/seq16/VDD_Labels/000100.png"),
    ("UAVid7/uavid_val/seq16/Labels/000100.png", "uavid", None),
    ("uavid_train/seq1/Images/000100.png", "uavid", None),
    ("__MACOSX/uavid_train/seq1/Labels/._000100.png", "uavid", None),
    ("x/videos/DJI_0043.MP4", "ruralscapes", "videos/DJI_0043.mp4"),
    ("manual_labels/DJI_0043/segfull_DJI_0043_000100.png", "ruralscapes",
     "labels/manual_labels/DJI_0043/segfull_DJI_0043_000100.png"),
    ("manual_labels/DJI_0043/segfull_DJI_0044_000100.png", "ruralscapes", None),
])
def test_members_go_where_the_layout_has_them(name, dataset, target):
    assert target_of(name, SPECS[dataset]) == target
