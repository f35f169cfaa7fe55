"""The study in one call: what is asked for, what is up to date, what is refused."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections import defaultdict
from functools import partial
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from helpers.runs import without_cluster
from sspcore.cli.main import main
from sspcore.core.files import atomic_file
from sspcore.core.lock import exclusive
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.provenance import RUN_BEGAN
from sspcore.core.store import stage
from sspcore.data.datasets import RURALSCAPES, UAVID
from sspcore.data.releases import find_sequences
from sspcore.models.systems import SYSTEMS
from sspcore.study import chapters, executing, flight, reproduce
from sspcore.study import data as study_data
from sspcore.study.engine import work
from sspcore.study.engine.schedule import needed_by, order
from sspcore.study.engine.task import Call, Task
from sspcore.study.reproduce import Request

PARAMETERS = """profile = "demo"
seed = 0
datasets = []
systems = []
data = None
force = False"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What the runner sets for its kernels and for the terminal is not for the tests that follow."""
    for name in (RUN_BEGAN, "SSPCORE_PROGRESS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


class TinyRun:
    """The runner on one notebook in a temporary folder; executing it writes one thing of each sort."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.passed: list[dict] = []
        self.problem: Exception | None = None
        self.figure, self.cached = root / "figures" / "a.json", root / "data" / "smoke" / "motion" / "flow.npy"
        self.scores = root / "data" / "smoke" / "runs" / "scores"

    def execute(self, source: str, target: str, parameters: dict, **_) -> None:
        self.passed.append(parameters)
        shutil.copy(source, target)
        if self.problem is not None:
            raise self.problem
        for path in (self.figure, self.cached):
            with atomic_file(path) as temporary:
                temporary.write_text("x")
        stage("scores", self.scores, "k", lambda folder: (folder / "row.json").write_text("{}"))

    def __call__(self, *arguments: str, profile: str = "smoke") -> bool:
        """Run; whether the notebook was executed."""
        before = len(self.passed)
        assert main(["reproduce", "--profile", profile, *arguments]) == 0
        return len(self.passed) > before

    def files(self) -> dict[Path, int]:
        """When each file was written last, but for the lock of the run."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture
def run(tmp_path, monkeypatch) -> TinyRun:
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell("print(systems)")]
    nbformat.write(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), notebooks / "01_tiny.ipynb")
    tiny = TinyRun(tmp_path)
    without_cluster(monkeypatch, reproduce)
    monkeypatch.setattr(chapters, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(study_data, "Workspace", partial(Workspace, root=tmp_path / "data"))
    monkeypatch.setattr(executing.papermill, "execute_notebook", tiny.execute)
    return tiny


@pytest.mark.parametrize("arguments, message", [
    (["--profile", "demmo"], "profile 'demmo' is unknown"),
    (["--datasets", "cityscapes"], "--datasets cityscapes: unknown; choose from uavid, ruralscapes"),
    (["--datasets", ""], "--datasets: none is named"),
    (["--systems", "SPP"], "--systems SPP: unknown"),
    (["--systems", "Base (start)"], "--systems Base (start): unknown"),
    (["--systems", ","], "--systems: none is named"),
    (["--profile", "paper"], "profile paper needs the real releases: pass --data DIR"),
    (["--only", "99"], "--only 99: no such notebook"),
])
def test_wrong_usage_is_one_line_and_status_2(arguments, message, capsys):
    assert main(["reproduce", "--profile", "smoke", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_a_system_without_its_recipe_is_named(tmp_path, capsys):
    text = (REPOSITORY / "sspcore" / "study" / "profiles" / "smoke.yaml").read_text()
    profile = tmp_path / "own.yaml"
    profile.write_text(re.sub(r"(?m)^  recurrent: .*\n", "", text))
    assert main(["reproduce", "--profile", str(profile), "--systems", "SSP-R"]) == 2
    assert "--systems: SSP-R needs training.recurrent, which is missing" in capsys.readouterr().err


def test_two_runs_side_by_side_are_refused(run, capsys):
    with exclusive(run.root / "data" / "smoke"):
        assert main(["reproduce", "--profile", "smoke"]) == 2
    error = capsys.readouterr().err.strip()
    assert "another run (process" in error and "\n" not in error
    assert run()


def test_second_run_executes_nothing_and_touches_nothing(run, capsys):
    assert run()
    first = run.files()
    assert {run.figure, run.scores / "row.json"} <= set(first)
    assert not run() and run.files() == first
    assert "01_tiny: up to date, skipped" in capsys.readouterr().out


def test_what_was_deleted_is_made_again(run):
    assert run()
    page = run.root / "data" / "smoke" / "notebooks" / "01_tiny.html"
    for path in (run.figure, run.scores, page, page.with_suffix(".ipynb"), page.with_suffix(".json")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert run() and path.exists(), path
        assert not run(), path
    for path in (run.figure, run.scores / "row.json", page):
        path.write_text("half of it")
        assert run() and path.read_text() != "half of it", path
        assert not run(), path
    run.cached.unlink()  # motion is estimated again where it is asked for
    assert not run()


def test_cached_motion_alone_is_no_reason_to_execute(run, monkeypatch):
    done = []
    monkeypatch.setitem(work.METHODS, "estimate", lambda spec: done.append(spec))

    def shown(path, planners, chosen):
        planners[0].tasks["flow-a"] = Task("flow-a", "flow", "flow of a clip", Call(planners[0].spec, "estimate"))
        return ("flow-a",)

    monkeypatch.setattr(reproduce, "shown_in", shown)
    assert run() and len(done) == 1
    assert not run() and len(done) == 1


def test_force_executes_and_leaves_a_notebook_up_to_date(run):
    assert run() and run("--force")
    assert not any(passed["force"] for passed in run.passed), "what it shows was made again before"
    assert not run()
    assert run("--seed", "1") and not run("--seed", "1")


def test_failed_run_does_not_count_as_up_to_date(run, capsys):
    assert run()
    run.problem = PapermillExecutionError(0, 1, "", "ValueError", "broken", [])
    assert main(["reproduce", "--profile", "smoke", "--force"]) == 2
    assert "01_tiny.ipynb, cell 1: ValueError: broken" in capsys.readouterr().err
    run.problem = None
    assert run() and not run()


def test_relative_data_folder_and_changes_of_a_real_release(run, uavid_release, ruralscapes_release, monkeypatch, capsys):
    elsewhere = run.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    paper = partial(run, "--data", "..", profile="paper")
    assert paper() and run.passed[-1]["data"] == str(run.root)
    assert not paper()
    label = uavid_release / "uavid_train" / "seq1" / "Labels" / "000004.png"
    os.utime(label, (1, 1))
    assert paper() and not paper()
    label.unlink()
    assert paper() and not paper()
    (uavid_release / "uavid_train" / "seq1" / "images.mp4").unlink()
    assert paper(), "the other sequences can go on"
    assert "seq1/images.mp4: file is missing; restore it (seq1 is left out)" in capsys.readouterr().out
    (uavid_release / "uavid_val" / "seq16" / "images.mp4").unlink()
    assert main(["reproduce", "--profile", "paper", "--data", ".."]) == 2
    assert "error: ../uavid: no val sequence of UAVid can be used" in capsys.readouterr().err.replace(str(run.root), "..")


def test_base_is_added_in_front_and_said(run, capsys):
    assert run("--systems", "SSP") and run.passed[-1]["systems"] == ["Base", "SSP"]
    assert "Base is added" in capsys.readouterr().out
    assert run("--systems", "SSP,Base,Constant alpha 0.50")
    assert run.passed[-1]["systems"] == ["Base", "SSP", "Constant alpha 0.5"]
    assert "Base is added" not in capsys.readouterr().out


def test_layout_in_the_data_readme_is_what_preparation_reads(tmp_path):
    text = (REPOSITORY / "data" / "README.md").read_text()
    examples = {"train": {"seqN": "seq1", "DJI_NNNN": "DJI_0043"}, "val": {"seqN": "seq16", "DJI_NNNN": "DJI_0051"}}
    for pattern in re.findall(r"^ {4}DIR/(\S+)", text, re.MULTILINE):
        for split, names in examples.items():
            if ("uavid_" in pattern) and f"uavid_{split}" not in pattern:
                continue
            path = pattern.replace("NNNNNN", "000100")
            for placeholder, name in names.items():
                path = path.replace(placeholder, name)
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).mkdir() if path.endswith("/") else (tmp_path / path).write_bytes(b"x")
    for spec, expected in ((UAVID, [("seq1", "train"), ("seq16", "val")]),
                           (RURALSCAPES, [("DJI_0043", "train"), ("DJI_0051", "val")])):
        found = find_sequences(tmp_path / spec.name, spec)
        assert [(sequence.name, sequence.split) for sequence in found] == expected
        for sequence in found:
            assert sequence.video.is_file() and set(sequence.labels) == {100}
            assert set(sequence.vdd) == ({100} if spec is UAVID else set())


def test_classes_and_validation_in_the_data_readme_are_those_of_the_code():
    text = (REPOSITORY / "data" / "README.md").read_text()
    for heading, spec in (("### UAVid", UAVID), ("### RuralScapes", RURALSCAPES)):
        section = text.partition(heading)[2].partition("\n### ")[0]
        sentence = re.search(r"Validation: ([^.]*)\.", section)[1]
        assert tuple(re.findall(r"seq\d+|DJI_\d+", sentence)) == spec.validation
        cells = re.findall(r"\| ([a-z ]+) \| (\d+), (\d+), (\d+) ", section)
        colours = {name: tuple(map(int, rgb)) for name, *rgb in cells}
        assert colours == {name: rgb for name, rgb in spec.labels.items() if name != "unlabelled"}


def test_every_chapter_waits_for_what_it_shows(tmp_path, monkeypatch):
    """All systems, two seeds: one graph, in which chapters that show results need the scores of both."""
    monkeypatch.setattr(study_data, "Workspace", partial(Workspace, root=tmp_path))
    monkeypatch.setenv(RUN_BEGAN, "0")
    systems = [name for name in SYSTEMS if name != "Base (start)"]
    chosen = reproduce.choose(Request("smoke", systems=systems, seeds=(0, 1, 0), ablations=True))
    assert [study.seed for study in chosen.studies] == [0, 1]
    tasks, first = reproduce.graph(chosen, "k", force=False)
    assert {name for name in tasks if name.startswith("notebook-")} == {f"notebook-{path.stem}" for path in chosen.notebooks}
    everything = [f"notebook-{path.stem}" for path in chosen.notebooks]
    assert needed_by(tasks, everything) == {*tasks} and len(order(tasks)) == len(tasks)

    def scored(chapter: str) -> set[tuple]:
        (name,) = (name for name in everything if name.startswith(f"notebook-{chapter}"))
        calls = [tasks[need].call for need in needed_by(tasks, [name]) if tasks[need].call.method == "evaluate"]
        return {(call.study.seed, *call.arguments) for call in calls}

    controls = chosen.studies[0].controls(systems)
    for seed in (0, 1):
        for dataset in ("uavid", "ruralscapes"):
            assert {(seed, name, dataset) for name in (*systems, *controls)} <= scored("08")
    assert not scored("01") and not scored("03") and scored("09")
    early = [tasks[name].call.arguments for (name,) in first]
    assert early == [(name, dataset) for dataset in ("uavid", "ruralscapes") for name in ("Base", "SSP")]


def test_the_chapter_of_ones_own_flight_waits_for_what_is_made_of_the_flight(tmp_path, monkeypatch):
    """All cores train on it, whatever systems and data sets the run is otherwise about; nothing of those is made."""
    for module in (study_data, flight):
        monkeypatch.setattr(module, "Workspace", partial(Workspace, root=tmp_path))
    monkeypatch.setenv(RUN_BEGAN, "0")
    chosen = reproduce.choose(Request("smoke", systems=["Base"], only=["13"]))
    tasks, _ = reproduce.graph(chosen, "k", force=False)
    assert (tmp_path / "smoke" / "rendered_flight" / "dataset.yaml").is_file()
    (chapter,) = (name for name in tasks if name.startswith("notebook-13"))
    made = [tasks[name].call for name in needed_by(tasks, [chapter]) if name != chapter]
    (dataset,) = {call.arguments[-1] for call in made if call.method in ("train", "evaluate")}
    scored: dict[str, set[str]] = defaultdict(set)  # by the network of Base
    for call in (call for call in made if call.method == "evaluate"):
        base = json.loads(call.study.profile)["models"]["base"]
        scored[base.get("smp") or base.get("torchvision") or "of the profile"].add(call.arguments[0])
    names = scored.pop("of the profile")
    assert names > {"Teacher", "Base", "KD Base", "KD-SSP", "Constant alpha 0.5 (KD Base)"} and "SSP" not in names
    assert scored == {network: {"Base", "SSP"} for network in ("Unet", "deeplabv3_mobilenet_v3_large")}  # beside all that
    assert dataset == "rendered-flight" and ("fused", (dataset,)) in [(call.method, call.arguments) for call in made]
    own = reproduce.choose(Request("smoke", only=["13"], dataset=[tmp_path / "smoke" / "rendered_flight"]))
    again, _ = reproduce.graph(own, "k", force=False)
    assert {name for name in {*again} ^ {*tasks} if tasks.get(name, again.get(name)).kind != "predict"} == set()


def test_the_networks_that_are_trained_ahead_of_chapter_13_are_those_of_its_cell():
    path = REPOSITORY / "notebooks" / "13_your_own_flight.ipynb"
    (cell,) = (source for cell in nbformat.read(path, as_version=4).cells if "NETWORKS = {" in (source := cell.source))
    (networks,) = (ast.literal_eval(line.value) for line in ast.parse(cell).body
                   if isinstance(line, ast.Assign) and line.targets[0].id == "NETWORKS")
    assert chapters.settings(path)["shows"]["image_models"] == list(networks.values())


def test_what_a_chapter_says_that_it_shows_has_to_be_known(run, capsys):
    path = run.root / "notebooks" / "01_tiny.ipynb"
    tiny = nbformat.read(path, as_version=4)
    tiny.metadata["sspcore"] = {"shows": {"wonders": []}}
    nbformat.write(tiny, path)
    assert main(["reproduce", "--profile", "smoke"]) == 2
    assert "01_tiny.ipynb: its metadata say that it shows 'wonders', which is unknown" in capsys.readouterr().err
