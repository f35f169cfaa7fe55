"""`pytest --nbval` compares a tagged cell only where the notebook holds an output: without one it passes whatever comes out."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from sspcore.core.notebooks import COMPARED
from sspcore.core.paths import REPOSITORY
from sspcore.study.publish_notebooks import foreign_outputs

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def compared(path: Path) -> list[nbformat.NotebookNode]:
    """The cells whose outputs are compared."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if COMPARED in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_compared_cell_has_a_stored_output(path):
    for cell in compared(path):
        assert cell.cell_type == "code", f"{path.name}: cell {cell.id} is tagged and is no code"
        stored = [output.get("text") or output.get("data") for output in cell.outputs]
        assert stored and all(stored), f"{path.name}: cell {cell.id} has no output: run tests/notebooks/store_outputs.py"
        assert cell.execution_count, f"{path.name}: cell {cell.id} has no execution count"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_has_an_id_of_its_own(path):
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert len({*ids}) == len(ids) and all(name.startswith(f"{path.stem[:2]}-") for name in ids), ids


def test_outputs_are_of_the_committed_results_and_fit_for_the_repository():
    results = json.loads((REPOSITORY / "figures" / "tables" / "results.json").read_text(encoding="utf-8"))
    assert foreign_outputs(NOTEBOOKS, results) == []


def test_every_notebook_has_compared_cells():
    found = {path.name: len(compared(path)) for path in NOTEBOOKS}
    assert min(found.values()) >= 1 and sum(found.values()) >= 40, found
