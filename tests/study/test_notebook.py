"""Help for notebooks: the list of chapters, the study that they open."""

from __future__ import annotations

import re

import pytest

from sspcore.core.errors import ProfileError, SspError
from sspcore.core.lock import RUN_LOCKS
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.study import notebook
from sspcore.study.engine import make as making


def test_chapters_have_titles_and_tell_what_has_been_run(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "Workspace", lambda profile: Workspace(profile, tmp_path))
    monkeypatch.delenv(RUN_LOCKS, raising=False)
    executed = tmp_path / "smoke" / "notebooks" / "03_base_and_ssp_training.ipynb"
    executed.parent.mkdir(parents=True)
    executed.touch()
    found = notebook.chapters("smoke")
    assert list(found) == sorted(path.name for path in (REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert found["00_start_here.ipynb"] == {"chapter": "Start here", "run here (smoke)": "not yet"}
    assert found["03_base_and_ssp_training.ipynb"] == {"chapter": "Base and SSP training", "run here (smoke)": "yes"}
    monkeypatch.setenv(RUN_LOCKS, str(tmp_path))  # a run goes on: which chapters are there depends on the moment
    assert notebook.chapters("smoke") == {name: {"chapter": row["chapter"]} for name, row in found.items()}
    with pytest.raises(ProfileError, match="demmo"):
        notebook.chapters("demmo")


def test_links_between_notebooks_lead_somewhere():
    for path in sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        for target in re.findall(r"\]\(([\w.]+\.ipynb)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"


def test_numbers_of_a_unit_have_as_many_digits_and_a_real_minus():
    row = {"mIoU (%)": 81.26, "lag (frames)": 2.606, "above (points)": -1.987, "alpha": -0.60994, "lr": 5e-4, "seed": -1}
    shown = notebook.as_table({"SSP": row | {"none": None}}).loc["SSP"].to_dict()
    assert shown == {
        "mIoU (%)": "81.3", "lag (frames)": "2.6", "above (points)": "−2.0", "alpha": "−0.6099", "lr": "0.0005", "seed": "-1",
        "none": "–",
    }


@pytest.fixture
def made(monkeypatch) -> list[tuple]:
    """Goals that were asked for, with the number of workers."""
    made: list[tuple] = []
    monkeypatch.setattr(making, "make", lambda study, goal, workers: made.append((goal, workers)))
    for name in (RUN_LOCKS, notebook.WORKERS):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.mark.parametrize("workers, expected", [(None, None), ("3", 3)])
def test_a_notebook_opened_by_hand_has_goals_made_on_all_cores(tmp_path, monkeypatch, made, workers, expected):
    if workers is not None:
        monkeypatch.setenv(notebook.WORKERS, workers)
    study = notebook.open_study("smoke", seed=4, root=tmp_path)
    study.ask("prepare", "uavid")
    study.ask("prepare", "uavid")
    assert made == [(("prepare", "uavid"), expected)] and study.seed == 4


@pytest.mark.parametrize("variable", [RUN_LOCKS, notebook.WORKERS])
def test_a_notebook_of_a_run_makes_goals_by_itself(tmp_path, monkeypatch, made, variable):
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv(variable, str(tmp_path / "locks") if variable == RUN_LOCKS else "0")
    study = notebook.open_study("smoke", root=tmp_path)
    study.ask("prepare", "uavid")
    assert study.maker is None and made == []


def test_a_number_of_workers_that_is_none_is_refused(monkeypatch, made):
    monkeypatch.setenv(notebook.WORKERS, "many")
    with pytest.raises(SspError, match="SSPCORE_WORKERS=many: expected a number of processes"):
        notebook.open_study("smoke")
