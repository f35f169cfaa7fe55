"""Which folder chapter 13 works in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook

from helpers.own import describe
from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.paths import Workspace
from sspcore.data.footage import Sequence
from sspcore.study import flight
from sspcore.study.flight import example_video, flight_file, headline
from sspcore.study.profiles import described_by, load_profile


def test_a_folder_of_ones_own_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert flight_file("demo", "mine") == tmp_path / "mine" / "dataset.yaml" and not list((tmp_path / "mine").iterdir())
    (tmp_path / "mine" / "flight.yaml").touch()
    assert flight_file("demo", "mine/flight.yaml") == tmp_path / "mine" / "flight.yaml"
    with pytest.raises(ReleaseError, match="other: no such folder; name the one that holds your video"):
        flight_file("demo", "other")


def test_without_one_the_profile_s_is_rendered(monkeypatch):
    asked = []
    monkeypatch.setattr(flight, "render_flight", lambda folder, settings: asked.append((folder, settings)) or folder)
    assert flight_file("smoke") == Workspace("smoke").base / "rendered_flight" / "dataset.yaml"
    assert asked[0][1].size == (96, 160)
    with pytest.raises(ProfileError, match="profile paper: renders no flight; name the folder of your own"):
        flight_file("paper")


def test_a_run_s_first_line_names_the_data_that_the_notebook_s_cell_names(tmp_path):
    def notebook(name, value):
        path = tmp_path / name
        cell = new_code_cell(f'import os\n\nprofile = os.environ.get("P", "demo")\nflight = {value}  # the folder')
        cell.metadata["tags"] = ["parameters"]
        write(new_notebook(cells=[cell]), path)
        return path

    demo, other, mine = load_profile("demo"), notebook("08_a.ipynb", None), notebook("13_b.ipynb", "'/my/flight'")
    assert headline(demo, [mine]) == "profile demo: its networks and training; data of notebook 13: /my/flight"
    assert headline(demo, [other, mine]) == f"profile demo: {demo.description}; data of notebook 13: /my/flight"
    assert headline(demo, [other]) == headline(demo, []) == f"profile demo: {demo.description}"
    spec = describe(tmp_path / "mine", {"video": "{sequence}.mp4", "labels": "{sequence}/{frame}.png"})
    own = described_by(demo, [spec], (48, 64))
    assert headline(own, [mine]) == f"profile demo: data: Own in {spec.root}; networks and training as in demo"


def test_the_video_to_look_at_is_held_out_and_no_still(monkeypatch, tmp_path):
    def found(*rows):
        sequences = [Sequence(name, split, tmp_path / name, {}, {}, still=still) for name, split, still in rows]
        monkeypatch.setattr(flight, "find_sequences", lambda root, spec: sequences)
        return example_video(SimpleNamespace(root=tmp_path)).name

    assert found(("a", "val", True), ("b", "train", False), ("c", "val", False)) == "c"
    assert found(("a", "val", True), ("b", "train", False)) == "b"
    assert found(("a", "train", True), ("b", "val", True)) == "b"
