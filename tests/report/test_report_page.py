"""The page of a run: complete in its folder, honest about where it is from, for whole runs and for parts of them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.flights import write_flight
from helpers.tables import row
from sspcore.cli.main import main
from sspcore.core import paths
from sspcore.core.errors import ArtefactError
from sspcore.core.paths import Workspace
from sspcore.report.captions import PICTURES
from sspcore.report.page import write_page
from sspcore.report.seeds import summary
from sspcore.study.own import with_own
from sspcore.study.profiles import load_profile

ORIGIN = {"data": "rendered data, not the real data set", "profile": "smoke", "seed": 3, "commit": "c0ffee<>"}
VOID = {"meta", "img", "br", "hr"}


class Page(HTMLParser):
    """Links, ids and pictures of a page; `open_tags` is empty at the end of a page whose tags balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.open_tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[key] for key in ("href",) if key in found]
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def lay_out(root: Path, rows: list[dict], pictures: tuple[str, ...]) -> Workspace:
    """A run's files, made by hand: results, pictures, one executed notebook."""
    workspace = Workspace("smoke", root / "data")
    workspace.notebooks.mkdir(parents=True)
    (workspace.notebooks / "03_training.html").write_text("<p>executed</p>", encoding="utf-8")
    cells = [{"cell_type": "markdown", "source": ["# 03 · Base & SSP\n", "\n", "text"]}]
    (workspace.notebooks / "03_training.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (workspace.notebooks / "03_training.json").write_text(json.dumps({"seconds": 90.0}), encoding="utf-8")
    figures, tables = workspace.figures, workspace.figures / "tables"
    tables.mkdir(parents=True)
    (tables / "results.json").write_text(json.dumps({"provenance": ORIGIN, "rows": rows}), encoding="utf-8")
    (tables / "results.csv").write_text("a\n", encoding="utf-8")
    for name in pictures:
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(figures / f"uavid_{name}.png")
        (figures / f"uavid_{name}.pdf").write_bytes(b"%PDF")
    return workspace


def page_of(root: Path, workspace: Workspace) -> tuple[Page, str, Path]:
    path = write_page(load_profile("smoke"), workspace, root / "report")
    text = path.read_text(encoding="utf-8")
    return Page(text), text, path.parent


def test_every_link_resolves_within_the_folder_and_so_do_pictures(tmp_path):
    rows = [row("Base", "image", 0.61, 0.70), row("SSP", "video", 0.62, 0.85)]
    workspace = lay_out(tmp_path, rows, ("method", "drift", "ablations"))
    seeds = summary([entry | {"seed": seed, "miou": entry["miou"] + seed / 50} for entry in rows for seed in (0, 1)])
    content = {"provenance": ORIGIN | {"seeds": [0, 1]}, "rows": seeds}
    (workspace.figures / "tables" / "seeds.json").write_text(json.dumps(content), encoding="utf-8")
    page, text, folder = page_of(tmp_path, workspace)
    assert page.open_tags == [] and len(page.links) > 8
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (folder / link).is_file(), link
    shown = [f"{PICTURES[name].title}, UAVid" for name in ("method", "drift", "ablations")]
    assert [image["alt"] for image in page.images] == shown
    assert all((folder / image["src"]).is_file() for image in page.images)
    assert "<script" not in text and "http" not in text
    assert "SSP against Base: +1.00 mIoU, +15.00 TC, +1.00 mIoU of moving classes" in text
    assert "62.00 ± 1.41</td>" in text and "03 · Base &amp; SSP</a>, 1.5 min" in text
    assert "c0ffee&lt;&gt;" in text and "c0ffee<>" not in text and text.count(ORIGIN["data"]) >= 3
    for name in ("method", "drift"):
        assert text.index(PICTURES[name].title) < text.index(PICTURES["ablations"].title)


def test_a_run_of_one_system_and_no_pictures_has_a_page(tmp_path):
    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ())
    page, text, _ = page_of(tmp_path, workspace)
    assert page.open_tags == [] and page.images == [] and "against" not in text and 'id="pictures"' not in text
    assert ">61.00<" in text


def test_a_run_without_tables_says_which_chapter_writes_them(tmp_path):
    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ("method",))
    (workspace.figures / "tables" / "results.json").unlink()
    page, text, _ = page_of(tmp_path, workspace)
    assert "No tables of this profile yet" in text and "61.00" not in text and page.images == []
    assert page.open_tags == [] and "notebooks/03_training.html" in page.links


def test_no_run_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, capsys):
    with pytest.raises(ArtefactError, match="no run of profile smoke here; start one with ./reproduce.sh --profile smoke"):
        write_page(load_profile("smoke"), Workspace("smoke", tmp_path), tmp_path / "report")
    own = with_own(load_profile("smoke"), write_flight(tmp_path / "flight", {"first": (0,)}))
    with pytest.raises(ArtefactError, match="reproduce.sh --profile smoke --dataset FILE$"):
        write_page(own, Workspace(own.folder, tmp_path), tmp_path / "report")
    monkeypatch.setattr(paths, "Workspace", lambda name: Workspace(name, tmp_path))
    assert main(["report", "--profile", "smoke"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ") and captured.out == ""


def test_the_command_writes_the_page_and_replaces_a_former_one(tmp_path, monkeypatch, capsys):
    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ())
    (workspace.base / "report").mkdir()
    for name in ("index.html", "stale.html"):
        (workspace.base / "report" / name).touch()
    monkeypatch.setattr(paths, "Workspace", lambda name: workspace)
    assert main(["report", "--profile", "smoke"]) == 0
    assert "index.html (open it in a browser)" in capsys.readouterr().out
    assert sorted(path.name for path in (workspace.base / "report").iterdir()) == ["index.html", "notebooks", "tables"]
