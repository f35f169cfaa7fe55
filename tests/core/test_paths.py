"""Where artefacts lie: in the checkout, where SSPCORE_HOME says, or in a folder that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sspcore.core import paths
from sspcore.core.paths import REPOSITORY

SCRIPT = "from sspcore.core.paths import *; print(HOME, WEIGHTS_FOLDER, FLOW_CACHE, Workspace('smoke').base, sep='\\n')"


@pytest.mark.parametrize("home", [None, "elsewhere"])
def test_artefacts_lie_in_one_folder(tmp_path, home):
    others = {name: value for name, value in os.environ.items() if name != "SSPCORE_HOME"}
    environment = others | {"PYTHONPATH": str(REPOSITORY)}
    chosen = {} if home is None else {"SSPCORE_HOME": home}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment | chosen, cwd=tmp_path, capture_output=True, text=True, check=True)
    root = REPOSITORY / "data" if home is None else tmp_path / home
    assert done.stdout.splitlines() == [str(root), *(str(root / name) for name in ("weights", "flow-cache", "smoke"))]


@pytest.fixture
def readable(tmp_path, monkeypatch):
    """Tells what can only be read: root may write everywhere, so that modes of folders would not do for a test."""
    closed: list = []
    monkeypatch.delenv("SSPCORE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path / "checkout")
    monkeypatch.setattr(paths, "_DATA", tmp_path / "checkout" / "data")
    monkeypatch.setattr(paths, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in closed)
    for name in ("checkout/data", "cache", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    return closed


def test_a_checkout_that_cannot_be_written_leaves_artefacts_to_the_users_cache(readable, tmp_path, monkeypatch):
    data = tmp_path / "checkout" / "data"
    assert paths.home() == data
    readable.append(data)
    monkeypatch.setattr(paths, "HOME", cached := tmp_path / "cache" / "sspcore" / "data")
    assert paths.home() == cached and not cached.exists()
    note = paths.unusual_home()
    assert note == f"{data} cannot be written: what is made goes to {cached}; SSPCORE_HOME may name another folder"
    readable.append(tmp_path / "cache")
    assert paths.home() == tmp_path / "temporary" / f"sspcore-{os.getuid()}" / "data"
    monkeypatch.setenv("SSPCORE_HOME", str(data))
    assert paths.home() == data and paths.unusual_home() is None


def test_a_user_without_a_home_has_artefacts_among_the_temporary_files(readable, tmp_path, monkeypatch):
    readable.append(tmp_path / "checkout" / "data")
    monkeypatch.setattr(paths, "user_cache_dir", lambda name: f"~/.cache/{name}")  # a home that is not known
    assert paths.home() == tmp_path / "temporary" / f"sspcore-{os.getuid()}" / "data"
