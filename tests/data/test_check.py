"""Releases as published and damaged in every way that is known: one line or a salvage, and nothing of the user's changed."""

from __future__ import annotations

import logging
import re
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers.archives import VIDEO, contents, cut_end, hashes, pack
from helpers.media import panning_frames, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.errors import ReleaseError
from sspcore.core.paths import Workspace
from sspcore.core.store import stage
from sspcore.data import check
from sspcore.data.check import check_release, examine, report, require_release, source_files
from sspcore.data.clips import load_clips
from sspcore.data.datasets import RURALSCAPES, SPECS, UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.releases import release_key_of
from sspcore.synthetic import ReleaseSettings, render_release

FRAMES = 9
RULES = {
    "uavid": ClipRules(frame_step=1, clip_length=4, min_clip_length=2),
    "ruralscapes": ClipRules(frame_step=2, clip_length=3, min_clip_length=2, drop_last=True),
}
TRAIN, VAL = Path("uavid_train", "seq1"), Path("uavid_val", "seq16")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """Both releases, 64x96: two training sequences and one for validation each, under a name that is not plain."""
    root = tmp_path_factory.mktemp("as published") / "Flüge über Země 空撮"
    for name, step in (("uavid", 1), ("ruralscapes", 2)):
        settings = ReleaseSettings(
            size=(64, 96), train_sequences=2, val_sequences=1, frames=FRAMES, frame_step=step, label_interval=4, fps=12
        )
        render_release(name, settings, 7, root)
        shutil.rmtree(root / f"{name}_truth")
    return root


@pytest.fixture
def data(rendered, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(rendered, tmp_path / rendered.name))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace("paper", tmp_path / "work space")


def prepared(data: Path, name: str, workspace: Workspace) -> Path:
    """Check and prepare as a run does; the user's files stay as they are and nothing half made is left."""
    before = contents(data)
    try:
        checked = require_release(data, SPECS[name], workspace)
        return stage("clips", workspace.clips(name), "key", lambda out: prepare_clips(
            checked.release, checked.spec, RULES[name], out, sequences=checked.sequences
        ))
    finally:
        assert contents(data) == before
        assert not list(workspace.root.rglob("*.partial*"))


def command(data: Path, workspace: Workspace, capsys, *arguments: str) -> tuple[int, str]:
    status = main(["check", "--data", str(data), "--root", str(workspace.root), "--workers", "1", *arguments])
    output = capsys.readouterr()
    return status, output.out + output.err


def first_moov(video: Path) -> bytes:
    """The mp4 with its index in front of the frames, as cameras and servers write it: cut off, it still opens."""
    raw, boxes, at = video.read_bytes(), {}, 0
    while at < len(raw):
        size = int.from_bytes(raw[at: at + 4], "big")
        boxes[raw[at + 4: at + 8]] = raw[at: at + size]
        at += size
    moov = bytearray(boxes.pop(b"moov"))
    table = moov.find(b"stco")
    for k in range(int.from_bytes(moov[table + 8: table + 12], "big")):
        entry = slice(table + 12 + 4 * k, table + 16 + 4 * k)
        moov[entry] = struct.pack(">I", int.from_bytes(moov[entry], "big") + len(moov))
    return boxes.pop(b"ftyp") + bytes(moov) + b"".join(boxes.values())


# ------------------------------------------------------------------ a sound release


def test_a_sound_release_is_found_and_prepared_as_without_the_check(data, workspace, tmp_path, capsys):
    status, text = command(data, workspace, capsys)
    assert status == 0 and "UAVid goes on: 2 train and 1 val sequences" in text
    assert re.search(r"^UAVid +videos +3 +6 +0 ", text, re.M) and re.search(r"^UAVid +VDD labels +3 +6 +0 ", text, re.M)
    assert re.search(r"^RuralScapes +labels +3 +6 +0 ", text, re.M) and "uavid.nl" in text and "seq17" in text
    for name, spec in SPECS.items():
        checked = check_release(data, spec, workspace)
        assert checked.problems == () and checked.key() == release_key_of(data / name, name)
        plain = tmp_path / "plain" / name
        plain.mkdir(parents=True)
        prepare_clips(data / name, spec, RULES[name], plain)
        assert hashes(prepared(data, name, workspace)) == hashes(plain)


def test_a_second_look_reads_no_video(data, workspace, monkeypatch):
    first = check_release(data, UAVID, workspace)
    monkeypatch.setattr(check, "examine", lambda job: pytest.fail(f"{job[0].name} was read again"))
    assert check_release(data, UAVID, workspace) == first
    monkeypatch.setattr(check, "examine", examine)
    (data / "uavid" / TRAIN / "images.mp4").write_bytes(b"")
    assert len(check_release(data, UAVID, workspace).problems) == 1


def test_files_of_the_user_are_named_packed_or_not(data):
    names = {path.relative_to(data).as_posix() for path in source_files(data, RURALSCAPES)}
    assert len(names) == 3 + 9 and f"ruralscapes/videos/{VIDEO}.mp4" in names
    pack(data, "ruralscapes")
    assert [path.name for path in source_files(data, RURALSCAPES)] == ["ruralscapes.zip"]


# --------------------------------------------------------------- damaged in folders


def drop_labels(data: Path, which: Path = TRAIN) -> None:
    shutil.rmtree(data / "uavid" / which / "Labels")


def drop_vdd(data: Path) -> None:
    shutil.rmtree(data / "uavid" / "UAVid7")


def shorten(data: Path) -> None:
    write_video(data / "uavid" / TRAIN / "images.mp4", panning_frames(6, 0))


def cut_index(data: Path) -> None:
    video = data / "uavid" / TRAIN / "images.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])


def cut_frames(data: Path) -> None:
    video = data / "uavid" / TRAIN / "images.mp4"
    raw = first_moov(video)
    video.write_bytes(raw[: len(raw) * 2 // 3])


def wrong_colour(data: Path) -> None:
    write_rgb(data / "uavid" / TRAIN / "Labels" / "000004.png", np.full((64, 96, 3), (1, 2, 3), np.uint8))


def wrong_size(data: Path) -> None:
    write_rgb(data / "uavid" / TRAIN / "Labels" / "000004.png", np.zeros((32, 48, 3), np.uint8))


def broken_vdd(data: Path) -> None:
    path = data / "uavid" / "UAVid7" / TRAIN / "VDD_Labels" / "000004.png"
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("damage, line, lost", [
    (drop_labels, r"seq1/images\.mp4: has no labels \(distillation.* can use seq1\)", {"seq1_000001", "seq1_000005"}),
    (drop_vdd, r"seq1: no VDD labels \(roofs count as building, water is not labelled\)", set()),
    (shorten, r"seq1/images\.mp4: has 6 frames, but labels up to frame 8; it may have been shortened", {"seq1_000005"}),
    (cut_index, r"seq1/images\.mp4: not a readable video \(\d+ bytes\).*left out", {"seq1_000001", "seq1_000005"}),
    (cut_frames, r"seq1/images\.mp4: ends at frame \d though 9 are announced.*left out", {"seq1_000001", "seq1_000005"}),
    (wrong_colour, r"Labels/000004\.png: colour \(1, 2, 3\).*not a label colour.*label is left out", {"seq1_000001"}),
    (wrong_size, r"Labels/000004\.png: label is 48x32 but the video frame is 96x64.*left out", {"seq1_000001"}),
    (broken_vdd, r"VDD_Labels/000004\.png: not a readable image.*used without it", set()),
])
def test_damage_in_training_is_one_line_and_the_rest_goes_on(data, workspace, capsys, damage, line, lost):
    whole = {"seq1_000001", "seq1_000005", "seq2_000001", "seq2_000005"}
    damage(data)
    status, text = command(data, workspace, capsys, "--datasets", "uavid")
    assert status == 0 and len(re.findall(line, text)) == 1 and "UAVid goes on" in text
    folder = prepared(data, "uavid", workspace)
    assert {clip.name for clip in load_clips(folder, "train")} == whole - lost


def test_a_sequence_without_labels_serves_where_the_rules_keep_clips_without_one(data, workspace, monkeypatch):
    drop_labels(data)
    assert check_release(data, UAVID, workspace).conclusion.startswith(
        "UAVid goes on: 1 train and 1 val sequences, 1 without labels (without seq17"
    )
    monkeypatch.setitem(RULES, "uavid", RULES["uavid"].model_copy(update={"require_label": False}))
    clips = load_clips(prepared(data, "uavid", workspace), "train")
    assert [(clip.name, clip.labelled) for clip in clips if not clip.labelled] == [("seq1_000001", ()), ("seq1_000005", ())]
    assert sum(bool(clip.labelled) for clip in clips) == 2


@pytest.mark.parametrize("damage, line", [
    (lambda data: drop_labels(data, VAL), "no val sequence of UAVid can be used with its labels; fetch again"),
    (lambda data: (data / "uavid" / VAL / "images.mp4").unlink(), "no val sequence of UAVid can be used with its labels"),
    (lambda data: shutil.rmtree(data / "uavid" / "uavid_train"), "no train sequence of UAVid found; see data/README.md"),
    (lambda data: shutil.rmtree(data / "uavid"), "no train sequence of UAVid found; see data/README.md"),
])
def test_what_cannot_go_on_stops_in_one_line(data, workspace, capsys, damage, line):
    damage(data)
    status, text = command(data, workspace, capsys)
    assert status == 1 and f"UAVid stops: {data / 'uavid'}: {line}" in text and "RuralScapes goes on" in text
    with pytest.raises(ReleaseError, match=line) as error:
        prepared(data, "uavid", workspace)
    assert "\n" not in str(error.value) and not workspace.clips("uavid").exists()


def test_upper_case_extensions_are_read_alike(data, workspace):
    expected = hashes(prepared(data, "ruralscapes", workspace)), hashes(prepared(data, "uavid", workspace))
    for path in [*data.rglob("*.png"), *data.rglob("*.mp4")]:
        path.rename(path.with_name(path.stem + path.suffix.upper()))
    shutil.rmtree(workspace.root)
    assert check_release(data, RURALSCAPES, workspace).problems == ()
    assert (hashes(prepared(data, "ruralscapes", workspace)), hashes(prepared(data, "uavid", workspace))) == expected


@pytest.mark.parametrize("frames, taken", [(10, 9), (12, 9), (13, 9 + 3)])
def test_odd_numbers_of_frames(data, workspace, frames, taken):
    """Clips of 4 after frame 0: a rest of one frame and a rest without a label are dropped, one with a label is kept."""
    write_video(data / "uavid" / TRAIN / "images.mp4", panning_frames(frames, 0))
    if frames == 13:
        shutil.copy(data / "uavid" / TRAIN / "Labels" / "000008.png", data / "uavid" / TRAIN / "Labels" / "000012.png")
    clips = load_clips(prepared(data, "uavid", workspace), "train")
    assert sum(len(clip) for clip in clips if clip.sequence == "seq1") == {9: 8, 12: 12}[taken]


def test_duplicate_frames_of_a_video_are_logged(data, workspace, caplog, monkeypatch):
    still = panning_frames(FRAMES, 0)
    still[3:8] = [still[3]] * 5
    write_video(data / "uavid" / TRAIN / "images.mp4", still)
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="sspcore"):
        prepared(data, "uavid", workspace)
    logged = [record.getMessage() for record in caplog.records if "copies of the frame before" in record.getMessage()]
    assert len(logged) == 1 and re.search(r"seq1.images\.mp4: 4 frames taken .*first: 000004", logged[0])


def test_split_files_with_windows_line_ends_change_nothing(data, workspace):
    before = check_release(data, RURALSCAPES, workspace).key()
    for folder in (data / "ruralscapes", data / "ruralscapes" / "videos", data / "ruralscapes" / "labels" / "manual_labels"):
        (folder / "train.txt").write_bytes(b"DJI_0051\r\nDJI_0043\r\n")
        (folder / "val.txt").write_bytes(b"DJI_0044\r\n\r\n")
    checked = check_release(data, RURALSCAPES, workspace)
    assert checked.key() == before and checked.problems == ()
    assert {sequence.name for sequence in checked.sequences if sequence.split == "val"} == {"DJI_0051"}


def test_labels_without_their_video_are_missed(data, workspace, capsys):
    (data / "ruralscapes" / "videos" / f"{VIDEO}.mp4").unlink()
    status, text = command(data, workspace, capsys, "--datasets", "ruralscapes")
    assert status == 0 and re.search(rf"{VIDEO}\.mp4: file is missing.*\({VIDEO} is left out\)", text)
    assert re.search(r"^RuralScapes +videos +2 +7 +0 ", text, re.M)


def test_wrong_arguments_are_one_line(data, workspace, capsys, tmp_path):
    for folder, arguments in ((tmp_path / "absent", ()), (data, ("--datasets", "cityscapes"))):
        status, text = command(folder, workspace, capsys, *arguments)
        assert status == 2 and text.startswith("error: ") and text.count("\n") == 1


# ------------------------------------------------------------------------- archives


def member_span(archive: Path, ending: str) -> slice:
    """Where the packed bytes of a member lie."""
    with zipfile.ZipFile(archive) as file:
        entry = next(entry for entry in file.infolist() if entry.filename.endswith(ending))
    begins = entry.header_offset + 30 + len(entry.filename.encode())
    return slice(begins, begins + entry.compress_size)


@pytest.mark.parametrize("name", ["uavid", "ruralscapes"])
def test_a_sound_zip_gives_the_same_clips_and_key_as_its_folder(data, workspace, tmp_path, name):
    expected, key = hashes(prepared(data, name, workspace)), release_key_of(data / name, name)
    pack(data, name)
    packed = Workspace("paper", tmp_path / "packed")
    assert hashes(prepared(data, name, packed)) == expected
    checked = check_release(data, SPECS[name], packed)
    assert checked.key() == key and checked.problems == ()
    assert not list(packed.root.rglob("Images")), "frames that nothing reads were unpacked"


def test_a_tar_and_a_part_in_a_folder_are_read_together(data, workspace):
    key = release_key_of(data / "uavid", "uavid")
    with tarfile.open(data / "uavid" / "vdd.tar.gz", "w:gz") as file:
        file.add(data / "uavid" / "UAVid7", "UAVid7")
    drop_vdd(data)
    checked = check_release(data, UAVID, workspace)
    assert checked.key() == key and checked.problems == ()


def test_what_the_user_has_unpacked_is_not_unpacked_again(data, workspace, tmp_path):
    shutil.copytree(data / "ruralscapes", tmp_path / "kept")
    archive = pack(data, "ruralscapes")
    shutil.copytree(tmp_path / "kept", data / "ruralscapes")
    checked = check_release(data, RURALSCAPES, workspace)
    key = checked.key()
    assert checked.problems == () and len(checked.rows) == 2  # no row for the archive
    unpacked = workspace.base / "unpacked"
    assert [path.name for path in unpacked.rglob("*") if path.is_file()] == ["archive.json"]
    video = data / "ruralscapes" / "videos" / f"{VIDEO}.mp4"
    video.rename(tmp_path / "elsewhere.mp4")
    found = check_release(data, RURALSCAPES, workspace)
    assert found.key() == key and found.rows[0].what == f"{archive.name} (files)" and found.rows[0].found == 1
    assert [path.name for path in unpacked.rglob("*.mp4")] == [video.name]


def flip_bytes(archive: Path) -> None:
    raw, span = bytearray(archive.read_bytes()), member_span(archive, f"manual_labels/{VIDEO}/segfull_{VIDEO}_000008.png")
    raw[span] = bytes(byte ^ 0x55 for byte in raw[span])
    archive.write_bytes(raw)


def lose_bytes(archive: Path) -> None:
    """A gap, as a broken transfer leaves it: what the table of contents says lies beside what is there."""
    raw, span = archive.read_bytes(), member_span(archive, f"manual_labels/{VIDEO}/segfull_{VIDEO}_000008.png")
    archive.write_bytes(raw[: span.start + 20] + raw[span.stop - 20:])


def lose_bytes_and_end(archive: Path) -> None:
    lose_bytes(archive)
    archive.write_bytes(archive.read_bytes()[:-40])


@pytest.mark.parametrize("damage, lost_file, line, files", [
    (cut_end, "videos/DJI_0051.mp4", r"ruralscapes\.zip: its table of contents.*lost", 11),
    (flip_bytes, f"segfull_{VIDEO}_000008.png", r"segfull_DJI_0043_000008\.png: ", 11),
    (lose_bytes, f"segfull_{VIDEO}_000008.png", r"segfull_DJI_0043_000008\.png: ", 11),
    (lose_bytes_and_end, f"segfull_{VIDEO}_000008.png", r"segfull_DJI_0043_000008\.png: ", 11),
])
def test_a_damaged_zip_gives_its_sound_members_and_lists_the_lost(
    data, workspace, capsys, damage, lost_file, line, files
):
    originals = {digest for name, digest in hashes(data / "ruralscapes").items()}
    archive = pack(data, "ruralscapes")
    damage(archive)
    before = contents(data)
    status, text = command(data, workspace, capsys, "--datasets", "ruralscapes")
    assert re.search(line, text) and lost_file in text
    unpacked = workspace.base / "unpacked" / "ruralscapes"
    salvaged = {name: digest for name, digest in hashes(unpacked).items() if not name.endswith("archive.json")}
    assert len(salvaged) == files and set(salvaged.values()) <= originals
    assert not any(name.endswith(lost_file) for name in salvaged)
    assert status == int(damage is cut_end) and contents(data) == before  # the only validation video was at the end
    assert not list(workspace.root.rglob("*.partial*"))


def test_members_that_lead_out_links_and_giants_are_refused(data, workspace, capsys, monkeypatch):
    def harm(file: zipfile.ZipFile) -> None:
        file.writestr("../videos/DJI_9001.mp4", b"x")
        file.writestr("a/../../videos/DJI_9002.mp4", b"x")
        file.writestr("/videos/DJI_9003.mp4", b"x")
        file.writestr("C:\\videos\\DJI_9004.mp4", b"x")
        link = zipfile.ZipInfo("videos/DJI_9005.mp4")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/hostname")
        file.writestr("labels/manual_labels/DJI_0043/segfull_DJI_0043_000100.png", bytes(10_000_000))

    monkeypatch.setattr("sspcore.data.archives.SIZE_LIMITS", {".png": 1_000_000, ".mp4": 10_000_000})
    pack(data, "ruralscapes", harm)
    outside = sorted(path for path in workspace.root.parent.rglob("*") if workspace.root not in path.parents)
    status, text = command(data, workspace, capsys, "--datasets", "ruralscapes")
    assert status == 0 and "RuralScapes goes on: 2 train and 1 val" in text
    assert len(re.findall(r"DJI_900[1-4]\.mp4: leads out of the archive; refused", text)) == 4
    assert "DJI_9005.mp4: is a link; refused" in text and "000100.png: unpacks to 10000000 bytes; refused" in text
    written = [path.name for path in workspace.root.rglob("*") if path.is_file()]
    assert not [name for name in written if "DJI_90" in name or "000100" in name]
    assert sorted(path for path in workspace.root.parent.rglob("*") if workspace.root not in path.parents) == sorted(
        {*outside, workspace.root}
    )


def test_the_report_of_nothing_names_what_is_wanted(tmp_path, workspace):
    text = report([check_release(tmp_path, spec, workspace) for spec in SPECS.values()])
    assert text.count("stops: ") == 2 and re.search(r"^UAVid +videos +0 +7 +0 +uavid\.nl", text, re.M)
