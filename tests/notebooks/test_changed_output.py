"""`pytest --nbval-lax`, as continuous integration calls it, fails where a number in a compared output was changed by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy

from sspcore.core.files import read_json
from sspcore.core.notebooks import COMPARED, notebook_text
from sspcore.core.paths import REPOSITORY

SANITIZE = REPOSITORY / "tests" / "notebooks" / "sanitize.cfg"


def test_a_number_changed_by_hand_in_a_compared_output_fails(tmp_path):
    notebook = read_json(REPOSITORY / "notebooks" / "00_start_here.ipynb")
    cell = next(cell for cell in notebook["cells"] if cell["id"] == "00-23")  # needs no cell before it
    (line,) = cell["outputs"][0]["text"]
    changed, untagged = deepcopy(cell), deepcopy(cell)
    changed["id"], untagged["id"], untagged["metadata"] = "changed", "untagged", {"tags": []}
    changed["outputs"][0]["text"] = untagged["outputs"][0]["text"] = [line.replace("1.125", "1.126")]
    assert COMPARED in cell["metadata"]["tags"] and "1.126" in changed["outputs"][0]["text"][0]
    path = tmp_path / "00_copy.ipynb"
    path.write_text(notebook_text(notebook | {"cells": [cell, changed, untagged]}), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "--nbval-lax", "--nbval-current-env", str(path)]
    done = subprocess.run(
        [*command, f"--nbval-sanitize-with={SANITIZE}", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "1.126" in done.stdout
