"""Help for notebooks: the list of chapters."""

from __future__ import annotations

import re

import pytest

from sspcore.core.errors import ProfileError
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.study import notebook


def test_chapters_have_titles_and_tell_what_has_been_run(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "Workspace", lambda profile: Workspace(profile, tmp_path))
    executed = tmp_path / "smoke" / "notebooks" / "03_base_and_ssp_training.ipynb"
    executed.parent.mkdir(parents=True)
    executed.touch()
    found = notebook.chapters("smoke")
    assert list(found) == sorted(path.name for path in (REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert found["00_start_here.ipynb"] == {"chapter": "Start here", "run here (smoke)": "not yet"}
    assert found["03_base_and_ssp_training.ipynb"] == {"chapter": "Base and SSP training", "run here (smoke)": "yes"}
    with pytest.raises(ProfileError, match="demmo"):
        notebook.chapters("demmo")


def test_links_between_notebooks_lead_somewhere():
    for path in sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        for target in re.findall(r"\]\(([\w.]+\.ipynb)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"
