"""Outputs never destroy what a user has."""

from __future__ import annotations

import os

import pytest

from sspcore.core.errors import SspError
from sspcore.core.files import atomic_folder, require_output


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_text("image")
    return folder


@pytest.mark.parametrize("spelling", ["same", "relative", "symbolic link", "hard link"])
def test_an_input_is_refused_under_any_name(frames, tmp_path, monkeypatch, spelling):
    source, output = frames / "1.png", tmp_path / "output.png"
    if spelling == "same":
        output = source
    elif spelling == "relative":
        monkeypatch.chdir(frames)
        output = tmp_path / "frames" / ".." / "frames" / "1.png"
        source = source.relative_to(frames)
    elif spelling == "symbolic link":
        output.symlink_to(source)
    else:
        os.link(source, output)
    with pytest.raises(SspError, match="is an input"):
        require_output(output, [source], overwrite=True)


def test_an_output_inside_or_around_an_input_is_refused(frames, tmp_path):
    for output, message in (
        (frames / "new" / "masks", "lies in an input"), (tmp_path, "contains an input"), (frames, "is an input")
    ):
        with pytest.raises(SspError, match=message):
            require_output(output, [None, frames], overwrite=True)
    link = tmp_path / "link"
    link.symlink_to(frames)
    with pytest.raises(SspError, match="lies in an input"):
        require_output(link / "masks", [frames], overwrite=True)
    require_output(tmp_path / "frames-2", [frames, tmp_path / "missing"])


def test_a_folder_of_links_protects_the_files_they_lead_to(frames, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "1.png").symlink_to(frames / "1.png")
    with pytest.raises(SspError, match="contains an input"):
        require_output(frames, [links], overwrite=True)


def test_existing_files_need_overwrite_and_new_places_do_not(frames, tmp_path):
    for output, message in ((frames, "holds files"), (frames / "1.png", "the file exists")):
        with pytest.raises(SspError, match=message):
            require_output(output)
        require_output(output, overwrite=True)
    (tmp_path / "empty").mkdir()
    require_output(tmp_path / "empty")
    require_output(tmp_path / "new" / "deeper" / "file.mp4")
    assert not (tmp_path / "new").exists()


def test_a_place_where_nothing_can_be_written_is_refused(frames):
    with pytest.raises(SspError, match="is a file, not a folder"):
        require_output(frames / "1.png" / "masks")
    with pytest.raises(SspError, match="nothing can be written into /proc"):
        require_output(frames.__class__("/proc/masks"))


def test_a_folder_is_replaced_only_if_it_carries_the_mark(frames, tmp_path):
    for attempt in (lambda: require_output(frames, overwrite=True, mark="m.json"), lambda: _write(frames, "m.json")):
        with pytest.raises(SspError, match=r"not written by this command \(no m\.json"):
            attempt()
    assert (frames / "1.png").read_text() == "image"
    for _ in range(2):
        _write(tmp_path / "ours", "m.json")
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["m.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "ours"]


def test_a_linked_folder_is_replaced_and_what_it_leads_to_stays(tmp_path):
    _write(tmp_path / "elsewhere", "m.json")
    (tmp_path / "ours").symlink_to(tmp_path / "elsewhere")
    _write(tmp_path / "ours", "m.json")
    assert not (tmp_path / "ours").is_symlink() and (tmp_path / "elsewhere" / "m.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "ours"]


def _write(folder, mark):
    with atomic_folder(folder, mark) as temporary:
        (temporary / mark).write_text("")
