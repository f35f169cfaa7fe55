"""The site of a run before Sphinx: honest about where it is from, for whole runs and for parts of them."""

from __future__ import annotations

import json
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
from sspcore.report.seeds import summary
from sspcore.report.site import find_run
from sspcore.report.site.build import gather
from sspcore.report.site.run import gains
from sspcore.study.own import with_own
from sspcore.study.profiles import load_profile

ORIGIN = {"data": "rendered data, not the real data set", "profile": "smoke", "seed": 3, "commit": "c0ffee<>"}
NOTEBOOK = "03_base_and_ssp_training.ipynb"


def lay_out(root: Path, rows: list[dict], pictures: tuple[str, ...]) -> Workspace:
    """A run's files, made by hand: results, pictures, one executed notebook."""
    workspace = Workspace("smoke", root / "data")
    workspace.notebooks.mkdir(parents=True)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# 03 · Base & SSP\n", "\n", "[METHOD](../docs/METHOD.md)"]}]
    notebook = {"cells": cells, "metadata": {"widgets": {}}, "nbformat": 4, "nbformat_minor": 5}
    (workspace.notebooks / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf-8")
    (workspace.notebooks / NOTEBOOK).with_suffix(".json").write_text(json.dumps({"seconds": 90.0}), encoding="utf-8")
    figures, tables = workspace.figures, workspace.figures / "tables"
    tables.mkdir(parents=True)
    (tables / "results.json").write_text(json.dumps({"provenance": ORIGIN, "rows": rows}), encoding="utf-8")
    (tables / "results.csv").write_text("a\n", encoding="utf-8")
    for name in pictures:
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(figures / f"uavid_{name}.png")
        (figures / f"uavid_{name}.pdf").write_bytes(b"%PDF")
    return workspace


def pages_of(root: Path, workspace: Workspace) -> Path:
    gather(root / "pages", find_run(load_profile("smoke"), workspace))
    return root / "pages"


def test_gains_are_worded_by_their_intervals():
    rows = [row("Base", "image", 0.61, 0.70), row("SSP", "video", 0.62, 0.85)]
    ends = {"miou": (-0.01, 0.03), "tc": (0.1, 0.2)}
    paired = {key: {"difference": 0.0, "low": low, "high": high} for key, (low, high) in ends.items()}
    differences = [{"dataset": "uavid", "new": "SSP", "old": "Base"} | paired]
    (line,) = gains({"rows": rows, "differences": differences}, {"uavid": "UAVid"})
    assert "+1.00 mIoU (not told apart), +15.00 TC (better), +1.00 mIoU of moving classes (points)" in line


def test_a_run_is_in_front_with_its_tables_pictures_and_notebooks(tmp_path):
    rows = [row("Base", "image", 0.61, 0.70), row("SSP", "video", 0.62, 0.85)]
    workspace = lay_out(tmp_path, rows, ("method", "drift", "ablations"))
    seeds = summary([entry | {"seed": seed, "miou": entry["miou"] + seed / 50} for entry in rows for seed in (0, 1)])
    content = {"provenance": ORIGIN | {"seeds": [0, 1]}, "rows": seeds}
    (workspace.figures / "tables" / "seeds.json").write_text(json.dumps(content), encoding="utf-8")
    pages = pages_of(tmp_path, workspace)
    front, gallery = (pages / "index.md").read_text("utf-8"), (pages / "run" / "index.md").read_text("utf-8")
    assert "SSP against Base: +1.00 mIoU, +15.00 TC, +1.00 mIoU of moving classes" in front and ">61.00<" in front
    assert f"[03 · Base & SSP](notebooks/{NOTEBOOK}), 1.5 min" in front
    assert "c0ffee<>" not in front and "c0ffee&lt;&gt;" in front
    assert "run/tables/results\nrun/tables/seeds\nrun/index\n" in front and "api/index" not in front
    table = (pages / "run" / "tables" / "seeds.md").read_text("utf-8")
    assert "62.00 ± 1.41</td>" in table and "c0ffee&lt;&gt;" in table and "c0ffee<>" not in table
    shown = [gallery.index(f"![{PICTURES[name].title}, UAVid](uavid_{name}.png)") for name in ("method", "drift", "ablations")]
    assert shown == sorted(shown) and "[PDF](uavid_method.pdf)" in gallery
    notebook = json.loads((pages / "notebooks" / NOTEBOOK).read_text("utf-8"))
    assert len(notebook["cells"]) == 1 and "widgets" not in notebook["metadata"]
    marked = (pages / "notebooks" / "index.md").read_text("utf-8")
    assert f"[03 · Base & SSP]({NOTEBOOK}) ✓" in marked and marked.count("✓") == 2 and "05_kd_ssp.ipynb" in marked


def test_a_run_of_one_system_and_no_pictures_has_a_page(tmp_path):
    pages = pages_of(tmp_path, lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ()))
    front = (pages / "index.md").read_text("utf-8")
    assert ">61.00<" in front and "against Base" not in front and "run/index" not in front


def test_a_run_without_tables_says_which_chapter_writes_them(tmp_path):
    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ("method",))
    (workspace.figures / "tables" / "results.json").unlink()
    front = (pages_of(tmp_path, workspace) / "index.md").read_text("utf-8")
    assert "No tables of this profile yet" in front and "61.00" not in front and f"(notebooks/{NOTEBOOK})" in front


def test_no_run_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, capsys):
    with pytest.raises(ArtefactError, match="no run of profile smoke here; start one with ./reproduce.sh --profile smoke"):
        find_run(load_profile("smoke"), Workspace("smoke", tmp_path))
    own = with_own(load_profile("smoke"), write_flight(tmp_path / "flight", {"first": (0,)}))
    with pytest.raises(ArtefactError, match="reproduce.sh --profile smoke --dataset FILE$"):
        find_run(own, Workspace(own.folder, tmp_path))
    monkeypatch.setattr(paths, "Workspace", lambda name: Workspace(name, tmp_path))
    assert main(["report", "--profile", "smoke"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ") and captured.out == ""


def test_the_command_builds_the_site_and_replaces_a_former_one(tmp_path, monkeypatch, capsys):
    """Sphinx itself is left out; it is run in test_site.py."""
    from sspcore.report.site import build

    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ())
    (workspace.base / "report").mkdir()
    for name in ("index.html", "stale.html"):
        (workspace.base / "report" / name).touch()
    monkeypatch.setattr(paths, "Workspace", lambda name: workspace)
    monkeypatch.setattr(build, "_require_sphinx", lambda: None)
    monkeypatch.setattr(build, "_sphinx", lambda builder, folder, out, options: (out / "index.html").touch())
    assert main(["report", "--profile", "smoke"]) == 0
    assert "index.html (open it in a browser)" in capsys.readouterr().out
    assert sorted(path.name for path in (workspace.base / "report").iterdir()) == [".nojekyll", "index.html"]


def test_where_sphinx_is_missing_one_line_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    from sspcore.report.site import build

    workspace = lay_out(tmp_path, [row("Base", "image", 0.61, 0.70)], ())
    monkeypatch.setattr(paths, "Workspace", lambda name: workspace)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert main(["report", "--profile", "smoke"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("run ./reproduce.sh setup --extra docs" in error or "Python 3.11" in error)
    assert not (workspace.base / "report").exists()
