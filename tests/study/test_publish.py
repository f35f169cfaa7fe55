"""Publishing: a complete run of the commit replaces the former publication and nothing else; all others are refused."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers.tables import row
from sspcore.core.errors import SspError
from sspcore.core.files import read_json, write_json
from sspcore.core.store import KEY_FILE
from sspcore.models.systems import START
from sspcore.study import Study, chapters
from sspcore.study import publish as publishing
from sspcore.study.chapters import Chapter
from sspcore.study.keys import Keys
from sspcore.study.publish import MANIFEST, publish, replace_published
from sspcore.study.publish_notebooks import foreign_outputs
from sspcore.study.results import artefacts, row_names, scored_rows

HEAD = "c0ffee123456"
DATASETS, SYSTEMS = ["uavid", "ruralscapes"], ["Base", "SSP"]


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    """Studies that render nothing, of a clean commit."""
    monkeypatch.setattr(Keys, "clips", lambda self, dataset: f"clips of {dataset}")
    monkeypatch.setattr(publishing, "git_commit", lambda: HEAD)
    monkeypatch.setattr(publishing, "is_earlier", lambda commit, unchanged: False)


def picture(path: Path, commit: str) -> None:
    info = PngInfo()
    info.add_text("sspcore.commit", commit)
    Image.new("RGB", (2, 2)).save(path, pnginfo=info)


class Run:
    """A finished run of one or several seeds, written by hand."""

    def __init__(self, root: Path, *seeds: int) -> None:
        self.target = root / "repository" / "figures"
        self.studies = [
            Study.open("smoke", seed, overrides={"publish_to": "figures"}, root=root / "data", read_only=True) for seed in seeds
        ]
        self.figures = self.studies[0].figures
        rows = []
        for study in self.studies:
            for place in artefacts(study, DATASETS, SYSTEMS):
                place.folder.mkdir(parents=True, exist_ok=True)
                self.seal(place, HEAD)
                if place.kind == "evaluate" and place.folder.name == "scores":
                    name = next(name for name in row_names(study, SYSTEMS) if place.title.endswith(f"scoring {name}"))
                    dataset = "uavid" if place.title.startswith("UAVid") else "ruralscapes"
                    entry = row(name, "image", 0.6, 0.7) | {"dataset": dataset}
                    write_json(place.folder / "row.json", entry)
                    rows.append(entry | {"seed": study.seed})
        several = {"rows_by_seed": rows} if len(seeds) > 1 else {}
        origin = {"commit": HEAD} | ({"seeds": list(seeds)} if several else {"seed": seeds[0]})
        if not several:
            rows = [{key: value for key, value in entry.items() if key != "seed"} for entry in rows]
        write_json(self.figures / "tables" / "results.json", {"provenance": origin, "rows": rows, **several})
        (self.figures / "tables" / "results.md").write_text("table")
        picture(self.figures / "uavid_frontier.png", HEAD)
        (self.figures / "uavid_frontier.pdf").touch()
        (self.figures / "uavid_movie.gif").touch()  # drawn before the tables, beside other work
        os.utime(self.figures / "uavid_movie.gif", (1, 1))
        self.stamp = self.studies[0].workspace.notebooks / publishing.CHAPTER
        write_json(self.stamp, {})

    @staticmethod
    def seal(place, commit: str | None) -> None:
        write_json(place.folder / KEY_FILE, {"key": place.key} | ({} if commit is None else {"commit": commit}))

    def places(self) -> list:
        return artefacts(self.studies[0], DATASETS, SYSTEMS)

    def edit(self, name: str, change) -> None:
        """Change the content of a table; its time stays as if the chapter had written it so."""
        path = self.figures / "tables" / name
        before, content = path.stat(), read_json(path)
        change(content)
        write_json(path, content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def publish(self, datasets=DATASETS, systems=SYSTEMS):
        return publish(self.studies, datasets, systems, self.target)

    def refused(self, message: str, **asked) -> None:
        before = {path: path.stat().st_mtime_ns for path in self.target.rglob("*")}
        with pytest.raises(SspError, match=message) as error:
            self.publish(**asked)
        assert "\n" not in str(error.value) and str(error.value).startswith("--publish: ")
        assert {path: path.stat().st_mtime_ns for path in self.target.rglob("*")} == before


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path, 0)


def test_a_complete_run_replaces_a_former_publication_and_nothing_else(run):
    (run.target / "hardware").mkdir(parents=True)
    for name in ("hardware/gpu.json", "explorers.json"):
        (run.target / name).write_text("measured")
    done = run.publish()
    files = ["tables/results.json", "tables/results.md", "uavid_frontier.pdf", "uavid_frontier.png", "uavid_movie.gif"]
    assert done.written == files and done.kept == [] and done.folder == run.target
    assert read_json(run.target / MANIFEST) == {
        "profile": "smoke", "commit": HEAD, "seeds": [0], "artefacts": {HEAD: len(run.places())}, "files": files, "earlier": {},
    }
    assert read_json(run.target / "tables" / "results.json")["provenance"]["commit"] == HEAD
    (run.figures / "uavid_frontier.pdf").unlink()
    (run.figures / "tables" / "results.md").write_text("another")
    (run.figures / ".half.partial").touch()
    assert run.publish().kept == ["uavid_frontier.pdf"]  # as those of chapters that a run leaves out
    manifest = read_json(run.target / MANIFEST)
    assert manifest["earlier"] == {HEAD: ["uavid_frontier.pdf"]} and "uavid_frontier.pdf" not in manifest["files"]
    assert run.publish().kept == ["uavid_frontier.pdf"]
    assert (run.target / "tables" / "results.md").read_text() == "another"
    left = {path.relative_to(run.target).as_posix() for path in run.target.rglob("*") if path.is_file()}
    assert left == {*files, MANIFEST, "hardware/gpu.json", "explorers.json"}


class Notebooks:
    """Two notebooks: 03, executed by the run, shows a picture, a moving one, a line; 12 has outputs of an earlier run."""

    def __init__(self, run: Run, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.sources = [folder / "03_a.ipynb", folder / "12_b.ipynb"]
        root = str(run.studies[0].workspace.root)
        self.chapters = [Chapter(path.name, {}, root, "smoke", "k", 0.0) for path in self.sources]
        frames, file = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")], io.BytesIO()
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        drawn = (run.figures / "uavid_frontier.png").read_bytes()
        self.write(self.sources[0], [])
        self.write(self.sources[1], [{"output_type": "stream", "name": "stdout", "text": ["old"]}])
        self.write(self.chapters[0].executed, [
            {"output_type": "display_data", "metadata": {}, "data": {kind: base64.b64encode(content).decode()}}
            for kind, content in (("image/png", drawn), ("image/gif", file.getvalue()))
        ] + [{"output_type": "stream", "name": "stdout", "text": [f"{root}/smoke/export"]}])
        self.stamp()

    def stamp(self, **changed) -> None:
        write_json(self.chapters[0].stamp, {"key": "k", "commit": HEAD, "outputs": []} | changed)

    def write(self, path: Path, outputs: list) -> None:
        cell = {"id": "a", "cell_type": "code", "metadata": {}, "source": ["x"], "outputs": outputs, "execution_count": 1}
        path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))

    def outputs(self, k: int) -> list[dict]:
        return read_json(self.sources[k])["cells"][0]["outputs"]


@pytest.fixture
def notebooks(run, monkeypatch) -> Notebooks:
    folder = run.target.parent / "notebooks"
    monkeypatch.setattr(chapters, "NOTEBOOKS", folder)
    return Notebooks(run, folder)


def test_notebooks_get_the_outputs_of_the_run_and_say_which_it_was(run, notebooks):
    run.edit("results.json", lambda found: found["provenance"].update(profile="smoke", data_key="d"))
    done = publish(run.studies, DATASETS, SYSTEMS, run.target, notebooks.chapters[:1], notebooks.chapters[1:])
    assert done.notebooks == 1
    picture, full_size, still, movie, line = notebooks.outputs(0)
    assert picture["data"].keys() == still["data"].keys() == {"image/png", "text/plain"}
    assert line["text"] == ["data/smoke/export"]
    assert full_size["data"]["text/markdown"] == ["Full size: [uavid_frontier.png](../figures/uavid_frontier.png)"]
    assert movie["data"]["text/markdown"] == ["Moving picture: [03_a_0.mp4](../figures/notebooks/03_a_0.mp4)"]
    assert (run.target / "notebooks" / "03_a_0.mp4").is_file()
    assert "notebooks/03_a_0.mp4" in read_json(run.target / MANIFEST)["files"]
    origin = {"commit": HEAD, "profile": "smoke", "seed": 0, "data": "d"}
    assert read_json(notebooks.sources[0])["metadata"]["sspcore"] == {"published": origin}
    assert notebooks.outputs(1) == []  # this run has not executed it
    results = read_json(run.target / "tables" / "results.json")
    assert foreign_outputs(notebooks.sources, results) == []
    results["provenance"]["commit"] = "decaf"
    (problem,) = foreign_outputs(notebooks.sources, results)
    assert problem.startswith("03_a.ipynb: outputs of {'commit': 'c0ffee123456'")


@pytest.mark.parametrize("changed, message", [
    ({"commit": "decaf"}, "03_a.ipynb: was executed by commit decaf; run it again"),
    ({"key": "former"}, "03_a.ipynb: what it depends on has changed; run it again .--only 03 --force"),
])
def test_a_notebook_that_this_commit_has_not_executed_is_refused(run, notebooks, changed, message):
    notebooks.stamp(**changed)
    with pytest.raises(SspError, match=f"--publish: {message}"):
        publish(run.studies, DATASETS, SYSTEMS, run.target, notebooks.chapters[:1])
    assert not run.target.exists() and notebooks.outputs(0) == []
    publish(run.studies, DATASETS, SYSTEMS, run.target, (), notebooks.chapters)
    assert notebooks.outputs(0) == notebooks.outputs(1) == []


def test_what_no_publication_has_written_is_not_overwritten(run):
    run.target.mkdir(parents=True)
    (run.target / "uavid_movie.gif").write_text("mine")
    run.refused("uavid_movie.gif was not written by a publication; move it away")
    assert (run.target / "uavid_movie.gif").read_text() == "mine"


def test_killed_half_way_it_can_be_called_again(run, monkeypatch):
    run.publish()
    (run.figures / "uavid_alpha.png").touch()
    (run.figures / "uavid_frontier.pdf").unlink()
    files = publishing.published_files(run.studies[0].workspace)
    replaced, whole = [], os.replace

    def killed(source, target):
        if "publish" in str(source) and len(replaced) == 2:
            raise KeyboardInterrupt
        replaced.append(whole(source, target))

    monkeypatch.setattr(publishing.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace_published(files, run.target, {})
    monkeypatch.undo()
    (run.target / ".publish.left").mkdir()
    done = replace_published(files, run.target, {})
    assert done.kept == ["uavid_frontier.pdf"] and (run.target / "uavid_alpha.png").is_file()
    assert not list(run.target.glob(".publish.*"))


def test_several_seeds_are_checked_and_published_together(tmp_path):
    run = Run(tmp_path, 0, 1)
    assert run.publish() and read_json(run.target / MANIFEST)["seeds"] == [0, 1]
    shutil.rmtree(run.studies[1].folder("SSP", "uavid") / "training")
    run.refused("1 of 40 artefacts are missing or stale .the first: UAVid: training SSP, .*seed1/ssp")


def test_a_profile_whose_numbers_are_no_result_is_not_published(run, tmp_path):
    run.studies = [Study.open("smoke", root=tmp_path / "data", read_only=True)]
    run.refused("profile smoke is not published: its numbers are no result")


@pytest.mark.parametrize("asked, message", [
    ({"systems": ["Base"]}, "--systems leaves out SSP"), ({"datasets": ["uavid"]}, "--datasets leaves out ruralscapes"),
])
def test_a_part_of_the_profile_is_refused(run, asked, message):
    run.refused(message, **asked)


@pytest.mark.parametrize("head, message", [
    (f"{HEAD}+", f"the work tree differs from commit {HEAD}, .*commit the code"), ("unknown", "there is no git here"),
])
def test_code_that_is_not_committed_is_refused(run, monkeypatch, head, message):
    monkeypatch.setattr(publishing, "git_commit", lambda: head)
    run.refused(message)


def test_what_is_missing_or_stale_is_counted_and_the_first_named(run):
    places = run.places()
    prediction = next(place for place in places if place.kind == "predict")
    write_json(prediction.folder / KEY_FILE, {"key": "former", "commit": HEAD})
    run.refused(rf"1 of {len(places)} artefacts are missing or stale \(the first: {prediction.title}, .*predictions\)")
    shutil.rmtree(places[0].folder)
    run.refused(rf"2 of {len(places)} artefacts are missing or stale \(the first: UAVid: preparing clips, .*clips/uavid\)")


def test_artefacts_of_other_commits_are_counted_by_their_commit(run):
    places = run.places()
    for place, commit in zip(places, ("decaf", "decaf", f"{HEAD}+", None), strict=False):
        run.seal(place, commit)
    whose = rf"2 by decaf, 1 by {HEAD}\+, 1 by unknown; .+\); run again with --force, or from nothing$"
    run.refused(rf"4 of {len(places)} artefacts were made neither by commit {HEAD} nor by an earlier one .* \({whose}")
    for place in places:
        run.seal(place, "decaf")
    run.refused(rf"{len(places)} of {len(places)} .*\({len(places)} by decaf\); .*from nothing, or check out decaf$")


def test_artefacts_of_an_earlier_commit_whose_keys_are_valid_are_published(run, monkeypatch):
    places = run.places()
    monkeypatch.setattr(publishing, "is_earlier", lambda commit, unchanged: (commit, unchanged) == ("decaf", "*.lock"))
    for place in places[1:]:
        run.seal(place, "decaf")
    run.publish()
    assert read_json(run.target / MANIFEST)["artefacts"] == {"decaf": len(places) - 1, HEAD: 1}
    run.seal(places[2], "decaf+")  # its code is in no history
    run.refused(r"1 of .* \(1 by decaf\+;")
    write_json(places[2].folder / KEY_FILE, {"key": "former", "commit": "decaf"})  # the code has changed since
    run.refused("1 of .* artefacts are missing or stale")


@pytest.mark.parametrize("change, message", [
    (lambda found: found.update(so_far="2 of 12"), "is not the table of this run's artefacts; run chapter 08 again"),
    (lambda found: found["rows"].pop(), "is not the table of this run's artefacts"),
    (lambda found: found["rows"][1].update(miou=0.99), "is not the table of this run's artefacts"),
    (lambda found: found["provenance"].update(commit="decaf"),
     rf"1 tables and pictures were not made by commit {HEAD} \(the first: .*results.json, by decaf\)"),
])
def test_tables_that_are_not_of_this_run_are_refused(run, change, message):
    run.edit("results.json", change)
    run.refused(message)


def test_a_chapter_that_did_not_end_is_refused(run):
    run.stamp.unlink()
    run.refused("08_tables_and_figures.json is missing or older than the tables: chapter 08 did not end")
    run.stamp.touch()
    os.utime(run.stamp, (1, 1))
    run.refused("missing or older than the tables")
    (run.figures / "tables" / "results.json").unlink()
    run.refused("results.json is missing or damaged")


def test_pictures_of_another_commit_are_named(run):
    picture(run.figures / "uavid_evidence.png", "decaf")
    run.refused(r"1 tables and pictures .*the first: .*uavid_evidence.png, by decaf\)")


def test_all_that_a_row_stands_on_is_an_artefact(tmp_path):
    study = Study.open("demo", root=tmp_path, read_only=True)
    titles = [place.title for place in artefacts(study, ["uavid"], ["Base", "KD-SSP"])]
    learned = {f"UAVid: training {name}" for name in (START, "Base", "Teacher", "KD Base", "KD-SSP")}
    assert learned <= set(titles) and len(titles) == len(set(titles))
    others = ("preparing clips", "teacher labels", "fusing labels", "error of the flow")
    assert {f"UAVid: {what}" for what in others} <= set(titles)
    assert "UAVid: scoring Constant alpha 0.5" in titles and "UAVid: training Constant alpha 0.5" not in titles
    assert not any("RuralScapes" in title for title in titles)
    plain = [place.title for place in artefacts(study, ["uavid"], ["Base", "SSP"])]
    assert not any("eacher" in title or "fusing" in title for title in plain)


def test_rows_come_in_the_order_of_the_paper_and_only_what_is_scored(run):
    study = run.studies[0]
    assert row_names(study, ["SSP-R", "SSP", "Base"])[:2] == ["Base", "SSP"]
    assert [entry["system"] for entry in scored_rows(study, ["uavid"], SYSTEMS)] == ["Base", "SSP", "Constant alpha 0.5"]
    (study.folder("Base", "uavid") / "scores" / KEY_FILE).write_text(json.dumps({"key": "former"}))
    assert [entry["system"] for entry in scored_rows(study, ["uavid"], SYSTEMS)] == ["SSP", "Constant alpha 0.5"]
